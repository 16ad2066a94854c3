//! The subscriptions that run, by tenant and name, and how each is reached and seen from outside of its task.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use eventrelay_event::StoredEvent;
use eventrelay_expression::{DocumentCache, EventFilter, Subject, Verdict};
use eventrelay_sinks::Sink;
use eventrelay_state::SubscriptionId;
use parking_lot::RwLock;
use tokio::sync::{mpsc, watch};

use crate::activity::ActivitySummary;
use crate::clock::wall_micros;
use crate::decoded_chunk::ChunkCache;
use crate::dispatcher::{Command, Directive};
use crate::engine::ControlError;
use crate::event_log::EventLog;
use crate::pull::PullSubscription;
use crate::status::{SubscriptionStats, SubscriptionStatus};
use crate::tenant_rates::TenantRates;

/// What all subscriptions share, and those that run.
pub(crate) struct Roster {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) chunks: Arc<ChunkCache>,
    pub(crate) documents: Arc<DocumentCache>,
    pub(crate) rates: TenantRates,
    /// Of each tenant, by name. Held for look-ups and changes only, never while anything is awaited.
    handles: RwLock<HashMap<String, BTreeMap<String, Arc<Handle>>>>,
    /// The lowest offsets that the log must keep for stored subscriptions that do not run: they go on there once they do.
    /// Taken after `handles`, where both are.
    parked: RwLock<HashMap<SubscriptionId, u64>>,
}

/// A subscription that runs. A change of its declaration makes another.
pub(crate) struct Handle {
    pub(crate) id: SubscriptionId,
    pub(crate) tenant: String,
    pub(crate) name: String,
    pub(crate) filter: EventFilter,
    pub(crate) start_offset: u64,
    pub(crate) kind: &'static str,
    /// What it delivers through; none where consumers pull.
    pub(crate) sink: Option<Arc<dyn Sink>>,
    /// How long one call of the sink may take.
    pub(crate) call_timeout: Duration,
    pub(crate) stats: Arc<SubscriptionStats>,
    pub(crate) directives: watch::Sender<Directive>,
    pub(crate) commands: mpsc::Sender<Command>,
    /// What its consumers talk to; none where it has a sink.
    pub(crate) pull: Option<PullSubscription>,
}

impl Roster {
    pub(crate) fn new(log: Arc<dyn EventLog>, documents: Arc<DocumentCache>) -> Self {
        Self {
            log,
            chunks: Arc::default(),
            documents,
            rates: TenantRates::default(),
            handles: RwLock::default(),
            parked: RwLock::default(),
        }
    }

    pub(crate) fn find(&self, tenant: &str, name: &str) -> Option<Arc<Handle>> {
        self.handles.read().get(tenant).and_then(|names| names.get(name)).map(Arc::clone)
    }

    /// All of them, in the order in which they were first declared.
    pub(crate) fn all(&self) -> Vec<Arc<Handle>> {
        let mut all: Vec<_> =
            self.handles.read().values().flat_map(BTreeMap::values).map(Arc::clone).collect();
        all.sort_by_key(|handle| handle.id);
        all
    }

    /// A tenant's, by name.
    pub(crate) fn of_tenant(&self, tenant: &str) -> Vec<Arc<Handle>> {
        let handles = self.handles.read();
        handles.get(tenant).map(|names| names.values().map(Arc::clone).collect()).unwrap_or_default()
    }

    /// How many run.
    pub(crate) fn len(&self) -> usize {
        self.handles.read().values().map(BTreeMap::len).sum()
    }

    /// Has the log keep what a subscription needs that does not run.
    pub(crate) fn park(&self, id: SubscriptionId, needed: u64) {
        self.parked.write().insert(id, needed);
    }

    /// A subscription that did not run is deleted.
    pub(crate) fn unpark(&self, id: SubscriptionId) {
        self.parked.write().remove(&id);
    }

    /// Adds one, in the place of an earlier one of its name.
    pub(crate) fn insert(&self, handle: Arc<Handle>) {
        let mut handles = self.handles.write();
        // Under the lock of the handles, so that one of the two is always counted.
        self.unpark(handle.id);
        handles.entry(handle.tenant.clone()).or_default().insert(handle.name.clone(), handle);
    }

    pub(crate) fn remove(&self, tenant: &str, name: &str) {
        let mut handles = self.handles.write();
        if let Some(names) = handles.get_mut(tenant) {
            names.remove(name);
            if names.is_empty() {
                handles.remove(tenant);
            }
        }
    }

    pub(crate) fn statuses(&self) -> Vec<SubscriptionStatus> {
        let (end, now_micros) = (self.log.durable_offset(), wall_micros(SystemTime::now()));
        self.all().iter().map(|handle| handle.status(end, now_micros)).collect()
    }

    /// Tells the log the lowest offset that any durable cursor, retry or replay needs, also of those that do not run.
    pub(crate) fn tell_retention(&self) {
        let end = self.log.durable_offset();
        let handles = self.handles.read();
        let all = handles.values().flat_map(BTreeMap::values);
        let running = all.map(|handle| handle.stats.needed.load(Ordering::Relaxed)).min();
        let parked = self.parked.read().values().copied().min();
        let needed = running.into_iter().chain(parked).min();
        self.log.set_needed_offset(needed.unwrap_or(end));
    }
}

impl std::fmt::Debug for Roster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Roster").field("subscriptions", &self.len()).finish_non_exhaustive()
    }
}

impl Handle {
    /// Where the cursor is.
    pub(crate) fn cursor(&self) -> u64 {
        self.stats.cursor.load(Ordering::Relaxed)
    }

    /// Asks something of the dispatcher.
    pub(crate) async fn command(&self, command: Command) -> Result<(), ControlError> {
        self.commands.send(command).await.map_err(|_| ControlError::Ending)
    }

    /// Whether the subscription is to deliver the event, was to, or has.
    pub(crate) fn is_for(&self, event: &StoredEvent, documents: &DocumentCache) -> bool {
        // Where the filter cannot tell, the event is a dead letter, or the subscription has stopped at it.
        event.tenant() == self.tenant
            && event.offset() >= self.start_offset
            && !matches!(self.filter.decide(&Subject::shared(event, documents)).verdict, Verdict::NoMatch(_))
    }

    /// What came of its attempts lately.
    pub(crate) fn activity(&self) -> ActivitySummary {
        self.stats.activity.lock().summary(SystemTime::now())
    }

    pub(crate) fn status(&self, end: u64, now_micros: u64) -> SubscriptionStatus {
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
            sink: self.kind,
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
