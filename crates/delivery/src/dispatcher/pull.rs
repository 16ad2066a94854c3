//! The side of a pull subscription: events are leased to pulls that wait, and how a lease ends is what the attempt came to.
//!
//! ```text
//!  PullQueue ──▶ room ──▶ next work (as for a sink) ──▶ LeaseTable ──▶ ack, nack, expiry, departure ──▶ settle
//!                              │                            │
//!                              └─ loading, where it waited ─┘
//! ```
//!
//! An event that was never handed over (its consumer was gone already, or a lease before it in strict order failed) goes back
//! as if it had not been tried.
//!
//! Invariants:
//! - While an event is leased, nobody else gets it; nor, in the orders that ask for it, what is to come after it.
//! - Every lease that is taken from the table ends in exactly one of: settled, scheduled, put back, or forgotten by a seek.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use eventrelay_event::{Purpose, StoredEvent};
use eventrelay_sinks::{Attempt, BatchLimit, Delivery, Outcome};
use eventrelay_state::{Order, ReplayId};
use eventrelay_telemetry::DeliveryEnd;
use rand::RngExt;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::dispatch::{Blocked, Room};
use super::settle::{Failure, Wait};
use super::{Dispatcher, Target};
use crate::call::{Call, Finished, Work};
use crate::key_gate::{Admission, Place};
use crate::metrics::LeaseMetrics;
use crate::pull::{
    ConsumerId, Lease, LeaseChange, LeaseResult, LeaseTable, LeaseToken, LeasedEvent, MAX_PULL_BYTES,
    MAX_PULL_EVENTS, Missing, PullId, PullQueue, WaitingPull,
};

/// What a pull gets at most.
pub(super) const PULL_LIMIT: BatchLimit = BatchLimit { events: MAX_PULL_EVENTS, bytes: MAX_PULL_BYTES };
/// While this many bytes of events are leased, no more are: each lease holds its event.
const LEASED_BYTES_LIMIT: usize = 64 * 1024 * 1024;
/// For so long the log's records are kept at hand for the next pull.
const AT_HAND: Duration = Duration::from_secs(1);

/// What consumers ask of a dispatcher.
pub(crate) enum PullCommand {
    /// Lease events.
    Pull(WaitingPull),
    /// Change leases; the answer is in their order.
    Change { tokens: Vec<Option<LeaseToken>>, change: LeaseChange, answer: oneshot::Sender<Vec<LeaseResult>> },
    /// Leases that never reached their consumer.
    GiveBack(Vec<LeaseToken>),
    /// A consumer has gone away.
    Leave(ConsumerId),
}

/// What a pull subscription has where others have a sink.
pub(crate) struct PullSide {
    pub(super) leases: LeaseTable,
    pub(super) pulls: PullQueue,
    /// Events that are being read for a pull.
    loading: usize,
    /// When to let go of the log's records, while nobody pulls.
    release_at: Option<Instant>,
    metrics: LeaseMetrics,
}

/// How a lease came to its end.
pub(crate) enum Ending {
    Acked,
    Failed { how: Failing, why: String, wait: Wait },
}

/// How a lease came to no good end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Failing {
    Nacked,
    Expired,
    /// Its consumer went away.
    Left,
}

impl Ending {
    /// The event is delivered again at once.
    fn at_once(how: Failing, why: &str) -> Self {
        Self::Failed { how, why: why.to_owned(), wait: Wait::Exactly(Duration::ZERO) }
    }
}

impl PullSide {
    pub(super) fn new(table: u64, metrics: LeaseMetrics) -> Self {
        let leases = LeaseTable::new(table);
        Self { leases, pulls: PullQueue::default(), loading: 0, release_at: None, metrics }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.leases.len() == 0 && self.loading == 0
    }
}

impl Dispatcher {
    fn pull_side(&mut self) -> Option<&mut PullSide> {
        match &mut self.target {
            Target::Sink(_) => None,
            Target::Consumers(side) => Some(side),
        }
    }

    pub(super) fn consume(&mut self, command: PullCommand) {
        let now = Instant::now();
        // What has run out is nobody's, whatever came first.
        self.expire_leases(now);
        match command {
            PullCommand::Pull(pull) => {
                if let Some(side) = self.pull_side() {
                    side.pulls.push(pull);
                }
            }
            PullCommand::Change { tokens, change, answer } => {
                let results =
                    tokens.into_iter().map(|token| self.change_lease(token, &change, now)).collect();
                // Who asked may have stopped waiting; what was done stands all the same.
                let _ = answer.send(results);
            }
            PullCommand::GiveBack(tokens) => self.give_back(tokens.into_iter(), now),
            PullCommand::Leave(consumer) => self.consumer_left(consumer, now),
        }
    }

    /// Which pull may get how many events now.
    pub(super) fn room_for_pull(&mut self, tokens: usize, now: Instant) -> Result<Room, Blocked> {
        let (limit, most_events) = (self.limit, self.spec.max_in_flight.get() as usize);
        let Some(side) = self.pull_side() else { return Err(Blocked::UntilSomethingEnds) };
        let free = most_events.saturating_sub(side.leases.len() + side.loading);
        let has_room = free > 0 && side.leases.bytes() < LEASED_BYTES_LIMIT;
        match side.pulls.first_with_room(&side.leases).filter(|_| has_room) {
            Some((pull, room)) => {
                side.release_at = None;
                let events = limit.events.min(room).min(free).min(tokens);
                Ok(Room { limit: BatchLimit { events, ..limit }, probe: false, pull: Some(pull) })
            }
            None => {
                let release_at = *side.release_at.get_or_insert(now + AT_HAND);
                if now < release_at {
                    return Err(Blocked::Until(release_at));
                }
                self.hold_no_memory();
                Err(Blocked::UntilSomethingEnds)
            }
        }
    }

    /// Gives a pull its events, or has them read first.
    pub(super) fn start_lease(&mut self, call: Call, id: PullId) {
        let replay = call.replay;
        match call.work {
            Work::Deliver(deliveries) if self.transformer.is_none() => {
                self.lease(id, deliveries, None, replay, Instant::now());
            }
            Work::Deliver(_) | Work::LoadAndDeliver(_) => {
                let events = call.events();
                if let Some(side) = self.pull_side() {
                    side.pulls.set_loading(id, true);
                    side.loading += events;
                }
                self.in_flight.push(Box::pin(call.load(
                    Arc::clone(self.reader.log()),
                    self.transformer.clone(),
                    id,
                )));
            }
        }
    }

    /// What was read for a pull is at hand, or cannot be read.
    pub(super) fn loaded(&mut self, id: PullId, finished: Finished) {
        let now = Instant::now();
        let events = finished.deliveries.len() + finished.unloaded.len() + finished.refused.len();
        let may_start = self.may_start();
        if let Some(side) = self.pull_side() {
            side.pulls.set_loading(id, false);
            side.loading -= events;
        }
        for (waiting, error) in finished.unloaded {
            self.settle_unloaded(waiting, error, now);
        }
        for refused in finished.refused {
            self.settle_refused(refused, finished.replay);
        }
        if may_start {
            self.lease(id, finished.deliveries, finished.outgoing, finished.replay, now);
        } else {
            for delivery in finished.deliveries.iter().rev() {
                self.return_untried(delivery, finished.replay, now);
            }
        }
    }

    /// Leases events to a pull, which is given `outgoing` for them where a transform makes something else of them; where it is
    /// over by now they go back.
    fn lease(
        &mut self,
        id: PullId,
        deliveries: Vec<Delivery>,
        outgoing: Option<Vec<Delivery>>,
        replay: Option<ReplayId>,
        now: Instant,
    ) {
        if deliveries.is_empty() {
            return;
        }
        let Some(pull) = self.pull_side().and_then(|side| side.pulls.take(id)) else {
            for delivery in deliveries.into_iter().rev() {
                self.return_untried(&delivery, replay, now);
            }
            return;
        };
        let WaitingPull { lease: time, credit, answer, .. } = pull;
        let consumer = credit.map(|credit| credit.consumer);
        let mut events = Vec::with_capacity(deliveries.len());
        let mut outgoing = outgoing.into_iter().flatten();
        for delivery in deliveries {
            let given = outgoing.next().map(|given| given.event);
            let lease = self.new_lease(delivery, replay, consumer, now, time);
            let expires_at_micros = self.clock.micros_at(lease.expires);
            if let Some(side) = self.pull_side() {
                let (token, lease) = side.leases.insert(lease);
                events.push(leased_event(token, lease, given, expires_at_micros));
            }
        }
        if let Err(untaken) = answer.send(events) {
            self.give_back(untaken.iter().map(|event| event.lease), now);
        }
    }

    fn new_lease(
        &mut self,
        mut delivery: Delivery,
        replay: Option<ReplayId>,
        consumer: Option<ConsumerId>,
        now: Instant,
        time: Duration,
    ) -> Lease {
        delivery.event = in_memory_of_its_own(delivery.event);
        let span = self.tracer.begin(&delivery.event, delivery.attempt);
        delivery.span = span.as_ref().and_then(eventrelay_telemetry::DeliverySpan::id);
        let (secret, begun_at) = (self.random.random(), SystemTime::now());
        Lease { delivery, replay, consumer, span, begun: now, begun_at, expires: now + time, secret }
    }

    fn change_lease(&mut self, token: Option<LeaseToken>, change: &LeaseChange, now: Instant) -> LeaseResult {
        let Some((token, side)) = token.zip(self.pull_side()) else { return LeaseResult::Unknown };
        let changed = match change {
            LeaseChange::Extend { lease } => {
                side.leases.extend(token, now, *lease).map(|()| LeaseResult::Extended)
            }
            LeaseChange::Ack => side.leases.ack(token).map(|lease| {
                self.end_lease(lease, Ending::Acked, now);
                LeaseResult::Acked
            }),
            LeaseChange::Nack { delay, reason } => side.leases.take(token).map(|lease| {
                let why = reason.clone().unwrap_or_else(|| "nacked".to_owned());
                let wait = delay.map_or(Wait::Backoff { at_least: None }, Wait::Exactly);
                self.end_lease(lease, Ending::Failed { how: Failing::Nacked, why, wait }, now);
                LeaseResult::Nacked
            }),
        };
        changed.unwrap_or_else(|missing| match (missing, change) {
            // Its answer was lost, or the consumer is not sure.
            (Missing::Acked, LeaseChange::Ack) => LeaseResult::Acked,
            (Missing::Acked | Missing::Ended, _) => LeaseResult::Expired,
            (Missing::Unknown, _) => LeaseResult::Unknown,
        })
    }

    /// Ends what has run out.
    pub(super) fn expire_leases(&mut self, now: Instant) {
        while let Some(lease) = self.pull_side().and_then(|side| side.leases.take_expired(now)) {
            self.end_lease(lease, Ending::at_once(Failing::Expired, "lease expired"), now);
        }
    }

    fn consumer_left(&mut self, consumer: ConsumerId, now: Instant) {
        if let Some(side) = self.pull_side() {
            side.pulls.forget(consumer);
        }
        while let Some(lease) = self.pull_side().and_then(|side| side.leases.take_of(consumer)) {
            self.end_lease(lease, Ending::at_once(Failing::Left, "the consumer went away"), now);
        }
    }

    /// Settles an attempt by how its lease ended.
    fn end_lease(&mut self, lease: Lease, ending: Ending, now: Instant) {
        let Lease { delivery, replay, span, begun, begun_at, .. } = lease;
        if let Some(side) = self.pull_side() {
            side.metrics.of(&ending).inc();
        }
        let took = now.saturating_duration_since(begun);
        self.stats.metrics.attempt_duration.observe(took.as_secs_f64());
        let (outcome, failure) = match ending {
            Ending::Acked => (Outcome::Delivered, None),
            Ending::Failed { why, wait, .. } => {
                let outcome = Outcome::Retry { after: None, why: why.clone() };
                (outcome, Some(Failure { why, wait, panicked: false }))
            }
        };
        if let Some(span) = span {
            let error = failure.as_ref().map(|failure| failure.why.as_str());
            let outcome = if error.is_some() { "retry" } else { "delivered" };
            span.end(DeliveryEnd { outcome, error, response_status: None });
        }
        self.note_latency(took);
        let attempt = Attempt { outcome, started: begun_at, took, response: None, exchange: None };
        self.keep_attempt(&delivery, &attempt);
        let failed = failure.is_some();
        match failure {
            None => self.delivered(&delivery),
            Some(failure) => self.failed(&delivery, failure, now),
        }
        self.replay_settled(replay, std::slice::from_ref(&delivery));
        if failed && self.spec.order == Order::Strict {
            self.take_back_behind(delivery.event.offset(), now);
        }
    }

    /// In strict order, what was leased together with a failure comes again behind it.
    fn take_back_behind(&mut self, offset: u64, now: Instant) {
        while let Some(lease) = self.pull_side().and_then(|side| side.leases.take_last_behind(offset)) {
            self.returned(&lease, now);
        }
    }

    /// Leases that did not reach their consumer.
    fn give_back(&mut self, tokens: impl DoubleEndedIterator<Item = LeaseToken>, now: Instant) {
        // Latest first, so that the earliest comes to the front.
        for token in tokens.rev() {
            if let Some(Ok(lease)) = self.pull_side().map(|side| side.leases.take(token)) {
                self.returned(&lease, now);
            }
        }
    }

    fn returned(&mut self, lease: &Lease, now: Instant) {
        if let Some(side) = self.pull_side() {
            side.metrics.returned.inc();
        }
        self.return_untried(&lease.delivery, lease.replay, now);
    }

    /// The attempt was not made.
    fn return_untried(&mut self, delivery: &Delivery, replay: Option<ReplayId>, now: Instant) {
        if replay.is_none() {
            return self.put_back_untried(&delivery.event, now);
        }
        // Only the schedule knows why it is on its way.
        let why = "it did not reach its consumer".to_owned();
        self.schedule(delivery, delivery.attempt.saturating_sub(1), 0, now, why);
        self.replay_settled(replay, std::slice::from_ref(delivery));
    }

    fn put_back_untried(&mut self, event: &StoredEvent, now: Instant) {
        if self.retries.get(event.offset()).is_some() {
            self.retries.put_back(event.offset(), now);
        } else {
            self.first_of_ready(Place { offset: event.offset(), bytes: event.encoded().len() });
        }
    }

    /// A seek ends every lease. Gives those of replays, which it does not forget.
    pub(super) fn revoke_leases(&mut self) -> Vec<Lease> {
        let Some(side) = self.pull_side() else { return Vec::new() };
        let mut of_replays = Vec::new();
        while let Some(lease) = side.leases.take_last() {
            side.metrics.returned.inc();
            if lease.replay.is_some() {
                of_replays.push(lease);
            }
        }
        of_replays
    }

    /// Has events of replays delivered after a seek, which has set everything else aside. Those that the cursor has yet to
    /// come to are its own now.
    pub(super) fn schedule_again(&mut self, of_replays: Vec<Lease>, now: Instant) {
        for lease in of_replays {
            if lease.delivery.event.offset() >= self.progress.cursor() {
                if lease.delivery.purpose == Purpose::Redrive {
                    self.no_longer_dead(lease.delivery.event.offset());
                }
                self.replay_settled(lease.replay, std::slice::from_ref(&lease.delivery));
                continue;
            }
            let event = &lease.delivery.event;
            if let (Some(gate), Some(key)) = (&mut self.gate, event.key()) {
                let place = Place { offset: event.offset(), bytes: event.encoded().len() };
                // No two events of a key were leased, and nothing else has it after a seek.
                let admitted = gate.admit(gate.hash(key), place);
                debug_assert_eq!(admitted, Admission::Go);
            }
            self.return_untried(&lease.delivery, lease.replay, now);
        }
    }

    /// Tells pulls that have waited long enough that there is nothing, unless that is not known yet.
    pub(super) fn dismiss_overdue_pulls(&mut self, blocked: Blocked, now: Instant) {
        let is_reading = (self.starved && self.reader.is_reading())
            || self.replays.iter().any(super::replay::Replay::is_starved);
        if blocked == Blocked::MoreToScan || is_reading {
            return;
        }
        if let Some(side) = self.pull_side() {
            side.pulls.dismiss_overdue(now);
        }
    }

    /// The end: no pull is answered any more, and no lease settled.
    pub(super) fn end_leases(&mut self) {
        if let Some(side) = self.pull_side() {
            side.pulls.clear();
            while side.leases.take_last().is_some() {}
        }
    }
}

fn leased_event(
    token: LeaseToken,
    lease: &Lease,
    given: Option<StoredEvent>,
    expires_at_micros: u64,
) -> LeasedEvent {
    let delivery = &lease.delivery;
    LeasedEvent {
        lease: token,
        attempt: delivery.attempt,
        purpose: delivery.purpose,
        expires_at_micros,
        traceparent: delivery.traceparent().map(std::borrow::Cow::into_owned),
        event: given.unwrap_or_else(|| delivery.event.clone()),
    }
}

fn in_memory_of_its_own(event: StoredEvent) -> StoredEvent {
    let bytes = Bytes::copy_from_slice(event.encoded());
    // It was decoded before.
    StoredEvent::decode(event.offset(), event.append_time_micros(), bytes).unwrap_or(event)
}
