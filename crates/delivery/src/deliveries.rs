//! What an operator does with single deliveries and dead letters, and what is shown of one subscription.

use std::num::NonZeroU32;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use eventrelay_event::StoredEvent;
use eventrelay_expression::{EventFilter, Subject, Verdict};
use eventrelay_state::{DeadLetter, DeliveryState, ReplayRecord, Start, StateError, SubscriptionId};
use tokio::sync::oneshot;

use crate::activity::ActivitySummary;
use crate::clock::wall_micros;
use crate::dispatcher::Command;
use crate::engine::{ControlError, Engine};
use crate::rewind::{RedriveRequest, ReplayRequest};
use crate::status::SubscriptionStatus;

/// How many dead letters are read together; each holds its event.
const PAGE_LETTERS: u32 = 64;

/// What a retry that was asked for has become.
#[derive(Debug)]
pub enum RetryNow {
    /// It waited for its time, and is due now; or it is on its way.
    Due,
    /// Its turn has not come yet.
    Pending,
    /// It was a dead letter, and is on its way again.
    Redriven(ReplayRecord),
    /// It was delivered, and is delivered once more.
    Replayed(ReplayRecord),
}

impl Engine {
    /// How a subscription stands; none: it does not run.
    #[must_use]
    pub fn subscription(&self, tenant: &str, name: &str) -> Option<SubscriptionStatus> {
        let handle = self.roster().find(tenant, name)?;
        Some(handle.status(self.roster().log.durable_offset(), wall_micros(SystemTime::now())))
    }

    /// Whether a tenant has a subscription that asks for what the relay tells of itself.
    #[must_use]
    pub fn wants_operational_events(&self, tenant: &str) -> bool {
        self.roster().of_tenant(tenant).iter().any(|handle| handle.filter.wants_operational_events())
    }

    /// What came of a subscription's attempts lately; none: it does not run.
    #[must_use]
    pub fn activity(&self, tenant: &str, name: &str) -> Option<ActivitySummary> {
        Some(self.roster().find(tenant, name)?.activity())
    }

    /// Delivers an event to a subscription as soon as can be, whatever became of it.
    ///
    /// # Errors
    /// When no such subscription runs, the state cannot be read, or too many replays are under way.
    pub async fn retry_now(&self, tenant: &str, name: &str, offset: u64) -> Result<RetryNow, ControlError> {
        let handle = self.core().obeying(tenant, name).await?;
        let (done, answer) = oneshot::channel();
        handle.command(Command::RetryNow { offset, done }).await?;
        if answer.await.map_err(|_| ControlError::Ending)? {
            return Ok(RetryNow::Due);
        }
        let (state, id) = (self.state().clone(), handle.id);
        let read = tokio::task::spawn_blocking(move || state.delivery_state(id, offset)).await;
        let gone = || ControlError::NotFound { tenant: tenant.to_owned(), name: name.to_owned() };
        match read.map_err(|_| ControlError::Ending)??.ok_or_else(gone)? {
            DeliveryState::Pending => Ok(RetryNow::Pending),
            DeliveryState::Retrying { .. } => Ok(RetryNow::Due),
            DeliveryState::Dead { .. } => {
                let request = RedriveRequest { offset: Some(offset), ..RedriveRequest::default() };
                self.redrive(tenant, name, request).await.map(RetryNow::Redriven)
            }
            DeliveryState::Settled => {
                let request = ReplayRequest {
                    from: Start::Offset(offset),
                    to: Some(Start::Offset(offset.saturating_add(1))),
                    filter: EventFilter::default(),
                    max_events_per_second: None::<NonZeroU32>,
                };
                self.replay(tenant, name, request).await.map(RetryNow::Replayed)
            }
        }
    }

    /// Throws dead letters away for good: the one at `offset`, or all that a filter matches. Tells how many. Durable once this
    /// returns Ok.
    ///
    /// # Errors
    /// When no such subscription runs, or the state store fails; some may be gone by then.
    pub async fn discard(
        &self,
        tenant: &str,
        name: &str,
        offset: Option<u64>,
        filter: &EventFilter,
    ) -> Result<u64, ControlError> {
        let handle = self.running(tenant, name).await?;
        let mut discarded = 0;
        match offset {
            Some(offset) => discarded += self.state().delete_dead_letters(handle.id, vec![offset]).await?,
            None => {
                let mut from = 0;
                while let Some((next, matching)) = self.matching_page(handle.id, from, filter).await? {
                    discarded += self.state().delete_dead_letters(handle.id, matching).await?;
                    from = next;
                }
            }
        }
        let forget = |known: u64| Some(known.saturating_sub(discarded));
        // An error would mean that there is nothing to forget.
        let _ = handle.stats.dead_letters.fetch_update(Ordering::Relaxed, Ordering::Relaxed, forget);
        Ok(discarded)
    }

    /// The next dead letters from an offset on: where to go on, and the offsets of those that match. None: there are no more.
    async fn matching_page(
        &self,
        id: SubscriptionId,
        from: u64,
        filter: &EventFilter,
    ) -> Result<Option<(u64, Vec<u64>)>, ControlError> {
        let (state, filter) = (self.state().clone(), filter.clone());
        let read = move || -> Result<_, StateError> {
            let letters = state.dead_letters(id, from, PAGE_LETTERS)?;
            let Some(last) = letters.last() else { return Ok(None) };
            let next = last.offset + 1;
            let matching =
                letters.iter().filter(|letter| matches(letter, &filter)).map(|letter| letter.offset);
            Ok(Some((next, matching.collect())))
        };
        Ok(tokio::task::spawn_blocking(read).await.map_err(|_| ControlError::Ending)??)
    }
}

/// Whether a dead letter's event matches. One without an event matches only a filter that wants everything.
fn matches(letter: &DeadLetter, filter: &EventFilter) -> bool {
    if *filter == EventFilter::default() {
        return true;
    }
    let (Some(time), Some(event)) = (letter.append_time_micros, &letter.event) else { return false };
    StoredEvent::decode(letter.offset, time, event.clone())
        .is_ok_and(|event| matches!(filter.decide(&Subject::alone(&event)).verdict, Verdict::Match))
}
