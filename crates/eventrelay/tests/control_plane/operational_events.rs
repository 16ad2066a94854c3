//! What the relay tells of itself arrives like any other event, at who asks for it.

use serde_json::json;

use crate::harness::{RelayProcess, poll};
use crate::world::{Client, Hook, configuration};

#[test]
fn a_subscription_that_names_operational_events_gets_them_and_others_do_not() {
    let directory = tempfile::tempdir().unwrap();
    let more = "[operational_events]\ndisk_low_bytes = 9223372036854775807\ncheck_interval_ms = 100\n";
    let relay = RelayProcess::start(directory.path(), &configuration(more));
    let client = Client::of(&relay);
    let (operators, target, everything) = (Hook::start(), Hook::start(), Hook::start());
    client.subscribe("operators", &operators, &json!({"filter": {"types": ["eventrelay.*"]}}));
    client.subscribe("everything", &everything, &json!({}));
    target.answer(400);
    client.subscribe("target", &target, &json!({}));
    let ids = client.publish("order.created", 0..1);
    let told = |event_type: &str| {
        poll::until(event_type, || {
            let seen = operators.seen();
            seen.into_iter()
                .find(|seen| seen.body["type"] == event_type)
                .map(|seen| seen.body["data"].clone())
        })
    };
    let dead = told("eventrelay.dead_letter.created");
    assert_eq!((&dead["subscription"], &dead["event_id"]), (&json!("target"), &json!(ids[0])));
    target.answer(410);
    client.publish("order.created", 1..2);
    assert_eq!(told("eventrelay.subscription.disabled")["subscription"], "target");
    assert_eq!(client.get("/v1/subscriptions/target")["status"], "disabled");
    // Nobody listens there any more.
    drop(target);
    let breaker = json!({"breaker": {"consecutive_failures": 1}, "retry": {"initial_backoff_ms": 1, "max_attempts": 1000}});
    client.expect(200, "PATCH", "/v1/subscriptions/target", Some(&breaker));
    client.expect(200, "POST", "/v1/subscriptions/target/enable", None);
    assert_eq!(told("eventrelay.breaker.opened")["subscription"], "target");
    told("eventrelay.disk.low");
    everything.wait_for(&ids);
    assert!(
        everything.seen().iter().all(|seen| seen.body["type"] == "order.created"),
        "it named none of them"
    );
}
