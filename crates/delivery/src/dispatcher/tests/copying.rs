//! Copies of dead letters for a sink that keeps them too.

use super::*;
use crate::model::Copying;

/// A world in which every third event is refused.
fn world(copying: Option<Copying>) -> World {
    let world = World::new(spec(json!({})), 10, |delivery| {
        if delivery.event.offset() % 3 == 0 { Step::Reject } else { Step::Deliver }
    });
    *world.sink.copying.lock().unwrap() = copying;
    world.log.append_many(10, &[]);
    world
}

fn counts(running: &Running) -> (u64, u64) {
    let metrics = &running.stats.metrics;
    (metrics.dead_letters_copied.get(), metrics.dead_letter_copies_dropped.get())
}

#[tokio::test(start_paused = true)]
async fn a_copy_is_made_once_of_what_is_durable_and_of_nothing_else() {
    let world = world(Some(Copying::Take));
    world.store.full.store(true, std::sync::atomic::Ordering::Relaxed);
    let running = world.start();
    world.until_delivered([1, 2, 4, 5, 7, 8]).await;
    pass(Duration::from_secs(10)).await;
    assert_eq!(world.sink.copies_seen(), 0, "nothing is durable yet");
    world.store.full.store(false, std::sync::atomic::Ordering::Relaxed);
    world.until("copied", || world.sink.copies_taken().len() == 4).await;
    assert_eq!(world.store.durable().dead_letters.len(), 4);
    pass(Duration::from_secs(100)).await;
    assert_eq!(world.sink.copies_taken(), [0, 3, 6, 9]);
    assert_eq!(counts(&running), (4, 0));
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_is_refused_is_given_again_and_holds_up_nothing() {
    let world = world(Some(Copying::Refuse));
    let running = world.start();
    world.until_durable_cursor(10).await;
    world.until("refused", || world.sink.copies_seen() >= 8).await;
    world.log.append_many(2, &[]);
    world.until_durable_cursor(12).await;
    *world.sink.copying.lock().unwrap() = Some(Copying::Take);
    world.until("copied", || world.sink.copies_taken().len() == 4).await;
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_hangs_over_copies_delays_neither_deliveries_nor_the_end() {
    let world = world(Some(Copying::Hang));
    let running = world.start();
    world.until("it hangs", || world.sink.copies_seen() > 0).await;
    world.log.append_many(2, &[]);
    world.until_durable_cursor(12).await;
    let (stats, began) = (running.stats.clone(), Instant::now());
    let ended = running.stop(Duration::from_secs(5)).await;
    assert!(ended.saved && began.elapsed() <= Duration::from_secs(6));
    assert_eq!(stats.metrics.dead_letter_copies_dropped.get(), 4, "what it did not take is counted");
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_keeps_none_is_given_none() {
    let world = world(None);
    let running = world.start();
    world.until_durable_cursor(10).await;
    pass(Duration::from_secs(10)).await;
    assert_eq!((world.sink.copies_seen(), counts(&running)), (0, (0, 0)));
    running.stop(Duration::from_secs(5)).await;
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_dead_letters_is_bounded_and_what_is_dropped_is_counted() {
    let world = World::new(spec(json!({})), 100, |_| Step::Reject);
    *world.sink.copying.lock().unwrap() = Some(Copying::Refuse);
    world.log.append_many(2000, &[]);
    let running = world.start();
    world.until_durable_cursor(2000).await;
    *world.sink.copying.lock().unwrap() = Some(Copying::Take);
    world.until("copied", || world.sink.copies_taken().len() == 1024).await;
    settle_down().await;
    assert_eq!(counts(&running), (1024, 976));
    running.crash().await;
}
