//! Random interleavings of everything that an operator does, against a simple model.
//!
//! Steps: publish, make a subscription, change it, delete it, have its target fail or refuse, pause, resume, seek, replay, redrive,
//! retry, restart (in order, or as after a crash). The model is what each subscription owes: every event at or past the place that
//! it was last moved to. In the end, with targets that take everything:
//! - every event that is owed was delivered since, or is a dead letter, which a redrive delivers;
//! - every replay and redrive has ended, and accounts for each of its events;
//! - nothing below a subscription's beginning was ever delivered, unless it was moved there;
//! - a deleted subscription's target hears nothing more.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use eventrelay_delivery::{
    BuildTarget, ControlError, Engine, EngineOptions, RedriveRequest, ReplayRequest, Target, resolve_start,
};
use eventrelay_event::{Event, StoredEvent, Tenant};
use eventrelay_expression::EventFilter;
use eventrelay_log::disk::RealDisk;
use eventrelay_log::{Group, Log, Options};
use eventrelay_sinks::{Attempt, BatchLimit, BoxFuture, Delivery, Outcome, Sink};
use eventrelay_state::{
    Lifecycle, LogIdentity, OpenMode, Origin, ReplayState, Start, State, Subscription, SubscriptionRecord,
};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::json;

const NAMES: [&str; 3] = ["a", "b", "c"];
const ORDERS: [&str; 3] = ["unordered", "by_key", "strict"];
const STEPS: usize = 60;

/// What a target does with what it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Takes,
    Fails,
    Refuses,
}

/// One incarnation's target.
struct Hand {
    mood: Mutex<Mood>,
    taken: Mutex<BTreeSet<u64>>,
    given: Mutex<usize>,
}

struct HandSink(Arc<Hand>);

impl Sink for HandSink {
    fn kind(&self) -> &'static str {
        "hand"
    }

    fn batch_limit(&self) -> BatchLimit {
        BatchLimit { events: 4, bytes: 1 << 20 }
    }

    fn deliver<'a>(&'a self, batch: &'a [Delivery]) -> BoxFuture<'a, Vec<Attempt>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            *self.0.given.lock().unwrap() += batch.len();
            let outcome = match *self.0.mood.lock().unwrap() {
                Mood::Takes => Outcome::Delivered,
                Mood::Fails => Outcome::Retry { after: None, why: "fails".to_owned() },
                Mood::Refuses => Outcome::Reject { why: "refuses".to_owned() },
            };
            if outcome == Outcome::Delivered {
                self.0.taken.lock().unwrap().extend(batch.iter().map(|delivery| delivery.event.offset()));
            }
            let attempt = |_| Attempt {
                outcome: outcome.clone(),
                started: SystemTime::now(),
                took: Duration::ZERO,
                response: None,
                exchange: None,
            };
            batch.iter().map(attempt).collect()
        })
    }
}

/// Targets by the number of the incarnation, which the sink's settings give.
#[derive(Default)]
struct Hands(Mutex<BTreeMap<String, Arc<Hand>>>);

impl Hands {
    fn of(&self, kind: &str) -> Arc<Hand> {
        let new = || {
            Arc::new(Hand { mood: Mutex::new(Mood::Takes), taken: Mutex::default(), given: Mutex::default() })
        };
        Arc::clone(self.0.lock().unwrap().entry(kind.to_owned()).or_insert_with(new))
    }
}

/// What the model knows of a subscription.
struct Known {
    hand: Arc<Hand>,
    kind: String,
    revision: u64,
    /// The lowest offset that may ever have been delivered.
    lowest: u64,
    /// Every event from here on is owed.
    owed_from: u64,
}

struct World {
    directory: PathBuf,
    log: Log,
    state: State,
    /// None only while it is started anew.
    running: Option<Engine>,
    hands: Arc<Hands>,
    known: BTreeMap<&'static str, Known>,
    /// Targets of what was deleted, with how much they had been given by then.
    deleted: Vec<(Arc<Hand>, usize)>,
    incarnations: usize,
    random: StdRng,
}

fn spec(name: &str, kind: &str, order: &str, start: &serde_json::Value) -> Subscription {
    serde_json::from_value(json!({
        "name": name, "start": start, "order": order, "sink": {"kind": kind},
        "retry": {"max_attempts": 3, "initial_backoff_ms": 1, "backoff_multiplier": 1},
        "breaker": {"initial_probe_delay_ms": 1, "max_probe_delay_ms": 2},
    }))
    .unwrap()
}

fn open(directory: &std::path::Path) -> (Log, State) {
    let mut options = Options::new(directory.join("log"));
    options.segment_bytes = 1 << 20;
    options.max_commit_bytes = 64 << 10;
    let log = Log::open(Arc::new(RealDisk::default()), options).unwrap();
    let identity = LogIdentity {
        log_id: log.id().0,
        oldest_offset: log.oldest_offset(),
        end_offset: log.durable_offset(),
    };
    let state = State::open(&directory.join("state.db"), identity, OpenMode::Normal).unwrap();
    (log, state)
}

async fn start(log: &Log, state: &State, hands: &Arc<Hands>) -> Engine {
    let build: Arc<dyn BuildTarget> = Arc::new({
        let hands = Arc::clone(hands);
        move |spec: &Subscription, _: Origin| {
            Ok(Target::Push(Arc::new(HandSink(hands.of(&spec.sink.as_ref().unwrap().kind)))))
        }
    });
    let made = state.reconcile(Vec::new(), async |start| resolve_start(log, start).await).await.unwrap();
    let with_targets = |record: SubscriptionRecord| {
        let target = build.build(&record.spec, record.origin).unwrap();
        (record, target)
    };
    let records = made.made_by_api.into_iter().map(with_targets).collect();
    let options = EngineOptions {
        checkpoint_interval: Duration::from_millis(2),
        seed: Some(7),
        ..EngineOptions::default()
    };
    Engine::start(log.clone(), state.clone(), records, build, options).await.unwrap()
}

impl World {
    async fn new(directory: PathBuf, seed: u64) -> Self {
        let at = directory.clone();
        let (log, state) = tokio::task::spawn_blocking(move || open(&at)).await.unwrap();
        let hands = Arc::new(Hands::default());
        let engine = start(&log, &state, &hands).await;
        let random = StdRng::seed_from_u64(seed);
        Self {
            directory,
            log,
            state,
            running: Some(engine),
            hands,
            known: BTreeMap::new(),
            deleted: Vec::new(),
            incarnations: 0,
            random,
        }
    }

    async fn step(&mut self) -> String {
        let name = *NAMES.choose(&mut self.random).unwrap();
        match self.random.random_range(0..100) {
            0..30 => self.publish().await,
            30..45 => self.set_mood(name),
            45..55 => self.make_or_change(name).await,
            55..60 => self.delete(name).await,
            60..68 => self.seek(name).await,
            68..76 => self.replay(name).await,
            76..84 => self.redrive(name).await,
            84..90 => self.pause_or_resume(name).await,
            90..94 => self.retry(name).await,
            _ => self.restart().await,
        }
    }

    async fn publish(&mut self) -> String {
        let count = self.random.random_range(1..8);
        for _ in 0..count {
            let mut event = Event::new(Tenant::default(), "t".to_owned(), "/s".to_owned());
            event.key = Some(format!("k{}", self.random.random_range(0..3)));
            let mut group = Group::new();
            group.push(None, |bytes| StoredEvent::encode(&event, bytes));
            let reservation = self.log.reserve(group.bytes()).await.unwrap();
            self.log.append(reservation, group).await.unwrap();
        }
        format!("publish {count}")
    }

    fn set_mood(&mut self, name: &'static str) -> String {
        let mood = *[Mood::Takes, Mood::Fails, Mood::Refuses].choose(&mut self.random).unwrap();
        if let Some(known) = self.known.get(name) {
            *known.hand.mood.lock().unwrap() = mood;
        }
        format!("{name} {mood:?}")
    }

    async fn make_or_change(&mut self, name: &'static str) -> String {
        let order = *ORDERS.choose(&mut self.random).unwrap();
        let end = self.log.durable_offset();
        if let Some(known) = self.known.get(name) {
            let changed = spec(name, &known.kind, order, &json!("latest"));
            let record = self.engine().replace(changed, known.revision, None).await.unwrap();
            self.known.get_mut(name).unwrap().revision = record.revision;
            return format!("change {name} to {order}");
        }
        self.incarnations += 1;
        let kind = format!("hand{}", self.incarnations);
        let from = if self.random.random_bool(0.5) { 0 } else { end };
        let made = spec(name, &kind, order, &json!({"offset": from}));
        let record = self.engine().create(made, Lifecycle::Enabled, None).await.unwrap();
        let hand = self.hands.of(&kind);
        self.known
            .insert(name, Known { hand, kind, revision: record.revision, lowest: from, owed_from: from });
        format!("make {name} from {from}, {order}")
    }

    async fn delete(&mut self, name: &'static str) -> String {
        if let Some(known) = self.known.remove(name) {
            self.engine().delete("default", name, None, None).await.unwrap();
            let given = *known.hand.given.lock().unwrap();
            self.deleted.push((known.hand, given));
        }
        format!("delete {name}")
    }

    async fn seek(&mut self, name: &'static str) -> String {
        let to = self.random.random_range(0..=self.log.durable_offset());
        if let Some(known) = self.known.get_mut(name) {
            // What was delivered before counts no more, but for what is below. Before the seek, for it delivers at once.
            known.hand.taken.lock().unwrap().retain(|offset| *offset < to);
            (known.lowest, known.owed_from) = (known.lowest.min(to), to);
            let engine = self.running.as_ref().unwrap();
            assert_eq!(engine.seek("default", name, Start::Offset(to)).await.unwrap(), to);
        }
        format!("seek {name} to {to}")
    }

    async fn replay(&mut self, name: &'static str) -> String {
        let from = self.random.random_range(0..=self.log.durable_offset());
        if let Some(known) = self.known.get_mut(name) {
            known.lowest = known.lowest.min(from);
            let engine = self.running.as_ref().unwrap();
            let request = ReplayRequest {
                from: Start::Offset(from),
                to: None,
                filter: EventFilter::default(),
                max_events_per_second: None,
            };
            let begun = engine.replay("default", name, request).await;
            assert!(matches!(begun, Ok(_) | Err(ControlError::TooManyReplays { .. })), "{begun:?}");
        }
        format!("replay {name} from {from}")
    }

    async fn redrive(&mut self, name: &'static str) -> String {
        if self.known.contains_key(name) {
            let begun = self.engine().redrive("default", name, RedriveRequest::default()).await;
            assert!(matches!(begun, Ok(_) | Err(ControlError::TooManyReplays { .. })), "{begun:?}");
        }
        format!("redrive {name}")
    }

    async fn pause_or_resume(&mut self, name: &'static str) -> String {
        let pause = self.random.random_bool(0.5);
        if self.known.contains_key(name) {
            let done = match pause {
                true => self.engine().pause("default", name, None).await,
                false => self.engine().resume("default", name, None).await,
            };
            done.unwrap();
            self.see_revision(name);
        }
        format!("{} {name}", if pause { "pause" } else { "resume" })
    }

    async fn retry(&mut self, name: &'static str) -> String {
        let end = self.log.durable_offset();
        if end == 0 || !self.known.contains_key(name) {
            return "retry nothing".to_owned();
        }
        let offset = self.random.random_range(0..end);
        let known = self.known.get_mut(name).unwrap();
        known.lowest = known.lowest.min(offset);
        let retried = self.engine().retry_now("default", name, offset).await;
        assert!(matches!(retried, Ok(_) | Err(ControlError::TooManyReplays { .. })), "{retried:?}");
        format!("retry {offset} of {name}")
    }

    async fn restart(&mut self) -> String {
        let in_order = self.random.random_bool(0.5);
        if in_order {
            self.engine().shutdown(Duration::from_secs(5)).await;
        }
        // An engine that is dropped ends as in a crash.
        drop(self.running.take());
        self.state.close().await;
        let (log, at) = (self.log.clone(), self.directory.clone());
        let reopened = move || {
            log.close();
            open(&at)
        };
        (self.log, self.state) = tokio::task::spawn_blocking(reopened).await.unwrap();
        self.running = Some(start(&self.log, &self.state, &self.hands).await);
        format!("restart, {}", if in_order { "in order" } else { "as after a crash" })
    }

    fn engine(&self) -> &Engine {
        self.running.as_ref().unwrap()
    }

    fn see_revision(&mut self, name: &'static str) {
        let record = self.state.subscription("default", name).unwrap().unwrap();
        self.known.get_mut(name).unwrap().revision = record.revision;
    }

    /// With targets that take everything, waits until nothing is on its way.
    async fn settle(&self) {
        for (name, known) in &self.known {
            *known.hand.mood.lock().unwrap() = Mood::Takes;
            self.engine().resume("default", name, None).await.unwrap();
        }
        let end = self.log.durable_offset();
        let is_quiet = |name: &str| {
            let status = self.engine().subscription("default", name).unwrap();
            let replays = self.engine().replays("default", name).unwrap();
            let running = replays.iter().any(|replay| replay.progress.state == ReplayState::Running);
            status.durable_cursor == end && status.retrying == 0 && status.in_flight_calls == 0 && !running
        };
        let wait = async {
            while !self.known.keys().all(|name| is_quiet(name)) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(30), wait).await.is_err() {
            panic!("never quiet: {:#?}", self.engine().subscriptions());
        }
    }

    async fn check(&self) {
        self.settle().await;
        for (name, known) in &self.known {
            let record = self.state.subscription("default", name).unwrap().unwrap();
            let letters = self.state.dead_letters(record.id, 0, 10_000).unwrap();
            let dead: BTreeSet<u64> = letters.iter().map(|letter| letter.offset).collect();
            let taken = known.hand.taken.lock().unwrap().clone();
            let owed = known.owed_from..self.log.durable_offset();
            let missing: Vec<u64> =
                owed.filter(|offset| !taken.contains(offset) && !dead.contains(offset)).collect();
            assert!(missing.is_empty(), "{name} owes {missing:?}");
            let low: Vec<&u64> = taken.range(..known.lowest).collect();
            assert!(low.is_empty(), "{name} delivered {low:?}, below {}", known.lowest);
            for replay in self.engine().replays("default", name).unwrap() {
                let progress = &replay.progress;
                assert_eq!(progress.state, ReplayState::Done, "{replay:?}");
                assert_eq!(progress.next_offset, replay.request.end_offset, "{replay:?}");
            }
            self.engine().redrive("default", name, RedriveRequest::default()).await.unwrap();
        }
        self.settle().await;
        for (name, known) in &self.known {
            let record = self.state.subscription("default", name).unwrap().unwrap();
            assert_eq!(
                self.state.dead_letter_count(record.id).unwrap(),
                0,
                "{name}: a redrive delivers them"
            );
            let taken = known.hand.taken.lock().unwrap();
            assert!(
                (known.owed_from..self.log.durable_offset()).all(|offset| taken.contains(&offset)),
                "{name}"
            );
        }
        for (hand, given) in &self.deleted {
            assert_eq!(
                *hand.given.lock().unwrap(),
                *given,
                "a deleted subscription's target hears nothing more"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_an_operator_does_nothing_that_is_owed_is_lost() {
    let rounds = if std::env::var_os("TEST_LONG").is_some() { 200 } else { 12 };
    for seed in 0..rounds {
        let directory = tempfile::tempdir().unwrap();
        let mut world = World::new(directory.path().to_owned(), seed).await;
        let mut steps = Vec::new();
        for _ in 0..STEPS {
            steps.push(world.step().await);
        }
        println!("seed {seed}: {}", steps.join("; "));
        world.check().await;
        world.engine().shutdown(Duration::from_secs(5)).await;
        world.state.close().await;
        let log = world.log.clone();
        tokio::task::spawn_blocking(move || log.close()).await.unwrap();
    }
}
