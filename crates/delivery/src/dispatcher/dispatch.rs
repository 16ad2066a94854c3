//! What may start now: due retries, then events whose key became free, then new events.

use std::sync::Arc;
use std::time::Duration;

use eventrelay_sinks::{BatchLimit, Delivery, Purpose};
use eventrelay_state::Order;
use tokio::time::Instant;

use super::Dispatcher;
use crate::breaker::{BreakerState, Permit};
use crate::call::{Call, Work, decode};
use crate::key_gate::{Admission, Place};
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
            if self.halt != RunState::Running || self.checkpointer.is_full() {
                self.hold_no_memory();
                return Blocked::UntilSomethingEnds;
            }
            let tokens = self.rate.as_mut().map_or(usize::MAX, |rate| rate.available(now));
            if tokens == 0 {
                return self
                    .rate
                    .as_ref()
                    .map_or(Blocked::UntilSomethingEnds, |rate| Blocked::Until(rate.next_at()));
            }
            let probe = match self.breaker.permit(self.in_flight.len(), now) {
                Permit::Call => false,
                Permit::Probe => true,
                Permit::No => return self.blocked_by_breaker(),
            };
            let mut limit = BatchLimit { events: self.limit.events.min(tokens), ..self.limit };
            if probe {
                limit.events = 1;
            }
            match self.next_work(limit, probe, now, &mut scan) {
                Some((work, retry)) => self.start(work, retry, probe),
                None if scan == 0 => return Blocked::MoreToScan,
                None => return self.until_a_retry_is_due(now),
            }
        }
    }

    fn start(&mut self, work: Work, retry: bool, probe: bool) {
        let call = Call { work, probe, retry };
        if let Some(rate) = &mut self.rate {
            rate.take(call.events());
        }
        if probe {
            self.breaker.probe_started();
        }
        self.retry_calls += usize::from(retry);
        let timeout = Duration::from_millis(self.spec.retry.timeout_ms);
        self.in_flight.push(Box::pin(call.run(
            Arc::clone(&self.sink),
            Arc::clone(self.reader.log()),
            timeout,
        )));
    }

    /// What to call the sink with next, and whether it is a retry.
    fn next_work(
        &mut self,
        limit: BatchLimit,
        probe: bool,
        now: Instant,
        scan: &mut usize,
    ) -> Option<(Work, bool)> {
        let strict = self.spec.order == Order::Strict;
        if strict && !self.in_flight.is_empty() {
            return None;
        }
        // Retries take at most half of the calls, so that they never hold up everything that is new.
        if probe || self.retry_calls < self.most_calls.div_ceil(2) {
            let retries = self.due_retries(limit, strict, now);
            if !retries.is_empty() {
                return Some((Work::LoadAndDeliver(retries), true));
            }
        }
        if strict && self.retries.len() > 0 {
            return None;
        }
        let ready = self.ready_events(limit);
        if !ready.is_empty() {
            return Some((Work::LoadAndDeliver(ready), false));
        }
        if self.retries.len() >= self.spec.retry.max_retrying.get() as usize || self.read_again_at.is_some() {
            return None;
        }
        let new = self.new_events(limit, scan);
        (!new.is_empty()).then_some((Work::Deliver(new), false))
    }

    /// The retries that are due, as (offset, number of the attempt). One that made the sink panic goes alone.
    fn due_retries(&mut self, limit: BatchLimit, strict: bool, now: Instant) -> Vec<(u64, u32)> {
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
            batch.push((offset, entry.attempts + 1));
            self.retries.take(offset);
            if alone {
                break;
            }
        }
        batch
    }

    /// Events whose key became free, as (offset, number of the attempt).
    fn ready_events(&mut self, limit: BatchLimit) -> Vec<(u64, u32)> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(&place) = self.ready.front() {
            bytes += place.bytes;
            if batch.len() >= limit.events || (!batch.is_empty() && bytes > limit.bytes) {
                break;
            }
            let attempts = self.retries.get(place.offset).map_or(0, |entry| entry.attempts);
            batch.push((place.offset, attempts + 1));
            self.ready.pop_front();
        }
        batch
    }

    /// The next events of the log that the subscription wants.
    fn new_events(&mut self, limit: BatchLimit, scan: &mut usize) -> Vec<Delivery> {
        let mut batch: Vec<Delivery> = Vec::new();
        let mut bytes = 0;
        while batch.len() < limit.events && *scan > 0 {
            self.skip_settled();
            let room = if batch.is_empty() { usize::MAX } else { limit.bytes - bytes };
            match self.next_record(room) {
                None | Some(Verdict::Stay) => break,
                Some(Verdict::Passed) => {}
                Some(Verdict::Deliver(delivery)) => {
                    bytes = limit.bytes.min(bytes + delivery.event.encoded().len());
                    batch.push(delivery);
                }
            }
            *scan -= 1;
        }
        batch
    }

    /// Passes over what was settled beyond the cursor before the start.
    fn skip_settled(&mut self) {
        let position = self.reader.position();
        if position < self.settled_before_start {
            self.reader.skip_to(self.progress.next_unsettled(position));
        }
    }

    /// Looks at the next record and takes it, unless it has to wait; none when there is none at hand.
    fn next_record(&mut self, room_bytes: usize) -> Option<Verdict> {
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
        if record.payload.len() > room_bytes {
            return Some(Verdict::Stay);
        }
        let place = Place { offset: record.offset, bytes: record.payload.len() };
        let event = match decode(record) {
            Ok(event) => event,
            Err(why) => {
                let record = record.clone();
                self.reader.take();
                self.undecodable(&record, why, 0);
                return Some(Verdict::Passed);
            }
        };
        if event.tenant() != self.spec.tenant.as_str() || !self.spec.filter.matches(&event) {
            self.reader.take();
            self.progress.settle(place.offset);
            self.settled += 1;
            return Some(Verdict::Passed);
        }
        let admission = match (&mut self.gate, event.key()) {
            (Some(gate), Some(key)) => gate.admit(gate.hash(key), place),
            _ => Admission::Go,
        };
        match admission {
            Admission::Full => Some(Verdict::Stay),
            Admission::Wait => {
                self.reader.take();
                Some(Verdict::Passed)
            }
            Admission::Go => {
                self.reader.take();
                Some(Verdict::Deliver(Delivery { event, attempt: 1, purpose: Purpose::Live }))
            }
        }
    }

    fn blocked_by_breaker(&mut self) -> Blocked {
        if self.breaker.state() != BreakerState::Closed {
            self.hold_no_memory();
        }
        self.breaker.probe_at().map_or(Blocked::UntilSomethingEnds, Blocked::Until)
    }

    fn until_a_retry_is_due(&self, now: Instant) -> Blocked {
        let due = match self.spec.order {
            Order::Strict => self.retries.first_due(),
            Order::Unordered | Order::ByKey => self.retries.next_due(),
        };
        // One that is due already waits for a call to end.
        due.filter(|due| *due > now).map_or(Blocked::UntilSomethingEnds, Blocked::Until)
    }

    /// While nothing may start, nothing of the log is held; but it is looked at once, to tell how far behind we are.
    fn hold_no_memory(&mut self) {
        if !self.reader.knows_a_time() && self.read_again_at.is_none() {
            self.starved = matches!(self.reader.peek(), Next::Reading | Next::AtEnd);
        }
        self.reader.release();
    }
}
