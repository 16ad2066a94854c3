//! Hands copies of dead letters to a sink that keeps them as well.
//!
//! The dead letter itself is in the state, and durable there before its copy is handed over; what retries, redrives and people go
//! by is that one. A copy is given again until the sink has it, for as long as the process runs, and holds up nothing: neither
//! cursor nor deliveries wait for it. What would be more than fits in memory is dropped and counted, and so is what the sink does
//! not have when the process ends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use eventrelay_event::StoredEvent;
use eventrelay_sinks::{BoxFuture, DeadLetterCopy, Sink};
use eventrelay_state::DeadLetter;
use prometheus_client::metrics::counter::Counter;
use tokio::time::Instant;

use crate::call::catch_panic;

/// The most copies that wait.
const WAITING_LIMIT: usize = 1024;
/// The most bytes of events that wait.
const WAITING_BYTES_LIMIT: usize = 8 << 20;
/// The most copies in one call.
const CALL_LIMIT: usize = 100;
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Copies on their way to a sink.
pub(crate) struct DeadLetterCopies {
    /// None where the sink keeps none.
    sink: Option<Arc<dyn Sink>>,
    subscription: String,
    timeout: Duration,
    waiting: VecDeque<DeadLetterCopy>,
    waiting_bytes: usize,
    call: Option<Call>,
    /// No call begins before it.
    not_before: Instant,
    failed_in_a_row: u32,
    copied: Counter,
    dropped: Counter,
}

/// A call about the first of those that wait.
struct Call {
    result: BoxFuture<'static, Result<(), String>>,
    count: usize,
}

impl DeadLetterCopies {
    /// `sink` is none where there is none that keeps them.
    pub(crate) fn new(
        sink: Option<Arc<dyn Sink>>,
        subscription: &str,
        timeout: Duration,
        copied: Counter,
        dropped: Counter,
    ) -> Self {
        Self {
            sink,
            subscription: subscription.to_owned(),
            timeout,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            call: None,
            not_before: Instant::now(),
            failed_in_a_row: 0,
            copied,
            dropped,
        }
    }

    /// Whether the sink keeps dead letters.
    pub(crate) fn are_wanted(&self) -> bool {
        self.sink.is_some()
    }

    /// Whether there is anything to hand over.
    pub(crate) fn are_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes dead letters that have become durable. Of those without an event there is nothing to copy.
    pub(crate) fn take(&mut self, letters: Vec<DeadLetter>) {
        if self.sink.is_none() {
            return;
        }
        for letter in letters {
            let DeadLetter { offset, append_time_micros, event, reason, attempts, dead_at_micros, .. } =
                letter;
            let event = append_time_micros.zip(event);
            let Some(Ok(event)) = event.map(|(micros, bytes)| StoredEvent::decode(offset, micros, bytes))
            else {
                continue;
            };
            let bytes = event.encoded().len();
            let fits = self.waiting.is_empty() || self.waiting_bytes + bytes <= WAITING_BYTES_LIMIT;
            if self.waiting.len() >= WAITING_LIMIT || !fits {
                self.dropped.inc();
                tracing::warn!(
                    subscription = self.subscription,
                    offset,
                    "too many copies of dead letters wait for the sink: this one is dropped"
                );
                continue;
            }
            self.waiting_bytes += bytes;
            self.waiting.push_back(DeadLetterCopy { event, attempts, reason, dead_at_micros });
        }
    }

    /// Makes one call, or goes on with the one that is under way, and resolves at its end. Never, while nothing waits. Safe to
    /// drop at any time.
    pub(crate) async fn advance(&mut self) {
        let Some(sink) = self.sink.as_ref().filter(|_| !self.waiting.is_empty()) else {
            return std::future::pending().await;
        };
        let call = match &mut self.call {
            Some(call) => call,
            None => {
                tokio::time::sleep_until(self.not_before).await;
                let copies: Vec<_> = self.waiting.iter().take(CALL_LIMIT).cloned().collect();
                let count = copies.len();
                let result = Box::pin(hand_over(Arc::clone(sink), copies, self.timeout));
                self.call.insert(Call { result, count })
            }
        };
        let result = call.result.as_mut().await;
        let count = call.count;
        self.call = None;
        match result {
            Ok(()) => {
                self.failed_in_a_row = 0;
                self.copied.inc_by(count as u64);
                let done: usize = self.waiting.drain(..count).map(|copy| copy.event.encoded().len()).sum();
                self.waiting_bytes -= done;
            }
            Err(why) => {
                if self.failed_in_a_row == 0 {
                    tracing::warn!(
                        subscription = self.subscription,
                        why,
                        "the sink does not take copies of dead letters; trying again"
                    );
                }
                let wait = FIRST_WAIT * 2_u32.saturating_pow(self.failed_in_a_row.min(10));
                self.failed_in_a_row = self.failed_in_a_row.saturating_add(1);
                self.not_before = Instant::now() + wait.min(LONGEST_WAIT);
            }
        }
    }

    /// Hands over what waits, as far as that goes until the deadline; the rest is dropped and counted.
    pub(crate) async fn finish(&mut self, deadline: Instant) {
        // What failed a moment ago gets its last try at once.
        self.not_before = Instant::now();
        let all = async {
            while self.are_waiting() {
                self.advance().await;
                if self.failed_in_a_row > 0 {
                    break;
                }
            }
        };
        // How far it came is seen by what is left.
        let _ = tokio::time::timeout_at(deadline, all).await;
        let left = self.waiting.len();
        if left > 0 {
            self.dropped.inc_by(left as u64);
            tracing::warn!(
                subscription = self.subscription,
                left,
                "the sink did not take copies of dead letters"
            );
        }
    }
}

async fn hand_over(
    sink: Arc<dyn Sink>,
    copies: Vec<DeadLetterCopy>,
    timeout: Duration,
) -> Result<(), String> {
    let call = catch_panic(async { sink.dead_letters(&copies).await });
    match tokio::time::timeout(timeout, call).await {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => Err(format!("the sink panicked: {panic}")),
        Err(_elapsed) => Err("the sink did not answer in time".to_owned()),
    }
}
