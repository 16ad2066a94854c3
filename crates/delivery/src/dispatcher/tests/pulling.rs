//! Consumers that pull: leases, and how they end.

use eventrelay_event::Purpose;

use super::*;
use crate::model::Durable;
use crate::pull::{LeaseChange, LeaseResult, LeasedEvent, PullError, PullRequest};

const SECOND: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(10);

impl Running {
    /// What can be had at once.
    async fn pull(&self, max_events: usize) -> Vec<LeasedEvent> {
        self.pull_within(max_events, Duration::ZERO).await
    }

    async fn pull_within(&self, max_events: usize, wait: Duration) -> Vec<LeasedEvent> {
        let request = PullRequest { max_events, wait, lease: LEASE };
        self.consumers.pull(request).await.unwrap().hand_over()
    }

    async fn change(&self, events: &[LeasedEvent], change: LeaseChange) -> Vec<LeaseResult> {
        let leases: Vec<String> = events.iter().map(|event| event.lease.to_string()).collect();
        self.consumers.change(&leases, change).await.unwrap()
    }

    async fn ack(&self, events: &[LeasedEvent]) -> Vec<LeaseResult> {
        self.change(events, LeaseChange::Ack).await
    }

    async fn nack(&self, events: &[LeasedEvent], delay: Option<Duration>, reason: &str) -> Vec<LeaseResult> {
        self.change(events, LeaseChange::Nack { delay, reason: Some(reason.to_owned()) }).await
    }
}

fn offsets(events: &[LeasedEvent]) -> Vec<u64> {
    events.iter().map(|event| event.event.offset()).collect()
}

/// Offsets with the number of their attempt.
fn attempts(events: &[LeasedEvent]) -> Vec<(u64, u32)> {
    events.iter().map(|event| (event.event.offset(), event.attempt)).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_acknowledged_moves_the_cursor_and_comes_no_more() {
    for cached in [true, false] {
        let world = World::pulled(json!({}));
        world.log.cached.store(cached, std::sync::atomic::Ordering::Relaxed);
        world.log.append_many(10, &[]);
        let running = world.start();
        let first = running.pull(4).await;
        assert_eq!(attempts(&first), [(0, 1), (1, 1), (2, 1), (3, 1)], "{cached}");
        let second = running.pull(100).await;
        assert_eq!(offsets(&second), [4, 5, 6, 7, 8, 9], "another consumer gets others");
        assert_eq!(running.pull(1).await.len(), 0);
        assert_eq!(running.ack(&second).await, [LeaseResult::Acked; 6]);
        assert_eq!(running.ack(&first[1..]).await, [LeaseResult::Acked; 3]);
        pass(SECOND).await;
        assert_eq!(world.store.durable().progress.cursor(), 0, "the first is still somebody's");
        assert_eq!(running.ack(&first).await, [LeaseResult::Acked; 4], "three of them once more");
        assert_eq!(running.nack(&first, None, "changed my mind").await, [LeaseResult::Expired; 4]);
        world.until_durable_cursor(10).await;
        let stranger = ["AAAA".to_owned(), "A".repeat(32)];
        let results = running.consumers.change(&stranger, LeaseChange::Ack).await.unwrap();
        assert_eq!(results, [LeaseResult::Unknown; 2]);
        assert_eq!(running.pull(100).await.len(), 0);
        running.crash().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pull_waits_for_an_event_and_no_longer_than_it_may() {
    let world = World::pulled(json!({}));
    let running = world.start();
    let begun = Instant::now();
    assert_eq!(running.pull_within(1, SECOND * 7).await.len(), 0);
    assert_eq!(begun.elapsed().as_secs(), 7);
    let waiting = running.pull_within(5, SECOND * 30);
    let append = async {
        pass(SECOND * 3).await;
        assert_eq!(running.consumers.waiting(), 1);
        world.log.append_many(1, &[]);
    };
    let (events, ()) = tokio::join!(waiting, append);
    assert_eq!((offsets(&events), begun.elapsed().as_secs()), (vec![0], 10));
    assert_eq!(running.consumers.waiting(), 0);
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_runs_out_goes_to_the_next_and_its_ack_is_refused() {
    let world = World::pulled(json!({}));
    world.log.append_many(2, &[]);
    let running = world.start();
    let slow = running.pull(2).await;
    let begun = Instant::now();
    let again = running.pull_within(2, SECOND * 30).await;
    assert_eq!((attempts(&again), begun.elapsed().as_secs()), (vec![(0, 2), (1, 2)], 10), "at once");
    for change in [LeaseChange::Ack, LeaseChange::Extend { lease: LEASE }] {
        assert_eq!(running.change(&slow, change).await, [LeaseResult::Expired; 2]);
    }
    assert_eq!(running.nack(&slow, None, "late").await, [LeaseResult::Expired; 2]);
    assert_eq!(running.ack(&again).await, [LeaseResult::Acked; 2], "the stale ones changed nothing");
    let is_settled = |durable: Durable| durable.progress.cursor() == 2 && durable.retrying.is_empty();
    world.until("both are settled", || is_settled(world.store.durable())).await;
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn an_extension_counts_from_when_it_was_asked_for() {
    let world = World::pulled(json!({}));
    world.log.append_many(1, &[]);
    let running = world.start();
    let events = running.pull(1).await;
    for _ in 0..5 {
        pass(SECOND * 9).await;
        let extended = running.change(&events, LeaseChange::Extend { lease: LEASE }).await;
        assert_eq!(extended, [LeaseResult::Extended]);
    }
    assert_eq!(running.pull_within(1, SECOND * 9).await.len(), 0);
    assert_eq!(attempts(&running.pull_within(1, SECOND * 3).await), [(0, 2)]);
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn a_nack_says_when_it_comes_again_or_the_policy_does() {
    let world = World::pulled(json!({ "retry": { "initial_backoff_ms": 3000, "max_backoff_ms": 3000 } }));
    world.log.append_many(3, &[]);
    let running = world.start();
    let events = running.pull(3).await;
    running.nack(&events[..1], Some(Duration::ZERO), "now").await;
    running.nack(&events[1..2], Some(SECOND * 5), "later").await;
    running.nack(&events[2..], None, "as it is usual").await;
    assert_eq!(world.store.durable().retrying.len(), 0, "not saved yet");
    let begun = Instant::now();
    let mut came = Vec::new();
    for _ in 0..3 {
        let event = running.pull_within(1, SECOND * 30).await.remove(0);
        came.push((event.event.offset(), event.attempt, begun.elapsed().as_secs()));
        running.ack(&[event]).await;
    }
    came.sort_unstable();
    assert_eq!((came[0], came[1]), ((0, 2, 0), (1, 2, 5)));
    assert!(came[2].2 < 3, "{came:?}");
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn the_last_attempt_leaves_a_dead_letter_that_says_why() {
    let world = World::pulled(json!({ "retry": { "max_attempts": 2 } }));
    world.log.append_many(2, &[]);
    let running = world.start();
    let first = running.pull(2).await;
    running.nack(&first[..1], Some(Duration::ZERO), "no such customer").await;
    running.nack(&first[1..], Some(Duration::ZERO), "").await;
    let second = running.pull(2).await;
    assert_eq!(attempts(&second), [(0, 2), (1, 2)]);
    running.nack(&second[..1], None, "no such customer").await;
    assert_eq!(running.pull_within(1, SECOND * 20).await.len(), 0, "the other runs out");
    world.until_durable_cursor(2).await;
    let letters = world.store.durable().dead_letters;
    let reasons: Vec<&str> = letters.values().map(|letter| letter.reason.as_str()).collect();
    assert_eq!(
        reasons,
        ["gave up after 2 attempts: no such customer", "gave up after 2 attempts: lease expired"]
    );
    assert!(letters.values().all(|letter| letter.event.is_some() && letter.attempts == 2));
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn by_key_the_next_event_waits_for_the_ack_whoever_pulls() {
    let world = World::pulled(json!({ "order": "by_key", "retry": { "max_attempts": 2 } }));
    world.log.append_many(6, &["a", "b"]);
    let running = world.start();
    let first = running.pull(10).await;
    assert_eq!(offsets(&first), [0, 1]);
    assert_eq!(running.pull(10).await.len(), 0, "the same keys");
    running.ack(&first[..1]).await;
    let of_a = running.pull(10).await;
    assert_eq!(offsets(&of_a), [2]);
    running.nack(&first[1..], Some(SECOND), "again").await;
    assert_eq!(running.pull(10).await.len(), 0, "a failure holds its key");
    let again = running.pull_within(10, SECOND * 2).await;
    assert_eq!(attempts(&again), [(1, 2)]);
    running.nack(&again, None, "never").await;
    assert_eq!(offsets(&running.pull(10).await), [3], "a dead letter frees its key");
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn strict_leases_one_batch_at_a_time_and_a_failure_takes_back_what_follows() {
    let world = World::pulled(json!({ "order": "strict" }));
    world.log.append_many(6, &[]);
    let running = world.start();
    let first = running.pull(4).await;
    assert_eq!(offsets(&first), [0, 1, 2, 3]);
    assert_eq!(running.pull(4).await.len(), 0);
    running.ack(&first[..1]).await;
    running.nack(&first[2..3], Some(Duration::ZERO), "wait").await;
    assert_eq!(running.pull(4).await.len(), 0, "the second is still leased");
    assert_eq!(running.ack(&first[3..]).await, [LeaseResult::Expired], "it was taken back");
    running.ack(&first[1..2]).await;
    let again = running.pull(4).await;
    assert_eq!(attempts(&again), [(2, 2)]);
    assert_eq!(running.pull(4).await.len(), 0);
    running.ack(&again).await;
    let taken_back = running.pull(4).await;
    assert_eq!(attempts(&taken_back), [(3, 1)], "it was not tried");
    assert_eq!(attempts(&running.pull_within(4, SECOND * 11).await), [(3, 2)]);
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn no_more_is_leased_than_the_subscription_and_the_consumer_may_hold() {
    let world = World::pulled(json!({ "max_in_flight": 5, "batch": { "max_events": 3 } }));
    world.log.append_many(20, &[]);
    let running = world.start();
    assert_eq!(running.pull(10).await.len(), 3);
    let rest = running.pull(10).await;
    assert_eq!((rest.len(), running.pull(10).await.len()), (2, 0));
    running.ack(&rest).await;
    let consumer = running.consumers.join(1).unwrap();
    let one = consumer.pull(LEASE).await.unwrap().hand_over();
    assert_eq!(one.len(), 1);
    let (more, others) = tokio::join!(consumer.pull(LEASE), running.pull(10));
    assert_eq!(others.len(), 1, "who may hold no more holds up nobody");
    let waited = more.unwrap().hand_over();
    assert_eq!(waited.len(), 1, "its own lease has run out");
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn events_that_do_not_reach_their_consumer_go_back_untried() {
    for order in ["unordered", "by_key", "strict"] {
        let world = World::pulled(json!({ "order": order }));
        world.log.append_many(3, &["a", "b", "c"]);
        let running = world.start();
        let request = PullRequest { max_events: 3, wait: Duration::ZERO, lease: LEASE };
        drop(running.consumers.pull(request).await.unwrap());
        // A client that leaves while it waits takes nothing with it either.
        let leaves = running.consumers.pull(PullRequest { wait: SECOND, ..request });
        drop(tokio::time::timeout(Duration::ZERO, leaves).await);
        settle_down().await;
        assert_eq!(attempts(&running.pull(3).await), [(0, 1), (1, 1), (2, 1)], "{order}");
        running.crash().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_leaves_gives_its_events_to_others_at_once() {
    let world = World::pulled(json!({}));
    world.log.append_many(4, &[]);
    let running = world.start();
    for (left_before, dropped) in [(1, false), (2, true)] {
        let consumer = running.consumers.join(2).unwrap();
        let events = consumer.pull(LEASE).await.unwrap().hand_over();
        assert_eq!(attempts(&events), [(0, left_before), (1, left_before)]);
        if dropped {
            drop(consumer);
        } else {
            consumer.leave().await;
        }
        settle_down().await;
        assert_eq!(running.ack(&events).await, [LeaseResult::Expired; 2]);
    }
    assert_eq!(attempts(&running.pull(2).await), [(0, 3), (1, 3)]);
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn a_pause_leases_nothing_more_and_takes_what_is_settled() {
    let world = World::pulled(json!({}));
    world.log.append_many(10, &[]);
    let running = world.start();
    let events = running.pull(2).await;
    running.pause();
    settle_down().await;
    let begun = Instant::now();
    assert_eq!(running.pull_within(10, SECOND * 5).await.len(), 0);
    assert_eq!(begun.elapsed().as_secs(), 5);
    assert_eq!(running.ack(&events[..1]).await, [LeaseResult::Acked]);
    assert_eq!(running.pull_within(10, SECOND * 20).await.len(), 0, "the other ran out meanwhile");
    running.resume();
    assert_eq!(attempts(&running.pull(2).await), [(1, 2)], "retries come first");
    assert_eq!(offsets(&running.pull(2).await), [2, 3]);
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn a_seek_ends_all_leases() {
    for order in ["unordered", "by_key", "strict"] {
        let world = World::pulled(json!({ "order": order }));
        world.log.append_many(6, &["a", "b", "c"]);
        world.store.allow_seek.store(true, std::sync::atomic::Ordering::Relaxed);
        let running = world.start();
        let before = running.pull(3).await;
        assert_eq!(offsets(&before), [0, 1, 2]);
        running.seek(1).await;
        assert_eq!(running.ack(&before).await, [LeaseResult::Expired; 3], "{order}");
        let after = running.pull(3).await;
        assert_eq!(attempts(&after), [(1, 1), (2, 1), (3, 1)], "{order}");
        running.ack(&after).await;
        running.seek(6).await;
        assert_eq!(running.pull(3).await.len(), 0);
        world.until_durable_cursor(6).await;
        running.crash().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_replay_is_pulled_beside_and_outlives_a_seek() {
    let world = World::pulled(json!({ "order": "by_key" }));
    world.log.append_many(4, &["a", "b"]);
    world.store.allow_seek.store(true, std::sync::atomic::Ordering::Relaxed);
    let running = world.start();
    for _ in 0..2 {
        let events = running.pull(10).await;
        running.ack(&events).await;
    }
    world.until_durable_cursor(4).await;
    let id = world.replay(&running, ReplayKind::Replay, 0..3, None).await;
    let again = running.pull(10).await;
    assert_eq!(offsets(&again), [0, 1]);
    assert!(again.iter().all(|event| event.purpose == Purpose::Replay));
    running.ack(&again[..1]).await;
    // One was acknowledged, one is leased, one is to come.
    running.seek(4).await;
    assert_eq!(running.ack(&again[1..]).await, [LeaseResult::Expired]);
    let mut rest = Vec::new();
    while rest.len() < 2 {
        let events = running.pull_within(10, SECOND).await;
        assert!(!events.is_empty(), "{rest:?}");
        rest.extend(attempts(&events));
        assert!(events.iter().all(|event| event.purpose == Purpose::Replay));
        running.ack(&events).await;
    }
    rest.sort_unstable();
    assert_eq!(rest, [(1, 1), (2, 1)]);
    world.until_replay_is(id, &ReplayState::Done).await;
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn dead_letters_are_pulled_again_when_they_are_redriven() {
    let world = World::pulled(json!({ "retry": { "max_attempts": 1 } }));
    world.log.append_many(2, &[]);
    let running = world.start();
    let events = running.pull(2).await;
    running.nack(&events, None, "broken").await;
    world.until("they are dead", || world.store.durable().dead_letters.len() == 2).await;
    let id = world.replay(&running, ReplayKind::Redrive, 0..2, None).await;
    let again = running.pull_within(2, SECOND).await;
    assert_eq!(offsets(&again), [0, 1]);
    assert!(again.iter().all(|event| event.purpose == Purpose::Redrive));
    running.ack(&again[..1]).await;
    running.nack(&again[1..], None, "still").await;
    world.until_replay_is(id, &ReplayState::Done).await;
    let letters = world.store.durable().dead_letters;
    assert_eq!(letters.keys().copied().collect::<Vec<_>>(), [1]);
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn a_seek_back_delivers_what_was_being_redriven_once() {
    let world = World::pulled(json!({ "order": "by_key", "retry": { "max_attempts": 1 } }));
    world.log.append_many(2, &["a", "b"]);
    world.store.allow_seek.store(true, std::sync::atomic::Ordering::Relaxed);
    let running = world.start();
    let events = running.pull(2).await;
    running.nack(&events, None, "broken").await;
    world.until("they are dead", || world.store.durable().dead_letters.len() == 2).await;
    let id = world.replay(&running, ReplayKind::Redrive, 0..2, None).await;
    let redriven = running.pull_within(2, SECOND).await;
    assert_eq!(offsets(&redriven), [0, 1]);
    running.seek(1).await;
    let mut again = Vec::new();
    while again.len() < 2 {
        again.extend(running.pull_within(2, SECOND).await);
    }
    let purposes: BTreeSet<_> =
        again.iter().map(|event| (event.event.offset(), event.purpose.name())).collect();
    assert_eq!(purposes, [(0, "redrive"), (1, "live")].into(), "the cursor comes to the second by itself");
    assert_eq!(running.pull(2).await.len(), 0);
    assert_eq!(running.ack(&again).await, [LeaseResult::Acked; 2]);
    world.until_replay_is(id, &ReplayState::Done).await;
    world.until_durable_cursor(2).await;
    assert!(world.store.durable().dead_letters.is_empty());
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_no_lease_and_a_restart_delivers_again_what_was_leased() {
    let world = World::pulled(json!({}));
    world.log.append_many(4, &[]);
    let running = world.start();
    let events = running.pull(4).await;
    running.ack(&events[1..2]).await;
    let consumers = running.consumers.clone();
    let waits = tokio::spawn(async move {
        let request = PullRequest { max_events: 1, wait: SECOND * 30, lease: LEASE };
        consumers.pull(request).await.map(|pulled| pulled.events().len())
    });
    settle_down().await;
    let (begun, consumers) = (Instant::now(), running.consumers.clone());
    let ended = running.stop(SECOND * 60).await;
    assert_eq!(ended, Ended { unfinished_calls: 0, saved: true });
    assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
    assert_eq!(waits.await.unwrap(), Err(PullError::Ending));
    let leases = [events[0].lease.to_string()];
    assert_eq!(consumers.change(&leases, LeaseChange::Ack).await, Err(PullError::Ending));

    let running = world.start();
    assert_eq!(running.ack(&events).await, [LeaseResult::Unknown; 4], "a lease of before");
    assert_eq!(attempts(&running.pull(4).await), [(0, 1), (2, 1), (3, 1)]);
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_read_while_nobody_pulls() {
    let world = World::pulled(json!({}));
    world.log.cached.store(false, std::sync::atomic::Ordering::Relaxed);
    world.log.append_many(1000, &[]);
    let running = world.start();
    pass(SECOND * 5).await;
    let idle = world.log.reads.load(std::sync::atomic::Ordering::Relaxed);
    assert!(idle <= 1, "to tell how old the first event is: {idle}");
    let mut pulled = 0;
    while pulled < 160 {
        let events = running.pull(4).await;
        pulled += events.len();
        running.ack(&events).await;
    }
    let reads = world.log.reads.load(std::sync::atomic::Ordering::Relaxed) - idle;
    assert!(reads <= 11, "a run of 16 records is read once for four pulls: {reads}");
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_out_of_its_limits_is_refused_by_name() {
    let world = World::pulled(json!({}));
    let running = world.start();
    let good = PullRequest { max_events: 1, wait: Duration::ZERO, lease: LEASE };
    for (wrong, named) in [
        (PullRequest { max_events: 0, ..good }, "max"),
        (PullRequest { max_events: 1001, ..good }, "max"),
        (PullRequest { wait: SECOND * 31, ..good }, "wait_ms"),
        (PullRequest { lease: Duration::from_millis(999), ..good }, "lease_ms"),
        (PullRequest { lease: SECOND * 43_201, ..good }, "lease_ms"),
    ] {
        let refused = running.consumers.pull(wrong).await.err();
        assert!(matches!(refused, Some(PullError::OutOfLimits { field, .. }) if field == named), "{wrong:?}");
    }
    let too_many = vec![String::new(); 1001];
    assert!(running.consumers.change(&too_many, LeaseChange::Ack).await.is_err());
    let wordy = LeaseChange::Nack { delay: None, reason: Some("x".repeat(1001)) };
    assert!(running.consumers.change(&[], wordy).await.is_err());
    let late = LeaseChange::Nack { delay: Some(SECOND * 86_401), reason: None };
    assert!(running.consumers.change(&[], late).await.is_err());
    let waiting: Vec<_> = (0..1000)
        .map(|_| {
            let consumers = running.consumers.clone();
            tokio::spawn(async move { consumers.pull(PullRequest { wait: SECOND, ..good }).await.is_ok() })
        })
        .collect();
    settle_down().await;
    assert_eq!(running.consumers.pull(good).await.err(), Some(PullError::TooManyPulls));
    for pull in waiting {
        assert!(pull.await.unwrap());
    }
    assert!(running.consumers.pull(good).await.is_ok());
    running.crash().await;
}
