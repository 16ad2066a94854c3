//! Retries, dead letters and what a sink can do wrong.

use std::sync::atomic::Ordering;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_retry_is_durable_before_the_cursor_passes_it() {
    let world = World::new(
        spec(json!({ "retry": { "initial_backoff_ms": 3_600_000, "max_backoff_ms": 3_600_000 } })),
        1,
        |d| {
            if d.event.offset() == 3 && d.attempt == 1 {
                Step::RetryAfter(Duration::from_secs(600))
            } else {
                Step::Deliver
            }
        },
    );
    world.log.append_many(10, &[]);
    let running = world.start();
    world.until_durable_cursor(10).await;
    let row = world.store.durable().retrying[&3].clone();
    assert_eq!((row.attempts, row.last_error.as_str()), (1, "as told"));
    assert!(row.due_at_micros >= row.first_failed_at_micros + 600_000_000);
    assert_eq!(running.stats.needed.load(Ordering::Relaxed), 3, "the log keeps what waits for a retry");
    running.crash().await;

    let before = world.sink.seen().len();
    let running = world.start();
    world.until_delivered(0..10).await;
    world.until("the retry is over", || world.store.durable().retrying.is_empty()).await;
    let seen = world.sink.seen();
    assert_eq!(
        (seen.len(), seen[before].offset, seen[before].attempt),
        (before + 1, 3, 2),
        "only the retry was left"
    );
    settle_down().await;
    assert_eq!(running.stats.needed.load(Ordering::Relaxed), 10);
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn attempts_keep_to_the_schedule_and_end_in_a_dead_letter_with_the_event() {
    let world = World::new(spec(json!({ "breaker": { "consecutive_failures": 100 } })), 1, |_| Step::Retry);
    world.log.append_many(1, &[]);
    let running = world.start();
    world.until("it is dead", || !world.store.durable().dead_letters.is_empty()).await;
    let seen = world.sink.seen();
    assert_eq!(seen.iter().map(|seen| seen.attempt).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    for (pair, longest_ms) in seen.windows(2).zip([100, 200, 400, 800]) {
        let waited = pair[1].at - pair[0].at;
        assert!(waited <= Duration::from_millis(longest_ms + 2), "{waited:?}");
    }
    let durable = world.store.durable();
    let letter = &durable.dead_letters[&0];
    assert_eq!((letter.attempts, letter.event.as_ref()), (5, Some(&world.log.payload(0))));
    assert!(letter.dead_at_micros >= letter.first_failed_at_micros);
    assert!(letter.reason.contains("5 attempts"), "{}", letter.reason);
    assert_eq!((durable.progress.cursor(), durable.retrying.len()), (1, 0), "in the same save");
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn what_the_target_asks_to_wait_is_waited() {
    let world = World::new(spec(json!({})), 1, |delivery| {
        if delivery.attempt == 1 { Step::RetryAfter(Duration::from_secs(90)) } else { Step::Deliver }
    });
    world.log.append_many(1, &[]);
    let running = world.start();
    world.until_delivered([0]).await;
    let seen = world.sink.seen();
    assert!((90.0..90.1).contains(&(seen[1].at - seen[0].at).as_secs_f64()));
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_event_is_dead_at_once() {
    let world = World::new(spec(json!({})), 3, |delivery| {
        if delivery.event.offset() % 2 == 0 { Step::Reject } else { Step::Deliver }
    });
    world.log.append_many(9, &[]);
    let running = world.start();
    world.until_durable_cursor(9).await;
    assert_eq!(world.store.durable().dead_letters.keys().copied().collect::<Vec<_>>(), [0, 2, 4, 6, 8]);
    assert_eq!(world.sink.seen().len(), 9, "each was tried once");
    assert_eq!((running.stats.metrics.rejected.get(), running.stats.metrics.dead.get()), (5, 5));
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_gone_disables_the_subscription_and_keeps_the_event() {
    let world = World::new(spec(json!({ "max_in_flight": 1 })), 1, |delivery| {
        if delivery.event.offset() == 5 { Step::Gone } else { Step::Deliver }
    });
    world.log.append_many(10, &[]);
    let running = world.start();
    world.until("it is disabled", || world.store.durable().lifecycle != Lifecycle::Enabled).await;
    pass(Duration::from_hours(1)).await;
    assert_eq!(world.sink.seen().len(), 6, "nothing more is sent");
    assert_eq!(running.run_state(), RunState::Disabled { reason: "as told".to_owned() });
    let durable = world.store.durable();
    assert_eq!(durable.lifecycle, Lifecycle::Disabled { reason: "as told".to_owned() });
    assert!(durable.retrying.contains_key(&5) && durable.dead_letters.is_empty());
    running.crash().await;

    world.sink.become_(|_| Step::Deliver);
    let running = world.start_as(durable.lifecycle);
    pass(Duration::from_hours(1)).await;
    assert_eq!(world.sink.seen().len(), 6, "it stays so over a restart");
    running.resume();
    world.until_delivered(0..10).await;
    world.until("it is enabled again", || world.store.durable().lifecycle == Lifecycle::Enabled).await;
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_hangs_is_cut_short() {
    let world =
        World::new(spec(json!({ "max_in_flight": 2, "retry": { "timeout_ms": 700 } })), 1, |delivery| {
            if delivery.event.offset() < 2 && delivery.attempt < 3 { Step::Hang } else { Step::Deliver }
        });
    world.log.append_many(20, &[]);
    let begun = Instant::now();
    let running = world.start();
    world.until_durable_cursor(20).await;
    world.until_delivered(0..20).await;
    assert!(
        (1.4..3.0).contains(&begun.elapsed().as_secs_f64()),
        "two time limits each: {:?}",
        begun.elapsed()
    );
    assert_eq!(running.stats.metrics.retried.get(), 4);
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_that_makes_the_sink_panic_is_parked_alone() {
    let world = World::new(spec(json!({ "max_in_flight": 1 })), 10, |delivery| {
        if delivery.event.offset() == 4 { Step::Panic } else { Step::Deliver }
    });
    world.log.append_many(30, &[]);
    let running = world.start();
    world.until("it is parked", || !world.store.durable().dead_letters.is_empty()).await;
    world.until_delivered((0..30).filter(|&offset| offset != 4)).await;
    world.until("its neighbours are settled", || world.store.durable().retrying.is_empty()).await;
    let durable = world.store.durable();
    assert_eq!(
        durable.dead_letters.keys().copied().collect::<Vec<_>>(),
        [4],
        "its neighbours are not to blame"
    );
    assert!(durable.dead_letters[&4].reason.contains("panic"), "{}", durable.dead_letters[&4].reason);
    assert_eq!(running.stats.metrics.panics.get(), 3);
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn retries_are_bounded_and_the_cursor_waits_at_the_bound() {
    let changes = json!({
        "max_in_flight": 4,
        "retry": { "max_retrying": 50, "initial_backoff_ms": 3_600_000, "max_backoff_ms": 3_600_000 },
        "breaker": { "consecutive_failures": 100_000, "window": 10_000 },
    });
    let world = World::new(spec(changes), 1, |_| Step::RetryAfter(Duration::from_hours(1)));
    world.log.append_many(1000, &[]);
    let running = world.start();
    pass(Duration::from_secs(60)).await;
    let seen = world.sink.seen().len();
    assert!((50..54).contains(&seen), "{seen}");
    assert_eq!(world.store.durable().progress.cursor(), seen as u64);
    world.sink.become_(|_| Step::Deliver);
    world.until_delivered(0..1000).await;
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn retries_never_take_all_calls_from_what_is_new() {
    let changes = json!({ "max_in_flight": 4, "breaker": { "consecutive_failures": 100_000, "window": 10_000 },
        "retry": { "max_attempts": 100 } });
    let world = World::new(spec(changes), 1, |delivery| match delivery.event.offset() {
        0..100 if delivery.attempt == 1 => Step::Retry,
        0..100 => Step::Hang,
        _ => Step::Deliver,
    });
    world.log.append_many(500, &[]);
    let running = world.start();
    let begun = Instant::now();
    world.until_delivered(100..500).await;
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn a_retry_whose_event_was_dropped_is_a_dead_letter_without_it() {
    let world = World::new(spec(json!({})), 1, |delivery| {
        if delivery.event.offset() == 2 { Step::RetryAfter(Duration::from_secs(60)) } else { Step::Deliver }
    });
    world.log.append_many(10, &[]);
    let running = world.start();
    world.until_durable_cursor(10).await;
    world.log.cached.store(false, Ordering::Relaxed);
    world.log.trim(5);
    world.until("it is dead", || !world.store.durable().dead_letters.is_empty()).await;
    let letter = &world.store.durable().dead_letters[&2];
    assert_eq!((letter.event.as_ref(), letter.attempts), (None, 1));
    assert!(letter.reason.contains("retention"), "{}", letter.reason);
    running.crash().await;
}
