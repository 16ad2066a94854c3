//! Replays, followed to their end or left alone, and seek.

use serde_json::json;

use crate::harness::poll::until;
use crate::world::World;

#[test]
fn a_replay_is_followed_to_its_end() {
    let world = World::start();
    world.subscribe("billing");
    world.publish(&["order.created", "order.paid", "user.made"]);
    until("all are delivered", || (world.received() == 3).then_some(()));
    until("the cursor is past them", || {
        (world.json(&["subscriptions", "stats", "billing"])["cursor"] == 3).then_some(())
    });
    let replay = ["replay", "create", "billing", "--from", "earliest"];
    let orders = world.json(&[&replay[..], &["--to", "3", "--type", "order.*"]].concat());
    assert_eq!((&orders["state"], &orders["delivered"], world.received()), (&json!("done"), &json!(2), 5));
    let said = world.said(&replay);
    assert!(said.contains("is done: 3 delivered"), "{said}");
    assert_eq!(world.received(), 8);
    let (code, why) = world.failure(&["replay", "create", "billing", "--from", "1000"]);
    assert!(code == 6 && why.contains("beyond_end"), "{code} {why}");

    let listed = world.items(&["replay", "list", "billing"]);
    assert_eq!(listed.len(), 2);
    let number = orders["id"].to_string();
    assert_eq!(world.json(&["replay", "get", "billing", &number]), orders);
    assert_eq!(
        world.json(&["replay", "cancel", "billing", &number]),
        orders,
        "it has ended, and stays as it is"
    );
}

#[test]
fn a_replay_that_is_left_alone_can_be_cancelled() {
    let world = World::start();
    world.subscribe("billing");
    world.publish(&["order.created"]);
    until("it is delivered", || (world.received() == 1).then_some(()));
    until("the cursor is past it", || {
        (world.json(&["subscriptions", "stats", "billing"])["cursor"] == 1).then_some(())
    });
    world.said(&["subscriptions", "pause", "billing"]);
    let begun = world.json(&["replay", "create", "billing", "--from", "0", "--detach"]);
    assert_eq!(begun["state"], "running");
    let number = begun["id"].to_string();
    assert_eq!(world.json(&["replay", "cancel", "billing", &number])["state"], "cancelled");
    let (code, why) = world.failure(&["replay", "follow", "billing", &number]);
    assert!(code == 11 && why.contains("cancelled"), "{code} {why}");
    assert_eq!(world.received(), 1);
}

#[test]
fn a_cursor_is_moved() {
    let world = World::start();
    world.subscribe("billing");
    world.publish(&["order.created", "order.paid"]);
    until("all are delivered", || (world.received() == 2).then_some(()));
    world.said(&["subscriptions", "pause", "billing"]);
    assert_eq!(world.json(&["seek", "billing", "--to", "earliest"]), json!({"cursor": 0}));
    assert_eq!(world.json(&["seek", "billing", "--to", "1"]), json!({"cursor": 1}));
    assert!(world.said(&["seek", "billing", "--to", "latest"]).contains("offset 2"));
    assert_eq!(world.json(&["seek", "billing", "--to", "2000-01-01T00:00:00Z"]), json!({"cursor": 0}));
    world.said(&["subscriptions", "resume", "billing"]);
    until("both are delivered again", || (world.received() == 4).then_some(()));
}
