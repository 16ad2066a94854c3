//! Random pulls, acks, nacks, expiries and crashes, against a model of what a consumer may rely on.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::model::Durable;
use crate::pull::{LeaseChange, LeaseResult, LeasedEvent, PullRequest};

const LEASE: Duration = Duration::from_secs(2);
const KEYS: [&str; 3] = ["a", "b", "c"];

#[derive(Debug, Clone)]
enum Step {
    Append(usize),
    Pull {
        max_events: usize,
        reaches_consumer: bool,
    },
    /// Of the leases ever given, one from the end.
    Ack(usize),
    Nack(usize, u64),
    Extend(usize),
    Pass(u64),
    Pause,
    Resume,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..KEYS.len()).prop_map(Step::Append),
        4 => (1..6usize, proptest::bool::weighted(0.9))
            .prop_map(|(max_events, reaches_consumer)| Step::Pull { max_events, reaches_consumer }),
        6 => (0..8usize).prop_map(Step::Ack),
        2 => (0..8usize, 0..3000u64).prop_map(|(lease, delay_ms)| Step::Nack(lease, delay_ms)),
        1 => (0..8usize).prop_map(Step::Extend),
        3 => (1..1500u64).prop_map(Step::Pass),
        1 => Just(Step::Pause),
        2 => Just(Step::Resume),
        1 => Just(Step::Crash),
    ]
}

/// What the consumers know.
struct Model {
    order: &'static str,
    keys: Vec<usize>,
    /// Every lease that was given, oldest first.
    given: Vec<LeasedEvent>,
    /// Of those that have not ended: the place in `given`, and when they run out.
    live: BTreeMap<u64, (usize, Instant)>,
    acked: BTreeSet<u64>,
    /// The leases that were acknowledged, by their place in `given`.
    acked_leases: BTreeSet<usize>,
}

impl Model {
    /// Events of before that must be dealt with before this one may come.
    fn predecessors(&self, offset: u64) -> Vec<u64> {
        let key = self.keys[usize::try_from(offset).unwrap()];
        let earlier = (0..offset).zip(&self.keys);
        match self.order {
            "by_key" => earlier.filter(|(_, earlier)| **earlier == key).map(|(offset, _)| offset).collect(),
            "strict" => (0..offset).collect(),
            _ => Vec::new(),
        }
    }

    fn expire(&mut self, now: Instant) {
        let first = self.live.iter().find(|(_, (_, expires))| *expires <= now).map(|(&offset, _)| offset);
        self.live.retain(|_, (_, expires)| *expires > now);
        if let Some(first) = first.filter(|_| self.order == "strict") {
            self.live.retain(|offset, _| *offset < first);
        }
    }

    fn delivered(&mut self, events: Vec<LeasedEvent>) {
        let now = Instant::now();
        self.expire(now);
        if self.order == "strict" && !events.is_empty() {
            assert!(self.live.is_empty(), "one batch at a time: {:?}", self.live);
        }
        let batch: Vec<u64> = events.iter().map(|event| event.event.offset()).collect();
        for (place, event) in events.into_iter().enumerate() {
            let offset = event.event.offset();
            let before = &batch[..place];
            for predecessor in self.predecessors(offset) {
                let in_batch = self.order == "strict" && before.contains(&predecessor);
                assert!(
                    self.acked.contains(&predecessor) || in_batch,
                    "{predecessor} must come before {offset}"
                );
            }
            assert!(!self.live.contains_key(&offset), "{offset} is leased twice");
            self.live.insert(offset, (self.given.len(), now + LEASE));
            self.given.push(event);
        }
    }

    /// Changes a lease, and checks that the answer is the right one.
    async fn change(&mut self, running: &Running, back: usize, change: LeaseChange) {
        let Some(place) = self.given.len().checked_sub(back + 1) else { return };
        let event = &self.given[place];
        let offset = event.event.offset();
        let leases = [event.lease.to_string()];
        let now = Instant::now();
        self.expire(now);
        let is_live = self.live.get(&offset).is_some_and(|(live, _)| *live == place);
        let result = running.consumers.change(&leases, change.clone()).await.unwrap()[0];
        match result {
            LeaseResult::Expired | LeaseResult::Unknown => assert!(!is_live, "{offset} was ours: {result:?}"),
            LeaseResult::Acked if !is_live => {
                assert!(self.acked_leases.contains(&place), "{offset} was not ours to acknowledge");
                return;
            }
            _ => assert!(is_live, "{offset} was not ours: {result:?}"),
        }
        match result {
            LeaseResult::Acked => {
                self.live.remove(&offset);
                self.acked.insert(offset);
                self.acked_leases.insert(place);
            }
            LeaseResult::Nacked => {
                self.live.remove(&offset);
                if self.order == "strict" {
                    self.live.retain(|other, _| *other < offset);
                }
            }
            LeaseResult::Extended => drop(self.live.insert(offset, (place, now + LEASE))),
            LeaseResult::Expired | LeaseResult::Unknown => {}
        }
    }
}

async fn pull(running: &Running, max_events: usize, reaches_consumer: bool, model: &mut Model) -> usize {
    let request = PullRequest { max_events, wait: Duration::ZERO, lease: LEASE };
    let pulled = running.consumers.pull(request).await.unwrap();
    if !reaches_consumer {
        return 0;
    }
    let events = pulled.hand_over();
    let count = events.len();
    model.delivered(events);
    count
}

async fn run(order: &'static str, steps: Vec<Step>) {
    // Nothing dies, so that all must be acknowledged in the end.
    let changes = json!({ "order": order, "max_in_flight": 7, "retry": { "max_attempts": 100_000, "max_retrying": 5 } });
    let world = World::pulled(changes);
    world.log.cached.store(steps.len().is_multiple_of(2), std::sync::atomic::Ordering::Relaxed);
    let (keys, given) = (Vec::new(), Vec::new());
    let (acked, acked_leases) = (BTreeSet::new(), BTreeSet::new());
    let mut model = Model { order, keys, given, live: BTreeMap::new(), acked, acked_leases };
    let mut running = world.start();
    for step in steps {
        match step {
            Step::Append(key) => {
                world.log.append(&crate::model::event("t", Some(KEYS[key])));
                model.keys.push(key);
            }
            Step::Pull { max_events, reaches_consumer } => {
                pull(&running, max_events, reaches_consumer, &mut model).await;
            }
            Step::Ack(back) => model.change(&running, back, LeaseChange::Ack).await,
            Step::Nack(back, delay_ms) => {
                let delay = Some(Duration::from_millis(delay_ms));
                model.change(&running, back, LeaseChange::Nack { delay, reason: None }).await;
            }
            Step::Extend(back) => model.change(&running, back, LeaseChange::Extend { lease: LEASE }).await,
            Step::Pass(ms) => pass(Duration::from_millis(ms)).await,
            Step::Pause => running.pause(),
            Step::Resume => running.resume(),
            Step::Crash => {
                running.crash().await;
                world.assert_acked_or_waiting(&model.acked);
                model.live.clear();
                running = world.start();
            }
        }
    }
    running.resume();
    let end = model.keys.len() as u64;
    let mut rounds = 0;
    // A crash forgets what was acknowledged and not yet saved, so what is saved decides.
    let is_over = |durable: Durable| durable.progress.cursor() == end && durable.retrying.is_empty();
    while !is_over(world.store.durable()) {
        rounds += 1;
        assert!(
            rounds < 1000,
            "lost: {:?} of {end}",
            (0..end).filter(|it| !model.acked.contains(it)).collect::<Vec<_>>()
        );
        pull(&running, 5, true, &mut model).await;
        for back in 0..model.given.len().min(10) {
            model.change(&running, back, LeaseChange::Ack).await;
        }
        pass(Duration::from_millis(500)).await;
    }
    assert_eq!(model.acked.len() as u64, end, "settled without an acknowledgement");
    running.crash().await;
}

impl World {
    /// What is saved as settled is acknowledged, or waits for another try.
    fn assert_acked_or_waiting(&self, acked: &BTreeSet<u64>) {
        let durable = self.store.durable();
        for offset in (0..durable.progress.end()).filter(|&offset| durable.progress.is_settled(offset)) {
            assert!(acked.contains(&offset) || durable.retrying.contains_key(&offset), "{offset} is lost");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_after_a_later_event_was_given_back_keeps_strict_order() {
    let pull = Step::Pull { max_events: 2, reaches_consumer: true };
    let nack_of_the_later = Step::Nack(0, 0);
    let mut steps: Vec<Step> = (0..5).map(|_| Step::Append(0)).collect();
    steps.extend([pull, nack_of_the_later, Step::Pass(203), Step::Crash]);
    run("strict", steps).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_back_between_two_failures_keeps_strict_order() {
    let mut steps: Vec<Step> = (0..3).map(|_| Step::Append(0)).collect();
    steps.push(Step::Pull { max_events: 3, reaches_consumer: true });
    steps.extend([Step::Nack(0, 0), Step::Nack(2, 0)]);
    run("strict", steps).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_or_leased_twice_and_order_holds(
        order in prop_oneof![Just("unordered"), Just("by_key"), Just("strict")],
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(run(order, steps));
    }
}
