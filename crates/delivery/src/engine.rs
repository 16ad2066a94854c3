//! All dispatchers of a process: started together, asked by name, shut down within a deadline.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use eventrelay_expression::DocumentCache;
use eventrelay_sinks::Sink;
use eventrelay_state::{State, StateError, SubscriptionId, SubscriptionRecord};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::control::BuildTarget;
use crate::dispatcher::Ended;
use crate::event_log::{EventLog, StartError};
use crate::launch::{Loaded, launch};
use crate::metrics::DeliveryMetrics;
use crate::options::EngineOptions;
use crate::pull::Consumers;
use crate::roster::{Handle, Roster};
use crate::status::SubscriptionStatus;
use crate::turns::Turns;

/// Runs the dispatchers. Dropping it ends them as a crash would; [`Engine::shutdown`] ends them in order.
#[derive(Debug)]
pub struct Engine {
    core: Arc<Core>,
    retention: Mutex<Option<RetentionTask>>,
}

/// What changes of subscriptions work with.
pub(crate) struct Core {
    pub(crate) roster: Arc<Roster>,
    pub(crate) state: State,
    pub(crate) metrics: DeliveryMetrics,
    pub(crate) options: EngineOptions,
    pub(crate) targets: Arc<dyn BuildTarget>,
    pub(crate) turns: Turns,
    /// Changes that are under way; closed when the engine ends.
    pub(crate) changes: TaskTracker,
    /// The tasks of those in the roster.
    pub(crate) running: Mutex<HashMap<SubscriptionId, AbortOnDropHandle<Ended>>>,
}

#[derive(Debug)]
struct RetentionTask {
    task: JoinHandle<()>,
    stop: oneshot::Sender<()>,
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
    /// The state store could not be read.
    #[error("cannot load the subscriptions: {0}")]
    List(StateError),
    /// The state store could not be read.
    #[error("cannot load the rates of tenants: {0}")]
    Rates(StateError),
    /// The process is ending.
    #[error("the start was cut short")]
    CutShort,
}

/// Why a subscription did not do what it was asked to.
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
    /// It is stored, but does not run: nobody declares it any more, or its target cannot be made.
    #[error("the subscription `{name}` of tenant `{tenant}` does not run")]
    NotRunning {
        /// The tenant asked for.
        tenant: String,
        /// The name asked for.
        name: String,
    },
    /// It could not be made durable, so nothing has changed.
    #[error(transparent)]
    State(#[from] StateError),
    /// There is no such place in the log.
    #[error("{error}")]
    Start {
        /// Which place of the request: `from` or `to`.
        field: &'static str,
        /// What is wrong with it.
        error: StartError,
    },
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
    /// Its dispatcher had ended, and another could not be started.
    #[error("the subscription could not be started: {why}")]
    NotStarted {
        /// What failed.
        why: String,
    },
    /// The event cannot be delivered as a sample.
    #[error("the sample is no event: {why}")]
    NotASample {
        /// What is wrong with it.
        why: String,
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
    /// Starts a dispatcher for each subscription, with where its events go. Orphaned ones are not to be given; for those that
    /// are stored and not given, the log keeps what they need. `targets` makes those of subscriptions that are made or changed
    /// later.
    ///
    /// # Errors
    /// When a subscription's position cannot be read.
    pub async fn start(
        log: impl EventLog,
        state: State,
        subscriptions: Vec<(SubscriptionRecord, Target)>,
        targets: Arc<dyn BuildTarget>,
        options: EngineOptions,
    ) -> Result<Self, EngineError> {
        let documents = Arc::new(DocumentCache::new(options.document_cache_bytes));
        let retention_interval = options.retention_interval;
        let roster = Arc::new(Roster::new(Arc::new(log), documents));
        let core = Core {
            roster: Arc::clone(&roster),
            state: state.clone(),
            metrics: DeliveryMetrics::new(),
            options,
            targets,
            turns: Turns::default(),
            changes: TaskTracker::new(),
            running: Mutex::default(),
        };
        let Stored { running, parked, rates } = load(state, subscriptions).await?;
        rates.iter().for_each(|(tenant, rate)| core.roster.rates.set(tenant, Some(*rate)));
        // Before retention is told anything.
        parked.iter().for_each(|(id, needed)| core.roster.park(*id, *needed));
        for (loaded, target) in running {
            core.run(loaded, target);
        }
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(keep_retention_told(roster, retention_interval, stopped));
        Ok(Self { core: Arc::new(core), retention: Mutex::new(Some(RetentionTask { task, stop })) })
    }

    /// How each subscription stands, in the order in which they were declared.
    #[must_use]
    pub fn subscriptions(&self) -> Vec<SubscriptionStatus> {
        self.core.roster.statuses()
    }

    /// Has all push subscriptions of a tenant together keep to the rate that the state store has for it by now; where it has none,
    /// to none.
    ///
    /// # Errors
    /// When the state store cannot be read; the rate stays as it was.
    pub async fn keep_stored_rate(&self, tenant: String) -> Result<(), ControlError> {
        let (roster, state) = (Arc::clone(&self.core.roster), self.state().clone());
        let keep = move || roster.rates.set_stored(&tenant, || state.tenant_delivery_rate(&tenant));
        Ok(tokio::task::spawn_blocking(keep).await.map_err(|_| ControlError::Ending)??)
    }

    /// Reads no more, finishes what is in flight until `deadline` from now, saves every cursor and closes the sinks.
    /// What is not finished is delivered again after the next start. A second call has nothing left to do.
    pub async fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        let Some(retention) = self.retention.lock().take() else { return ShutdownReport::default() };
        let stop_by = Instant::now() + deadline;
        // A change that is under way may start a dispatcher again.
        self.core.changes.close();
        self.core.changes.wait().await;
        for handle in self.core.roster.all() {
            handle.stop(stop_by);
        }
        let mut report = ShutdownReport::default();
        let running: Vec<_> = self.core.running.lock().drain().collect();
        for (_, task) in running {
            report.add(task.await);
        }
        // An error means that it has ended already.
        let _ = retention.stop.send(());
        if let Err(error) = retention.task.await {
            tracing::error!(%error, "the task that tells retention what is needed had failed");
        }
        report
    }

    /// The pull subscriptions, for their consumers.
    #[must_use]
    pub fn consumers(&self) -> Consumers {
        Consumers::new(Arc::clone(&self.core.roster))
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    pub(crate) fn roster(&self) -> &Roster {
        &self.core.roster
    }

    /// The subscription of that name, which must run.
    pub(crate) async fn running(&self, tenant: &str, name: &str) -> Result<Arc<Handle>, ControlError> {
        self.core.running(tenant, name).await
    }

    /// The same. Blocking.
    pub(crate) fn running_blocking(&self, tenant: &str, name: &str) -> Result<Arc<Handle>, ControlError> {
        let found = self.roster().find(tenant, name);
        found.ok_or_else(|| not_running(self.state(), tenant.to_owned(), name.to_owned()))
    }

    /// Where deliveries are remembered.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.core.state
    }

    /// Registers the metrics (`eventrelay_deliveries_total`, `eventrelay_delivery_…`, `eventrelay_subscription_…`).
    pub fn register_metrics(&self, registry: &mut Registry) {
        let roster = Arc::clone(&self.core.roster);
        let documents = Arc::clone(&roster.documents);
        self.core.metrics.register(registry, Arc::new(move || roster.statuses()), documents);
    }
}

impl Core {
    /// The subscription of that name, which must run.
    pub(crate) async fn running(&self, tenant: &str, name: &str) -> Result<Arc<Handle>, ControlError> {
        if let Some(handle) = self.roster.find(tenant, name) {
            return Ok(handle);
        }
        let (state, tenant, name) = (self.state.clone(), tenant.to_owned(), name.to_owned());
        let refusal = tokio::task::spawn_blocking(move || not_running(&state, tenant, name)).await;
        Err(refusal.unwrap_or(ControlError::Ending))
    }

    /// Starts a subscription's dispatcher.
    pub(crate) fn run(&self, loaded: Loaded, target: Target) {
        let (handle, task) = launch(self, loaded, target);
        self.running.lock().insert(handle.id, task);
        self.roster.insert(Arc::new(handle));
    }
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("roster", &self.roster).finish_non_exhaustive()
    }
}

impl Handle {
    /// Has the dispatcher finish what is in flight until then, and end.
    pub(crate) fn stop(&self, stop_by: Instant) {
        self.directives.send_modify(|directive| directive.stop_by = Some(stop_by));
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

/// Why none of that name runs: what is stored all the same is not to look as if it had never been. Blocking.
fn not_running(state: &State, tenant: String, name: String) -> ControlError {
    match state.subscription(&tenant, &name) {
        Ok(Some(_)) => ControlError::NotRunning { tenant, name },
        Ok(None) => ControlError::NotFound { tenant, name },
        Err(error) => ControlError::State(error),
    }
}

/// What a start finds in the state store.
struct Stored {
    running: Vec<(Loaded, Target)>,
    /// Those that are not to run, with the lowest offset that the log must keep for each.
    parked: Vec<(SubscriptionId, u64)>,
    rates: Vec<(String, NonZeroU32)>,
}

/// One that cannot be read holds up nobody who runs, and the log keeps everything for it.
fn needed_by_parked(state: &State, record: SubscriptionRecord) -> u64 {
    let (name, tenant) = (record.spec.name.clone(), record.spec.tenant.clone());
    match Loaded::read(state, record) {
        Ok(loaded) => loaded.needed_offset(),
        Err(error) => {
            tracing::error!(subscription = name, %tenant, %error, "what a subscription that does not run needs cannot be read: the log lets go of nothing");
            0
        }
    }
}

async fn load(state: State, subscriptions: Vec<(SubscriptionRecord, Target)>) -> Result<Stored, EngineError> {
    let load_all = move || {
        let load_one = |record: SubscriptionRecord| {
            let name = record.spec.name.clone();
            Loaded::read(&state, record).map_err(|error| EngineError::Load { name, error })
        };
        let stored = state.subscriptions().map_err(EngineError::List)?;
        let given: HashSet<SubscriptionId> = subscriptions.iter().map(|(record, _)| record.id).collect();
        let running = subscriptions.into_iter().map(|(record, target)| Ok((load_one(record)?, target)));
        let running = running.collect::<Result<_, EngineError>>()?;
        let left_out = stored.into_iter().filter(|record| !given.contains(&record.id));
        let parked = left_out.map(|record| (record.id, needed_by_parked(&state, record))).collect();
        let rates = state.tenant_delivery_rates().map_err(EngineError::Rates)?;
        Ok(Stored { running, parked, rates })
    };
    tokio::task::spawn_blocking(load_all).await.map_err(|_| EngineError::CutShort)?
}

/// Tells the log what is needed every so often, and once more at the end.
async fn keep_retention_told(roster: Arc<Roster>, interval: Duration, mut stopped: oneshot::Receiver<()>) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => roster.tell_retention(),
            _ = &mut stopped => break,
        }
    }
    roster.tell_retention();
}
