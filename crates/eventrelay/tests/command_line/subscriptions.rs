//! A subscription from its making to its end.

use serde_json::json;

use crate::harness::poll::until;
use crate::world::World;

#[test]
fn a_subscription_is_made_changed_and_deleted() {
    let world = World::start();
    world.subscribe("billing");
    let shown = world.json(&["subscriptions", "get", "billing"]);
    assert_eq!(
        (&shown["sink"]["secrets"], &shown["retry"]["max_attempts"]),
        (&json!(["[redacted]"]), &json!(1))
    );
    assert!(world.said(&["subscriptions", "get", "billing"]).contains("retry.max_attempts"));

    // A change for a revision that is no more is refused; one for the latest is made.
    let set =
        ["subscriptions", "patch", "billing", "--set", "max_in_flight=8", "--set", "description=for bills"];
    let at = |revision: &'static str| [&set[..], &["--revision", revision]].concat();
    world.said(&at("1"));
    let (code, why) = world.failure(&at("1"));
    assert!(code == 6 && why.contains("precondition_failed"), "{code} {why}");
    let unset = ["subscriptions", "patch", "billing", "--unset", "description", "--unset", "max_in_flight"];
    let patched = world.json(&unset);
    assert_eq!((&patched["max_in_flight"], patched.get("description")), (&json!(64), None));

    let declaration = json!({"filter": {"types": ["order.*"]}, "sink": shown["sink"]});
    world.write("billing.json", &declaration.to_string());
    let replaced = world.json(&["subscriptions", "replace", "billing", "--file", "billing.json"]);
    assert_eq!(
        (&replaced["filter"]["types"], &replaced["retry"]["max_attempts"]),
        (&json!(["order.*"]), &json!(12))
    );

    world.write("jobs.toml", "name = 'jobs'\nmax_in_flight = 3\n");
    let jobs = world.json(&["subscriptions", "create", "--file", "jobs.toml"]);
    assert_eq!((&jobs["name"], &jobs["max_in_flight"]), (&json!("jobs"), &json!(3)));
    let table = world.said(&["subscriptions", "list"]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines.len() == 3 && lines[0].starts_with("NAME") && lines[1].contains("webhook"), "{table}");
    let first = world.json(&["subscriptions", "list", "--limit", "1"]);
    assert_eq!(first["data"].as_array().unwrap().len(), 1);
    let rest = world.items(&["subscriptions", "list", "--cursor", first["next"].as_str().unwrap()]);
    assert_eq!(rest[0]["name"], "jobs");

    // Nobody is there to be asked.
    let (code, why) = world.failure(&["subscriptions", "delete", "jobs"]);
    assert!(code == 2 && why.contains("--yes"), "{code} {why}");
    world.said(&["subscriptions", "delete", "jobs", "--yes"]);
    let (code, why) = world.failure(&["subscriptions", "get", "jobs"]);
    assert!(code == 6 && why.contains("subscription_not_found"), "{code} {why}");
}

#[test]
fn a_subscription_is_paused_tested_and_given_a_new_secret() {
    let world = World::start();
    world.subscribe("billing");
    // What it is doing follows what it was told, a moment later.
    let becomes = |status: &str| {
        let shown = || world.json(&["subscriptions", "get", "billing"])["status"] == status;
        until(status, || shown().then_some(()));
    };
    for (command, status) in
        [("pause", "paused"), ("resume", "running"), ("pause", "paused"), ("enable", "running")]
    {
        assert_eq!(world.json(&["subscriptions", command, "billing"])["name"], "billing");
        becomes(status);
    }
    assert_eq!(world.json(&["subscriptions", "stats", "billing"])["dead_letters"], 0);

    let event = r#"{"type":"order.created","source":"/shop","data":{"canary":1}}"#;
    let tried = world.json(&["subscriptions", "test", "billing", "--event", event]);
    assert_eq!((&tried["outcome"], world.received()), (&json!("delivered"), 1));
    assert!(tried["exchange"]["request"]["body"].as_str().unwrap().contains("canary"), "{tried}");
    world.receiver_answers(500);
    let (code, why) = world.failure(&["subscriptions", "test", "billing"]);
    assert!(code == 11 && why.contains("retry"), "{code} {why}");

    let before = world.json(&["subscriptions", "secret", "billing"]);
    let after = world.json(&["subscriptions", "rotate-secret", "billing", "--overlap-seconds", "60"]);
    assert_ne!(before["secrets"], after["secrets"]);
    assert_eq!(after["expiring"][0]["secret"], before["secrets"][0]);
    assert_eq!(world.json(&["subscriptions", "secret", "billing"]), after);
}
