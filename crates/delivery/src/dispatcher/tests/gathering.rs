//! Batches that wait for more events.

use super::*;

fn gathering(changes: serde_json::Value) -> Subscription {
    let mut all = json!({ "batch": { "max_age_ms": 10_000 }, "max_in_flight": 2 });
    merge(&mut all, changes);
    spec(all)
}

/// How many events each call had, in the order of the calls.
fn batches(world: &World) -> Vec<usize> {
    let mut seen = world.sink.seen().into_iter();
    let mut sizes = Vec::new();
    while let Some(first) = seen.next() {
        sizes.push(first.batch);
        seen.by_ref().take(first.batch - 1).for_each(drop);
    }
    sizes
}

#[tokio::test(start_paused = true)]
async fn a_batch_goes_when_its_first_event_is_old_enough() {
    let world = World::new(gathering(json!({})), 100, |_| Step::Deliver);
    let running = world.start();
    for _ in 0..9 {
        world.log.append_many(1, &[]);
        pass(Duration::from_secs(1)).await;
    }
    assert!(world.sink.seen().is_empty(), "the first is nine seconds old");
    pass(Duration::from_secs(2)).await;
    assert_eq!(batches(&world), [9]);
    world.log.append_many(1, &[]);
    pass(Duration::from_secs(9)).await;
    assert_eq!(batches(&world), [9], "the next one's time begins with its own first event");
    pass(Duration::from_secs(2)).await;
    assert_eq!(batches(&world), [9, 1]);
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_goes_at_once_and_the_rest_waits() {
    let world = World::new(gathering(json!({})), 100, |_| Step::Deliver);
    world.log.append_many(250, &[]);
    let running = world.start();
    pass(Duration::from_secs(1)).await;
    assert_eq!(batches(&world), [100, 100]);
    pass(Duration::from_secs(10)).await;
    assert_eq!(batches(&world), [100, 100, 50]);
    world.until_durable_cursor(250).await;
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_has_no_room_for_the_next_event_goes_at_once() {
    let bytes = World::new(spec(json!({})), 1, |_| Step::Deliver).tap_event_bytes();
    let changes = json!({ "batch": { "max_bytes": bytes * 3 } });
    let world = World::new(gathering(changes), 100, |_| Step::Deliver);
    world.log.append_many(7, &[]);
    let running = world.start();
    pass(Duration::from_secs(1)).await;
    assert_eq!(batches(&world), [3, 3]);
    running.crash().await;
}

impl World {
    /// How many bytes an event of the model has.
    fn tap_event_bytes(&self) -> usize {
        self.log.append_many(1, &[]);
        self.log.payload(0).len()
    }
}

#[tokio::test(start_paused = true)]
async fn strict_order_and_order_by_key_hold_while_batches_gather() {
    for order in ["strict", "by_key"] {
        let world = World::new(gathering(json!({ "order": order })), 10, |delivery| {
            if delivery.event.offset() % 7 == 3 && delivery.attempt < 3 { Step::Retry } else { Step::Deliver }
        });
        world.log.append_many(60, &["a", "b", "c"]);
        let running = world.start();
        world.until_delivered(0..60).await;
        let delivered = world.sink.first_deliveries();
        if order == "strict" {
            assert!(delivered.is_sorted(), "{delivered:?}");
        }
        for key in 0..3 {
            assert!(delivered.iter().filter(|offset| **offset % 3 == key).is_sorted(), "{delivered:?}");
        }
        running.crash().await;
    }
}

#[tokio::test(start_paused = true)]
async fn neither_a_pause_nor_a_crash_nor_a_seek_loses_what_gathers() {
    let world = World::new(gathering(json!({})), 100, |_| Step::Deliver);
    world.log.append_many(5, &[]);
    let running = world.start();
    pass(Duration::from_secs(5)).await;
    running.pause();
    pass(Duration::from_secs(60)).await;
    assert!(world.sink.seen().is_empty(), "paused");
    assert_eq!(world.store.durable().progress.cursor(), 0);
    running.resume();
    world.until_delivered(0..5).await;

    world.log.append_many(5, &[]);
    pass(Duration::from_secs(5)).await;
    running.crash().await;
    let running = world.start();
    world.until_delivered(0..10).await;

    world.log.append_many(5, &[]);
    pass(Duration::from_secs(5)).await;
    running.seek(12).await;
    world.until_durable_cursor(15).await;
    assert!(world.sink.delivered().is_superset(&(12..15).collect()));
    assert!(!world.sink.delivered().contains(&11), "the seek passed it, and it was not on its way");
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn a_probe_takes_one_of_a_batch_and_the_others_follow() {
    let world = World::new(gathering(json!({})), 10, |_| Step::Retry);
    world.log.append_many(200, &[]);
    let running = world.start();
    pass(Duration::from_secs(30)).await;
    world.sink.become_(|_| Step::Deliver);
    world.until_delivered(0..200).await;
    assert!(world.store.durable().dead_letters.is_empty());
    running.crash().await;
}
