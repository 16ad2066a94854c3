//! The engine over a real log and a real state store.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use eventrelay_delivery::{
    BuildTarget, ControlError, Engine, EngineOptions, EventLog, RecordRun, RunState, ShutdownReport,
    StartError, SubscriptionStatus, resolve_start,
};
use eventrelay_event::{Event, StoredEvent, Tenant, Timestamp};
use eventrelay_log::disk::RealDisk;
use eventrelay_log::{Group, Log, Options, ReadError};
use eventrelay_sinks::{Attempt, BatchLimit, BoxFuture, Delivery, Outcome, Sink};
use eventrelay_state::{
    Checkpoint, Lifecycle, LogIdentity, OpenMode, Progress, Start, State, Subscription, SubscriptionRecord,
};
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::sync::watch;

/// Remembers what it was given; answers as `outcome` says.
struct Target {
    outcome: fn(&Delivery) -> Outcome,
    delivered: Mutex<Vec<u64>>,
    tried: Mutex<BTreeSet<u64>>,
    calls: watch::Sender<usize>,
}

impl Target {
    fn new(outcome: fn(&Delivery) -> Outcome) -> Arc<Self> {
        Arc::new(Self {
            outcome,
            delivered: Mutex::default(),
            tried: Mutex::default(),
            calls: watch::channel(0).0,
        })
    }

    fn delivered(&self) -> BTreeSet<u64> {
        self.delivered.lock().unwrap().iter().copied().collect()
    }

    fn tried(&self) -> BTreeSet<u64> {
        self.tried.lock().unwrap().clone()
    }

    async fn until(&self, condition: impl Fn(&Self) -> bool) {
        let mut calls = self.calls.subscribe();
        let wait = calls.wait_for(|_| condition(self));
        tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap().unwrap();
    }
}

impl Sink for Target {
    fn kind(&self) -> &'static str {
        "target"
    }

    fn batch_limit(&self) -> BatchLimit {
        BatchLimit { events: 10, bytes: 1 << 20 }
    }

    fn deliver<'a>(&'a self, batch: &'a [Delivery]) -> BoxFuture<'a, Vec<Attempt>> {
        let attempt = |delivery: &Delivery| {
            let outcome = (self.outcome)(delivery);
            self.tried.lock().unwrap().insert(delivery.event.offset());
            if outcome == Outcome::Delivered {
                self.delivered.lock().unwrap().push(delivery.event.offset());
            }
            Attempt {
                outcome,
                started: SystemTime::now(),
                took: Duration::from_micros(5),
                response: None,
                exchange: None,
            }
        };
        let attempts: Vec<Attempt> = batch.iter().map(attempt).collect();
        self.calls.send_modify(|calls| *calls += 1);
        Box::pin(async move { attempts })
    }
}

/// A data directory, with a log and a state in it.
struct Relay {
    log: Log,
    state: State,
    /// The target of subscriptions that are made later.
    made: Arc<Target>,
}

impl Relay {
    async fn open(directory: PathBuf) -> Self {
        let open = move || {
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
            Self { log, state, made: Target::new(|_| Outcome::Delivered) }
        };
        tokio::task::spawn_blocking(open).await.unwrap()
    }

    async fn publish(&self, count: usize) {
        let event = Event::new(Tenant::default(), "order.created".to_owned(), "/test".to_owned());
        for _ in 0..count {
            let mut group = Group::new();
            group.push(None, |bytes| StoredEvent::encode(&event, bytes));
            let reservation = self.log.reserve(group.bytes()).await.unwrap();
            self.log.append(reservation, group).await.unwrap();
        }
    }

    async fn declare(&self, names: &[&str]) -> Vec<SubscriptionRecord> {
        let spec = |name: &&str| -> Subscription {
            serde_json::from_value(json!({ "name": name, "start": "earliest", "sink": { "kind": "target" } }))
                .unwrap()
        };
        let declared = names.iter().map(spec).collect();
        let log = &self.log;
        self.state.reconcile(declared, async |start| resolve_start(log, start).await).await.unwrap().declared
    }

    async fn start(&self, records: Vec<SubscriptionRecord>, targets: &[Arc<Target>]) -> Engine {
        let sinks = targets
            .iter()
            .map(|target| eventrelay_delivery::Target::Push(Arc::clone(target) as Arc<dyn Sink>));
        let subscriptions = records.into_iter().zip(sinks).collect();
        let options =
            EngineOptions { checkpoint_interval: Duration::from_millis(5), ..EngineOptions::default() };
        Engine::start(self.log.clone(), self.state.clone(), subscriptions, self.targets(), options)
            .await
            .unwrap()
    }

    /// What subscriptions that are made later deliver through.
    fn targets(&self) -> Arc<dyn BuildTarget> {
        let made = Arc::clone(&self.made);
        Arc::new(move |_: &Subscription, _| {
            Ok(eventrelay_delivery::Target::Push(Arc::clone(&made) as Arc<dyn Sink>))
        })
    }

    async fn close(self) {
        self.state.close().await;
        tokio::task::spawn_blocking(move || self.log.close()).await.unwrap();
    }
}

fn status(engine: &Engine, name: &str) -> SubscriptionStatus {
    engine.subscriptions().into_iter().find(|status| status.name == name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_delivered_is_not_delivered_again_after_a_shutdown() {
    let directory = tempfile::tempdir().unwrap();
    let relay = Relay::open(directory.path().to_owned()).await;
    let good = Target::new(|_| Outcome::Delivered);
    let picky = Target::new(|delivery| match delivery.event.offset() % 2 {
        0 => Outcome::Delivered,
        _ => Outcome::Reject { why: "odd".to_owned() },
    });
    let records = relay.declare(&["good", "picky"]).await;
    let ids: Vec<_> = records.iter().map(|record| record.id).collect();
    let engine = relay.start(records, &[good.clone(), picky.clone()]).await;
    relay.publish(50).await;
    good.until(|target| target.delivered() == (0..50).collect()).await;
    // Also the last one, which is refused: before it is tried, it is no dead letter.
    picky.until(|target| target.tried() == (0..50).collect()).await;
    assert_eq!(engine.shutdown(Duration::from_secs(5)).await, ShutdownReport::default());
    assert_eq!(status(&engine, "good").run_state, RunState::Stopped);
    assert_eq!((status(&engine, "good").durable_cursor, status(&engine, "picky").dead_letters), (50, 25));
    let letters = relay.state.dead_letters(ids[1], 0, 100).unwrap();
    let letter = letters[3].clone();
    let copy = StoredEvent::decode(letter.offset, letter.append_time_micros.unwrap(), letter.event.unwrap())
        .unwrap();
    assert_eq!((letters.len(), copy.event_type(), letter.reason.as_str()), (25, "order.created", "odd"));
    relay.close().await;

    let relay = Relay::open(directory.path().to_owned()).await;
    let records = relay.declare(&["good", "picky"]).await;
    let engine = relay.start(records, &[good.clone(), picky.clone()]).await;
    relay.publish(1).await;
    good.until(|target| target.delivered().contains(&50)).await;
    assert_eq!(good.delivered.lock().unwrap().len(), 51, "nothing twice");
    engine.shutdown(Duration::from_secs(5)).await;
    relay.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_is_durable_and_named_subscriptions_must_exist() {
    let directory = tempfile::tempdir().unwrap();
    let relay = Relay::open(directory.path().to_owned()).await;
    let target = Target::new(|_| Outcome::Delivered);
    // The second has no target, and is not started.
    let records = relay.declare(&["orders", "idle"]).await;
    let engine = relay.start(records, std::slice::from_ref(&target)).await;
    assert!(matches!(engine.pause("other", "orders", None).await, Err(ControlError::NotFound { .. })));
    assert!(matches!(engine.pause("other", "idle", None).await, Err(ControlError::NotFound { .. })));
    assert!(matches!(engine.pause("default", "idle", None).await, Err(ControlError::NotRunning { .. })));
    engine.pause("default", "orders", None).await.unwrap();
    drop(engine); // as a crash
    let records = relay.declare(&["orders"]).await;
    let engine = relay.start(records, std::slice::from_ref(&target)).await;
    relay.publish(3).await;
    let paused = status(&engine, "orders");
    assert_eq!((paused.run_state, paused.lag_events), (RunState::Paused, 3));
    engine.resume("default", "orders", None).await.unwrap();
    target.until(|target| target.delivered().len() == 3).await;
    engine.shutdown(Duration::from_secs(5)).await;
    relay.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_name_each_subscription() {
    let directory = tempfile::tempdir().unwrap();
    let relay = Relay::open(directory.path().to_owned()).await;
    let targets =
        [Target::new(|_| Outcome::Delivered), Target::new(|_| Outcome::Reject { why: String::new() })];
    let records = relay.declare(&["a", "b"]).await;
    let engine = relay.start(records, &targets).await;
    relay.publish(4).await;
    targets[0].until(|target| target.delivered().len() == 4).await;
    targets[1].until(|target| target.tried().len() == 4).await;
    engine.shutdown(Duration::from_secs(5)).await;
    let mut registry = Registry::default();
    engine.register_metrics(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        r#"eventrelay_deliveries_total{subscription="a",tenant="default",outcome="delivered"} 4"#,
        r#"eventrelay_deliveries_total{subscription="b",tenant="default",outcome="dead"} 4"#,
        r#"eventrelay_subscription_lag_events{subscription="a",tenant="default"} 0"#,
        r#"eventrelay_subscription_dead_letters{subscription="b",tenant="default"} 4"#,
        r#"eventrelay_subscription_breaker_state{subscription="a",tenant="default"} 0"#,
        r#"eventrelay_delivery_attempt_duration_seconds_count{subscription="a",tenant="default"}"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    relay.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_subscription_begins_where_it_asks_to() {
    let directory = tempfile::tempdir().unwrap();
    let relay = Relay::open(directory.path().to_owned()).await;
    relay.publish(5).await;
    let log = &relay.log;
    assert_eq!(resolve_start(log, Start::Earliest).await.unwrap(), 0);
    assert_eq!(resolve_start(log, Start::Latest).await.unwrap(), 5);
    assert_eq!(resolve_start(log, Start::Offset(5)).await.unwrap(), 5);
    assert!(matches!(
        resolve_start(log, Start::Offset(6)).await,
        Err(StartError::BeyondEnd { offset: 6, end: 5 })
    ));
    let third = log.read(2).unwrap().unwrap().append_time_micros;
    let found = resolve_start(log, Start::Time(Timestamp(third))).await.unwrap();
    assert!(found <= 2 && log.read(found).unwrap().unwrap().append_time_micros == third);
    assert_eq!(resolve_start(log, Start::Time(Timestamp(u64::MAX / 2))).await.unwrap(), 5);
    relay.close().await;
}

/// A log of which a test sees what it is told to keep.
struct Watched {
    log: Log,
    needed: watch::Sender<u64>,
}

impl Watched {
    async fn until_needed(&self, offset: u64) {
        let mut needed = self.needed.subscribe();
        let wait = needed.wait_for(|needed| *needed == offset);
        tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap().unwrap();
    }
}

impl EventLog for Watched {
    fn oldest_offset(&self) -> u64 {
        EventLog::oldest_offset(&self.log)
    }

    fn durable_offset(&self) -> u64 {
        EventLog::durable_offset(&self.log)
    }

    fn watch_durable_offset(&self) -> watch::Receiver<u64> {
        EventLog::watch_durable_offset(&self.log)
    }

    fn read_cached(&self, offset: u64) -> Option<Box<dyn RecordRun>> {
        EventLog::read_cached(&self.log, offset)
    }

    fn read(&self, offset: u64) -> Result<Option<Box<dyn RecordRun>>, ReadError> {
        EventLog::read(&self.log, offset)
    }

    fn seek_time(&self, micros: u64) -> Result<u64, ReadError> {
        EventLog::seek_time(&self.log, micros)
    }

    fn set_needed_offset(&self, offset: u64) {
        self.needed.send_replace(offset);
    }
}

fn checkpoint(record: &SubscriptionRecord, cursor: u64) -> Checkpoint {
    Checkpoint {
        subscription: record.id,
        progress: Progress::new(cursor),
        retrying: Vec::new(),
        no_longer_retrying: Vec::new(),
        dead_letters: Vec::new(),
        no_longer_dead: Vec::new(),
        replays: Vec::new(),
        lifecycle: None,
        attempts: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_keeps_what_subscriptions_need_that_do_not_run() {
    let directory = tempfile::tempdir().unwrap();
    let relay = Relay::open(directory.path().to_owned()).await;
    relay.publish(9).await;
    let declared = relay.declare(&["runs", "orphaned"]).await;
    let left_out = Subscription { name: "left-out".to_owned(), ..declared[0].spec.clone() };
    let made = relay.state.create_subscription(left_out, 0, Lifecycle::Enabled, None).await.unwrap();
    for (record, cursor) in [(&declared[0], 9), (&declared[1], 5), (&made, 7)] {
        relay.state.save(checkpoint(record, cursor)).await.unwrap();
    }
    // As a later start finds it: the file names none of them any more.
    relay.declare(&[]).await;
    let log = Arc::new(Watched { log: relay.log.clone(), needed: watch::channel(0).0 });
    let target = Target::new(|_| Outcome::Delivered);
    let running = vec![(declared[0].clone(), eventrelay_delivery::Target::Push(target as Arc<dyn Sink>))];
    let options = EngineOptions {
        checkpoint_interval: Duration::from_millis(5),
        retention_interval: Duration::from_millis(5),
        ..EngineOptions::default()
    };
    let engine = Engine::start(Arc::clone(&log), relay.state.clone(), running, relay.targets(), options);
    let engine = engine.await.unwrap();
    log.until_needed(5).await;
    engine.delete("default", "orphaned", None, None).await.unwrap();
    log.until_needed(7).await;
    let changed = Subscription { max_in_flight: 3.try_into().unwrap(), ..made.spec.clone() };
    engine.replace(changed, made.revision, None).await.unwrap();
    relay.made.until(|target| target.delivered() == [7, 8].into()).await;
    log.until_needed(9).await;
    engine.shutdown(Duration::from_secs(5)).await;
    drop((engine, log));
    relay.close().await;
}
