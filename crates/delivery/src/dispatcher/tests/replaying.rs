//! Seek, replay and redrive.

use std::sync::atomic::Ordering;
use std::time::Duration;

use eventrelay_sinks::Purpose;
use eventrelay_state::{ReplayKind, ReplayState};
use serde_json::json;

use super::*;

/// How often each offset was delivered for a purpose.
fn deliveries_of(world: &World, purpose: Purpose) -> Vec<u64> {
    let seen = world.sink.seen();
    seen.iter().filter(|seen| seen.delivered && seen.purpose == purpose).map(|seen| seen.offset).collect()
}

async fn at_the_end(spec: serde_json::Value, batch: usize, events: usize, keys: &[&str]) -> (World, Running) {
    let world = World::new(super::spec(spec), batch, |_| Step::Deliver);
    world.log.append_many(events, keys);
    let running = world.start();
    world.until_durable_cursor(events as u64).await;
    (world, running)
}

#[tokio::test(start_paused = true)]
async fn a_replay_delivers_its_range_once_more_and_leaves_the_cursor_alone() {
    let (world, running) = at_the_end(json!({}), 8, 100, &[]).await;
    let id = world.replay(&running, ReplayKind::Replay, 20..70, None).await;
    world.until_replay_is(id, &ReplayState::Done).await;
    assert_eq!(deliveries_of(&world, Purpose::Replay), (20..70).collect::<Vec<_>>());
    let progress = world.store.durable().replays[&id].clone();
    assert_eq!((progress.next_offset, progress.delivered, progress.deferred), (70, 50, 0));
    assert!(progress.finished_at_micros.is_some());
    assert_eq!(world.store.durable().progress.cursor(), 100);
}

/// A loop that wakes without end would never let virtual time pass.
#[tokio::test(start_paused = true)]
async fn a_replay_that_may_read_again_waits_for_a_retry_that_goes_before_it() {
    let (world, running) = at_the_end(json!({"order": "strict"}), 4, 10, &[]).await;
    world.sink.become_(|delivery| match (delivery.event.offset(), delivery.attempt) {
        (10, 1) => Step::RetryAfter(Duration::from_hours(1)),
        _ => Step::Deliver,
    });
    world.log.cached.store(false, std::sync::atomic::Ordering::Relaxed);
    world.log.refuse_reads.store(true, std::sync::atomic::Ordering::Relaxed);
    let id = world.replay(&running, ReplayKind::Replay, 0..10, None).await;
    settle_down().await;
    world.log.refuse_reads.store(false, std::sync::atomic::Ordering::Relaxed);
    world.log.append_many(1, &[]);
    world.until("it is to be tried again", || world.store.durable().retrying.contains_key(&10)).await;
    let began = Instant::now();
    world.until_replay_is(id, &ReplayState::Done).await;
    assert!(began.elapsed() >= Duration::from_mins(59), "{:?}", began.elapsed());
    assert_eq!(deliveries_of(&world, Purpose::Replay), (0..10).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn live_events_do_not_wait_for_the_end_of_a_replay() {
    let (world, running) = at_the_end(json!({"max_in_flight": 1}), 1, 1_000, &[]).await;
    world.sink.become_(|_| Step::DeliverAfter(Duration::from_millis(10)));
    let id = world.replay(&running, ReplayKind::Replay, 0..1_000, None).await;
    world.log.append_many(10, &[]);
    world.until_delivered(1_000..1_010).await;
    let replayed = deliveries_of(&world, Purpose::Replay).len();
    assert!((5..30).contains(&replayed), "they take turns: {replayed}");
    world.until_replay_is(id, &ReplayState::Done).await;
}

#[tokio::test(start_paused = true)]
async fn a_replay_goes_on_after_a_crash_and_repeats_little() {
    let (world, running) = at_the_end(json!({"max_in_flight": 1}), 1, 500, &[]).await;
    world.sink.become_(|_| Step::DeliverAfter(Duration::from_millis(10)));
    let id = world.replay(&running, ReplayKind::Replay, 0..500, None).await;
    let half = || deliveries_of(&world, Purpose::Replay).len() >= 250;
    world.until("half of it", half).await;
    running.crash().await;
    let running = world.start();
    world.until_replay_is(id, &ReplayState::Done).await;
    let mut replayed = deliveries_of(&world, Purpose::Replay);
    let repeated = replayed.len() - 500;
    assert!(repeated < 50, "{repeated} were repeated");
    replayed.sort_unstable();
    replayed.dedup();
    assert_eq!(replayed, (0..500).collect::<Vec<_>>(), "nothing is missing");
    assert!(running.stop(Duration::from_secs(1)).await.saved);
}

#[tokio::test(start_paused = true)]
async fn a_replay_keeps_to_its_rate_and_can_be_cancelled() {
    let (world, running) = at_the_end(json!({}), 8, 1_000, &[]).await;
    let began = Instant::now();
    let id = world.replay(&running, ReplayKind::Replay, 0..1_000, Some(10)).await;
    world.until("some", || deliveries_of(&world, Purpose::Replay).len() >= 20).await;
    assert!(began.elapsed() >= Duration::from_millis(1_800), "{:?}", began.elapsed());
    let (done, cancelled) = oneshot::channel();
    running.commands.send(Command::CancelReplay { id, done }).await.unwrap();
    assert!(cancelled.await.unwrap());
    assert_eq!(world.store.durable().replays[&id].state, ReplayState::Cancelled);
    let so_far = deliveries_of(&world, Purpose::Replay).len();
    pass(Duration::from_secs(10)).await;
    assert_eq!(deliveries_of(&world, Purpose::Replay).len(), so_far);
    let (done, cancelled) = oneshot::channel();
    running.commands.send(Command::CancelReplay { id, done }).await.unwrap();
    assert!(!cancelled.await.unwrap(), "there is none any more");
}

#[tokio::test(start_paused = true)]
async fn what_fails_in_a_replay_is_tried_again_as_one_and_holds_up_nothing_behind_it() {
    let (world, running) = at_the_end(json!({}), 4, 50, &[]).await;
    world.sink.become_(|delivery| match (delivery.event.offset(), delivery.attempt) {
        (7, 1..3) => Step::Retry,
        (9, _) => Step::Reject,
        _ => Step::Deliver,
    });
    let id = world.replay(&running, ReplayKind::Replay, 0..50, None).await;
    world.until_replay_is(id, &ReplayState::Done).await;
    world.until("the retry succeeds", || deliveries_of(&world, Purpose::Replay).contains(&7)).await;
    let durable = world.store.durable();
    let progress = &durable.replays[&id];
    assert_eq!((progress.delivered, progress.deferred, progress.refused), (48, 1, 1));
    assert_eq!(durable.dead_letters.keys().copied().collect::<Vec<_>>(), [9]);
    world.until("the retry is over", || world.store.durable().retrying.is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn a_retry_of_a_replay_is_still_one_after_a_restart() {
    let (world, running) = at_the_end(json!({"retry": {"initial_backoff_ms": 60_000}}), 4, 10, &[]).await;
    world.sink.become_(|delivery| {
        if delivery.event.offset() == 3 { Step::RetryAfter(Duration::from_secs(60)) } else { Step::Deliver }
    });
    let id = world.replay(&running, ReplayKind::Replay, 0..10, None).await;
    world.until_replay_is(id, &ReplayState::Done).await;
    running.crash().await;
    world.sink.become_(|_| Step::Deliver);
    let _running = world.start();
    world.until("it is tried again", || deliveries_of(&world, Purpose::Replay).contains(&3)).await;
}

#[tokio::test(start_paused = true)]
async fn a_replay_waits_for_a_key_that_is_on_its_way_and_keeps_its_order() {
    let (world, running) = at_the_end(json!({"order": "by_key"}), 4, 60, &["a", "b", "c"]).await;
    world.sink.become_(|delivery| match (delivery.event.offset() % 3, delivery.attempt) {
        (0, 1) if delivery.event.offset() % 2 == 0 => Step::Retry,
        _ => Step::Deliver,
    });
    let id = world.replay(&running, ReplayKind::Replay, 0..60, None).await;
    world.until_replay_is(id, &ReplayState::Done).await;
    world.until("all of it", || deliveries_of(&world, Purpose::Replay).len() >= 60).await;
    for key in 0..3 {
        let of_key: Vec<u64> =
            deliveries_of(&world, Purpose::Replay).into_iter().filter(|offset| offset % 3 == key).collect();
        assert!(of_key.is_sorted(), "{of_key:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_redrive_delivers_dead_letters_in_order_and_they_are_dead_no_more() {
    let world = World::new(spec(json!({"order": "strict"})), 4, |delivery| {
        if delivery.event.offset().is_multiple_of(2) { Step::Reject } else { Step::Deliver }
    });
    world.log.append_many(100, &[]);
    let running = world.start();
    world.until_durable_cursor(100).await;
    assert_eq!(world.store.durable().dead_letters.len(), 50);
    assert_eq!(running.stats.dead_letters.load(Ordering::Relaxed), 50);
    world.sink.become_(|delivery| if delivery.event.offset() == 40 { Step::Reject } else { Step::Deliver });
    let id = world.replay(&running, ReplayKind::Redrive, 0..100, None).await;
    world.until_replay_is(id, &ReplayState::Done).await;
    let redriven = deliveries_of(&world, Purpose::Redrive);
    assert_eq!(redriven, (0..100).step_by(2).filter(|offset| *offset != 40).collect::<Vec<_>>());
    let durable = world.store.durable();
    assert_eq!(durable.dead_letters.keys().copied().collect::<Vec<_>>(), [40]);
    assert_eq!((durable.replays[&id].delivered, durable.replays[&id].refused), (49, 1));
    assert_eq!(running.stats.dead_letters.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_redrive_of_what_the_log_no_longer_has_loses_nothing_when_it_fails() {
    let world = World::new(spec(json!({})), 4, |_| Step::Reject);
    world.log.append_many(20, &[]);
    let running = world.start();
    world.until("all are dead", || world.store.durable().dead_letters.len() == 20).await;
    world.log.trim(20);
    world.sink.become_(|delivery| if delivery.event.offset() < 10 { Step::Deliver } else { Step::Retry });
    let id = world.replay(&running, ReplayKind::Redrive, 0..20, None).await;
    world.until_replay_is(id, &ReplayState::Done).await;
    assert_eq!(deliveries_of(&world, Purpose::Redrive), (0..10).collect::<Vec<_>>());
    let durable = world.store.durable();
    assert_eq!(durable.dead_letters.keys().copied().collect::<Vec<_>>(), (10..20).collect::<Vec<_>>());
    assert!(
        durable.dead_letters.values().all(|letter| letter.event.is_some()),
        "its event is all that is left"
    );
}

#[tokio::test(start_paused = true)]
async fn a_redrive_cut_short_by_a_crash_leaves_every_event_delivered_or_dead() {
    let world = World::new(spec(json!({"max_in_flight": 1})), 1, |_| Step::Reject);
    world.log.append_many(200, &[]);
    let running = world.start();
    world.until("all are dead", || world.store.durable().dead_letters.len() == 200).await;
    world.sink.become_(|_| Step::DeliverAfter(Duration::from_millis(10)));
    let id = world.replay(&running, ReplayKind::Redrive, 0..200, None).await;
    world.until("half of it", || deliveries_of(&world, Purpose::Redrive).len() >= 100).await;
    running.crash().await;
    let durable = world.store.durable();
    let delivered = world.sink.delivered();
    assert!((0..200).all(|offset| delivered.contains(&offset) || durable.dead_letters.contains_key(&offset)));
    let _running = world.start();
    world.until_replay_is(id, &ReplayState::Done).await;
    assert!(world.store.durable().dead_letters.is_empty());
    assert_eq!(world.sink.delivered().len(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_seek_back_delivers_again_and_a_seek_forward_skips() {
    let (world, running) = at_the_end(json!({}), 4, 50, &[]).await;
    world.store.allow_seek.store(true, Ordering::Relaxed);
    running.seek(10).await;
    world.until_durable_cursor(50).await;
    let live = deliveries_of(&world, Purpose::Live);
    assert_eq!(live[50..], (10..50).collect::<Vec<_>>(), "from there on, once more");
    running.pause();
    settle_down().await;
    world.log.append_many(20, &[]);
    running.seek(65).await;
    assert_eq!(world.store.durable().progress.cursor(), 65);
    running.resume();
    world.until_delivered(65..70).await;
    world.until_durable_cursor(70).await;
    assert!((50..65).all(|offset| !world.sink.delivered().contains(&offset)), "they were skipped");
}

#[tokio::test(start_paused = true)]
async fn a_seek_waits_for_what_is_on_its_way_and_forgets_retries() {
    let world = World::new(spec(json!({"order": "by_key"})), 1, |delivery| match delivery.event.offset() {
        0 => Step::Retry,
        1 => Step::DeliverAfter(Duration::from_secs(5)),
        _ => Step::Deliver,
    });
    world.store.allow_seek.store(true, Ordering::Relaxed);
    world.log.append_many(9, &["a", "b", "c"]);
    let running = world.start();
    world.until("a retry is saved", || !world.store.durable().retrying.is_empty()).await;
    let began = Instant::now();
    running.seek(9).await;
    assert!(began.elapsed() >= Duration::from_secs(4), "a call was on its way");
    let durable = world.store.durable();
    assert_eq!((durable.progress.cursor(), durable.retrying.len()), (9, 0));
    let seen = world.sink.seen().len();
    pass(Duration::from_mins(1)).await;
    assert_eq!(world.sink.seen().len(), seen, "nothing of before comes after");
    world.log.append_many(3, &["a", "b", "c"]);
    world.until_delivered(9..12).await;
}

#[tokio::test(start_paused = true)]
async fn the_log_keeps_what_a_replay_needs_also_while_nothing_may_start() {
    let (world, running) = at_the_end(json!({}), 8, 100, &[]).await;
    running.pause();
    world.store.allow_seek.store(true, Ordering::Relaxed);
    // Whenever it comes: also into a save that is under way, which knows nothing of it.
    for wait in 0..250 {
        running.seek(100).await;
        let (done, _moved) = oneshot::channel();
        running.commands.send(Command::Seek { offset: 100, done }).await.unwrap();
        pass(Duration::from_millis(wait)).await;
        let id = world.replay(&running, ReplayKind::Replay, 20..70, None).await;
        pass(Duration::from_secs(1)).await;
        assert_eq!(running.stats.needed.load(Ordering::Relaxed), 20, "after {wait} ms");
        let (done, cancelled) = oneshot::channel();
        running.commands.send(Command::CancelReplay { id, done }).await.unwrap();
        assert!(cancelled.await.unwrap());
        pass(Duration::from_secs(1)).await;
        assert_eq!(running.stats.needed.load(Ordering::Relaxed), 100, "it is over");
    }
}

#[tokio::test(start_paused = true)]
async fn a_replay_delivers_what_is_settled_beyond_the_cursor_and_leaves_the_rest_to_it() {
    let world = World::new(spec(json!({"order": "unordered", "max_in_flight": 4})), 1, |delivery| {
        match delivery.event.offset() {
            3 | 50 => Step::DeliverAfter(Duration::from_secs(20)),
            _ => Step::Deliver,
        }
    });
    world.log.append_many(100, &[]);
    let running = world.start();
    let settled: Vec<u64> = (0..100).filter(|offset| !matches!(offset, 3 | 50)).collect();
    world.until_delivered(settled.iter().copied()).await;
    pass(Duration::from_secs(1)).await;
    assert_eq!(world.store.durable().progress.cursor(), 3);
    let id = world.replay(&running, ReplayKind::Replay, 0..200, None).await;
    world.until_replay_is(id, &ReplayState::Done).await;
    let mut replayed = deliveries_of(&world, Purpose::Replay);
    replayed.sort_unstable();
    assert_eq!(replayed, settled);
    world.until_durable_cursor(100).await;
    let mut live = deliveries_of(&world, Purpose::Live);
    live.sort_unstable();
    assert_eq!(live, (0..100).collect::<Vec<_>>(), "each once");
}

/// A subscription all of whose events are dead.
async fn all_dead(spec: serde_json::Value, batch: usize, events: usize) -> (World, Running) {
    let world = World::new(super::spec(spec), batch, |_| Step::Reject);
    world.log.append_many(events, &[]);
    let running = world.start();
    world.until("all are dead", || world.store.durable().dead_letters.len() == events).await;
    (world, running)
}

#[tokio::test(start_paused = true)]
async fn redrives_at_once_deliver_each_letter_once() {
    for (first, second) in [(None, None), (Some(50), None), (None, Some(50)), (Some(30), Some(20))] {
        let (world, running) = all_dead(json!({"max_in_flight": 4}), 3, 100).await;
        world.sink.become_(|delivery| match delivery.event.offset() % 7 {
            0 => Step::DeliverAfter(Duration::from_millis(700)),
            1 if delivery.attempt == 1 => Step::RetryAfter(Duration::from_millis(300)),
            _ => Step::DeliverAfter(Duration::from_millis(10)),
        });
        let first = world.replay(&running, ReplayKind::Redrive, 0..100, first).await;
        pass(Duration::from_millis(100)).await;
        let second = world.replay(&running, ReplayKind::Redrive, 0..100, second).await;
        world.until_replay_is(first, &ReplayState::Done).await;
        world.until_replay_is(second, &ReplayState::Done).await;
        world.until("none is dead", || world.store.durable().dead_letters.is_empty()).await;
        let mut redriven = deliveries_of(&world, Purpose::Redrive);
        redriven.sort_unstable();
        assert_eq!(redriven, (0..100).collect::<Vec<_>>());
        assert_eq!(running.stats.dead_letters.load(Ordering::Relaxed), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn letters_that_are_thrown_away_while_they_are_redriven_are_counted_once() {
    let (world, running) = all_dead(json!({}), 4, 4).await;
    world.sink.become_(|_| Step::DeliverAfter(Duration::from_secs(1)));
    let id = world.replay(&running, ReplayKind::Redrive, 0..4, None).await;
    pass(Duration::from_millis(500)).await;
    running.stats.dead_letters.store(0, Ordering::Relaxed);
    world.until_replay_is(id, &ReplayState::Done).await;
    assert_eq!(running.stats.dead_letters.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_letter_stays_until_its_event_is_delivered_whatever_becomes_of_the_retry() {
    let (world, running) = all_dead(json!({}), 4, 3).await;
    world.store.allow_seek.store(true, Ordering::Relaxed);
    world.sink.become_(|_| Step::RetryAfter(Duration::from_secs(60)));
    let id = world.replay(&running, ReplayKind::Redrive, 0..3, None).await;
    world.until_replay_is(id, &ReplayState::Done).await;
    let durable = world.store.durable();
    assert_eq!(
        (durable.replays[&id].deferred, durable.retrying.len(), durable.dead_letters.len()),
        (3, 3, 3)
    );
    // A seek forgets the retries.
    running.seek(3).await;
    let durable = world.store.durable();
    assert_eq!((durable.retrying.len(), durable.dead_letters.len()), (0, 3));
    // The log lets go of two while they wait.
    let id = world.replay(&running, ReplayKind::Redrive, 0..3, None).await;
    world.until_replay_is(id, &ReplayState::Done).await;
    world.log.trim(2);
    world.sink.become_(|_| Step::Deliver);
    world.until("the retries are over", || world.store.durable().retrying.is_empty()).await;
    let letters = world.store.durable().dead_letters;
    assert_eq!(letters.keys().copied().collect::<Vec<_>>(), [0, 1]);
    assert!(letters.values().all(|letter| letter.event.is_some() && letter.append_time_micros.is_some()));
    assert_eq!(running.stats.dead_letters.load(Ordering::Relaxed), 2);
    assert_eq!(running.stats.metrics.lost_events.get(), 0, "there are copies");
    let id = world.replay(&running, ReplayKind::Redrive, 0..3, None).await;
    world.until_replay_is(id, &ReplayState::Done).await;
    assert!(world.store.durable().dead_letters.is_empty());
    assert_eq!(deliveries_of(&world, Purpose::Redrive), [2, 0, 1]);
    assert_eq!(running.stats.dead_letters.load(Ordering::Relaxed), 0);
}
