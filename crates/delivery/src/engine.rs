//! All dispatchers of a process: started together, asked by name, shut down within a deadline.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use eventrelay_event::StoredEvent;
use eventrelay_expression::{DocumentCache, EventFilter, Subject, Verdict};
use eventrelay_sinks::Sink;
use eventrelay_state::{
    Lifecycle, Position, ReplayRecord, ReplayState, State, StateError, SubscriptionId, SubscriptionRecord,
};
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::clock::wall_micros;
use crate::decoded_chunk::ChunkCache;
use crate::dispatcher::{self, Command, Directive, Dispatcher, Ended, Parts, halt_of, needed_offset};
use crate::event_log::{EventLog, StartError};
use crate::metrics::DeliveryMetrics;
use crate::options::EngineOptions;
use crate::pull::{Consumers, PullSubscription};
use crate::status::{RunState, SubscriptionStats, SubscriptionStatus};

/// Commands that wait for one dispatcher.
const COMMANDS_WAITING: usize = 256;

/// Runs the dispatchers. Dropping it ends them as a crash would; [`Engine::shutdown`] ends them in order.
#[derive(Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    state: State,
    metrics: DeliveryMetrics,
    tasks: Mutex<Option<Tasks>>,
}

#[derive(Debug)]
struct Tasks {
    dispatchers: JoinSet<Ended>,
    retention: JoinHandle<()>,
    stop_retention: oneshot::Sender<()>,
}

/// What is read from outside of the tasks.
pub(crate) struct Shared {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) documents: Arc<DocumentCache>,
    subscriptions: Vec<Handle>,
}

#[derive(Debug)]
pub(crate) struct Handle {
    id: SubscriptionId,
    tenant: String,
    name: String,
    filter: EventFilter,
    start_offset: u64,
    sink: &'static str,
    stats: Arc<SubscriptionStats>,
    directives: watch::Sender<Directive>,
    commands: mpsc::Sender<Command>,
    /// What its consumers talk to; none where it has a sink.
    pull: Option<PullSubscription>,
}

/// Where a subscription's events go.
#[derive(Clone)]
pub enum Target {
    /// Through a sink.
    Push(Arc<dyn Sink>),
    /// To the consumers that pull them.
    Pull,
}

/// Why the engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The state store could not be read.
    #[error("cannot load subscription `{name}`: {error}")]
    Load {
        /// The subscription's name.
        name: String,
        /// What the store said.
        error: StateError,
    },
    /// The process is ending.
    #[error("the start was cut short")]
    CutShort,
}

/// Why a subscription was not paused or resumed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// There is none of that name.
    #[error("there is no subscription `{name}` of tenant `{tenant}`")]
    NotFound {
        /// The tenant asked for.
        tenant: String,
        /// The name asked for.
        name: String,
    },
    /// It could not be made durable, so nothing has changed.
    #[error(transparent)]
    State(#[from] StateError),
    /// There is no such place in the log.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It has as many replays under way as it may have.
    #[error("{limit} replays are under way already; cancel one, or wait for its end")]
    TooManyReplays {
        /// How many it may have.
        limit: usize,
    },
    /// No replay of that number is under way.
    #[error("no replay {id} is under way")]
    NoSuchReplay {
        /// The number asked for.
        id: i64,
    },
    /// The subscription's dispatcher ends; whether it was done shows after the next start.
    #[error("the process is ending")]
    Ending,
}

/// How a shutdown went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Calls of sinks that were cut short by the deadline; their events are delivered again after the next start.
    pub unfinished_calls: usize,
    /// Subscriptions whose last progress could not be saved; a part of it is delivered again after the next start.
    pub unsaved_subscriptions: usize,
}

impl Engine {
    /// Starts a dispatcher for each subscription, with where its events go. Orphaned ones are not to be given.
    ///
    /// # Errors
    /// When a subscription's position cannot be read.
    pub async fn start(
        log: impl EventLog,
        state: State,
        subscriptions: Vec<(SubscriptionRecord, Target)>,
        options: EngineOptions,
    ) -> Result<Self, EngineError> {
        let log: Arc<dyn EventLog> = Arc::new(log);
        let metrics = DeliveryMetrics::new();
        let documents = Arc::new(DocumentCache::new(options.document_cache_bytes));
        let tail = Tail { log, chunks: Arc::default(), documents };
        let mut dispatchers = JoinSet::new();
        let mut handles = Vec::with_capacity(subscriptions.len());
        for (loaded, target) in load(&state, subscriptions).await? {
            let (handle, dispatcher) = prepare(loaded, target, &tail, &state, &metrics, &options);
            let stats = Arc::clone(&handle.stats);
            dispatchers.spawn(async move {
                let guard = PanicGuard { stats };
                let ended = dispatcher.run().await;
                drop(guard);
                ended
            });
            handles.push(handle);
        }
        let shared = Arc::new(Shared { log: tail.log, documents: tail.documents, subscriptions: handles });
        let (stop_retention, stopped) = oneshot::channel();
        let retention =
            tokio::spawn(keep_retention_told(Arc::clone(&shared), options.retention_interval, stopped));
        let tasks = Mutex::new(Some(Tasks { dispatchers, retention, stop_retention }));
        Ok(Self { shared, state, metrics, tasks })
    }

    /// How each subscription stands, in the order they were given.
    #[must_use]
    pub fn subscriptions(&self) -> Vec<SubscriptionStatus> {
        self.shared.statuses()
    }

    /// Stops a subscription's deliveries; what is in flight ends by itself. Durable once this returns Ok.
    ///
    /// # Errors
    /// When there is no such subscription, or the pause cannot be saved.
    pub async fn pause(&self, tenant: &str, name: &str) -> Result<(), ControlError> {
        let handle = self.shared.find(tenant, name)?;
        self.state.set_lifecycle(handle.id, Lifecycle::Paused).await?;
        handle.directives.send_modify(|directive| directive.paused = true);
        Ok(())
    }

    /// Lets a paused, disabled or damaged subscription deliver again. Durable once this returns Ok.
    ///
    /// # Errors
    /// When there is no such subscription, or the resumption cannot be saved.
    pub async fn resume(&self, tenant: &str, name: &str) -> Result<(), ControlError> {
        let handle = self.shared.find(tenant, name)?;
        self.state.set_lifecycle(handle.id, Lifecycle::Enabled).await?;
        handle.directives.send_modify(|directive| {
            directive.paused = false;
            directive.resumptions += 1;
        });
        Ok(())
    }

    /// Reads no more, finishes what is in flight until `deadline` from now, saves every cursor and closes the sinks.
    /// What is not finished is delivered again after the next start. A second call has nothing left to do.
    pub async fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut tasks) = tasks else { return ShutdownReport::default() };
        let stop_by = Instant::now() + deadline;
        for handle in &self.shared.subscriptions {
            handle.directives.send_modify(|directive| directive.stop_by = Some(stop_by));
        }
        let mut report = ShutdownReport::default();
        while let Some(ended) = tasks.dispatchers.join_next().await {
            report.add(ended);
        }
        // An error means that it has ended already.
        let _ = tasks.stop_retention.send(());
        if let Err(error) = tasks.retention.await {
            tracing::error!(%error, "the task that tells retention what is needed had failed");
        }
        report
    }

    /// The pull subscriptions, for their consumers.
    #[must_use]
    pub fn consumers(&self) -> Consumers {
        Consumers::new(Arc::clone(&self.shared))
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn handles(&self) -> &[Handle] {
        &self.shared.subscriptions
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Registers the metrics (`eventrelay_deliveries_total`, `eventrelay_delivery_…`, `eventrelay_subscription_…`).
    pub fn register_metrics(&self, registry: &mut Registry) {
        let shared = Arc::clone(&self.shared);
        let documents = Arc::clone(&shared.documents);
        self.metrics.register(registry, Arc::new(move || shared.statuses()), documents);
    }
}

impl Shared {
    pub(crate) fn find(&self, tenant: &str, name: &str) -> Result<&Handle, ControlError> {
        let found = self.subscriptions.iter().find(|handle| handle.tenant == tenant && handle.name == name);
        found.ok_or_else(|| ControlError::NotFound { tenant: tenant.to_owned(), name: name.to_owned() })
    }

    fn statuses(&self) -> Vec<SubscriptionStatus> {
        let end = self.log.durable_offset();
        let now_micros = wall_micros(SystemTime::now());
        self.subscriptions.iter().map(|handle| handle.status(end, now_micros)).collect()
    }

    /// Tells the log the lowest offset that any durable cursor or retry needs.
    fn tell_retention(&self) {
        let needed =
            self.subscriptions.iter().map(|handle| handle.stats.needed.load(Ordering::Relaxed)).min();
        self.log.set_needed_offset(needed.unwrap_or_else(|| self.log.durable_offset()));
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("subscriptions", &self.subscriptions).finish_non_exhaustive()
    }
}

impl Handle {
    pub(crate) fn id(&self) -> SubscriptionId {
        self.id
    }

    /// Where the cursor is.
    pub(crate) fn cursor(&self) -> u64 {
        self.stats.cursor.load(Ordering::Relaxed)
    }

    /// Asks something of the dispatcher.
    pub(crate) async fn command(&self, command: Command) -> Result<(), ControlError> {
        self.commands.send(command).await.map_err(|_| ControlError::Ending)
    }

    pub(crate) fn pull(&self) -> Option<&PullSubscription> {
        self.pull.as_ref()
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the subscription is to deliver the event, was to, or has.
    pub(crate) fn is_for(&self, event: &StoredEvent, documents: &DocumentCache) -> bool {
        // Where the filter cannot tell, the event is a dead letter, or the subscription has stopped at it.
        event.tenant() == self.tenant
            && event.offset() >= self.start_offset
            && !matches!(self.filter.decide(&Subject::shared(event, documents)).verdict, Verdict::NoMatch(_))
    }

    fn status(&self, end: u64, now_micros: u64) -> SubscriptionStatus {
        let stats = &self.stats;
        let cursor = stats.cursor.load(Ordering::Relaxed);
        let lag_events = end.saturating_sub(cursor);
        let appended = match stats.cursor_appended_micros.load(Ordering::Relaxed) {
            0 => now_micros,
            micros => micros,
        };
        let lag = if lag_events == 0 { 0 } else { now_micros.saturating_sub(appended) };
        SubscriptionStatus {
            id: self.id,
            tenant: self.tenant.clone(),
            name: self.name.clone(),
            sink: self.sink,
            run_state: stats.run_state(),
            breaker: stats.breaker(),
            cursor,
            durable_cursor: stats.durable_cursor.load(Ordering::Relaxed),
            lag_events,
            lag_seconds: Duration::from_micros(lag).as_secs_f64(),
            in_flight_calls: stats.in_flight_calls.load(Ordering::Relaxed),
            retrying: stats.retrying.load(Ordering::Relaxed),
            waiting_for_key: stats.waiting_for_key.load(Ordering::Relaxed),
            leased_events: stats.leased_events.load(Ordering::Relaxed),
            waiting_pulls: self.pull.as_ref().map_or(0, |pull| pull.waiting() as u64),
            dead_letters: stats.dead_letters.load(Ordering::Relaxed),
            delivered: stats.metrics.delivered.get(),
            lost_events: stats.metrics.lost_events.get(),
            save_error: stats.save_error(),
        }
    }
}

impl ShutdownReport {
    fn add(&mut self, ended: Result<Ended, JoinError>) {
        match ended {
            Ok(ended) => {
                self.unfinished_calls += ended.unfinished_calls;
                self.unsaved_subscriptions += usize::from(!ended.saved);
            }
            Err(error) => {
                tracing::error!(%error, "a dispatcher had failed");
                self.unsaved_subscriptions += 1;
            }
        }
    }
}

/// A subscription as it was last saved.
struct Loaded {
    record: SubscriptionRecord,
    position: Position,
    dead_letters: u64,
    /// Those that go on, oldest first.
    replays: Vec<ReplayRecord>,
}

async fn load(
    state: &State,
    subscriptions: Vec<(SubscriptionRecord, Target)>,
) -> Result<Vec<(Loaded, Target)>, EngineError> {
    let state = state.clone();
    let load_one = move |record: SubscriptionRecord| {
        let failed = |error| EngineError::Load { name: record.spec.name.clone(), error };
        let position = state.position(record.id).map_err(failed)?;
        let dead_letters = state.dead_letter_count(record.id).map_err(failed)?;
        let mut replays = state.replays(record.id).map_err(failed)?;
        replays.retain(|replay| replay.progress.state == ReplayState::Running);
        replays.reverse();
        Ok(Loaded { record, position, dead_letters, replays })
    };
    let load_all = move || {
        let loaded = subscriptions.into_iter().map(|(record, target)| Ok((load_one(record)?, target)));
        loaded.collect::<Result<Vec<_>, EngineError>>()
    };
    tokio::task::spawn_blocking(load_all).await.map_err(|_| EngineError::CutShort)?
}

/// The log, and what all subscriptions share of its events.
struct Tail {
    log: Arc<dyn EventLog>,
    chunks: Arc<ChunkCache>,
    documents: Arc<DocumentCache>,
}

fn prepare(
    loaded: Loaded,
    target: Target,
    tail: &Tail,
    state: &State,
    metrics: &DeliveryMetrics,
    options: &EngineOptions,
) -> (Handle, Dispatcher) {
    let Loaded { record, position, dead_letters, replays } = loaded;
    let (tenant, name) = (record.spec.tenant.as_str().to_owned(), record.spec.name.clone());
    let stats = Arc::new(SubscriptionStats::new(
        metrics.subscription(&tenant, &name),
        halt_of(record.lifecycle.clone()),
        position.progress.cursor(),
        needed_offset(&position, &replays),
    ));
    stats.dead_letters.store(dead_letters, Ordering::Relaxed);
    let (directives, receiver) = watch::channel(Directive { paused: false, resumptions: 0, stop_by: None });
    let (commands, received) = mpsc::channel(COMMANDS_WAITING);
    let (target, pull) = match target {
        Target::Push(sink) => (dispatcher::Target::Sink(sink), None),
        Target::Pull => {
            let target = dispatcher::Target::consumers(metrics.leases(&tenant, &name));
            (target, Some(PullSubscription::new(commands.clone())))
        }
    };
    let handle = Handle {
        id: record.id,
        tenant,
        name,
        filter: record.spec.filter.clone(),
        start_offset: record.start_offset,
        sink: target.kind(),
        stats: Arc::clone(&stats),
        directives,
        commands,
        pull,
    };
    let dispatcher = Dispatcher::new(Parts {
        record,
        position,
        target,
        log: Arc::clone(&tail.log),
        chunks: Arc::clone(&tail.chunks),
        documents: Arc::clone(&tail.documents),
        store: Arc::new(state.clone()),
        stats,
        directives: receiver,
        commands: received,
        replays,
        options: options.clone(),
    });
    (handle, dispatcher)
}

/// Tells the log what is needed every so often, and once more at the end.
async fn keep_retention_told(shared: Arc<Shared>, interval: Duration, mut stopped: oneshot::Receiver<()>) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => shared.tell_retention(),
            _ = &mut stopped => break,
        }
    }
    shared.tell_retention();
}

/// Makes a dispatcher's own panic visible.
struct PanicGuard {
    stats: Arc<SubscriptionStats>,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.stats
                .set_run_state(RunState::Damaged { why: "the dispatcher failed; see the log".to_owned() });
        }
    }
}
