//! Whose the cursor's row is.
//!
//! An instance of the sink claims the row once, with its first connection: it writes its random name there and an epoch above
//! all before it. Every statement names the epoch and the revision that the instance knows, so a statement of an earlier
//! owner does nothing, whenever it arrives.
//!
//! - *Fenced*: the row has a later epoch. The instance never claims again; only a new one does, which is a new start.
//! - A claim whose answer was lost is found by the name in the row. Where another name stands with that epoch or a later one,
//!   that one came after us.
//! - The row is gone, or has an epoch before ours: the database was lost, or restored from a backup. Nobody has taken over,
//!   so the instance goes on from what is there, and says so.

use tokio::time::Instant;

use super::ledger::Ledger;
use super::session::{Cursor, Session};
use crate::postgres::failure::Failure;

/// What an instance knows of the row.
pub(super) struct Ownership {
    /// Its random name.
    instance: String,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not claimed yet; or tried to, with that epoch, and the answer was lost.
    Unclaimed {
        tried: Option<i64>,
    },
    Owner(Cursor),
    Fenced,
}

impl Ownership {
    pub(super) fn new() -> Self {
        Self { instance: format!("{:032x}", rand::random::<u128>()), state: State::Unclaimed { tried: None } }
    }

    /// The cursor, where the row was ours when we last looked.
    pub(super) fn cursor(&self) -> Option<Cursor> {
        match self.state {
            State::Owner(cursor) => Some(cursor),
            State::Unclaimed { .. } | State::Fenced => None,
        }
    }

    pub(super) fn is_fenced(&self) -> bool {
        self.state == State::Fenced
    }

    /// Takes note of a transaction of ours.
    pub(super) fn moved(&mut self, next_offset: u64) {
        if let State::Owner(cursor) = &mut self.state {
            cursor.revision += 1;
            cursor.next_offset = next_offset;
        }
    }

    /// Looks at the row, and claims it where that is ours to do. Afterwards it is ours, or this fails.
    pub(super) async fn synchronise(
        &mut self,
        session: &Session,
        ledger: &Ledger,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let row = session.read(ledger, deadline).await?;
        let epoch = row.as_ref().map_or(0, |(cursor, _)| cursor.epoch);
        let found = row.filter(|(_, instance)| *instance == self.instance).map(|(cursor, _)| cursor);
        match (self.state, found) {
            (State::Fenced, _) => Err(Failure::Fenced),
            (State::Unclaimed { .. }, Some(cursor)) => self.own(cursor),
            (State::Owner(known), Some(cursor)) => {
                if cursor.next_offset < known.next_offset {
                    self.warn_of_loss(ledger, known, cursor.next_offset);
                }
                self.own(cursor)
            }
            (State::Unclaimed { tried: Some(tried) }, None) if epoch >= tried => self.give_up(ledger),
            (State::Owner(known), None) if epoch > known.epoch => self.give_up(ledger),
            (State::Unclaimed { .. }, None) => {
                self.state = State::Unclaimed { tried: Some(epoch + 1) };
                match session.claim(ledger, epoch + 1, &self.instance, deadline).await? {
                    Some(cursor) => {
                        let (next_offset, epoch) = (cursor.next_offset, cursor.epoch);
                        let Ledger { tenant, subscription, .. } = ledger;
                        tracing::info!(
                            tenant,
                            subscription,
                            next_offset,
                            epoch,
                            "took over the cursor in the database"
                        );
                        self.own(cursor)
                    }
                    None => {
                        // An answer: it was not done.
                        self.state = State::Unclaimed { tried: None };
                        Err(Failure::lost("another instance was claiming the cursor at the same time"))
                    }
                }
            }
            (State::Owner(known), None) => {
                let epoch = epoch.max(known.epoch) + 1;
                let claimed = session.claim(ledger, epoch, &self.instance, deadline).await?;
                let cursor =
                    claimed.ok_or_else(|| Failure::lost("the cursor's row in the database is changing"))?;
                self.warn_of_loss(ledger, known, cursor.next_offset);
                self.own(cursor)
            }
        }
    }

    fn own(&mut self, cursor: Cursor) -> Result<(), Failure> {
        self.state = State::Owner(cursor);
        Ok(())
    }

    fn give_up(&mut self, ledger: &Ledger) -> Result<(), Failure> {
        let Ledger { tenant, subscription, .. } = ledger;
        tracing::error!(
            tenant,
            subscription,
            "another instance has taken over the cursor in the database: this one delivers nothing more until it is started again"
        );
        self.state = State::Fenced;
        Err(Failure::Fenced)
    }

    fn warn_of_loss(&self, ledger: &Ledger, known: Cursor, next_offset: u64) {
        let Ledger { tenant, subscription, .. } = ledger;
        tracing::error!(
            tenant,
            subscription,
            acknowledged = known.next_offset,
            next_offset,
            "the database has lost transactions that it had acknowledged: to insert what is missing, set the subscription back to \
             next_offset"
        );
    }
}
