//! Targets that go away for seconds or minutes, and what everybody else notices of it.

use std::sync::atomic::Ordering;

use super::*;

/// The longest wait between two tries in these tests, of a delivery or of the breaker.
const STEP: Duration = Duration::from_secs(60);

fn outage_spec(order: &str) -> Subscription {
    spec(json!({
        "order": order,
        "max_in_flight": 8,
        "retry": { "max_attempts": 1000, "initial_backoff_ms": 1_000, "max_backoff_ms": 60_000 },
        "breaker": { "initial_probe_delay_ms": 1_000, "max_probe_delay_ms": 60_000 },
    }))
}

/// How a target can be away.
const WAYS: [Step; 2] = [Step::Retry, Step::Hang];

/// A target that is away for so long from the first second on, then back.
async fn outage(order: &str, way: Step, away: Duration) {
    let mut spec = outage_spec(order);
    spec.retry.timeout_ms = 500;
    let world = World::new(spec, 10, |_| Step::Deliver);
    world.log.append_many(500, &["a", "b", "c"]);
    let running = world.start();
    world.until_delivered(0..500).await;
    world.sink.become_(move |_| way);
    world.log.append_many(500, &["a", "b", "c"]);
    pass(away).await;
    assert!(!running.task.is_finished(), "no worker ends");
    let tries = world.sink.seen().len() - 500;
    let seconds = usize::try_from(away.as_secs()).unwrap();
    assert!(tries <= 200 + seconds * 8, "none spins: {tries} tries in {away:?}");
    assert!(running.stats.in_flight_calls.load(Ordering::Relaxed) <= 8, "never over its limit");

    let (recovered, before) = (Instant::now(), world.sink.seen().len());
    world.sink.become_(|_| Step::Deliver);
    world.until_delivered(0..1000).await;
    let first = world.sink.seen()[before..].iter().find(|seen| seen.delivered).unwrap().at;
    let waited = first - recovered;
    assert!(
        waited <= STEP.min(away * 2) + Duration::from_millis(600),
        "{order}, {way:?}, {away:?}: {waited:?}"
    );
    let delivered = world.sink.first_deliveries();
    if order == "strict" {
        assert!(delivered.is_sorted());
    }
    if order == "by_key" {
        for key in 0..3 {
            // Each lot of events has its keys from the beginning.
            let of_key = |offset: &&u64| **offset % 500 % 3 == key;
            assert!(delivered.iter().filter(of_key).is_sorted());
        }
    }
    assert!(world.store.durable().dead_letters.is_empty());
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn after_three_seconds_it_goes_on_within_one_step() {
    for order in ["unordered", "by_key", "strict"] {
        for way in WAYS {
            outage(order, way, Duration::from_secs(3)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn after_ten_minutes_it_goes_on_within_one_step() {
    for order in ["unordered", "by_key", "strict"] {
        for way in WAYS {
            outage(order, way, Duration::from_mins(10)).await;
        }
    }
}

/// How long after its append each event of the others was delivered at the latest but one percent, while one of a thousand
/// targets answers like this.
async fn p99_of_the_others(one: Step) -> Duration {
    const SUBSCRIPTIONS: usize = 1000;
    let world_of = |step: Step| {
        let spec = spec(json!({ "max_in_flight": 4, "retry": { "timeout_ms": 30_000 } }));
        World::new(spec, 1, move |_| step)
    };
    let hanging = world_of(one);
    let good = Step::DeliverAfter(Duration::from_millis(5));
    let others: Vec<World> = (1..SUBSCRIPTIONS).map(|_| world_of(good)).collect();
    let mut running: Vec<Running> = others.iter().chain([&hanging]).map(World::start).collect();
    settle_down().await;
    let mut latencies = Vec::new();
    for round in 0..10 {
        let appended = Instant::now();
        for world in others.iter().chain([&hanging]) {
            world.log.append_many(1, &[]);
        }
        for other in &others {
            other.until_delivered([round]).await;
            latencies.push(other.sink.seen()[usize::try_from(round).unwrap()].at - appended);
        }
        pass(Duration::from_secs(2)).await;
        let of_the_hanging = &running[others.len()].stats.in_flight_calls;
        assert!(of_the_hanging.load(Ordering::Relaxed) <= 4, "never over its limit");
    }
    for running in running.drain(..) {
        running.crash().await;
    }
    latencies.sort_unstable();
    latencies[latencies.len() * 99 / 100]
}

#[tokio::test(start_paused = true)]
async fn one_target_that_hangs_among_a_thousand_changes_nothing_for_the_others() {
    let all_well = p99_of_the_others(Step::DeliverAfter(Duration::from_millis(5))).await;
    let one_hangs = p99_of_the_others(Step::Hang).await;
    assert_eq!(one_hangs, all_well);
}
