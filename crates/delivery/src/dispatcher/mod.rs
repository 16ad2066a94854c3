//! One subscription's dispatcher: a task that reads, filters, orders, calls the sink and settles.
//!
//! ```text
//!  log ──▶ Reader ──▶ filter ──▶ order ──▶ batch ──▶ call of the sink ──▶ settle ──▶ Progress, retries, dead letters
//!                                                         ▲                  │                    │
//!                                                         └── due retries ◀──┘                    ▼
//!                                                                                           Checkpointer
//! ```
//!
//! Everything here belongs to one task, so nothing is locked. What is in memory is bounded: the calls in flight, one
//! run of the log's records, and the places (not the events) of what waits for a retry or for its key.
//!
//! Invariants:
//! - An offset is settled in `progress` only when it was delivered or filtered out, or when its retry or dead letter is
//!   among the changes that the next checkpoint saves with that progress.
//! - An event on its way is in exactly one of: a call in flight, a lease, the batch that gathers, `ready`, the key gate, or
//!   the retry schedule.
//! - A pull subscription has consumers where others have a sink (see [`pull`]); all the rest is the same.
//! - What is not settled when the task ends is delivered again after the next start.

mod command;
mod dispatch;
mod filtering;
mod gathering;
mod pull;
mod replay;
mod settle;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use eventrelay_expression::DocumentCache;
use eventrelay_log::ReadError;
use eventrelay_sinks::{BatchLimit, BoxFuture, Purpose, Sink};
use eventrelay_state::{
    Lifecycle, Order, Position, Progress, ReplayKind, ReplayRecord, StateError, Subscription,
    SubscriptionRecord,
};
use eventrelay_telemetry::DeliveryTracer;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use prometheus_client::metrics::counter::Counter;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::breaker::{Breaker, BreakerState};
use crate::call::Finished;
use crate::checkpointer::{Checkpointer, Saved};
use crate::clock::Clock;
use crate::dead_letter_copies::DeadLetterCopies;
use crate::decoded_chunk::ChunkCache;
use crate::event_log::EventLog;
use crate::key_gate::{Admission, KeyGate, Place};
use crate::metrics::LeaseMetrics;
use crate::notices::{Happened, Notices};
use crate::options::EngineOptions;
use crate::rate_limit::RateLimit;
use crate::reader::Reader;
use crate::retry_schedule::{RetryEntry, RetrySchedule};
use crate::status::{RunState, SubscriptionStats};
use crate::store::Store;
use crate::tenant_rates::TenantRate;
use crate::transformer::Transformer;

pub(crate) use command::{Command, Done};
pub(crate) use pull::{Ending, Failing, PullCommand};

use command::Answers;
use dispatch::Blocked;
use gathering::Gathering;
use pull::{PULL_LIMIT, PullSide};
use replay::Replay;

/// The least number of events that may wait for their key.
const WAITING_FOR_KEY_LIMIT: usize = 10_000;
/// The wait before the log is read again after the system refused a read.
const READ_RETRY_WAIT: Duration = Duration::from_secs(1);

/// What the engine asks of a dispatcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Directive {
    pub(crate) paused: bool,
    /// Counts the resumptions asked for: each lifts a pause, a disablement or a stop at damage.
    pub(crate) resumptions: u64,
    /// Finish what is in flight until then, and end.
    pub(crate) stop_by: Option<Instant>,
}

/// How a dispatcher ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Calls that were cut short by the deadline.
    pub(crate) unfinished_calls: usize,
    /// Whether everything that was settled is durable.
    pub(crate) saved: bool,
}

/// What a dispatcher works with.
pub(crate) struct Parts {
    pub(crate) record: SubscriptionRecord,
    pub(crate) position: Position,
    pub(crate) target: Target,
    pub(crate) log: Arc<dyn EventLog>,
    /// Shared by all dispatchers.
    pub(crate) chunks: Arc<ChunkCache>,
    /// Shared by all dispatchers.
    pub(crate) documents: Arc<DocumentCache>,
    /// Shared by all dispatchers of the tenant.
    pub(crate) tenant_rate: Arc<TenantRate>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) stats: Arc<SubscriptionStats>,
    pub(crate) directives: watch::Receiver<Directive>,
    pub(crate) commands: mpsc::Receiver<Command>,
    /// Those that go on.
    pub(crate) replays: Vec<ReplayRecord>,
    pub(crate) options: EngineOptions,
}

/// Where events go.
pub(crate) enum Target {
    Sink(Arc<dyn Sink>),
    /// To whoever pulls.
    Consumers(Box<PullSide>),
}

impl Target {
    /// Consumers that pull.
    pub(crate) fn consumers(metrics: LeaseMetrics) -> Self {
        Self::Consumers(Box::new(PullSide::new(rand::random(), metrics)))
    }

    /// The name of the sink's kind, or `pull`.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Sink(sink) => sink.kind(),
            Self::Consumers(_) => "pull",
        }
    }

    /// How many events go together: the smaller of what the subscription and what the target says.
    fn batch_limit(&self, spec: &Subscription) -> BatchLimit {
        let (own, keeps_order) = match self {
            Self::Sink(sink) => (sink.batch_limit(), sink.keeps_order_within_batch()),
            Self::Consumers(_) => (PULL_LIMIT, true),
        };
        let events = spec.batch.max_events.map_or(usize::MAX, |events| events.get() as usize);
        let bytes = spec.batch.max_bytes.map_or(usize::MAX, |bytes| bytes.get() as usize);
        // By key there is one event of a key in a batch, so only strict order can be broken within one.
        let one_by_one = spec.order == Order::Strict && !keeps_order;
        let events = if one_by_one { 1 } else { own.events.min(events).max(1) };
        BatchLimit { events, bytes: own.bytes.min(bytes) }
    }

    /// How long a batch that is not full waits for more. A pull says itself how long it waits.
    fn batch_wait(&self, spec: &Subscription) -> Duration {
        match self {
            Self::Sink(sink) => spec
                .batch
                .max_age_ms
                .map_or_else(|| sink.batch_wait(), |wait| Duration::from_millis(wait.into())),
            Self::Consumers(_) => Duration::ZERO,
        }
    }
}

pub(crate) struct Dispatcher {
    spec: Subscription,
    target: Target,
    tracer: DeliveryTracer,
    limit: BatchLimit,
    /// How long a batch that is not full waits for more.
    batch_wait: Duration,
    most_calls: usize,
    clock: Clock,
    random: StdRng,
    reader: Reader,
    documents: Arc<DocumentCache>,
    /// How often the filter failed since it last gave a result.
    filter_failures: u32,
    transformer: Option<Arc<Transformer>>,
    progress: Progress,
    /// Counts what was settled, so that a change beyond the cursor is seen too.
    settled: u64,
    /// Beyond it nothing was settled before the start, so nothing is looked up.
    settled_before_start: u64,
    retries: RetrySchedule,
    retry_calls: usize,
    /// Events whose key has become free, or whose batch was given up.
    ready: VecDeque<Place>,
    gathering: Gathering,
    gate: Option<KeyGate>,
    breaker: Breaker,
    rate: Option<RateLimit>,
    tenant_rate: Arc<TenantRate>,
    in_flight: FuturesUnordered<BoxFuture<'static, Finished>>,
    checkpointer: Checkpointer,
    copies: DeadLetterCopies,
    notices: Notices,
    halt: RunState,
    /// The system refused a read: nothing is read before then.
    read_again_at: Option<Instant>,
    /// The reader had nothing at hand when it was last asked.
    starved: bool,
    /// Of the counters of delivered, retried and dead, what [`Self::note_outcomes`] has seen.
    noted_outcomes: [u64; 3],
    stats: Arc<SubscriptionStats>,
    directives: watch::Receiver<Directive>,
    commands: mpsc::Receiver<Command>,
    /// Where to go on, once nothing is on its way.
    seek: Option<(u64, Done)>,
    replays: Vec<Replay>,
    replay_goes_first: bool,
    store: Arc<dyn Store>,
    answers: Answers,
    resumptions: u64,
}

impl Dispatcher {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts {
            record,
            mut position,
            target,
            log,
            chunks,
            documents,
            tenant_rate,
            store,
            stats,
            directives,
            commands,
            replays,
            options,
        } = parts;
        let SubscriptionRecord { id, spec, lifecycle, .. } = record;
        let now = Instant::now();
        let resumptions = directives.borrow().resumptions;
        let most_calls = if spec.order == Order::Strict { 1 } else { spec.max_in_flight.get() as usize };
        let max_retrying = spec.retry.max_retrying.get() as usize;
        let gate =
            (spec.order == Order::ByKey).then(|| KeyGate::new(max_retrying.max(WAITING_FOR_KEY_LIMIT)));
        let needed = needed_offset(&position, &replays);
        let replays =
            replays.into_iter().map(|record| Replay::new(record, &log, &chunks, &store, now)).collect();
        let interval = options.checkpoint_interval;
        let tracer = options.spans.deliveries(&spec.tenant, &spec.name, target.kind());
        let mut checkpointer =
            Checkpointer::new(Arc::clone(&store), id, interval, &position.progress, needed);
        let copies = dead_letter_copies(&spec, &target, &stats);
        if copies.are_wanted() {
            checkpointer.keep_durable_dead_letters();
        }
        for reopened in reopen_for_strict_order(&spec, &mut position) {
            checkpointer.unsaved.retry_is_over(reopened);
        }
        let transformer = Transformer::of(&spec, &documents, options.event_limits);
        let mut dispatcher = Self {
            limit: target.batch_limit(&spec),
            batch_wait: target.batch_wait(&spec),
            most_calls,
            clock: Clock::start(),
            random: options
                .seed
                .map_or_else(rand::make_rng, |seed| StdRng::seed_from_u64(seed ^ id.0.cast_unsigned())),
            reader: Reader::new(log, chunks, position.progress.cursor()),
            documents,
            filter_failures: 0,
            transformer,
            settled: 0,
            settled_before_start: position.progress.end(),
            progress: position.progress,
            retries: RetrySchedule::default(),
            retry_calls: 0,
            ready: VecDeque::new(),
            gathering: Gathering::default(),
            gate,
            breaker: Breaker::new(spec.breaker.clone(), most_calls),
            rate: spec.rate().map(|rate| RateLimit::new(rate, now)),
            tenant_rate,
            in_flight: FuturesUnordered::new(),
            checkpointer,
            copies,
            notices: options.notices.clone(),
            halt: halt_of(lifecycle),
            read_again_at: None,
            starved: false,
            // The counters outlive a change of the subscription.
            noted_outcomes: [&stats.metrics.delivered, &stats.metrics.retried, &stats.metrics.dead]
                .map(Counter::get),
            spec,
            target,
            tracer,
            stats,
            resumptions,
            directives,
            commands,
            seek: None,
            replays,
            replay_goes_first: false,
            store,
            answers: Answers::default(),
        };
        dispatcher.restore_retries(position.retrying);
        dispatcher
    }

    /// Runs until the engine asks it to stop.
    pub(crate) async fn run(mut self) -> Ended {
        self.pass_trimmed();
        loop {
            // A sink that always answers at once must not keep the task from yielding.
            tokio::task::consume_budget().await;
            let directive = *self.directives.borrow_and_update();
            if let Some(stop_by) = directive.stop_by {
                return self.stop(stop_by).await;
            }
            self.follow(directive);
            self.seek_if_idle();
            let now = Instant::now();
            self.expire_leases(now);
            let blocked = self.start_calls(now);
            self.dismiss_overdue_pulls(blocked, now);
            self.begin_checkpoint_if_due(now);
            self.publish();
            self.wait(blocked, now).await;
        }
    }

    /// Waits for whatever comes first, and deals with it.
    async fn wait(&mut self, blocked: Blocked, now: Instant) {
        let wake = self.next_wake(blocked, now);
        tokio::select! {
            biased;
            changed = self.directives.changed() => {
                if changed.is_err() {
                    // The engine is gone without a word: end at once, as a crash would.
                    self.directives = stop_now();
                }
            }
            Some(command) = self.commands.recv() => self.obey(command),
            saved = self.checkpointer.end(), if self.checkpointer.is_saving() => self.saved(saved),
            () = self.copies.advance(), if self.copies.are_waiting() => {}
            () = sleep_until(wake), if wake.is_some() => {}
            read = self.reader.advance(), if self.starved => {
                if let Err(error) = read {
                    self.cannot_read(&error);
                }
            }
            (id, result) = replay::advance_one(&mut self.replays), if self.replays.iter().any(Replay::is_starved) => {
                self.replay_advanced(id, result);
            }
            Some(finished) = self.in_flight.next(), if !self.in_flight.is_empty() => self.settle(finished),
            () = tokio::task::yield_now(), if blocked == Blocked::MoreToScan => {}
        }
    }

    /// Finishes what is in flight until the deadline, saves what is settled, and closes the sink. Leases end: nobody can be
    /// waited for, and nobody is there any more to take an ack.
    async fn stop(mut self, stop_by: Instant) -> Ended {
        self.end_leases();
        while !self.in_flight.is_empty() {
            tokio::select! {
                biased;
                Some(finished) = self.in_flight.next() => self.settle(finished),
                saved = self.checkpointer.end(), if self.checkpointer.is_saving() => self.saved(saved),
                () = tokio::time::sleep_until(stop_by) => break,
            }
        }
        let unfinished_calls = self.in_flight.len();
        self.in_flight.clear();
        let saved = self.save_all().await;
        self.copies.finish(stop_by).await;
        self.publish();
        if let Target::Sink(sink) = &self.target
            && tokio::time::timeout_at(stop_by + Duration::from_secs(1), sink.close()).await.is_err()
        {
            tracing::warn!(subscription = self.spec.name, "the sink did not close in time");
        }
        self.stats.set_run_state(RunState::Stopped);
        self.reader.finish().await;
        Ended { unfinished_calls, saved }
    }

    async fn save_all(&mut self) -> bool {
        while self.checkpointer.is_saving() || self.checkpointer.due(&self.progress, self.settled).is_some() {
            if !self.checkpointer.is_saving() {
                self.begin_checkpoint(Instant::now());
            }
            let result = self.checkpointer.end().await;
            let failed = result.is_err();
            self.saved(result);
            if failed {
                return false;
            }
        }
        true
    }

    /// Takes over what the engine asks.
    fn follow(&mut self, directive: Directive) {
        if directive.resumptions != self.resumptions {
            self.resumptions = directive.resumptions;
            if matches!(self.halt, RunState::Disabled { .. }) {
                // Said again here, lest a disablement that is being saved has the last word.
                self.checkpointer.unsaved.lifecycle(Lifecycle::Enabled);
            }
            self.filter_failures = 0;
            self.halt_as(RunState::Running);
        }
        if directive.paused && self.halt == RunState::Running {
            self.halt_as(RunState::Paused);
        }
    }

    fn halt_as(&mut self, halt: RunState) {
        self.stats.set_run_state(halt.clone());
        self.halt = halt;
    }

    /// Retries that were due while the process was down are due now.
    fn restore_retries(&mut self, rows: Vec<eventrelay_state::Retrying>) {
        for row in rows {
            let due = self.clock.instant_at(row.due_at_micros, eventrelay_state::RetryPolicy::BACKOFF_LIMIT);
            let held = match (&mut self.gate, &row.event_key) {
                (Some(gate), Some(key)) => {
                    let place = Place { offset: row.offset, bytes: self.limit.bytes };
                    gate.admit(gate.hash(key), place)
                }
                _ => Admission::Go,
            };
            let entry = RetryEntry {
                attempts: row.attempts,
                panics: row.panics,
                first_failed_at_micros: row.first_failed_at_micros,
                bytes: None,
                purpose: row.purpose,
                due: (held != Admission::Wait).then_some(due),
            };
            self.retries.insert(row.offset, entry);
        }
    }

    /// The log no longer has what the cursor points at.
    fn pass_trimmed(&mut self) {
        let oldest = self.reader.log().oldest_offset();
        if self.reader.position() < oldest {
            self.pass_lost(oldest, "retention dropped them");
        }
    }

    /// Goes on after events that nobody can deliver any more, and says so loudly.
    fn pass_lost(&mut self, end: u64, why: &'static str) {
        let from = self.reader.position();
        let events = self.progress.unsettled_in(from..end);
        self.progress.settle_range(from..end);
        self.settled += 1;
        self.reader.skip_to(end);
        self.stats.metrics.lost_events.inc_by(events);
        let (subscription, tenant) = (&self.spec.name, self.spec.tenant.as_str());
        tracing::error!(
            subscription,
            tenant,
            from,
            end,
            events,
            why,
            "events were lost to this subscription"
        );
    }

    fn cannot_read(&mut self, error: &ReadError) {
        self.starved = false;
        match error {
            ReadError::Trimmed { .. } => self.pass_trimmed(),
            ReadError::Damaged { .. } => self.stop_at_damage(error),
            ReadError::Io { .. } => {
                if self.read_again_at.is_none() {
                    tracing::warn!(subscription = self.spec.name, %error, "cannot read the log; trying again");
                }
                self.read_again_at = Some(Instant::now() + READ_RETRY_WAIT);
            }
        }
    }

    fn stop_at_damage(&mut self, error: &ReadError) {
        tracing::error!(subscription = self.spec.name, %error, "the subscription stops at damage in the log");
        self.halt_as(RunState::Damaged { why: error.to_string() });
    }

    fn begin_checkpoint_if_due(&mut self, now: Instant) {
        if self.checkpointer.due(&self.progress, self.settled).is_some_and(|due| due <= now) {
            self.begin_checkpoint(now);
        }
    }

    fn begin_checkpoint(&mut self, now: Instant) {
        let cursor = self.progress.cursor();
        let needed = self.retries.lowest_offset().map_or(cursor, |lowest| lowest.min(cursor));
        let replayed = self.replays.iter().filter_map(Replay::needed_offset).min();
        let needed = replayed.map_or(needed, |offset| offset.min(needed));
        self.answers.save_begins();
        self.checkpointer.begin(&self.progress, self.settled, needed, now);
    }

    fn saved(&mut self, result: Result<Saved, Option<StateError>>) {
        self.answers.save_ended(result.is_ok());
        match result {
            Ok(saved) => {
                self.copies.take(self.checkpointer.take_durable_dead_letters());
                self.stats.durable_cursor.store(saved.cursor, Ordering::Relaxed);
                self.stats.needed.store(saved.needed, Ordering::Relaxed);
                self.stats.set_save_error(None);
            }
            Err(first_of_a_row) => {
                self.stats.metrics.save_failures.inc();
                if let Some(error) = first_of_a_row {
                    tracing::warn!(subscription = self.spec.name, %error, "cannot save the cursor; trying again");
                    self.stats.set_save_error(Some(error.to_string()));
                }
            }
        }
    }

    fn next_wake(&self, blocked: Blocked, now: Instant) -> Option<Instant> {
        let work = match blocked {
            Blocked::Until(instant) => Some(instant),
            Blocked::MoreToScan | Blocked::UntilSomethingEnds => None,
        };
        let checkpoint = self.checkpointer.due(&self.progress, self.settled);
        let (expiry, overdue) = match &self.target {
            Target::Sink(_) => (None, None),
            Target::Consumers(side) => (side.leases.next_expiry(), side.pulls.next_deadline(now)),
        };
        [work, checkpoint, self.read_again_at, expiry, overdue].into_iter().flatten().min()
    }

    /// Shows the outside how things stand.
    fn publish(&mut self) {
        self.note_outcomes();
        let cursor = self.progress.cursor();
        let stats = &self.stats;
        stats.cursor.store(cursor, Ordering::Relaxed);
        let appended = self.reader.append_time_micros(cursor).unwrap_or(0);
        stats.cursor_appended_micros.store(appended, Ordering::Relaxed);
        stats.in_flight_calls.store(self.in_flight.len() as u64, Ordering::Relaxed);
        stats.retrying.store(self.retries.len() as u64, Ordering::Relaxed);
        let waiting = self.gate.as_ref().map_or(0, KeyGate::waiting) + self.ready.len();
        stats.waiting_for_key.store(waiting as u64, Ordering::Relaxed);
        if let Target::Consumers(side) = &self.target {
            stats.leased_events.store(side.leases.len() as u64, Ordering::Relaxed);
        }
        let (before, now) = (stats.breaker(), self.breaker.state());
        if before != now {
            stats.set_breaker(now);
            match (before, now) {
                (BreakerState::Closed, _) => self.tell(Happened::BreakerOpened),
                (_, BreakerState::Closed) => self.tell(Happened::BreakerClosed),
                (_, BreakerState::Open | BreakerState::HalfOpen) => {}
            }
        }
    }

    /// Tells who operates the subscription.
    fn tell(&self, what: Happened) {
        self.notices.tell(self.spec.tenant.as_str(), &self.spec.name, what);
    }
}

/// The lowest offset that the log must keep for a subscription that stands here.
pub(crate) fn needed_offset(position: &Position, replays: &[ReplayRecord]) -> u64 {
    let of_the_log = replays.iter().filter(|replay| replay.request.kind == ReplayKind::Replay);
    let replayed = of_the_log.map(|replay| replay.progress.next_offset).min();
    let retried = position.retrying.first().map(|first| first.offset);
    replayed.into_iter().chain(retried).fold(position.progress.cursor(), u64::min)
}

/// What a stored lifecycle means for a start.
pub(crate) fn halt_of(lifecycle: Lifecycle) -> RunState {
    match lifecycle {
        Lifecycle::Enabled => RunState::Running,
        Lifecycle::Paused | Lifecycle::Orphaned => RunState::Paused,
        Lifecycle::Disabled { reason } => RunState::Disabled { reason },
    }
}

/// In strict order nothing is tried again before what comes first. Where a consumer gave an event back while it still held an
/// earlier one, and then came a crash, the earlier one is open and the later one has a retry: that is open again as well, and
/// both come in their order. Gives the offsets that have no retry any more.
fn reopen_for_strict_order(spec: &Subscription, position: &mut Position) -> Vec<u64> {
    if spec.order != Order::Strict {
        return Vec::new();
    }
    let cursor = position.progress.cursor();
    let is_ahead = |row: &eventrelay_state::Retrying| row.offset >= cursor && row.purpose == Purpose::Live;
    let ahead: Vec<u64> =
        position.retrying.extract_if(.., |row| is_ahead(row)).map(|row| row.offset).collect();
    for offset in &ahead {
        position.progress.reopen(*offset);
    }
    ahead
}

fn dead_letter_copies(spec: &Subscription, target: &Target, stats: &SubscriptionStats) -> DeadLetterCopies {
    let sink = match target {
        Target::Sink(sink) if sink.takes_dead_letters() => Some(Arc::clone(sink)),
        Target::Sink(_) | Target::Consumers(_) => None,
    };
    let timeout = Duration::from_millis(spec.retry.timeout_ms);
    let metrics = &stats.metrics;
    let counters = (metrics.dead_letters_copied.clone(), metrics.dead_letter_copies_dropped.clone());
    DeadLetterCopies::new(sink, &spec.name, timeout, counters.0, counters.1)
}

async fn sleep_until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// A directive to end at once.
fn stop_now() -> watch::Receiver<Directive> {
    watch::channel(Directive { paused: false, resumptions: 0, stop_by: Some(Instant::now()) }).1
}

#[cfg(test)]
mod tests;
