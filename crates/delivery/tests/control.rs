//! Subscriptions that are made, changed and deleted while the engine runs, and what is found of their deliveries.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use eventrelay_delivery::{
    ActivityWindow, BuildTarget, ChangeError, DeliverySearch, Engine, EngineOptions, RedriveRequest,
    RetryNow, RunState, Sampled, SearchRequest, StateName, Target,
};
use eventrelay_event::filter::Filter;
use eventrelay_event::{Data, Event, StoredEvent, Tenant, Timestamp};
use eventrelay_expression::EventFilter;
use eventrelay_log::disk::RealDisk;
use eventrelay_log::{Group, Log, Options};
use eventrelay_sinks::{Attempt, BatchLimit, BoxFuture, Delivery, Outcome, Sink};
use eventrelay_state::{
    Checkpoint, DeadLetter, Lifecycle, LogIdentity, OpenMode, Origin, Progress, Start, State, Subscription,
};
use serde_json::json;
use tokio::sync::watch;

/// Targets by the name that a sink's settings give; what each was given, and what it answers.
#[derive(Default)]
struct Targets {
    by_name: Mutex<BTreeMap<String, Arc<Named>>>,
}

struct Named {
    answer: Mutex<Outcome>,
    /// The event that it never answers for.
    held_back: Mutex<Option<u64>>,
    given: watch::Sender<Vec<u64>>,
}

struct NamedSink(Arc<Named>);

impl Targets {
    fn of(&self, name: &str) -> Arc<Named> {
        let new = || {
            Arc::new(Named {
                answer: Mutex::new(Outcome::Delivered),
                held_back: Mutex::default(),
                given: watch::Sender::default(),
            })
        };
        Arc::clone(self.by_name.lock().unwrap().entry(name.to_owned()).or_insert_with(new))
    }
}

impl Named {
    fn answer(&self, outcome: Outcome) {
        *self.answer.lock().unwrap() = outcome;
    }

    fn holds_back(&self, offset: u64) {
        *self.held_back.lock().unwrap() = Some(offset);
    }

    async fn until_given(&self, offsets: &[u64]) {
        let mut given = self.given.subscribe();
        let seen = given.wait_for(|given| offsets.iter().all(|offset| given.contains(offset)));
        tokio::time::timeout(Duration::from_secs(20), seen).await.unwrap().unwrap();
    }
}

impl Sink for NamedSink {
    fn kind(&self) -> &'static str {
        "named"
    }

    fn batch_limit(&self) -> BatchLimit {
        BatchLimit { events: 10, bytes: 1 << 20 }
    }

    fn deliver<'a>(&'a self, batch: &'a [Delivery]) -> BoxFuture<'a, Vec<Attempt>> {
        Box::pin(async move {
            let held_back = *self.0.held_back.lock().unwrap();
            if batch.iter().any(|delivery| Some(delivery.event.offset()) == held_back) {
                return std::future::pending().await;
            }
            let outcome = self.0.answer.lock().unwrap().clone();
            let offsets = batch.iter().map(|delivery| delivery.event.offset());
            self.0.given.send_modify(|given| given.extend(offsets));
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

    fn takes_samples(&self) -> bool {
        true
    }
}

struct Relay {
    _directory: tempfile::TempDir,
    log: Log,
    engine: Engine,
    targets: Arc<Targets>,
}

impl Relay {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        let open = move || {
            let log = Log::open(Arc::new(RealDisk::default()), Options::new(path.join("log"))).unwrap();
            let identity = LogIdentity { log_id: log.id().0, oldest_offset: 0, end_offset: 0 };
            (log, State::open(&path.join("state.db"), identity, OpenMode::Normal).unwrap())
        };
        let (log, state) = tokio::task::spawn_blocking(open).await.unwrap();
        let targets = Arc::new(Targets::default());
        let build: Arc<dyn BuildTarget> = Arc::new({
            let targets = Arc::clone(&targets);
            move |spec: &Subscription, origin: Origin| {
                assert_eq!(origin, Origin::Api);
                Ok(match &spec.sink {
                    Some(sink) => Target::Push(Arc::new(NamedSink(targets.of(&sink.kind)))),
                    None => Target::Pull,
                })
            }
        });
        let options =
            EngineOptions { checkpoint_interval: Duration::from_millis(5), ..EngineOptions::default() };
        let engine = Engine::start(log.clone(), state, Vec::new(), build, options).await.unwrap();
        Self { _directory: directory, log, engine, targets }
    }

    async fn publish(&self, event_type: &str, key: Option<&str>) -> u64 {
        let mut event = Event::new(Tenant::default(), event_type.to_owned(), "/test".to_owned());
        event.key = key.map(str::to_owned);
        self.append(&event).await
    }

    async fn append(&self, event: &Event) -> u64 {
        let mut group = Group::new();
        group.push(None, |bytes| StoredEvent::encode(event, bytes));
        let reservation = self.log.reserve(group.bytes()).await.unwrap();
        self.log.append(reservation, group).await.unwrap();
        self.log.durable_offset() - 1
    }

    fn search(&self, delivery: Option<StateName>) -> SearchRequest {
        SearchRequest {
            tenant: "default".to_owned(),
            range: 0..u64::MAX,
            filter: Filter::default(),
            key: None,
            delivery: delivery
                .map(|state| DeliverySearch::For { subscription: "a".to_owned(), states: vec![state] }),
            newest_first: true,
            limit: 10,
        }
    }

    fn offsets(&self, request: &SearchRequest) -> Vec<u64> {
        self.engine.search(request).unwrap().found.iter().map(|found| found.event.offset()).collect()
    }

    /// Asks until it is so: states are as of the latest checkpoint.
    /// What subscription `a` did in the last hour.
    fn hour(&self) -> ActivityWindow {
        self.engine.activity("default", "a").unwrap().hour
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let wait = async {
            while !is_so(self) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| panic!("never: {what}"));
    }
}

fn spec(changes: &serde_json::Value) -> Subscription {
    let mut whole = json!({
        "name": "a", "start": "earliest", "sink": {"kind": "one"},
        "retry": {"initial_backoff_ms": 3_600_000, "max_attempts": 2},
    });
    whole.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    serde_json::from_value(whole).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_made_changed_and_deleted_while_events_come() {
    let relay = Relay::start().await;
    let before = relay.publish("order.created", None).await;
    let made = relay.engine.create(spec(&json!({})), Lifecycle::Enabled, None).await.unwrap();
    relay.targets.of("one").until_given(&[before]).await;
    let again = relay.engine.create(spec(&json!({})), Lifecycle::Enabled, None).await;
    assert!(matches!(again, Err(ChangeError::Exists { .. })));

    relay
        .until("the cursor has passed", |relay| {
            relay.offsets(&relay.search(Some(StateName::Delivered))) == [0]
        })
        .await;
    let changed =
        relay.engine.replace(spec(&json!({"sink": {"kind": "two"}})), made.revision, None).await.unwrap();
    let later = relay.publish("order.created", None).await;
    relay.targets.of("two").until_given(&[later]).await;
    assert_eq!(*relay.targets.of("two").given.borrow(), [later], "what was delivered is not delivered again");
    let late = relay.engine.replace(spec(&json!({})), made.revision, None).await;
    assert!(matches!(late, Err(ChangeError::RevisionChanged { revision }) if revision == changed.revision));

    let stale = relay.engine.delete("default", "a", Some(made.revision), None).await;
    assert!(matches!(stale, Err(ChangeError::RevisionChanged { .. })));
    relay.engine.delete("default", "a", Some(changed.revision), None).await.unwrap();
    assert!(relay.engine.subscription("default", "a").is_none());
    let gone = relay.engine.delete("default", "a", None, None).await;
    assert!(matches!(gone, Err(ChangeError::NotFound { .. })));
    let anew = relay
        .engine
        .create(spec(&json!({"sink": {"kind": "three"}})), Lifecycle::Enabled, None)
        .await
        .unwrap();
    relay.targets.of("three").until_given(&[before, later]).await;
    assert_eq!(anew.revision, 1);
    relay.engine.shutdown(Duration::from_secs(5)).await;
    let ending = relay.engine.create(spec(&json!({"name": "b"})), Lifecycle::Enabled, None).await;
    assert!(matches!(ending, Err(ChangeError::Ending)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_notes_alone_leaves_deliveries_alone() {
    let relay = Relay::start().await;
    let made = relay.engine.create(spec(&json!({})), Lifecycle::Enabled, None).await.unwrap();
    let before = relay.engine.subscription("default", "a").unwrap();
    let noted =
        relay.engine.replace(spec(&json!({"description": "ours"})), made.revision, None).await.unwrap();
    assert_eq!((noted.revision, noted.spec.description.as_str()), (2, "ours"));
    assert_eq!(relay.engine.subscription("default", "a").unwrap().run_state, before.run_state);
    assert_eq!(before.run_state, RunState::Running);
    let offset = relay.publish("order.created", None).await;
    relay.targets.of("one").until_given(&[offset]).await;
    relay.engine.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_while_deliveries_wait_leaves_nothing_behind() {
    let relay = Relay::start().await;
    relay.targets.of("one").answer(Outcome::Retry { after: None, why: "down".to_owned() });
    relay.engine.create(spec(&json!({})), Lifecycle::Enabled, None).await.unwrap();
    let offset = relay.publish("order.created", None).await;
    relay
        .until("a retry waits", |relay| relay.offsets(&relay.search(Some(StateName::Retrying))) == [offset])
        .await;
    relay.engine.delete("default", "a", None, None).await.unwrap();
    let search = relay.engine.search(&relay.search(Some(StateName::Retrying)));
    assert!(search.is_err(), "there is no such subscription any more");
    assert!(relay.engine.subscriptions().is_empty());
    // Of the same name, and nothing to do with it.
    relay.targets.of("one").answer(Outcome::Delivered);
    relay.engine.create(spec(&json!({"start": "latest"})), Lifecycle::Enabled, None).await.unwrap();
    let next = relay.publish("order.created", None).await;
    relay.targets.of("one").until_given(&[next]).await;
    assert!(relay.offsets(&relay.search(Some(StateName::Retrying))).is_empty());
    relay.engine.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_are_found_by_their_state_and_retried_when_asked_for() {
    let relay = Relay::start().await;
    let target = relay.targets.of("one");
    relay.engine.create(spec(&json!({"order": "unordered"})), Lifecycle::Enabled, None).await.unwrap();
    let good = relay.publish("order.created", Some("k")).await;
    target.until_given(&[good]).await;
    target.answer(Outcome::Reject { why: "never".to_owned() });
    let dead = relay.publish("order.created", None).await;
    relay.until("it is dead", |relay| relay.offsets(&relay.search(Some(StateName::Dead))) == [dead]).await;
    target.answer(Outcome::Retry { after: None, why: "later".to_owned() });
    let retrying = relay.publish("order.paid", None).await;
    relay
        .until("it waits", |relay| relay.offsets(&relay.search(Some(StateName::Retrying))) == [retrying])
        .await;
    assert_eq!(relay.offsets(&relay.search(Some(StateName::Delivered))), [good]);
    assert_eq!(relay.offsets(&relay.search(None)), [retrying, dead, good], "the newest first");
    let of_key = SearchRequest { key: Some("k".to_owned()), ..relay.search(None) };
    assert_eq!(relay.offsets(&of_key), [good]);

    target.answer(Outcome::Delivered);
    target.given.send_replace(Vec::new());
    assert!(matches!(relay.engine.retry_now("default", "a", retrying).await.unwrap(), RetryNow::Due));
    target.until_given(&[retrying]).await;
    assert!(matches!(relay.engine.retry_now("default", "a", dead).await.unwrap(), RetryNow::Redriven(_)));
    target.until_given(&[dead]).await;
    assert!(matches!(relay.engine.retry_now("default", "a", good).await.unwrap(), RetryNow::Replayed(_)));
    target.until_given(&[good]).await;
    relay.until("none is dead", |relay| relay.offsets(&relay.search(Some(StateName::Dead))).is_empty()).await;
    // A delivery is counted once its outcome is, a moment after the target was given it.
    relay.until("all are counted", |relay| relay.hour().delivered == 4).await;
    assert_eq!((relay.hour().retried, relay.hour().dead), (1, 1));
    relay.engine.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_goes_on_where_its_last_page_ended_in_both_directions() {
    let relay = Relay::start().await;
    for number in 0..40 {
        relay.publish(if number % 2 == 0 { "even" } else { "odd" }, None).await;
    }
    let filter = Filter::new(vec!["odd".to_owned()], Vec::new()).unwrap();
    for newest_first in [true, false] {
        let mut request =
            SearchRequest { filter: filter.clone(), newest_first, limit: 7, ..relay.search(None) };
        let mut found = Vec::new();
        loop {
            let page = relay.engine.search(&request).unwrap();
            assert!(page.found.len() <= 7);
            found.extend(page.found.iter().map(|found| found.event.offset()));
            let Some(rest) = page.rest else { break };
            request.range = rest;
        }
        if newest_first {
            found.reverse();
        }
        assert_eq!(found, (0..40).filter(|offset| offset % 2 == 1).collect::<Vec<u64>>());
    }
    relay.engine.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_events_come_in_smaller_pages_and_none_is_left_out() {
    let relay = Relay::start().await;
    let mut event = Event::new(Tenant::default(), "large".to_owned(), "/test".to_owned());
    event.data = Some(Data::text("x".repeat(900_000)));
    for _ in 0..40 {
        relay.append(&event).await;
    }
    for newest_first in [true, false] {
        let mut request = SearchRequest { newest_first, limit: 100, ..relay.search(None) };
        let mut found = BTreeSet::new();
        loop {
            let page = relay.engine.search(&request).unwrap();
            let bytes: usize = page.found.iter().map(|found| found.event.encoded().len()).sum();
            assert!(bytes <= 16 << 20, "{bytes}");
            found.extend(page.found.iter().map(|found| found.event.offset()));
            let Some(rest) = page.rest else { break };
            request.range = rest;
        }
        assert_eq!(found, (0..40).collect());
    }
    relay.engine.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_discarded_by_filter_and_samples_move_nothing() {
    let relay = Relay::start().await;
    let target = relay.targets.of("one");
    target.answer(Outcome::Reject { why: "never".to_owned() });
    relay.engine.create(spec(&json!({})), Lifecycle::Enabled, None).await.unwrap();
    let kept = relay.publish("order.created", None).await;
    relay.publish("order.paid", None).await;
    relay
        .until("both are dead", |relay| relay.offsets(&relay.search(Some(StateName::Dead))).len() == 2)
        .await;
    let filter: EventFilter = serde_json::from_value(json!({"types": ["order.paid"]})).unwrap();
    assert_eq!(relay.engine.discard("default", "a", None, &filter).await.unwrap(), 1);
    assert_eq!(relay.offsets(&relay.search(Some(StateName::Dead))), [kept]);
    assert_eq!(relay.engine.discard("default", "a", Some(kept), &EventFilter::default()).await.unwrap(), 1);
    assert_eq!(relay.engine.subscription("default", "a").unwrap().dead_letters, 0);

    let sample = Event::new(Tenant::default(), "sample".to_owned(), "/test".to_owned());
    let sampled = relay.engine.try_sample("default", "a", &sample).await.unwrap();
    assert!(matches!(sampled, Sampled::Tried(attempt) if matches!(attempt.outcome, Outcome::Reject { .. })));
    assert!(relay.offsets(&relay.search(Some(StateName::Dead))).is_empty());
    relay.engine.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_delivered_beyond_a_cursor_that_waits_is_retried() {
    let relay = Relay::start().await;
    let target = relay.targets.of("one");
    target.holds_back(0);
    let spec = spec(&json!({"order": "unordered", "max_in_flight": 4, "batch": {"max_events": 1}}));
    relay.engine.create(spec, Lifecycle::Enabled, None).await.unwrap();
    for offset in 0..3 {
        assert_eq!(relay.publish("order.created", None).await, offset);
    }
    relay
        .until("two are delivered", |relay| {
            relay.offsets(&relay.search(Some(StateName::Delivered))) == [2, 1]
        })
        .await;
    assert_eq!(relay.engine.subscription("default", "a").unwrap().cursor, 0);
    target.given.send_replace(Vec::new());
    let retried = relay.engine.retry_now("default", "a", 1).await.unwrap();
    assert!(matches!(retried, RetryNow::Replayed(record) if record.request.end_offset == 2));
    target.until_given(&[1]).await;
    relay.engine.shutdown(Duration::from_millis(50)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_by_time_goes_by_the_times_of_the_letters() {
    let relay = Relay::start().await;
    let made = relay.engine.create(spec(&json!({})), Lifecycle::Paused, None).await.unwrap();
    let letter = |offset: u64| DeadLetter {
        offset,
        append_time_micros: Some(1_000 + offset),
        event: None,
        reason: "gave up".to_owned(),
        attempts: 1,
        first_failed_at_micros: 1,
        dead_at_micros: 2,
    };
    // The log has no event as old as these: its times are of today.
    for _ in 0..10 {
        relay.publish("order.created", None).await;
    }
    let checkpoint = Checkpoint {
        subscription: made.id,
        progress: Progress::new(10),
        retrying: Vec::new(),
        no_longer_retrying: Vec::new(),
        dead_letters: [2, 4, 6].map(letter).to_vec(),
        no_longer_dead: Vec::new(),
        replays: Vec::new(),
        lifecycle: None,
        attempts: Vec::new(),
    };
    relay.engine.state().save(checkpoint).await.unwrap();
    let time = |micros| Some(Start::Time(Timestamp(micros)));
    let cases = [
        (time(1_003), time(1_005), 4..6),
        (None, time(1_003), 0..4),
        (time(1_007), None, 10..10),
        (Some(Start::Earliest), time(u64::MAX), 0..10),
        (Some(Start::Offset(3)), Some(Start::Latest), 3..10),
    ];
    for (from, to, range) in cases {
        let request = RedriveRequest { from, to, ..RedriveRequest::default() };
        let begun = relay.engine.redrive("default", "a", request).await.unwrap();
        assert_eq!(begun.request.start_offset..begun.request.end_offset, range);
        relay.engine.cancel_replay("default", "a", begun.id).await.unwrap();
    }
    relay.engine.shutdown(Duration::from_secs(5)).await;
}
