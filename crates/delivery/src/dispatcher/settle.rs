//! What becomes of deliveries: settled, to be tried again, or dead.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use eventrelay_event::{Purpose, StoredEvent};
use eventrelay_expression::OPERATIONAL_TYPES;
use eventrelay_log::{ReadError, Record};
use eventrelay_sinks::{Attempt, Delivery, Outcome};
use eventrelay_state::{
    AttemptOutcome, AttemptRecord, DeadLetter, Exchange, KeepAttempts, Lifecycle, Order, Retrying,
};
use prometheus_client::metrics::counter::Counter;
use tokio::time::Instant;

use super::{Dispatcher, READ_RETRY_WAIT};
use crate::activity::Outcomes;
use crate::backoff;
use crate::call::{Answer, Finished, LoadError, Waiting};
use crate::clock::{micros, wall_micros};
use crate::key_gate::Place;
use crate::notices::Happened;
use crate::retry_schedule::RetryEntry;
use crate::status::RunState;

/// After so many panics of the sink on one event, the event is given up.
const PANICS_LIMIT: u32 = 3;
/// How much of an error is kept.
const ERROR_CHARS: usize = 500;

/// One delivery that did not succeed.
pub(super) struct Failure {
    pub(super) why: String,
    pub(super) wait: Wait,
    pub(super) panicked: bool,
}

/// How long a delivery waits for its next attempt.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wait {
    /// As the policy says, but what the target asked for at least.
    Backoff {
        at_least: Option<Duration>,
    },
    Exactly(Duration),
}

impl Failure {
    fn with_backoff(why: String) -> Self {
        Self { why, wait: Wait::Backoff { at_least: None }, panicked: false }
    }
}

impl Dispatcher {
    /// Deals with a call that ended.
    pub(super) fn settle(&mut self, finished: Finished) {
        let now = Instant::now();
        self.retry_calls -= usize::from(finished.retry);
        if let Some(pull) = finished.pull {
            return self.loaded(pull, finished);
        }
        if let Some(took) = finished.answer.as_ref().and_then(Answer::took) {
            self.note_latency(took);
        }
        match finished.answer {
            None if finished.probe => self.breaker.probe_abandoned(now),
            None => {}
            Some(answer) => {
                let failed = self.settle_answer(&finished.deliveries, answer, now);
                self.replay_settled(finished.replay, &finished.deliveries);
                self.breaker.record(failed, finished.probe, now);
            }
        }
        for refused in finished.refused {
            self.settle_refused(refused, finished.replay);
        }
        for (waiting, error) in finished.unloaded {
            self.settle_unloaded(waiting, error, now);
        }
    }

    /// Counts how long a call, or a lease, has taken.
    pub(super) fn note_latency(&self, took: Duration) {
        self.stats.activity.lock().record(SystemTime::now(), Outcomes::default(), Some(took));
    }

    /// Counts what has come of deliveries since this was last asked.
    pub(super) fn note_outcomes(&mut self) {
        let metrics = &self.stats.metrics;
        let total = [&metrics.delivered, &metrics.retried, &metrics.dead].map(Counter::get);
        let since =
            |index: usize| u32::try_from(total[index] - self.noted_outcomes[index]).unwrap_or(u32::MAX);
        let outcomes = Outcomes { delivered: since(0), retried: since(1), dead: since(2) };
        if outcomes != Outcomes::default() {
            self.stats.activity.lock().record(SystemTime::now(), outcomes, None);
            self.noted_outcomes = total;
        }
    }

    /// Settles each delivery; true when all of them are to be tried again.
    fn settle_answer(&mut self, deliveries: &[Delivery], answer: Answer, now: Instant) -> bool {
        let failure = match answer {
            Answer::Attempts(attempts) => return self.settle_attempts(deliveries, attempts, now),
            Answer::TimedOut => {
                Failure::with_backoff(format!("no answer within {} ms", self.spec.retry.timeout_ms))
            }
            Answer::Panicked(text) => {
                self.stats.metrics.panics.inc();
                tracing::error!(subscription = self.spec.name, panic = text, "the sink panicked");
                Failure { panicked: true, ..Failure::with_backoff(format!("the sink panicked: {text}")) }
            }
        };
        for delivery in deliveries {
            self.failed(delivery, Failure { why: failure.why.clone(), ..failure }, now);
        }
        true
    }

    fn settle_attempts(&mut self, deliveries: &[Delivery], attempts: Vec<Attempt>, now: Instant) -> bool {
        if let Some(first) = attempts.first() {
            self.stats.metrics.attempt_duration.observe(first.took.as_secs_f64());
        }
        let mut attempts = attempts.into_iter();
        let mut all_failed = true;
        for delivery in deliveries {
            let Some(attempt) = attempts.next() else {
                self.failed(delivery, Failure::with_backoff("the sink gave no answer".to_owned()), now);
                continue;
            };
            self.keep_attempt(delivery, &attempt);
            match attempt.outcome {
                Outcome::Delivered => {
                    all_failed = false;
                    self.delivered(delivery);
                }
                Outcome::Retry { after, why } => {
                    let wait = Wait::Backoff { at_least: after };
                    self.failed(delivery, Failure { why, wait, panicked: false }, now);
                }
                Outcome::Reject { why } => {
                    all_failed = false;
                    self.stats.metrics.rejected.inc();
                    self.dead(delivery, why);
                }
                Outcome::Gone { why } => {
                    all_failed = false;
                    self.gone(delivery, why, now);
                }
            }
        }
        all_failed
    }

    pub(super) fn delivered(&mut self, delivery: &Delivery) {
        self.stats.metrics.delivered.inc();
        if delivery.purpose == Purpose::Redrive {
            self.no_longer_dead(delivery.event.offset());
        }
        self.done(&delivery.event);
    }

    /// The delivery needs nothing more.
    pub(super) fn done(&mut self, event: &StoredEvent) {
        let offset = event.offset();
        if self.retries.remove(offset).is_some() {
            self.checkpointer.unsaved.retry_is_over(offset);
        } else {
            self.progress.settle(offset);
        }
        self.settled += 1;
        if let (Some(gate), Some(key)) = (&mut self.gate, event.key()) {
            self.ready.extend(gate.release(gate.hash(key), offset));
        }
    }

    /// The delivery is to be tried again, or has used up its tries.
    pub(super) fn failed(&mut self, delivery: &Delivery, failure: Failure, now: Instant) {
        let panics = self.retries.get(delivery.event.offset()).map_or(0, |entry| entry.panics)
            + u32::from(failure.panicked);
        let is_gone_from_the_log = delivery.event.offset() < self.reader.log().oldest_offset();
        if delivery.purpose == Purpose::Redrive && is_gone_from_the_log {
            // It could not be read for another try, and then there would be nothing left of it.
            self.dead(delivery, format!("tried again, in vain: {}", failure.why));
        } else if panics >= PANICS_LIMIT {
            self.dead(delivery, format!("gave up after {panics} panics: {}", failure.why));
        } else if delivery.attempt >= self.spec.retry.max_attempts.get() {
            self.dead(delivery, format!("gave up after {} attempts: {}", delivery.attempt, failure.why));
        } else {
            self.stats.metrics.retried.inc();
            let wait = match failure.wait {
                Wait::Backoff { at_least } => {
                    backoff::wait(&self.spec.retry, delivery.attempt, at_least, &mut self.random)
                }
                Wait::Exactly(wait) => wait,
            };
            self.schedule(delivery, delivery.attempt, panics, now + wait, failure.why);
        }
    }

    /// The target wants nothing more: the event is kept, for the case that the subscription is enabled again.
    fn gone(&mut self, delivery: &Delivery, why: String, now: Instant) {
        self.schedule(delivery, delivery.attempt.saturating_sub(1), 0, now, why.clone());
        if !matches!(self.halt, RunState::Disabled { .. }) {
            tracing::warn!(
                subscription = self.spec.name,
                why,
                "the target is gone: the subscription is disabled"
            );
            self.tell(Happened::Disabled { reason: why.clone() });
            self.checkpointer.unsaved.lifecycle(Lifecycle::Disabled { reason: why.clone() });
            self.halt_as(RunState::Disabled { reason: why });
        }
    }

    /// Enters the delivery in the retry schedule. Its offset is settled, for the next checkpoint saves both.
    pub(super) fn schedule(
        &mut self,
        delivery: &Delivery,
        attempts: u32,
        panics: u32,
        due: Instant,
        why: String,
    ) {
        let (event, purpose) = (&delivery.event, delivery.purpose);
        let offset = event.offset();
        let known = self.retries.get(offset).map(|entry| entry.first_failed_at_micros);
        let entry = RetryEntry {
            attempts,
            panics,
            first_failed_at_micros: known.unwrap_or_else(|| self.clock.now_micros()),
            bytes: Some(event.encoded().len()),
            purpose,
            due: Some(due),
        };
        self.checkpointer.unsaved.retry(Retrying {
            offset,
            attempts,
            panics,
            due_at_micros: self.clock.micros_at(due),
            first_failed_at_micros: entry.first_failed_at_micros,
            last_error: shortened(why),
            // Whatever the order is: a change of it must find the keys of what waits.
            event_key: event.key().map(str::to_owned),
            purpose,
        });
        self.retries.insert(offset, entry);
        self.progress.settle(offset);
        self.settled += 1;
    }

    pub(super) fn dead(&mut self, delivery: &Delivery, reason: String) {
        let event = &delivery.event;
        let letter = self.letter(event.offset(), delivery.attempt, reason);
        self.tell_of_death(&letter, Some(event.append_time_micros()), Some(event.event_type()));
        self.bury(DeadLetter {
            append_time_micros: Some(event.append_time_micros()),
            // A copy, so that the dead letter does not pin all that was written with it.
            event: Some(Bytes::copy_from_slice(event.encoded())),
            ..letter
        });
        if delivery.purpose == Purpose::Redrive {
            // It takes the place of the letter that was tried again.
            self.count_one_dead_letter_less();
        }
        self.done(event);
    }

    /// A record that is not an event is a dead letter at once.
    pub(super) fn undecodable(&mut self, record: &Record, why: String, attempts: u32) {
        let letter = self.letter(record.offset, attempts, why);
        self.tell_of_death(&letter, Some(record.append_time_micros), None);
        self.bury(DeadLetter {
            append_time_micros: Some(record.append_time_micros),
            event: Some(Bytes::copy_from_slice(&record.payload)),
            ..letter
        });
        self.done_unread(record.offset);
    }

    pub(super) fn letter(&self, offset: u64, attempts: u32, reason: String) -> DeadLetter {
        let now_micros = self.clock.now_micros();
        DeadLetter {
            offset,
            append_time_micros: None,
            event: None,
            reason: shortened(reason),
            attempts,
            first_failed_at_micros: self
                .retries
                .get(offset)
                .map_or(now_micros, |entry| entry.first_failed_at_micros),
            dead_at_micros: now_micros,
        }
    }

    /// A dead letter of what the relay tells of itself is told nobody, or it would never end.
    fn tell_of_death(&self, letter: &DeadLetter, append_time_micros: Option<u64>, event_type: Option<&str>) {
        if event_type.is_some_and(|event_type| event_type.starts_with(OPERATIONAL_TYPES)) {
            return;
        }
        self.tell(Happened::DeadLetter {
            offset: letter.offset,
            append_time_micros,
            event_type: event_type.map(str::to_owned),
            attempts: letter.attempts,
            reason: letter.reason.clone(),
        });
    }

    pub(super) fn bury(&mut self, letter: DeadLetter) {
        tracing::warn!(
            subscription = self.spec.name,
            offset = letter.offset,
            attempts = letter.attempts,
            reason = letter.reason,
            "dead letter"
        );
        self.stats.metrics.dead.inc();
        self.stats.dead_letters.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.checkpointer.unsaved.dead_letter(letter);
    }

    /// The same as [`Self::done`] for an event that could not be read.
    fn done_unread(&mut self, offset: u64) {
        if self.retries.remove(offset).is_some() {
            self.checkpointer.unsaved.retry_is_over(offset);
        } else {
            self.progress.settle(offset);
        }
        self.settled += 1;
        if let Some(gate) = &mut self.gate {
            self.ready.extend(gate.release_holder(offset));
        }
    }

    /// An event that waited could not be read from the log again.
    pub(super) fn settle_unloaded(&mut self, waiting: Waiting, error: LoadError, now: Instant) {
        let Waiting { offset, attempt, purpose } = waiting;
        match error {
            LoadError::Undecodable { record, why } => {
                self.undecodable(&record, why, attempt - 1);
                if purpose == Purpose::Redrive {
                    self.count_one_dead_letter_less();
                }
            }
            LoadError::Read(ReadError::Trimmed { .. }) => {
                self.lost(waiting, "retention dropped the event before it could be delivered");
            }
            LoadError::Lost => self.lost(waiting, "the event was damaged, and a repair gave it up"),
            LoadError::Read(error @ ReadError::Damaged { .. }) => {
                self.stop_at_damage(&error);
                self.put_back(offset, now);
            }
            LoadError::Read(error @ ReadError::Io { .. }) => {
                self.cannot_read(&error);
                self.put_back(offset, now + READ_RETRY_WAIT);
            }
            LoadError::CutShort => self.put_back(offset, now + READ_RETRY_WAIT),
        }
    }

    /// A dead letter without a copy of its event, for there is none, but in the letter that was tried again: the store keeps
    /// that copy.
    fn lost(&mut self, waiting: Waiting, why: &str) {
        let Waiting { offset, attempt, purpose } = waiting;
        let letter = self.letter(offset, attempt - 1, why.to_owned());
        self.tell_of_death(&letter, None, None);
        self.bury(letter);
        if purpose == Purpose::Redrive {
            self.count_one_dead_letter_less();
        } else {
            self.stats.metrics.lost_events.inc();
        }
        self.done_unread(offset);
    }

    /// The attempt was not made: it is as if it had not been tried to.
    fn put_back(&mut self, offset: u64, due: Instant) {
        if self.retries.get(offset).is_some() {
            self.retries.put_back(offset, due);
        } else {
            self.first_of_ready(Place { offset, bytes: self.limit.bytes });
        }
    }

    /// Has an event go next, or in its turn where all go in order.
    pub(super) fn first_of_ready(&mut self, place: Place) {
        let index = match self.spec.order {
            Order::Strict => self.ready.partition_point(|ready| ready.offset < place.offset),
            Order::Unordered | Order::ByKey => 0,
        };
        self.ready.insert(index, place);
    }

    /// Keeps the attempt for people to read, unless it is a success at the first try and those are not wanted.
    pub(super) fn keep_attempt(&mut self, delivery: &Delivery, attempt: &Attempt) {
        let (outcome, reason) = match &attempt.outcome {
            Outcome::Delivered
                if delivery.attempt == 1 && self.spec.keep_attempts == KeepAttempts::Failures =>
            {
                return;
            }
            Outcome::Delivered => (AttemptOutcome::Delivered, ""),
            Outcome::Retry { why, .. } => (AttemptOutcome::Retry, why.as_str()),
            Outcome::Reject { why } => (AttemptOutcome::Reject, why.as_str()),
            Outcome::Gone { why } => (AttemptOutcome::Gone, why.as_str()),
        };
        let response = attempt.response.as_ref();
        let body = response.map(|response| &response.body[..]).unwrap_or_default();
        let kept = &body[..body.len().min(AttemptRecord::RESPONSE_LIMIT_BYTES)];
        self.checkpointer.unsaved.attempt(AttemptRecord {
            offset: delivery.event.offset(),
            attempt: delivery.attempt,
            purpose: delivery.purpose,
            outcome,
            reason: shortened(reason.to_owned()),
            started_at_micros: wall_micros(attempt.started),
            took_micros: micros(attempt.took),
            response_status: response.map(|response| response.status),
            response_body: response.map(|_| Bytes::copy_from_slice(kept)),
            response_truncated: response.is_some_and(|response| response.truncated)
                || kept.len() < body.len(),
            exchange: attempt.exchange.as_deref().map(kept_exchange),
        });
    }
}

/// What was sent, as it is stored: bodies are shown as text.
pub(crate) fn kept_exchange(exchange: &eventrelay_sinks::Exchange) -> Exchange {
    Exchange {
        method: exchange.method.clone(),
        url: exchange.url.clone(),
        request_headers: exchange.request_headers.clone(),
        request_body: String::from_utf8_lossy(&exchange.request_body).into_owned(),
        request_truncated: exchange.request_truncated,
        response_headers: exchange.response_headers.clone(),
    }
}

fn shortened(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(ERROR_CHARS) {
        text.truncate(end);
        text.push('…');
    }
    text
}
