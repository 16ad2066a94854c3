//! A dispatcher over models in memory, in virtual time.

mod breaking;
mod copying;
mod failing;
mod filtering;
mod gathering;
mod ordering;
mod outages;
mod pulling;
mod pulling_model;
mod replaying;
mod running;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use eventrelay_expression::{DocumentCache, EventFilter};
use eventrelay_sinks::Delivery;
use eventrelay_state::{
    Lifecycle, NewReplay, Origin, ReplayId, ReplayKind, ReplayRecord, ReplayState, Subscription,
    SubscriptionId, SubscriptionRecord,
};
use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Command, Directive, Dispatcher, Ended, Parts, Target};
use crate::decoded_chunk::ChunkCache;
use crate::metrics::DeliveryMetrics;
use crate::model::{Activity, MemoryLog, MemoryStore, ScriptedSink, Step};
use crate::options::EngineOptions;
use crate::pull::PullSubscription;
use crate::status::{RunState, SubscriptionStats};

/// What a subscription outlives: its log, its saved state and its target.
struct World {
    log: Arc<MemoryLog>,
    store: Arc<MemoryStore>,
    sink: Arc<ScriptedSink>,
    activity: Arc<Activity>,
    chunks: Arc<ChunkCache>,
    documents: Arc<DocumentCache>,
    spec: Subscription,
    /// Whether consumers pull, and the sink gets nothing.
    is_pull: bool,
    /// All that were asked for.
    replays: Mutex<Vec<ReplayRecord>>,
}

/// A dispatcher at work.
struct Running {
    stats: Arc<SubscriptionStats>,
    directives: watch::Sender<Directive>,
    commands: mpsc::Sender<Command>,
    /// For a subscription that is pulled from.
    consumers: PullSubscription,
    task: JoinHandle<Ended>,
}

/// A subscription with quick retries; `changes` are laid over it.
fn spec(changes: serde_json::Value) -> Subscription {
    let mut spec = json!({
        "name": "tested",
        "sink": { "kind": "scripted" },
        "retry": { "initial_backoff_ms": 100, "backoff_multiplier": 2, "max_backoff_ms": 1000, "max_attempts": 5 },
    });
    merge(&mut spec, changes);
    serde_json::from_value(spec).unwrap()
}

fn merge(into: &mut serde_json::Value, changes: serde_json::Value) {
    match (into, changes) {
        (serde_json::Value::Object(into), serde_json::Value::Object(changes)) => {
            for (name, value) in changes {
                merge(into.entry(name).or_insert(serde_json::Value::Null), value);
            }
        }
        (into, value) => *into = value,
    }
}

impl World {
    fn new(
        spec: Subscription,
        batch: usize,
        script: impl Fn(&Delivery) -> Step + Send + Sync + 'static,
    ) -> Self {
        let activity = Arc::new(Activity::new());
        Self {
            log: Arc::new(MemoryLog::new()),
            store: Arc::new(MemoryStore::new(0, activity.clone())),
            sink: Arc::new(ScriptedSink::new(batch, activity.clone(), script)),
            activity,
            chunks: Arc::default(),
            documents: Arc::new(DocumentCache::new(1 << 20)),
            spec,
            is_pull: false,
            replays: Mutex::default(),
        }
    }

    /// A subscription without a sink.
    fn pulled(changes: serde_json::Value) -> Self {
        Self { is_pull: true, ..Self::new(spec(changes), 1, |_| Step::Panic) }
    }

    fn start(&self) -> Running {
        self.start_as(Lifecycle::Enabled)
    }

    fn start_as(&self, lifecycle: Lifecycle) -> Running {
        let position = self.store.position();
        let cursor = position.progress.cursor();
        let run_state = super::halt_of(lifecycle.clone());
        let all_metrics = DeliveryMetrics::new();
        let metrics = all_metrics.subscription("default", "tested");
        let target = match self.is_pull {
            true => Target::consumers(all_metrics.leases("default", "tested")),
            false => Target::Sink(self.sink.clone()),
        };
        let stats = Arc::new(SubscriptionStats::new(metrics, run_state, cursor, cursor));
        let (directives, receiver) =
            watch::channel(Directive { paused: false, resumptions: 0, stop_by: None });
        let (commands, received) = mpsc::channel(16);
        let dispatcher = Dispatcher::new(Parts {
            record: SubscriptionRecord {
                id: SubscriptionId(1),
                spec: self.spec.clone(),
                lifecycle,
                start_offset: 0,
                origin: Origin::Configuration,
                revision: 1,
                created_at_micros: 0,
                updated_at_micros: 0,
            },
            position,
            target,
            log: Arc::new(self.log.clone()),
            chunks: self.chunks.clone(),
            documents: self.documents.clone(),
            tenant_rate: Arc::default(),
            store: self.store.clone(),
            stats: stats.clone(),
            directives: receiver,
            commands: received,
            replays: self.running_replays(),
            options: EngineOptions { seed: Some(7), ..EngineOptions::default() },
        });
        let consumers = PullSubscription::new(commands.clone());
        Running { stats, directives, commands, consumers, task: tokio::spawn(dispatcher.run()) }
    }

    /// Those that a restart goes on with.
    fn running_replays(&self) -> Vec<ReplayRecord> {
        let saved = self.store.durable().replays;
        let mut replays = self.replays.lock().unwrap().clone();
        for replay in &mut replays {
            if let Some(progress) = saved.get(&replay.id) {
                replay.progress = progress.clone();
            }
        }
        replays.retain(|replay| replay.progress.state == ReplayState::Running);
        replays
    }

    /// Asks for a replay or redrive of a range.
    async fn replay(
        &self,
        running: &Running,
        kind: ReplayKind,
        range: std::ops::Range<u64>,
        rate: Option<u32>,
    ) -> ReplayId {
        self.replay_filtered(running, kind, range, rate, EventFilter::default()).await
    }

    async fn replay_filtered(
        &self,
        running: &Running,
        kind: ReplayKind,
        range: std::ops::Range<u64>,
        rate: Option<u32>,
        filter: EventFilter,
    ) -> ReplayId {
        let request = NewReplay {
            subscription: SubscriptionId(1),
            kind,
            filter,
            max_events_per_second: rate.and_then(std::num::NonZeroU32::new),
            start_offset: range.start,
            end_offset: range.end,
        };
        let id = ReplayId(i64::try_from(self.replays.lock().unwrap().len()).unwrap() + 1);
        let record = ReplayRecord::begin(id, request, 0);
        self.replays.lock().unwrap().push(record.clone());
        running.commands.send(Command::Replay(Box::new(record))).await.unwrap();
        id
    }

    async fn until_replay_is(&self, id: ReplayId, state: &ReplayState) {
        let is_so = || self.store.durable().replays.get(&id).is_some_and(|progress| progress.state == *state);
        self.until("the replay ends", is_so).await;
    }

    /// Waits for what the sink or the store do to bring it about; ten virtual days at most.
    async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let mut activity = self.activity.watch();
        let wait = async {
            while !condition() {
                activity.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(Duration::from_hours(240), wait).await.is_err() {
            panic!("never: {what}; seen {:?}; durable {:?}", self.sink.seen().len(), self.store.durable());
        }
    }

    async fn until_delivered(&self, offsets: impl IntoIterator<Item = u64>) {
        let wanted: BTreeSet<u64> = offsets.into_iter().collect();
        self.until("delivered", || self.sink.delivered().is_superset(&wanted)).await;
    }

    async fn until_durable_cursor(&self, cursor: u64) {
        self.until("the cursor is saved", || self.store.durable().progress.cursor() >= cursor).await;
    }

    /// Everything that the saved state says is settled really is: delivered, dead, or to be tried again.
    fn assert_nothing_is_skipped(&self, wanted: impl Fn(u64) -> bool) {
        let (durable, delivered) = (self.store.durable(), self.sink.delivered());
        for offset in (0..durable.progress.end()).filter(|&offset| durable.progress.is_settled(offset)) {
            let known = delivered.contains(&offset)
                || durable.dead_letters.contains_key(&offset)
                || durable.retrying.contains_key(&offset);
            assert!(known || !wanted(offset), "{offset} is settled but has no outcome: {durable:?}");
        }
    }
}

impl Running {
    fn pause(&self) {
        self.directives.send_modify(|directive| directive.paused = true);
    }

    fn resume(&self) {
        self.directives.send_modify(|directive| {
            directive.paused = false;
            directive.resumptions += 1;
        });
    }

    /// Moves the cursor, and waits until that is durable.
    async fn seek(&self, offset: u64) {
        let (done, moved) = oneshot::channel();
        self.commands.send(Command::Seek { offset, done }).await.unwrap();
        assert!(moved.await.unwrap());
    }

    async fn stop(self, deadline: Duration) -> Ended {
        self.directives.send_modify(|directive| directive.stop_by = Some(Instant::now() + deadline));
        self.task.await.unwrap()
    }

    /// As a killed process ends.
    async fn crash(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }

    fn run_state(&self) -> RunState {
        self.stats.run_state()
    }
}

/// Lets the dispatcher do all that it can do now.
async fn settle_down() {
    pass(Duration::from_millis(1)).await;
}

/// Lets virtual time pass, and all happen that happens in it. The clock is paused (`start_paused`), so nobody waits.
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}
