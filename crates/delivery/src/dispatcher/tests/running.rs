//! The plain way: filters, batches, pause, shutdown, restart.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use eventrelay_event::Tenant;

use super::*;
use crate::model::event;

#[tokio::test(start_paused = true)]
async fn events_are_delivered_once_and_the_cursor_is_saved() {
    for cached in [true, false] {
        let world = World::new(spec(json!({})), 1, |_| Step::Deliver);
        world.log.cached.store(cached, Ordering::Relaxed);
        let running = world.start();
        world.log.append_many(100, &[]);
        world.until_durable_cursor(100).await;
        assert_eq!(world.sink.seen().len(), 100);
        world.log.append_many(1, &[]);
        world.until_delivered(0..101).await;
        assert_eq!(running.stop(Duration::from_secs(1)).await, Ended { unfinished_calls: 0, saved: true });
        assert_eq!(world.store.durable().progress.cursor(), 101, "the last move is saved by the shutdown");
        assert!(world.sink.closed.load(Ordering::Relaxed));
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_is_wanted_is_delivered_and_the_rest_is_passed() {
    let world = World::new(spec(json!({ "filter": { "types": ["order.*"] } })), 10, |_| Step::Deliver);
    let mut foreign = event("order.created", None);
    foreign.tenant = Tenant::parse("other").unwrap();
    for n in 0..3000 {
        match n % 3 {
            0 => world.log.append(&event("order.created", None)),
            1 => world.log.append(&event("invoice.created", None)),
            _ => world.log.append(&foreign),
        }
    }
    let running = world.start();
    world.until_durable_cursor(3000).await;
    assert_eq!(world.sink.delivered(), (0..3000).step_by(3).collect());
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn batches_keep_to_the_smaller_limit_and_calls_to_their_number() {
    let slow = |_: &Delivery| Step::DeliverAfter(Duration::from_millis(10));
    for (changes, batch, calls) in [
        (json!({ "max_in_flight": 3 }), 20, 3),
        (json!({ "max_in_flight": 3, "batch": { "max_events": 4 } }), 4, 3),
    ] {
        let world = World::new(spec(changes), 20, slow);
        world.log.append_many(500, &[]);
        let running = world.start();
        world.until_delivered(0..500).await;
        let seen = world.sink.seen();
        assert_eq!(seen.iter().map(|seen| seen.batch).max(), Some(batch));
        assert_eq!(seen.iter().map(|seen| seen.calls_at_once).max(), Some(calls));
        running.crash().await;
    }
    let bytes = u64::try_from(
        World::new(spec(json!({})), 1, slow).tap(|world| world.log.append_many(1, &[])).log.payload(0).len(),
    );
    let world = World::new(spec(json!({ "batch": { "max_bytes": bytes.unwrap() * 2 + 1 } })), 20, slow);
    world.log.append_many(50, &[]);
    let running = world.start();
    world.until_delivered(0..50).await;
    assert_eq!(world.sink.seen().iter().map(|seen| seen.batch).max(), Some(2));
    running.crash().await;
}

impl World {
    fn tap(self, act: impl Fn(&Self)) -> Self {
        act(&self);
        self
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_in_the_middle_misses_nothing_and_repeats_little() {
    let step = |delivery: &Delivery| match delivery.event.offset() {
        // Two events are stuck while those around them are delivered, so there are gaps when the crash comes.
        40 | 77 if delivery.attempt == 1 => Step::Hang,
        _ => Step::Deliver,
    };
    let world = World::new(spec(json!({ "max_in_flight": 4 })), 1, step);
    world.log.append_many(200, &[]);
    let running = world.start();
    world.until("all but the stuck ones are saved", || world.store.durable().progress.end() == 200).await;
    assert_eq!(world.store.durable().progress.cursor(), 40);
    running.crash().await;
    world.assert_nothing_is_skipped(|_| true);

    world.sink.become_(|_| Step::Deliver);
    let before = world.sink.seen().len();
    let running = world.start();
    world.until_durable_cursor(200).await;
    let again: Vec<u64> = world.sink.seen()[before..].iter().map(|seen| seen.offset).collect();
    assert_eq!(again, [40, 77], "what was settled beyond the cursor is not delivered again");
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn a_pause_stops_what_is_new_and_a_resumption_goes_on() {
    let world =
        World::new(spec(json!({ "max_in_flight": 2 })), 1, |_| Step::DeliverAfter(Duration::from_millis(50)));
    world.log.append_many(100, &[]);
    let running = world.start();
    world.until_delivered(0..10).await;
    running.pause();
    settle_down().await;
    assert_eq!(running.run_state(), RunState::Paused);
    pass(Duration::from_secs(60)).await;
    let delivered = world.sink.delivered().len();
    assert!(delivered <= 12, "what was in flight ended by itself, nothing more began: {delivered}");
    running.resume();
    world.until_delivered(0..100).await;
    assert_eq!(running.run_state(), RunState::Running);
    running.crash().await;

    let paused = world.start_as(Lifecycle::Paused);
    world.log.append_many(5, &[]);
    pass(Duration::from_secs(60)).await;
    assert_eq!(world.sink.delivered().len(), 100, "a pause outlives a restart");
    paused.resume();
    world.until_delivered(0..105).await;
    paused.crash().await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_finishes_what_it_can_within_the_deadline() {
    let step = |delivery: &Delivery| match delivery.event.offset() {
        0 => Step::Hang,
        1 => Step::DeliverAfter(Duration::from_secs(3)),
        _ => Step::Deliver,
    };
    let world = World::new(spec(json!({ "max_in_flight": 2 })), 1, step);
    world.log.append_many(3, &[]);
    let running = world.start();
    settle_down().await;
    let begun = Instant::now();
    let ended = running.stop(Duration::from_secs(5)).await;
    assert_eq!(ended, Ended { unfinished_calls: 1, saved: true });
    assert!(begun.elapsed() < Duration::from_millis(5_100), "{:?}", begun.elapsed());
    assert_eq!(world.sink.delivered(), [1].into(), "nothing new was begun");
    let durable = world.store.durable();
    assert_eq!((durable.progress.cursor(), durable.progress.end()), (0, 2), "the cut call stays unsettled");

    world.sink.become_(|_| Step::Deliver);
    let running = world.start();
    world.until_delivered(0..3).await;
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_kept_from_the_first_second_on() {
    let world = World::new(spec(json!({ "max_events_per_second": 50 })), 10, |_| Step::Deliver);
    world.log.append_many(200, &[]);
    let begun = Instant::now();
    let running = world.start();
    world.until_delivered(0..200).await;
    assert!((3.5..4.5).contains(&begun.elapsed().as_secs_f64()), "{:?}", begun.elapsed());
    let seen = world.sink.seen();
    let busiest = seen.iter().map(|first| {
        let end = first.at + Duration::from_millis(100);
        seen.iter().filter(|other| (first.at..end).contains(&other.at)).count()
    });
    assert!(busiest.max().unwrap() <= 6);
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn a_rate_of_one_a_minute_delivers_one_now_and_lets_the_others_wait_unspent() {
    let changes = json!({ "rate_limit": { "events": 1, "period_ms": 60_000 } });
    let world = World::new(spec(changes), 10, |_| Step::Deliver);
    world.log.append_many(5, &[]);
    let running = world.start();
    pass(Duration::from_secs(59)).await;
    assert_eq!(world.sink.seen().len(), 1, "exactly one now");
    assert_eq!(running.stats.cursor.load(std::sync::atomic::Ordering::Relaxed), 1, "four wait in the log");
    for delivered in 2..=5 {
        pass(Duration::from_secs(60)).await;
        assert_eq!(world.sink.seen().len(), delivered);
    }
    assert!(world.sink.seen().iter().all(|seen| seen.attempt == 1 && seen.batch == 1));
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_state_disk_holds_the_cursor_and_loses_nothing() {
    let world = World::new(spec(json!({})), 1, |delivery| match delivery.event.offset() % 10 {
        3 => Step::Reject,
        5 if delivery.attempt == 1 => Step::Retry,
        _ => Step::Deliver,
    });
    world.store.full.store(true, Ordering::Relaxed);
    world.log.append_many(100, &[]);
    let running = world.start();
    world.until_delivered((0..100).filter(|offset| offset % 10 != 3)).await;
    pass(Duration::from_secs(10)).await;
    assert_eq!(world.store.durable().saves, 0);
    let failures = running.stats.metrics.save_failures.get();
    assert!((9..=11).contains(&failures), "once, and again each second: {failures}");
    assert!(running.stats.save_error().is_some());
    world.store.full.store(false, Ordering::Relaxed);
    world.until_durable_cursor(100).await;
    let durable = world.store.durable();
    assert_eq!(durable.dead_letters.len(), 10, "what could not be saved at first was kept");
    assert!(durable.retrying.is_empty());
    settle_down().await;
    assert_eq!(running.stats.save_error(), None);
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn unsaved_dead_letters_are_bounded_while_the_state_disk_is_full() {
    let world = World::new(spec(json!({ "max_in_flight": 16 })), 1, |_| Step::Reject);
    world.store.full.store(true, Ordering::Relaxed);
    world.log.append_many(10_000, &[]);
    let running = world.start();
    pass(Duration::from_secs(30)).await;
    let tried = world.sink.seen().len();
    assert!((4096..4096 + 16).contains(&tried), "{tried}");
    world.store.full.store(false, Ordering::Relaxed);
    world.until_durable_cursor(10_000).await;
    assert_eq!(world.store.durable().dead_letters.len(), 10_000);
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_an_event_is_a_dead_letter_and_stops_nothing() {
    let world = World::new(spec(json!({})), 1, |_| Step::Deliver);
    world.log.append_many(3, &[]);
    world.log.append_bytes(Bytes::from_static(b"\xff this was never an event"));
    world.log.append_many(3, &[]);
    let running = world.start();
    world.until_durable_cursor(7).await;
    assert_eq!(world.sink.delivered(), [0, 1, 2, 4, 5, 6].into());
    let letter = &world.store.durable().dead_letters[&3];
    assert_eq!(letter.event.as_deref(), Some(&b"\xff this was never an event"[..]));
    assert!(letter.reason.contains("decoded"), "{}", letter.reason);
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn damage_stops_the_subscription_visibly_and_skips_nothing() {
    for cached in [true, false] {
        let world = World::new(spec(json!({})), 1, |_| Step::Deliver);
        world.log.cached.store(cached, Ordering::Relaxed);
        world.log.append_many(50, &[]);
        world.log.damaged_at.store(20, Ordering::Relaxed);
        let running = world.start();
        world.until_durable_cursor(20).await;
        pass(Duration::from_secs(60)).await;
        assert!(matches!(running.run_state(), RunState::Damaged { why } if why.contains("20")));
        assert_eq!(world.sink.delivered(), (0..20).collect());
        world.log.damaged_at.store(u64::MAX, Ordering::Relaxed);
        running.resume();
        world.until_delivered(0..50).await;
        running.crash().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_that_the_system_refuses_is_made_again() {
    let world = World::new(spec(json!({})), 1, |_| Step::Deliver);
    world.log.cached.store(false, Ordering::Relaxed);
    world.log.refuse_reads.store(true, Ordering::Relaxed);
    world.log.append_many(50, &[]);
    let running = world.start();
    pass(Duration::from_secs(10)).await;
    let reads = world.log.reads.load(Ordering::Relaxed);
    assert!((9..=12).contains(&reads), "about once a second: {reads}");
    world.log.refuse_reads.store(false, Ordering::Relaxed);
    world.until_delivered(0..50).await;
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn what_retention_dropped_is_counted_and_passed() {
    let world = World::new(spec(json!({})), 1, |_| Step::Deliver);
    world.log.append_many(50, &[]);
    world.log.trim(30);
    let running = world.start();
    world.until_durable_cursor(50).await;
    assert_eq!(running.stats.metrics.lost_events.get(), 30);
    assert_eq!(world.sink.delivered(), (30..50).collect());
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_repair_gave_up_is_counted_and_passed() {
    let world = World::new(spec(json!({})), 1, |_| Step::Deliver);
    world.log.append_many(50, &[]);
    *world.log.gap.lock().unwrap() = Some((10, 25));
    let running = world.start();
    world.until_durable_cursor(50).await;
    assert_eq!(running.stats.metrics.lost_events.get(), 15);
    assert_eq!(world.sink.delivered(), (0..10).chain(25..50).collect());
    running.crash().await;
}
