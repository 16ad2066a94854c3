//! Events that are looked for, and what became of them.

use serde_json::json;

use crate::harness::poll::until;
use crate::world::World;

#[test]
fn events_are_found_and_followed_to_their_attempts() {
    let world = World::start();
    world.subscribe("billing");
    world.receiver_answers(500);
    let ids = world.publish(&["order.created", "order.paid", "user.made"]);
    until("the deliveries are dead", || {
        let dead = world.items(&["deliveries", "list", "billing", "--state", "dead"]);
        (dead.len() == 3).then_some(())
    });

    let orders = world.items(&["events", "search", "--type", "order.*", "--order", "asc"]);
    let found: Vec<&str> = orders.iter().map(|found| found["event"]["id"].as_str().unwrap()).collect();
    assert_eq!(found, ids[..2]);
    // Page by page: the newest first, each once.
    let first = world.json(&["events", "search", "--limit", "1"]);
    let next = first["next"].as_str().unwrap();
    let rest = world.items(&["events", "search", "--cursor", next]);
    assert_eq!((&first["data"][0]["event"]["id"], rest.len()), (&json!(ids[2]), 2));
    let dead =
        world.items(&["events", "search", "--subscription", "billing", "--status", "dead", "--key", "none"]);
    assert_eq!(dead.len(), 0);
    let table = world.said(&["events", "search", "--subscription", "billing", "--status", "dead"]);
    assert!(table.lines().count() == 4 && table.contains("dead"), "{table}");

    let id = ids[0].as_str();
    assert_eq!(world.json(&["events", "get", id])["data"]["canary"], "order.created");
    assert!(world.said(&["events", "get", id]).contains("data.canary"));
    assert_eq!(world.json(&["events", "status", id])["status"], "failed");
    assert!(world.said(&["events", "status", id]).contains("billing"));
    assert_eq!(world.items(&["events", "deliveries", id])[0]["state"], "dead");
    let attempts = world.items(&["events", "attempts", id]);
    assert_eq!((attempts.len(), &attempts[0]["response_status"]), (1, &json!(500)));

    let listed = world.items(&["attempts", "list", "billing", "--event-id", id, "--outcome", "retry"]);
    assert_eq!(listed.len() + world.items(&["attempts", "list", "billing", "--outcome", "reject"]).len(), 1);
    let number = attempts[0]["id"].to_string();
    let attempt = world.json(&["attempts", "get", "billing", &number]);
    assert!(attempt["exchange"]["request"]["body"].as_str().unwrap().contains("order.created"), "{attempt}");

    let (code, why) = world.failure(&["events", "get", "01992b3c-0000-7000-8000-000000000000"]);
    assert!(code == 6 && why.contains("event_not_found"), "{code} {why}");
}

#[test]
fn a_delivery_is_tried_again() {
    let world = World::start();
    world.subscribe("billing");
    let ids = world.publish(&["order.created"]);
    until("it is delivered", || {
        let delivered = world.items(&["deliveries", "list", "billing", "--state", "delivered"]);
        delivered.first().filter(|delivery| delivery["event_id"] == ids[0].as_str()).cloned()
    });
    let retried = world.json(&["deliveries", "retry", "billing", &ids[0]]);
    assert_eq!(retried["outcome"], "replay");
    until("it is delivered once more", || (world.received() == 2).then_some(()));
    let said = world.said(&["deliveries", "retry", "billing", &ids[0]]);
    assert!(said.contains("by replay"), "{said}");
}
