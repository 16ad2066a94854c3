//! Exactly once: the subscription's cursor is a row in the database that moves in the transaction that inserts the rows.
//!
//! The invariant, whatever crashes: an event below `next_offset` has its row in the table, unless its offset is in
//! `eventrelay_rejected` or `eventrelay_skipped` (`ledger.rs`). So what is to be done for a delivery is always known:
//!
//! | delivery | the ledger says | what is done | outcome |
//! |---|---|---|---|
//! | live or redrive | at the cursor or above it | row inserted, cursor moved behind it | delivered |
//! | live | below it, rejected | nothing | rejected, with the reason of then |
//! | redrive | below it, rejected | row inserted, no longer rejected | delivered |
//! | live or redrive | below it, skipped | row inserted, no longer skipped | delivered |
//! | live or redrive | below it, neither | nothing, it is there | delivered |
//! | replay | anything | row inserted | delivered |
//!
//! - Each line is one statement, hence one transaction and one round trip. It names the epoch and the revision that this
//!   instance knows of the row; when the row has others, it does nothing (`ownership.rs`).
//! - An event that the database refuses is entered as rejected by the transaction that moves the cursor past it. Were it only
//!   answered, a crash before the dead letter is saved would find the cursor behind it and take it for delivered. The same
//!   goes for an event that was tried in vain and then passed over, which the dispatcher does when it gives one up.
//! - Offsets that the cursor passes without having seen them are entered as skipped: another filter, a transform that failed,
//!   another tenant. So when the subscription is set back, or a database is restored from a backup, exactly what is missing
//!   is inserted.
//! - When no answer comes, the next call makes a new connection and looks at the row, which says whether the transaction
//!   came to be. Should the old one still be under way, one of the two finds the revision changed and does nothing.
//! - A replay is asked for to have rows once more; a replayed delivery that is repeated after a crash inserts again.

mod call;
mod gaps;
mod ledger;
mod ownership;
mod session;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use self::call::Call;
use self::ledger::Ledger;
use self::ownership::Ownership;
use self::session::Session;
use super::Target;
use super::failure::Failure;
use super::identifier::TableName;
use crate::{Delivery, Outcome, Owner, Purpose};

/// Events in memory that were tried in vain. With strict order there are no more than one batch has.
const UNSETTLED_LIMIT: usize = 100_000;

/// Delivers one subscription's events, one call at a time.
pub(super) struct ExactlyOnce {
    ledger: Ledger,
    state: Mutex<State>,
}

struct State {
    ownership: Ownership,
    /// None while it is in use: a call that is dropped in the middle leaves none behind.
    session: Option<Session>,
    /// Events that were handed to us and are not settled, and why.
    unsettled: BTreeMap<u64, Arc<str>>,
    /// The row that skipped offsets are added to, and how many ranges it has.
    skipped_row: Option<(u64, usize)>,
}

impl ExactlyOnce {
    pub(super) fn new(table: &TableName, owner: &Owner) -> Self {
        let state = State {
            ownership: Ownership::new(),
            session: None,
            unsettled: BTreeMap::new(),
            skipped_row: None,
        };
        Self { ledger: Ledger::new(table, owner), state: Mutex::new(state) }
    }

    /// Delivers a batch. Safe to drop at any await.
    pub(super) async fn deliver(
        &self,
        target: &Target,
        batch: &[Delivery],
        deadline: Instant,
    ) -> Vec<Outcome> {
        let Ok(mut state) = timeout_at(deadline, self.state.lock()).await else {
            let why = "the call before has not ended in time".to_owned();
            return vec![Outcome::Retry { after: None, why }; batch.len()];
        };
        let session = state.session.take().filter(|session| session.connection.is_usable());
        state.expect(batch);
        let mut call = Call { target, ledger: &self.ledger, state: &mut state, session, deadline };
        let outcomes = call.deliver(batch).await;
        let session = call.session.take();
        state.session = session;
        state.take_note(batch, &outcomes);
        outcomes
    }

    /// Whether deliveries would find all that they need, and be allowed to use it.
    pub(super) async fn rehearse(&self, target: &Target, deadline: Instant) -> Result<(), Failure> {
        let session = Session::open(target, &self.ledger, deadline).await?;
        session.connection.warn_unless_durable(deadline).await?;
        session.rehearse(target, &self.ledger, deadline).await?;
        session.connection.close().await;
        Ok(())
    }

    pub(super) async fn close(&self) {
        let session = self.state.lock().await.session.take();
        if let Some(session) = session {
            session.connection.close().await;
        }
    }
}

impl State {
    /// Until they are settled, these may be given up: also when this call is never answered.
    fn expect(&mut self, batch: &[Delivery]) {
        let why: Arc<str> = Arc::from("it was not answered in time");
        for delivery in batch.iter().filter(|delivery| delivery.purpose != Purpose::Replay) {
            if self.unsettled.len() < UNSETTLED_LIMIT {
                self.unsettled.entry(delivery.event.offset()).or_insert_with(|| Arc::clone(&why));
            }
        }
    }

    /// Keeps why events are to be tried again; all others are settled.
    fn take_note(&mut self, batch: &[Delivery], outcomes: &[Outcome]) {
        let mut last: Option<Arc<str>> = None;
        for (delivery, outcome) in batch.iter().zip(outcomes) {
            let offset = delivery.event.offset();
            match outcome {
                Outcome::Retry { why, .. } => {
                    let why = last.filter(|last| **last == **why).unwrap_or_else(|| Arc::from(why.as_str()));
                    if let Some(known) = self.unsettled.get_mut(&offset) {
                        *known = Arc::clone(&why);
                    }
                    last = Some(why);
                }
                Outcome::Delivered | Outcome::Reject { .. } | Outcome::Gone { .. } => {
                    self.unsettled.remove(&offset);
                }
            }
        }
    }
}
