//! What may start now: due retries, then events whose key became free, then new events.

use std::sync::Arc;
use std::time::Duration;

use eventrelay_sinks::{BatchLimit, Delivery, Purpose};
use eventrelay_state::{KeepAttempts, Order, ReplayId};
use tokio::time::Instant;

use super::filtering::Wanted;
use super::{Dispatcher, Target};
use crate::breaker::{BreakerState, Permit};
use crate::call::{Call, Waiting, Work};
use crate::decoded_chunk::Decoded;
use crate::key_gate::{Admission, Place};
use crate::pull::PullId;
use crate::rate_limit::RateLimit;
use crate::reader::Next;
use crate::status::RunState;

/// How many records are looked at before the task yields.
const SCAN_RECORDS: usize = 1024;

/// Why nothing more can start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blocked {
    /// Until a call or a save ends, an event comes or the engine says so.
    UntilSomethingEnds,
    /// The same, or until then.
    Until(Instant),
    /// Nothing: the task only yields to others.
    MoreToScan,
}

/// What may start now.
pub(super) struct Room {
    pub(super) limit: BatchLimit,
    /// Whether it decides about the circuit breaker.
    pub(super) probe: bool,
    /// The pull that it is for, where there is no sink.
    pub(super) pull: Option<PullId>,
}

/// What a call is to do.
pub(super) struct Chosen {
    work: Work,
    retry: bool,
    replay: Option<ReplayId>,
}

impl Chosen {
    fn new(work: Work) -> Self {
        Self { work, retry: false, replay: None }
    }

    /// Events of a replay.
    pub(super) fn replayed(deliveries: Vec<Delivery>, replay: ReplayId) -> Self {
        Self { work: Work::Deliver(deliveries), retry: false, replay: Some(replay) }
    }
}

/// What a record is to this subscription.
enum Verdict {
    Deliver(Delivery),
    /// It needs nothing now.
    Passed,
    /// It has to wait, and so does everything behind it.
    Stay,
}

impl Dispatcher {
    /// Starts as many calls as may start.
    pub(super) fn start_calls(&mut self, now: Instant) -> Blocked {
        self.starved = false;
        if self.read_again_at.is_some_and(|at| at <= now) {
            self.read_again_at = None;
        }
        let mut scan = SCAN_RECORDS;
        loop {
            let room = match self.room(now) {
                Ok(room) => room,
                Err(blocked) => return blocked,
            };
            match self.next_work(room.limit, room.probe, now, &mut scan) {
                Some(chosen) => self.start(chosen, &room),
                None if scan == 0 => return Blocked::MoreToScan,
                None => return self.until_a_retry_is_due(now),
            }
        }
    }

    /// How much may start now, by all that bounds it.
    fn room(&mut self, now: Instant) -> Result<Room, Blocked> {
        if !self.may_start() {
            self.hold_no_memory();
            return Err(Blocked::UntilSomethingEnds);
        }
        let tokens = self.rate.as_mut().map_or(usize::MAX, |rate| rate.available(now));
        if tokens == 0 {
            let next = self.rate.as_ref().map(RateLimit::next_at);
            return Err(next.map_or(Blocked::UntilSomethingEnds, Blocked::Until));
        }
        if let Target::Consumers(_) = self.target {
            return self.room_for_pull(tokens, now);
        }
        let tokens = tokens.min(self.tenant_rate.available(now).map_err(Blocked::Until)?);
        let probe = match self.breaker.permit(self.in_flight.len(), now) {
            Permit::Call => false,
            Permit::Probe => true,
            Permit::No => return Err(self.blocked_by_breaker()),
        };
        let events = if probe { 1 } else { self.limit.events.min(tokens) };
        Ok(Room { limit: BatchLimit { events, ..self.limit }, probe, pull: None })
    }

    /// Whether anything may start at all. A seek waits for what is on its way, so that nothing of before comes after it.
    pub(super) fn may_start(&self) -> bool {
        self.halt == RunState::Running && !self.checkpointer.is_full() && self.seek.is_none()
    }

    fn start(&mut self, chosen: Chosen, room: &Room) {
        let Chosen { work, retry, replay } = chosen;
        let in_order = self.spec.order == Order::Strict;
        let call = Call { work, in_order, probe: room.probe, retry, replay };
        if let Some(rate) = &mut self.rate {
            rate.take(call.events());
        }
        if room.probe {
            self.breaker.probe_started();
        }
        self.retry_calls += usize::from(retry);
        match (&self.target, room.pull) {
            (Target::Sink(sink), _) => {
                self.tenant_rate.take(call.events());
                let (sink, log) = (Arc::clone(sink), Arc::clone(self.reader.log()));
                let timeout = Duration::from_millis(self.spec.retry.timeout_ms);
                let (transformer, tracer) = (self.transformer.clone(), self.tracer.clone());
                let keep_exchanges = self.spec.keep_attempts == KeepAttempts::All;
                self.in_flight.push(Box::pin(call.run(
                    sink,
                    log,
                    timeout,
                    transformer,
                    tracer,
                    keep_exchanges,
                )));
            }
            (Target::Consumers(_), Some(pull)) => self.start_lease(call, pull),
            (Target::Consumers(_), None) => {}
        }
    }

    /// Whether anything is on its way.
    fn is_busy(&self) -> bool {
        !self.in_flight.is_empty() || matches!(&self.target, Target::Consumers(side) if !side.is_idle())
    }

    /// What to call the sink with next.
    fn next_work(
        &mut self,
        limit: BatchLimit,
        probe: bool,
        now: Instant,
        scan: &mut usize,
    ) -> Option<Chosen> {
        let strict = self.spec.order == Order::Strict;
        if strict && self.is_busy() {
            return None;
        }
        // Retries take at most half of the calls, so that they never hold up everything that is new.
        let retries_go = probe || self.retry_calls < self.most_calls.div_ceil(2);
        if retries_go && !(strict && self.is_ready_before_retries()) {
            let retries = self.due_retries(limit, strict, now);
            if !retries.is_empty() {
                return Some(Chosen { work: Work::LoadAndDeliver(retries), retry: true, replay: None });
            }
        }
        if strict && self.retries.len() > 0 && !self.is_ready_before_retries() {
            return None;
        }
        let ready = self.ready_events(limit, strict);
        if !ready.is_empty() {
            return Some(Chosen::new(Work::LoadAndDeliver(ready)));
        }
        if self.retries.len() >= self.spec.retry.max_retrying.get() as usize || self.read_again_at.is_some() {
            return None;
        }
        // In turns, so that neither holds up the other.
        self.replay_goes_first = !self.replay_goes_first;
        if self.replay_goes_first {
            let replayed = self.replayed_events(limit, now, scan);
            return replayed.or_else(|| self.new_work(limit, now, scan));
        }
        self.new_work(limit, now, scan).or_else(|| self.replayed_events(limit, now, scan))
    }

    fn new_work(&mut self, limit: BatchLimit, now: Instant, scan: &mut usize) -> Option<Chosen> {
        let new = self.new_events(limit, now, scan);
        (!new.is_empty()).then(|| Chosen::new(Work::Deliver(new)))
    }

    /// The retries that are due. One that made the sink panic goes alone.
    fn due_retries(&mut self, limit: BatchLimit, strict: bool, now: Instant) -> Vec<Waiting> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < limit.events {
            let due = if strict { self.retries.first_if_due(now) } else { self.retries.due(now) };
            let Some((offset, entry)) =
                due.and_then(|offset| self.retries.get(offset).map(|entry| (offset, entry)))
            else {
                break;
            };
            let alone = entry.panics > 0 || strict;
            bytes += entry.bytes.unwrap_or(limit.bytes);
            if !batch.is_empty() && (alone || bytes > limit.bytes) {
                break;
            }
            batch.push(Waiting { offset, attempt: entry.attempts + 1, purpose: entry.purpose });
            self.retries.take(offset);
            if alone {
                break;
            }
        }
        batch
    }

    /// Whether the first of the events that are ready comes before all that wait for a retry.
    fn is_ready_before_retries(&self) -> bool {
        let first = self.ready.front().map(|place| place.offset);
        first.is_some_and(|first| self.retries.lowest_offset().is_none_or(|retry| first < retry))
    }

    /// Events whose key became free, or that were given back; in strict order only those before any retry.
    fn ready_events(&mut self, limit: BatchLimit, strict: bool) -> Vec<Waiting> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(&place) = self.ready.front() {
            if strict && !self.is_ready_before_retries() {
                break;
            }
            bytes += place.bytes;
            if batch.len() >= limit.events || (!batch.is_empty() && bytes > limit.bytes) {
                break;
            }
            let entry = self.retries.get(place.offset);
            let (attempts, purpose) =
                entry.map_or((0, Purpose::Live), |entry| (entry.attempts, entry.purpose));
            batch.push(Waiting { offset: place.offset, attempt: attempts + 1, purpose });
            self.ready.pop_front();
        }
        batch
    }

    /// The next events of the log that the subscription wants, if there are enough of them or they have waited long enough.
    fn new_events(&mut self, limit: BatchLimit, now: Instant, scan: &mut usize) -> Vec<Delivery> {
        let mut gathering = std::mem::take(&mut self.gathering);
        let mut is_full = false;
        while gathering.has_room_for_one(limit) && *scan > 0 {
            self.skip_settled();
            self.pass_excluded(scan);
            match self.next_record(gathering.room_bytes(limit), scan) {
                None => break,
                Some(Verdict::Stay) => {
                    is_full = true;
                    break;
                }
                Some(Verdict::Passed) => {}
                Some(Verdict::Deliver(delivery)) => gathering.push(delivery),
            }
            *scan = scan.saturating_sub(1);
        }
        is_full |= !gathering.has_room_for_one(limit);
        let goes = gathering.is_due(now, self.batch_wait) || is_full;
        let batch = if goes { gathering.take(limit) } else { Vec::new() };
        self.gathering = gathering;
        batch
    }

    /// Passes over what was settled beyond the cursor before the start.
    fn skip_settled(&mut self) {
        let position = self.reader.position();
        if position < self.settled_before_start {
            self.reader.skip_to(self.progress.next_unsettled(position));
        }
    }

    /// Passes over events of other tenants, and those that the filter's patterns exclude, without a copy of any: among many
    /// subscriptions that is what becomes of most events.
    fn pass_excluded(&mut self, scan: &mut usize) {
        let first = self.reader.position();
        // Behind it some may be settled already, which is looked at event by event.
        if first < self.settled_before_start {
            return;
        }
        let (tenant, filter) = (self.spec.tenant.as_str(), &self.spec.filter);
        let passed =
            self.reader.pass_while(*scan, |event| filter.excludes(event) || event.tenant() != tenant);
        if passed > 0 {
            let end = self.reader.position();
            self.progress.settle_range(first..end);
            self.settled += end - first;
            self.filter_failures = 0;
            *scan -= passed;
        }
    }

    /// Looks at the next record and takes it, unless it has to wait; none when there is none at hand.
    fn next_record(&mut self, room_bytes: usize, scan: &mut usize) -> Option<Verdict> {
        let record = match self.reader.peek() {
            Next::Record(record) => record,
            Next::Lost { end } => {
                self.pass_lost(end, "they were damaged, and a repair gave them up");
                return Some(Verdict::Passed);
            }
            Next::Reading | Next::AtEnd => {
                self.starved = true;
                return None;
            }
        };
        if record.bytes() > room_bytes {
            return Some(Verdict::Stay);
        }
        let place = Place { offset: record.offset(), bytes: record.bytes() };
        let event = match record {
            Decoded::Event(event) => event.clone(),
            Decoded::Undecodable { record, why } => {
                let (record, why) = (record.clone(), why.clone());
                self.reader.pass();
                self.undecodable(&record, why, 0);
                return Some(Verdict::Passed);
            }
        };
        match self.wants(&event, scan) {
            Wanted::Yes => {}
            Wanted::No => {
                self.reader.pass();
                self.progress.settle(place.offset);
                self.settled += 1;
                return Some(Verdict::Passed);
            }
            Wanted::Unknown { why } => {
                self.reader.pass();
                self.undecidable(&event, why);
                return Some(Verdict::Passed);
            }
            Wanted::Stop { why } => {
                self.stop_at_filter(&event, &why);
                return Some(Verdict::Stay);
            }
        }
        let admission = match (&mut self.gate, event.key()) {
            (Some(gate), Some(key)) => gate.admit(gate.hash(key), place),
            _ => Admission::Go,
        };
        match admission {
            Admission::Full => Some(Verdict::Stay),
            Admission::Wait => {
                self.reader.pass();
                Some(Verdict::Passed)
            }
            Admission::Go => {
                self.reader.pass();
                Some(Verdict::Deliver(Delivery {
                    event,
                    attempt: 1,
                    purpose: Purpose::Live,
                    span: None,
                    keep_exchange: false,
                }))
            }
        }
    }

    fn blocked_by_breaker(&mut self) -> Blocked {
        if self.breaker.state() != BreakerState::Closed {
            self.hold_no_memory();
        }
        self.breaker.probe_at().map_or(Blocked::UntilSomethingEnds, Blocked::Until)
    }

    fn until_a_retry_is_due(&mut self, now: Instant) -> Blocked {
        let due = match self.spec.order {
            Order::Strict => self.retries.first_due(),
            Order::Unordered | Order::ByKey => self.retries.next_due(),
        };
        let replay = self.replays.iter_mut().filter_map(|replay| replay.next_at(now)).min();
        // What is due already, a replay that may read again too, waits for a call to end: a time that is past would have this wait
        // end at once, again and again, before any call is looked at.
        due.into_iter()
            .chain(self.gathering.due())
            .chain(replay)
            .filter(|due| *due > now)
            .min()
            .map_or(Blocked::UntilSomethingEnds, Blocked::Until)
    }

    /// While nothing may start, nothing of the log is held, and a batch that waits only by its places; but the log is looked
    /// at once, to tell how far behind we are.
    pub(super) fn hold_no_memory(&mut self) {
        self.ready.extend(self.gathering.give_up());
        if !self.reader.knows_a_time() && self.read_again_at.is_none() {
            self.starved = matches!(self.reader.peek(), Next::Reading | Next::AtEnd);
        }
        self.reader.release();
    }
}
