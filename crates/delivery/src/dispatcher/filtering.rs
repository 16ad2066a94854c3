//! Which events the subscription wants, and what becomes of those of which its filter cannot tell.
//!
//! | the filter's expression | the event | the subscription |
//! |---|---|---|
//! | asks for what the event does not have | does not match; counted | goes on |
//! | fails: values of the wrong type, division by zero | becomes a dead letter, with the reason | goes on, and stops after [`FAILURES_LIMIT`] in a row |
//! | costs more than it may | is not passed | stops at it, until it is resumed or the process starts again |
//!
//! So nothing that may be wanted is passed in silence, and a filter that fails for everything does not fill the state store.

use bytes::Bytes;
use eventrelay_event::StoredEvent;
use eventrelay_expression::{Decision, EventFilter, Subject, Verdict};
use eventrelay_state::{DeadLetter, NewReplay, ReplayId, ReplayKind};

use super::Dispatcher;
use crate::status::RunState;
use crate::transformer::Refused;

/// After so many failures in a row the subscription stops.
const FAILURES_LIMIT: u32 = 100;
/// So many steps count as much as looking at a record.
const STEPS_A_RECORD: u64 = 100;

/// Whether an event is wanted.
pub(super) enum Wanted {
    Yes,
    No,
    /// The filter makes no sense for it.
    Unknown {
        why: String,
    },
    /// The filter cannot go on here.
    Stop {
        why: String,
    },
}

impl Dispatcher {
    /// Whether a live event is wanted. What that costs is taken off `scan`, so that the task yields in time.
    pub(super) fn wants(&mut self, event: &StoredEvent, scan: &mut usize) -> Wanted {
        if event.tenant() != self.spec.tenant.as_str() {
            return Wanted::No;
        }
        match self.decide(&self.spec.filter, event, scan) {
            Wanted::Unknown { why } => {
                self.filter_failures += 1;
                if self.filter_failures > FAILURES_LIMIT {
                    let why =
                        format!("it failed for {FAILURES_LIMIT} events in a row, the last time with: {why}");
                    return Wanted::Stop { why };
                }
                Wanted::Unknown { why }
            }
            decided => {
                self.filter_failures = 0;
                decided
            }
        }
    }

    /// Whether an event is to be delivered again.
    pub(super) fn wants_again(&self, request: &NewReplay, event: &StoredEvent, scan: &mut usize) -> Wanted {
        let is_ours = match request.kind {
            // It was ours when it died.
            ReplayKind::Redrive => Wanted::Yes,
            ReplayKind::Replay if event.tenant() != self.spec.tenant.as_str() => Wanted::No,
            ReplayKind::Replay => self.decide(&self.spec.filter, event, scan),
        };
        match is_ours {
            Wanted::Yes => self.decide(&request.filter, event, scan),
            other => other,
        }
    }

    fn decide(&self, filter: &EventFilter, event: &StoredEvent, scan: &mut usize) -> Wanted {
        let Decision { verdict, steps } = filter.decide(&Subject::shared(event, &self.documents));
        if steps > 0 {
            let records = usize::try_from(steps / STEPS_A_RECORD).unwrap_or(usize::MAX);
            *scan = scan.saturating_sub(records);
        }
        let metrics = &self.stats.metrics;
        match verdict {
            Verdict::Match => Wanted::Yes,
            Verdict::NoMatch(because) => {
                if because.is_missing() {
                    metrics.filter_missing.inc();
                }
                Wanted::No
            }
            Verdict::Failed(error) => {
                metrics.filter_failed.inc();
                Wanted::Unknown { why: format!("the filter fails: {error}") }
            }
            Verdict::OverBudget(error) => {
                metrics.filter_over_budget.inc();
                Wanted::Stop { why: error.to_string() }
            }
        }
    }

    /// The filter makes no sense for the event: it is a dead letter, for it may have been wanted.
    pub(super) fn undecidable(&mut self, event: &StoredEvent, why: String) {
        let letter = self.letter(event.offset(), 0, why);
        self.bury(DeadLetter {
            append_time_micros: Some(event.append_time_micros()),
            event: Some(Bytes::copy_from_slice(event.encoded())),
            ..letter
        });
        self.progress.settle(event.offset());
        self.settled += 1;
    }

    /// Nothing behind the event is looked at before somebody has looked at the filter.
    pub(super) fn stop_at_filter(&mut self, event: &StoredEvent, why: &str) {
        let why = format!("the filter stopped at event {}: {why}", event.offset());
        let (subscription, tenant) = (&self.spec.name, self.spec.tenant.as_str());
        tracing::error!(subscription, tenant, why, "the subscription is stopped by its filter");
        self.halt_as(RunState::FilterStopped { why });
    }

    /// An event that the transform gave nothing for is dead: nothing is there to deliver.
    pub(super) fn settle_refused(&mut self, refused: Refused, replay: Option<ReplayId>) {
        let Refused { delivery, why } = refused;
        self.stats.metrics.transform_failures.inc();
        self.stats.metrics.rejected.inc();
        self.dead(&delivery, format!("the transform fails: {why}"));
        self.replay_settled(replay, std::slice::from_ref(&delivery));
    }
}
