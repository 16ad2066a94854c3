//! Made, shown, changed, paused, rotated and deleted, over restarts too.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{RelayProcess, poll};
use crate::world::{Client, Hook, configuration, start};

#[test]
fn a_subscription_made_later_gets_what_was_published_before_and_stays_over_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let relay = start(directory.path());
    let client = Client::of(&relay);
    let early = client.publish("order.created", 0..3);
    let hook = Hook::start();
    let made = client.subscribe("billing", &hook, &json!({"description": "for billing"}));
    assert_eq!(
        (&made["origin"], &made["status"], &made["revision"]),
        (&json!("api"), &json!("running"), &json!(1))
    );
    assert_eq!(made["sink"]["secrets"], json!(["[redacted]"]));
    hook.wait_for(&early);
    relay.kill();

    let relay = start(directory.path());
    let client = Client::of(&relay);
    let listed = client.get("/v1/subscriptions");
    assert_eq!(
        (listed["data"][0]["description"].as_str(), listed["next"].is_null()),
        (Some("for billing"), true)
    );
    let late = client.publish("order.created", 3..5);
    hook.wait_for(&late);
    assert!(relay.terminate().success());
}

#[test]
fn edits_know_of_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let relay = start(directory.path());
    let client = Client::of(&relay);
    let hook = Hook::start();
    client.subscribe("billing", &hook, &json!({}));
    let path = "/v1/subscriptions/billing";
    let shown = client.ask("GET", path, None);
    assert_eq!(shown.header("etag"), Some("\"1\""));
    let patch = json!({"max_in_flight": 3});
    let edit = |tag| client.ask_with("PATCH", path, &[("if-match", tag)], Some(&patch));
    let first = edit("\"1\"");
    assert_eq!(
        (first.status, first.header("etag"), first.json()["max_in_flight"].as_u64()),
        (200, Some("\"2\""), Some(3))
    );
    let second = edit("\"1\"");
    assert_eq!((second.status, second.json()["code"].as_str()), (412, Some("precondition_failed")));
    let stale = client.ask_with("DELETE", path, &[("if-match", "\"1\"")], None);
    assert_eq!(stale.status, 412);

    // What is shown can be sent back: the secret stays.
    let secret = client.get("/v1/subscriptions/billing/secret")["secrets"].clone();
    let mut whole = client.get(path);
    for member in ["origin", "status", "status_reason", "revision", "created_at", "updated_at"] {
        whole.as_object_mut().unwrap().remove(member);
    }
    whole["retry"]["max_attempts"] = json!(4);
    let replaced = client.expect(200, "PUT", path, Some(&whole));
    assert_eq!((&replaced["retry"]["max_attempts"], &replaced["revision"]), (&json!(4), &json!(3)));
    assert_eq!(client.get("/v1/subscriptions/billing/secret")["secrets"], secret);

    assert_eq!(
        client.refusal(409, "POST", "/v1/subscriptions", Some(&json!({"name": "billing"}))),
        "subscription_exists"
    );
    let wrong = [
        (json!({"name": "b", "colour": 1}), "invalid_subscription"),
        (json!({"name": "b", "sink": {"kind": "fax"}}), "invalid_subscription"),
        (
            json!({"name": "b", "sink": {"kind": "webhook", "url": hook.url(), "secrets_file": "/etc/passwd"}}),
            "invalid_subscription",
        ),
        (json!({"name": "b", "start": {"offset": 1000}}), "beyond_end"),
        (json!({"name": "b", "tenant": "other"}), "invalid_subscription"),
    ];
    for (body, code) in wrong {
        assert_eq!(client.refusal(400, "POST", "/v1/subscriptions", Some(&body)), code, "{body}");
    }
    client.expect(204, "DELETE", path, None);
    assert_eq!(client.refusal(404, "GET", path, None), "subscription_not_found");
}

#[test]
fn what_the_file_declares_is_shown_and_changed_there() {
    let directory = tempfile::tempdir().unwrap();
    let declared =
        "[[subscriptions]]\nname = \"archive\"\nsink = { kind = \"file\", directory = \"archive\" }\n";
    let relay = RelayProcess::start(directory.path(), &configuration(declared));
    let client = Client::of(&relay);
    let path = "/v1/subscriptions/archive";
    assert_eq!(client.get(path)["origin"], "configuration");
    for (method, body) in [("PATCH", Some(json!({"max_in_flight": 2}))), ("DELETE", None)] {
        assert_eq!(client.refusal(409, method, path, body.as_ref()), "declared_in_configuration");
    }
    assert_eq!(client.expect(200, "POST", &format!("{path}/pause"), None)["status"], "paused");
    relay.kill();
    let relay = RelayProcess::start(directory.path(), &configuration(""));
    let client = Client::of(&relay);
    assert_eq!(client.get(path)["status"], "orphaned");
    client.expect(204, "DELETE", path, None);
}

#[test]
fn what_the_file_declares_no_longer_is_shown_and_does_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let hook = Hook::start();
    hook.answer(400);
    let declared = format!(
        "[[subscriptions]]\nname = \"billing\"\nretry = {{ max_attempts = 1 }}\n\
         sink = {{ kind = \"webhook\", url = \"{}\", unsigned = true }}\n",
        hook.url()
    );
    let relay = RelayProcess::start(directory.path(), &configuration(&declared));
    let client = Client::of(&relay);
    let path = "/v1/subscriptions/billing";
    let event = client.publish("order.created", 0..1).remove(0);
    let letters = |client: &Client| client.get(&format!("{path}/dead-letters"))["data"].clone();
    poll::until("the dead letter", || (letters(&client)[0]["event_id"] == event).then_some(()));
    let replay = client.post(202, &format!("{path}/replays"), &json!({"from": "latest"}))["id"].clone();
    relay.kill();

    let relay = RelayProcess::start(directory.path(), &configuration(""));
    let client = Client::of(&relay);
    assert_eq!(client.get(path)["status"], "orphaned");
    let (cancel, retry) = (format!("replays/{replay}/cancel"), format!("deliveries/{event}/retry"));
    let letter = format!("dead-letters/{event}");
    let redrive = format!("{letter}/redrive");
    let asked = [
        ("POST", "pause", None),
        ("POST", "resume", None),
        ("POST", "enable", None),
        ("POST", "seek", Some(json!({"to": "latest"}))),
        ("POST", "replays", Some(json!({"from": "earliest"}))),
        ("POST", cancel.as_str(), None),
        ("POST", "test", Some(json!({}))),
        ("GET", "stats", None),
        ("GET", "deliveries", None),
        ("POST", retry.as_str(), None),
        ("POST", redrive.as_str(), None),
        ("POST", "dead-letters/redrive", Some(json!({}))),
        ("POST", "dead-letters/discard", Some(json!({"filter": {}}))),
        ("DELETE", letter.as_str(), None),
    ];
    for (method, what, body) in asked {
        let refusal = client.refusal(409, method, &format!("{path}/{what}"), body.as_ref());
        assert_eq!(refusal, "subscription_not_running", "{what}");
    }
    let change = json!({"max_in_flight": 2});
    assert_eq!(client.refusal(409, "PATCH", path, Some(&change)), "declared_in_configuration");
    let search = "/v1/events?subscription=billing";
    assert_eq!(client.refusal(409, "GET", search, None), "subscription_not_running");
    assert_eq!(letters(&client)[0]["event_id"], event, "it keeps what it had");
    let absent = client.refusal(404, "POST", "/v1/subscriptions/none/pause", None);
    assert_eq!(absent, "subscription_not_found");
}

#[test]
fn a_rotation_signs_with_both_secrets_until_the_overlap_ends() {
    let directory = tempfile::tempdir().unwrap();
    let relay = start(directory.path());
    let client = Client::of(&relay);
    let hook = Hook::start();
    client.subscribe("billing", &hook, &json!({}));
    let old = client.get("/v1/subscriptions/billing/secret");
    let rotated =
        client.post(200, "/v1/subscriptions/billing/secret/rotate", &json!({"overlap_seconds": 600}));
    assert_eq!(rotated["expiring"][0]["secret"], old["secrets"][0]);
    assert_ne!(rotated["secrets"], old["secrets"]);
    let event = client.publish("order.created", 0..1);
    let seen = hook.wait_for(&event);
    assert_eq!(seen[0].signature.split(' ').count(), 2, "{seen:?}");
    client.post(200, "/v1/subscriptions/billing/secret/rotate", &json!({"overlap_seconds": 0}));
    let event = client.publish("order.created", 1..2);
    let seen = hook.wait_for(&event);
    // The first of the secrets still has its ten minutes; that of the second rotation has none.
    assert_eq!(seen.last().unwrap().signature.split(' ').count(), 2, "{seen:?}");
}

#[test]
fn what_came_during_a_pause_is_delivered_in_order_at_the_set_rate() {
    let directory = tempfile::tempdir().unwrap();
    let relay = start(directory.path());
    let client = Client::of(&relay);
    let hook = Hook::start();
    client.subscribe("billing", &hook, &json!({"order": "strict", "max_events_per_second": 4000}));
    assert_eq!(client.expect(200, "POST", "/v1/subscriptions/billing/pause", None)["status"], "paused");
    let mut ids = Vec::new();
    for batch in 0..10 {
        ids.extend(client.publish("order.created", batch * 1000..(batch + 1) * 1000));
    }
    assert!(hook.seen().is_empty(), "nothing is delivered during a pause");
    let begun = Instant::now();
    assert_eq!(client.expect(200, "POST", "/v1/subscriptions/billing/enable", None)["status"], "running");
    poll::until("all of them", || (hook.seen().len() >= 10_000).then_some(()));
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(2000), "10,000 at 4,000 a second, in {took:?}");
    let seen: Vec<String> = hook.seen().into_iter().map(|seen| seen.id).collect();
    assert!(seen == ids, "in the log's order, each once");
    let stats = client.get("/v1/subscriptions/billing/stats");
    assert_eq!(
        (&stats["last_hour"]["delivered"], &stats["last_hour"]["success_ratio"]),
        (&json!(10_000), &json!(1.0))
    );
}

#[test]
fn a_deletion_with_deliveries_queued_leaves_no_trace_and_no_loop() {
    let directory = tempfile::tempdir().unwrap();
    let mut relay = start(directory.path());
    let client = Client::of(&relay);
    let hook = Hook::start();
    hook.answer(503);
    client.subscribe(
        "billing",
        &hook,
        &json!({"retry": {"max_attempts": 100, "initial_backoff_ms": 1, "max_backoff_ms": 5},
               "breaker": {"consecutive_failures": 100_000, "failure_ratio": 1.0, "window": 10_000}}),
    );
    let ids = client.publish("order.created", 0..50);
    poll::until("some tries", || (hook.seen().len() > 100).then_some(()));
    client.expect(204, "DELETE", "/v1/subscriptions/billing", None);
    hook.forget();
    let status = client.get(&format!("/v1/events/{}/status", ids[0]));
    assert_eq!((&status["status"], &status["deliveries"]), (&json!("done"), &json!([])));
    let metrics = client.ask("GET", "/metrics", None).body;
    assert!(!metrics.contains("subscription=\"billing\""), "its series have gone");
    assert!(hook.seen().is_empty(), "nothing is tried any more");
    let said = relay.everything_said();
    assert!(!said.contains("cannot save"), "{said}");
    assert!(relay.terminate().success());
}

#[test]
fn a_post_with_an_idempotency_key_is_done_once() {
    let directory = tempfile::tempdir().unwrap();
    let relay = start(directory.path());
    let client = Client::of(&relay);
    let body = json!({"name": "jobs"});
    let make = |body: &Value| {
        client.ask_with("POST", "/v1/subscriptions", &[("idempotency-key", "make-jobs")], Some(body))
    };
    let first = make(&body);
    let again = make(&body);
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!((first.body, again.header("idempotent-replayed")), (again.body.clone(), Some("true")));
    assert_eq!(make(&json!({"name": "other"})).status, 422);
}
