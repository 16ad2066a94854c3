//! Dead letters: shown, put back, and thrown away.

use serde_json::json;

use crate::harness::poll::until;
use crate::world::World;

fn dead(world: &World) -> usize {
    world.items(&["dead-letters", "list", "billing"]).len()
}

#[test]
fn dead_letters_are_redriven_one_by_filter_and_all() {
    let world = World::start();
    world.subscribe("billing");
    world.receiver_answers(500);
    let ids = world.publish(&["order.created", "order.paid", "user.made", "user.gone"]);
    until("all are dead", || (dead(&world) == 4).then_some(()));
    let letter = world.json(&["dead-letters", "get", "billing", &ids[0]]);
    assert_eq!((&letter["event"]["type"], &letter["attempts"]), (&json!("order.created"), &json!(1)));
    assert!(world.said(&["dead-letters", "list", "billing"]).contains("order.created"));

    let (code, why) = world.failure(&["dead-letters", "redrive", "billing"]);
    assert!(code == 2 && why.contains("--all"), "{code} {why}");
    // What is refused again is a dead letter again, and the redrive is done all the same.
    let in_vain = world.json(&["dead-letters", "redrive", "billing", &ids[0]]);
    assert_eq!((&in_vain["state"], &in_vain["delivered"]), (&json!("done"), &json!(0)));

    world.receiver_answers(200);
    let one = world.json(&["dead-letters", "redrive", "billing", &ids[0]]);
    assert_eq!(
        (&one["kind"], &one["state"], &one["delivered"]),
        (&json!("redrive"), &json!("done"), &json!(1))
    );
    let orders = world.json(&["dead-letters", "redrive", "billing", "--type", "order.*"]);
    assert_eq!((&orders["delivered"], dead(&world)), (&json!(1), 2));
    let said =
        world.said(&["dead-letters", "redrive", "billing", "--all", "--max-events-per-second", "1000"]);
    assert!(said.contains("is done: 2 delivered"), "{said}");
    assert_eq!(dead(&world), 0);
}

#[test]
fn dead_letters_are_discarded_with_consent() {
    let world = World::start();
    world.subscribe("billing");
    world.receiver_answers(500);
    let ids = world.publish(&["order.created", "order.paid", "user.made", "user.gone"]);
    until("all are dead", || (dead(&world) == 4).then_some(()));
    world.said(&["dead-letters", "discard", "billing", &ids[0]]);
    assert_eq!(dead(&world), 3);
    for which in [&["--all"][..], &["--type", "order.*"]] {
        let (code, why) = world.failure(&[&["dead-letters", "discard", "billing"], which].concat());
        assert!(code == 2 && why.contains("--yes"), "{code} {why}");
    }
    assert_eq!(dead(&world), 3);
    let discard =
        |which: &[&str]| world.json(&[&["dead-letters", "discard", "billing", "--yes"], which].concat());
    assert_eq!(discard(&["--type", "order.*"]), json!({"discarded": 1}));
    assert_eq!((discard(&["--all"]), dead(&world)), (json!({"discarded": 2}), 0));
}
