//! A target that is down: few calls, little memory, no attempt wasted.

use std::sync::atomic::Ordering;

use super::*;
use crate::breaker::BreakerState;

#[tokio::test(start_paused = true)]
async fn a_dead_target_is_probed_one_at_a_time_and_costs_no_attempts() {
    let changes = json!({
        "max_in_flight": 8,
        "retry": { "max_attempts": 12, "initial_backoff_ms": 5_000, "backoff_multiplier": 6, "max_backoff_ms": 86_400_000 },
        "breaker": { "consecutive_failures": 10, "initial_probe_delay_ms": 1_000, "max_probe_delay_ms": 60_000 },
    });
    let world = World::new(spec(changes), 1, |_| Step::Retry);
    world.log.append_many(5_000, &[]);
    let running = world.start();
    pass(Duration::from_secs(5)).await;
    assert_ne!(running.stats.breaker(), BreakerState::Closed);
    let opened = world.sink.seen().len();
    assert!(opened <= 10 + 8 + 3, "calls until it opened, and a few probes: {opened}");
    pass(Duration::from_hours(24)).await;
    let probes = &world.sink.seen()[opened..];
    assert!(probes.len() <= 24 * 60 + 10, "{} probes in a day", probes.len());
    assert!(probes.iter().all(|seen| seen.calls_at_once == 1 && seen.batch == 1));
    assert!(world.store.durable().dead_letters.is_empty(), "a day's outage kills nothing");

    world.sink.become_(|_| Step::DeliverAfter(Duration::from_millis(20)));
    let before = world.sink.seen().len();
    world.until_delivered(0..5_000).await;
    assert_eq!(running.stats.breaker(), BreakerState::Closed);
    let ramp: Vec<usize> =
        world.sink.seen()[before..].iter().take(6).map(|seen| seen.calls_at_once).collect();
    assert!(ramp[0] == 1 && ramp[..3].iter().all(|&calls| calls <= 3), "it ramps up: {ramp:?}");
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn a_backlog_behind_a_dead_target_is_not_in_memory() {
    let world = World::new(spec(json!({ "max_in_flight": 8 })), 1, |_| Step::Retry);
    world.log.cached.store(false, Ordering::Relaxed);
    world.log.append_many(20_000, &[]);
    let running = world.start();
    pass(Duration::from_secs(600)).await;
    let reads = world.log.reads.load(Ordering::Relaxed);
    let tried = world.sink.seen().len();
    assert!(reads <= tried + 50, "{reads} reads for {tried} attempts: the backlog stays in the log");
    let retrying = running.stats.retrying.load(Ordering::Relaxed);
    assert!(retrying <= tried as u64);
    assert!(running.stats.cursor.load(Ordering::Relaxed) < 1_000, "the cursor waits");
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn one_dead_target_leaves_the_others_alone() {
    let dead = World::new(spec(json!({})), 1, |_| Step::Hang);
    let good =
        World::new(spec(json!({ "max_in_flight": 2 })), 1, |_| Step::DeliverAfter(Duration::from_millis(10)));
    for world in [&dead, &good] {
        world.log.append_many(1000, &[]);
    }
    let (running_dead, running_good) = (dead.start(), good.start());
    let begun = Instant::now();
    good.until_delivered(0..1000).await;
    assert!(begun.elapsed() <= Duration::from_millis(1000 / 2 * 12), "{:?}", begun.elapsed());
    running_dead.crash().await;
    running_good.crash().await;
}
