//! Changes that meet what a dispatcher finds of its target, callers that leave, and steps that fail.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use eventrelay_delivery::{
    BuildTarget, ChangeError, ControlError, Engine, EngineOptions, EventLog, RecordRun, RedriveRequest,
    ReplayRequest, RunState, Target,
};
use eventrelay_event::{Event, StoredEvent, Tenant, Timestamp};
use eventrelay_expression::EventFilter;
use eventrelay_log::disk::RealDisk;
use eventrelay_log::{Group, Log, Options, ReadError};
use eventrelay_sinks::{Attempt, BatchLimit, BoxFuture, Delivery, Outcome, Sink, SinkError};
use eventrelay_state::{
    Lifecycle, LogIdentity, OpenMode, Origin, ReplayState, Start, State, Subscription, SubscriptionRecord,
};
use futures_util::future::join_all;
use serde_json::json;
use tokio::sync::watch;

/// What a target was given, and what it answers once it is let.
struct Hand {
    given: watch::Sender<Vec<u64>>,
    held: watch::Sender<bool>,
    answer: Mutex<Outcome>,
}

struct HandSink(Arc<Hand>);

impl Hand {
    fn new() -> Self {
        Self {
            given: watch::Sender::default(),
            held: watch::Sender::default(),
            answer: Mutex::new(Outcome::Delivered),
        }
    }

    /// Answers that it wants nothing more, from now on or once it is let.
    fn is_gone(&self) {
        *self.answer.lock().unwrap() = Outcome::Gone { why: "410".to_owned() };
    }

    async fn until_given(&self, offset: u64) {
        let mut given = self.given.subscribe();
        let seen = given.wait_for(|given| given.contains(&offset));
        tokio::time::timeout(Duration::from_secs(20), seen).await.unwrap().unwrap();
    }
}

impl Sink for HandSink {
    fn kind(&self) -> &'static str {
        "hand"
    }

    fn batch_limit(&self) -> BatchLimit {
        BatchLimit { events: 10, bytes: 1 << 20 }
    }

    fn deliver<'a>(&'a self, batch: &'a [Delivery]) -> BoxFuture<'a, Vec<Attempt>> {
        Box::pin(async move {
            let offsets = batch.iter().map(|delivery| delivery.event.offset());
            self.0.given.send_modify(|given| given.extend(offsets));
            self.0.held.subscribe().wait_for(|held| !held).await.unwrap();
            let outcome = self.0.answer.lock().unwrap().clone();
            let attempt = |_| Attempt {
                outcome: outcome.clone(),
                started: SystemTime::now(),
                took: Duration::from_micros(5),
                response: None,
                exchange: None,
            };
            batch.iter().map(attempt).collect()
        })
    }
}

/// Targets by the name that a sink's settings give.
#[derive(Default)]
struct Hands {
    by_name: Mutex<BTreeMap<String, Arc<Hand>>>,
    /// How often from now on one cannot be made.
    unmade: AtomicUsize,
}

impl Hands {
    fn of(&self, name: &str) -> Arc<Hand> {
        let mut hands = self.by_name.lock().unwrap();
        Arc::clone(hands.entry(name.to_owned()).or_insert_with(|| Arc::new(Hand::new())))
    }
}

/// A log that is slow to find a time, until it is let.
struct SlowLog {
    log: Log,
    asked: watch::Sender<bool>,
    let_go: Mutex<std::sync::mpsc::Receiver<()>>,
}

impl EventLog for SlowLog {
    fn oldest_offset(&self) -> u64 {
        self.log.oldest_offset()
    }

    fn durable_offset(&self) -> u64 {
        self.log.durable_offset()
    }

    fn watch_durable_offset(&self) -> watch::Receiver<u64> {
        self.log.watch_durable_offset()
    }

    fn read_cached(&self, offset: u64) -> Option<Box<dyn RecordRun>> {
        EventLog::read_cached(&self.log, offset)
    }

    fn read(&self, offset: u64) -> Result<Option<Box<dyn RecordRun>>, ReadError> {
        EventLog::read(&self.log, offset)
    }

    fn seek_time(&self, micros: u64) -> Result<u64, ReadError> {
        self.asked.send_replace(true);
        self.let_go.lock().unwrap().recv_timeout(Duration::from_secs(20)).unwrap();
        self.log.seek_time(micros)
    }

    fn set_needed_offset(&self, offset: u64) {
        EventLog::set_needed_offset(&self.log, offset);
    }
}

struct Relay {
    directory: tempfile::TempDir,
    log: Log,
    state: State,
    engine: Arc<Engine>,
    hands: Arc<Hands>,
}

impl Relay {
    async fn start(checkpoint_interval: Duration) -> Self {
        Self::start_over(checkpoint_interval, |log| Arc::new(log)).await
    }

    /// Over what `wrapped` makes of the log.
    async fn start_over(
        checkpoint_interval: Duration,
        wrapped: impl FnOnce(Log) -> Arc<dyn EventLog>,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        let (log, state) = tokio::task::spawn_blocking(move || open(&path)).await.unwrap();
        let hands = Arc::new(Hands::default());
        let build: Arc<dyn BuildTarget> = Arc::new({
            let hands = Arc::clone(&hands);
            move |spec: &Subscription, _: Origin| {
                let one_less = |left: usize| left.checked_sub(1);
                if hands.unmade.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
                    return Err(SinkError::UnknownKind { kind: String::new(), known: &[] });
                }
                let kind = &spec.sink.as_ref().unwrap().kind;
                Ok(Target::Push(Arc::new(HandSink(hands.of(kind))) as Arc<dyn Sink>))
            }
        });
        let options = EngineOptions { checkpoint_interval, ..EngineOptions::default() };
        let over = wrapped(log.clone());
        let engine = Engine::start(over, state.clone(), Vec::new(), build, options).await.unwrap();
        Self { directory, log, state, engine: Arc::new(engine), hands }
    }

    async fn publish(&self) -> u64 {
        let event = Event::new(Tenant::default(), "order.created".to_owned(), "/test".to_owned());
        let mut group = Group::new();
        group.push(None, |bytes| StoredEvent::encode(&event, bytes));
        let reservation = self.log.reserve(group.bytes()).await.unwrap();
        self.log.append(reservation, group).await.unwrap();
        self.log.durable_offset() - 1
    }

    async fn make(&self, sink: &str) -> SubscriptionRecord {
        self.engine.create(spec(sink, 1), Lifecycle::Enabled, None).await.unwrap()
    }

    /// Changes the subscription, and waits until that is durable: the change itself may still be under way.
    async fn begin_to_replace(
        &self,
        spec: Subscription,
        revision: u64,
    ) -> tokio::task::JoinHandle<SubscriptionRecord> {
        let engine = Arc::clone(&self.engine);
        let change = tokio::spawn(async move { engine.replace(spec, revision, None).await.unwrap() });
        self.until("the change is durable", |relay| relay.stored().revision > revision).await;
        change
    }

    /// Makes the subscription, and has an event delivered.
    async fn deliver_one(&self, sink: &str) -> SubscriptionRecord {
        let made = self.make(sink).await;
        let offset = self.publish().await;
        self.hands.of(sink).until_given(offset).await;
        self.until("it is settled", |relay| {
            relay.engine.subscription("default", "a").unwrap().durable_cursor == offset + 1
        })
        .await;
        made
    }

    /// How many replays are stored, if all of them have come to their end.
    fn ended_replays(&self) -> Option<usize> {
        let replays = self.engine.replays("default", "a").unwrap();
        replays.iter().all(|replay| replay.progress.state == ReplayState::Done).then_some(replays.len())
    }

    fn stored(&self) -> SubscriptionRecord {
        self.state.subscription("default", "a").unwrap().unwrap()
    }

    /// Has the store do what no failing disk could be told to.
    fn tamper(&self, sql: &str) {
        let state = rusqlite::Connection::open(self.directory.path().join("state.db")).unwrap();
        state.execute_batch(sql).unwrap();
    }

    fn run_state(&self) -> RunState {
        self.engine.subscription("default", "a").unwrap().run_state
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let wait = async {
            while !is_so(self) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| panic!("never: {what}"));
    }

    async fn end(self) {
        self.engine.shutdown(Duration::from_secs(5)).await;
        self.state.close().await;
    }
}

fn open(directory: &std::path::Path) -> (Log, State) {
    let log = Log::open(Arc::new(RealDisk::default()), Options::new(directory.join("log"))).unwrap();
    let identity = LogIdentity { log_id: log.id().0, oldest_offset: 0, end_offset: 0 };
    (log, State::open(&directory.join("state.db"), identity, OpenMode::Normal).unwrap())
}

fn spec(sink: &str, max_in_flight: u32) -> Subscription {
    serde_json::from_value(json!({
        "name": "a", "start": "earliest", "sink": {"kind": sink}, "max_in_flight": max_in_flight,
    }))
    .unwrap()
}

fn replay_from(from: Start) -> ReplayRequest {
    ReplayRequest { from, to: None, filter: EventFilter::default(), max_events_per_second: None }
}

const SOON: Duration = Duration::from_millis(5);
/// Nothing is saved before the end.
const NEVER: Duration = Duration::from_secs(3600);

#[tokio::test(flavor = "multi_thread")]
async fn the_last_answer_of_an_old_target_says_nothing_of_the_new_one() {
    let relay = Relay::start(SOON).await;
    let old = relay.hands.of("old");
    old.held.send_replace(true);
    let made = relay.make("old").await;
    let offset = relay.publish().await;
    old.until_given(offset).await;
    let change = relay.begin_to_replace(spec("new", 1), made.revision).await;
    old.is_gone();
    old.held.send_replace(false);
    let changed = change.await.unwrap();
    assert_eq!((&changed.lifecycle, &changed), (&Lifecycle::Enabled, &relay.stored()));
    relay.hands.of("new").until_given(offset).await;
    assert_eq!(relay.run_state(), RunState::Running);
    // The answered revision is the one to go on from.
    relay.engine.replace(spec("new", 2), changed.revision, None).await.unwrap();
    relay.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_goes_during_a_change_is_gone_after_it() {
    let relay = Relay::start(SOON).await;
    let hand = relay.hands.of("one");
    hand.held.send_replace(true);
    let made = relay.make("one").await;
    let offset = relay.publish().await;
    hand.until_given(offset).await;
    let change = relay.begin_to_replace(spec("one", 2), made.revision).await;
    hand.is_gone();
    hand.held.send_replace(false);
    let changed = change.await.unwrap();
    assert_eq!(changed, relay.stored());
    assert_eq!(changed.lifecycle, Lifecycle::Disabled { reason: "410".to_owned() });
    assert_eq!(relay.run_state(), RunState::Disabled { reason: "410".to_owned() });
    relay.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_is_the_last_word_on_a_subscription_that_was_disabled() {
    let relay = Relay::start(NEVER).await;
    let hand = relay.hands.of("one");
    hand.is_gone();
    relay.make("one").await;
    relay.publish().await;
    relay.until("it is disabled", |relay| matches!(relay.run_state(), RunState::Disabled { .. })).await;
    hand.held.send_replace(true);
    relay.engine.resume("default", "a", None).await.unwrap();
    relay.engine.pause("default", "a", None).await.unwrap();
    assert_eq!(relay.stored().lifecycle, Lifecycle::Paused);
    hand.held.send_replace(false);
    // Saves all that has happened.
    relay.engine.shutdown(Duration::from_secs(5)).await;
    assert_eq!(relay.stored().lifecycle, Lifecycle::Paused);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_begun_is_done_also_when_who_asked_for_it_has_left() {
    /// Asks, and leaves before there is an answer.
    async fn ask_and_leave(asked: impl Future) {
        let _ = futures_util::poll!(std::pin::pin!(asked));
    }
    let relay = Relay::start(SOON).await;
    relay.deliver_one("one").await;
    ask_and_leave(relay.engine.pause("default", "a", None)).await;
    relay.until("the pause is stored", |relay| relay.stored().lifecycle == Lifecycle::Paused).await;
    relay.until("it is paused", |relay| relay.run_state() == RunState::Paused).await;
    ask_and_leave(relay.engine.resume("default", "a", None)).await;
    relay.until("the resumption is stored", |relay| relay.stored().lifecycle == Lifecycle::Enabled).await;
    relay.until("it is resumed", |relay| relay.run_state() == RunState::Running).await;
    ask_and_leave(relay.engine.replay("default", "a", replay_from(Start::Earliest))).await;
    relay.until("the replay has ended", |relay| relay.ended_replays() == Some(1)).await;
    ask_and_leave(relay.engine.redrive("default", "a", RedriveRequest::default())).await;
    relay.until("the redrive has ended", |relay| relay.ended_replays() == Some(2)).await;
    relay.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replays_that_are_asked_for_at_once_keep_to_the_limit() {
    let relay = Relay::start(SOON).await;
    relay.deliver_one("one").await;
    relay.engine.pause("default", "a", None).await.unwrap();
    let asked = (0..16).map(|_| relay.engine.replay("default", "a", replay_from(Start::Earliest)));
    let answers = join_all(asked).await;
    let refused = |answer: &Result<_, _>| matches!(answer, Err(ControlError::TooManyReplays { limit: 4 }));
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 4);
    assert_eq!(answers.iter().filter(|answer| refused(answer)).count(), 12);
    assert_eq!(relay.engine.replays("default", "a").unwrap().len(), 4);
    relay.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_meets_a_change_is_run() {
    let (asked, mut is_asked) = watch::channel(false);
    let (go, let_go) = std::sync::mpsc::channel();
    let slow = |log| Arc::new(SlowLog { log, asked, let_go: Mutex::new(let_go) }) as Arc<dyn EventLog>;
    let relay = Relay::start_over(SOON, slow).await;
    let made = relay.deliver_one("one").await;
    let engine = Arc::clone(&relay.engine);
    let replay =
        tokio::spawn(
            async move { engine.replay("default", "a", replay_from(Start::Time(Timestamp(0)))).await },
        );
    tokio::time::timeout(Duration::from_secs(20), is_asked.wait_for(|asked| *asked)).await.unwrap().unwrap();
    let engine = Arc::clone(&relay.engine);
    let mut change = tokio::spawn(async move { engine.replace(spec("one", 2), made.revision, None).await });
    let overtaken = tokio::time::timeout(Duration::from_millis(300), &mut change).await;
    go.send(()).unwrap();
    let changed = match overtaken {
        Ok(changed) => changed,
        Err(_) => change.await,
    };
    changed.unwrap().unwrap();
    replay.await.unwrap().unwrap();
    relay.until("the replay has ended", |relay| relay.ended_replays() == Some(1)).await;
    relay.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_cannot_be_started_says_so_and_is_started_by_a_resumption() {
    let relay = Relay::start(SOON).await;
    let made = relay.deliver_one("one").await;
    relay.tamper("ALTER TABLE cursors RENAME TO hidden");
    let changed = relay.engine.replace(spec("two", 1), made.revision, None).await;
    assert!(matches!(changed, Err(ChangeError::State(_))), "{changed:?}");
    assert_eq!(relay.stored().revision, made.revision + 1, "it is stored all the same");
    assert!(matches!(relay.run_state(), RunState::Damaged { .. }), "{:?}", relay.run_state());
    let replay = relay.engine.replay("default", "a", replay_from(Start::Earliest)).await;
    assert!(matches!(replay, Err(ControlError::NotRunning { .. })), "{replay:?}");
    assert_eq!(relay.ended_replays(), Some(0), "nobody would run it");
    relay.tamper("ALTER TABLE hidden RENAME TO cursors");
    relay.engine.resume("default", "a", None).await.unwrap();
    assert_eq!(relay.run_state(), RunState::Running);
    let offset = relay.publish().await;
    relay.hands.of("two").until_given(offset).await;
    relay.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_subscription_that_cannot_be_started_is_started_by_a_resumption() {
    let relay = Relay::start(SOON).await;
    // A new one's beginning cannot be read.
    relay.tamper(
        "CREATE TRIGGER bad AFTER INSERT ON cursors BEGIN UPDATE cursors SET settled_beyond = x'ff'; END",
    );
    let made = relay.engine.create(spec("one", 1), Lifecycle::Enabled, None).await;
    assert!(matches!(made, Err(ChangeError::State(_))), "{made:?}");
    relay.tamper("DROP TRIGGER bad; UPDATE cursors SET settled_beyond = x'01'");
    relay.engine.resume("default", "a", None).await.unwrap();
    let offset = relay.publish().await;
    relay.hands.of("one").until_given(offset).await;
    relay.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_fails_leaves_the_subscription_as_its_target_has_left_it() {
    let relay = Relay::start(NEVER).await;
    let hand = relay.hands.of("one");
    hand.is_gone();
    relay.make("one").await;
    let offset = relay.publish().await;
    relay.until("it is disabled", |relay| matches!(relay.run_state(), RunState::Disabled { .. })).await;
    assert_eq!(relay.stored().lifecycle, Lifecycle::Enabled, "that is not stored yet");
    relay.tamper("CREATE TRIGGER kept BEFORE DELETE ON subscriptions BEGIN SELECT RAISE(ABORT, 'kept'); END");
    relay.hands.unmade.store(2, Ordering::Relaxed);
    let deleted = relay.engine.delete("default", "a", None, None).await;
    assert!(matches!(deleted, Err(ChangeError::State(_))), "{deleted:?}");
    assert_eq!(relay.run_state(), RunState::Disabled { reason: "410".to_owned() });
    *hand.answer.lock().unwrap() = Outcome::Delivered;
    hand.given.send_replace(Vec::new());
    relay.engine.resume("default", "a", None).await.unwrap();
    hand.until_given(offset).await;
    relay.tamper("DROP TRIGGER kept");
    relay.engine.delete("default", "a", None, None).await.unwrap();
    relay.end().await;
}
