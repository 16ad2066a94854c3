//! Declarations that are applied: what is there afterwards, and that a second time changes nothing.

use serde_json::json;

use crate::world::World;

const DECLARED: &str = r#"
[[subscriptions]]
name = "configured"
filter = { types = ["a.*"] }
"#;

fn declarations(url: &str, attempts: u32) -> String {
    format!(
        r#"
        [[subscriptions]]
        name = "billing"
        filter = {{ types = ["order.*"] }}
        start = {{ time = 2026-01-31T13:00:00+01:00 }}
        retry = {{ max_attempts = {attempts} }}
        sink = {{ kind = "webhook", url = "{url}", headers = {{ authorization = "Bearer canary" }} }}
        [[subscriptions]]
        name = "jobs"
        {DECLARED}"#
    )
}

#[test]
fn what_is_applied_is_there_and_a_second_time_changes_nothing() {
    let world = World::start_with(DECLARED);
    let url = world.receiver.url("/hooks");
    world.write("a.toml", &declarations(&url, 5));
    let apply = ["apply", "-f", "a.toml"];

    let (code, _) = world.failure(&[&apply[..], &["--dry-run"]].concat());
    assert_eq!((code, world.items(&["subscriptions", "list"]).len()), (10, 1));
    let first = world.json(&apply);
    assert_eq!(
        first,
        json!({"create": ["billing", "jobs"], "change": [], "unchanged": ["configured"], "delete": [], "applied": true})
    );
    let secret = world.json(&["subscriptions", "secret", "billing"]);
    let made = world.json(&["subscriptions", "get", "billing"]);
    assert_eq!((&made["retry"]["max_attempts"], &made["origin"]), (&json!(5), &json!("api")));

    let second = world.json(&apply);
    assert_eq!(second["unchanged"], json!(["billing", "jobs", "configured"]), "{second}");
    assert_eq!(
        (&second["applied"], &world.json(&["subscriptions", "get", "billing"])),
        (&json!(false), &made)
    );
    world.said(&[&apply[..], &["--dry-run"]].concat());

    // What was changed beside the file goes back, and the secrets stay what they were.
    world.said(&["subscriptions", "patch", "billing", "--set", "max_in_flight=3"]);
    world.write("a.toml", &declarations(&url, 7));
    let said = world.said(&apply);
    for line in ["~ change  billing", "max_in_flight: 3 → 64", "retry.max_attempts: 5 → 7", "= keep    jobs"]
    {
        assert!(said.contains(line), "{line} in {said}");
    }
    assert!(!said.contains("canary"), "{said}");
    assert_eq!(world.json(&["subscriptions", "secret", "billing"]), secret);
    assert_eq!(world.json(&apply)["applied"], false);
    // The header that nobody can see is still sent.
    let tried = world.json(&["subscriptions", "test", "billing"]);
    assert_eq!(tried["outcome"], "delivered");
    assert_eq!(world.json(&[&apply[..], &["--send-secrets"]].concat())["change"][0]["name"], "billing");
}

#[test]
fn only_what_the_api_made_is_pruned_and_with_consent() {
    let world = World::start_with(DECLARED);
    world.subscribe("old");
    world.write("none.toml", "subscriptions = []\n");
    assert_eq!(world.json(&["apply", "-f", "none.toml"])["applied"], false);
    let prune = ["apply", "-f", "none.toml", "--prune"];
    let (code, why) = world.failure(&prune);
    assert!(code == 2 && why.contains("--yes"), "{code} {why}");
    let pruned = world.json(&[&prune[..], &["--yes"]].concat());
    assert_eq!((&pruned["delete"], &pruned["applied"]), (&json!(["old"]), &json!(true)));
    let left = world.items(&["subscriptions", "list"]);
    assert_eq!((left.len(), &left[0]["name"]), (1, &json!("configured")));
}

#[test]
fn a_file_that_cannot_be_applied_changes_nothing() {
    let world = World::start_with(DECLARED);
    for (text, expected, why) in [
        ("[[subscription]]\nname = 'a'\n", 2, "`subscription`"),
        ("[[subscriptions]]\nname = 'a'\n[[subscriptions]]\nname = 'b'\ncolour = 1\n", 2, "colour"),
        ("[[subscriptions]]\nname = 'a'\n[[subscriptions]]\nname = 'a'\n", 2, "more than one"),
        (
            "[[subscriptions]]\nname = 'a'\n[[subscriptions]]\nname = 'configured'\norder = 'strict'\n",
            6,
            "configuration",
        ),
    ] {
        world.write("a.toml", text);
        let (code, said) = world.failure(&["apply", "-f", "a.toml"]);
        assert!(code == expected && said.contains(why), "{text}: {code} {said}");
        assert_eq!(world.items(&["subscriptions", "list"]).len(), 1, "{text}");
    }
}
