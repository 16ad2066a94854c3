//! What became of one event for one subscription. Cursors and exceptions tell: nothing is stored per delivery that went well.

use rusqlite::{Connection, OptionalExtension};

use crate::state::unreadable;
use crate::{Progress, State, StateError, SubscriptionId};

/// What became of an event, as far as it is saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryState {
    /// It has not been tried, or its outcome is not saved yet.
    Pending,
    /// It failed and will be tried again.
    Retrying {
        /// Attempts made so far.
        attempts: u32,
        /// When the next attempt is due, microseconds since the Unix epoch.
        due_at_micros: u64,
        /// What went wrong last, for people.
        last_error: String,
    },
    /// It was delivered, or it is not what the subscription wants: only its filter tells the two apart.
    Settled,
    /// It will not be tried again by itself.
    Dead {
        /// Attempts made.
        attempts: u32,
        /// When it was given up, microseconds since the Unix epoch.
        dead_at_micros: u64,
        /// Why, for people.
        reason: String,
    },
}

impl State {
    /// What became of the event at `offset` for a subscription, as of its latest checkpoint. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read, or there is no such subscription.
    pub fn delivery_state(&self, id: SubscriptionId, offset: u64) -> Result<DeliveryState, StateError> {
        let reader = self.reader();
        // One view of all tables, for a checkpoint changes them together.
        let view = reader.unchecked_transaction()?;
        if let Some(dead) = dead(&view, id, offset)? {
            return Ok(dead);
        }
        if let Some(retrying) = retrying(&view, id, offset)? {
            return Ok(retrying);
        }
        let settled = progress(&view, id)?.is_settled(offset);
        Ok(if settled { DeliveryState::Settled } else { DeliveryState::Pending })
    }
}

fn dead(view: &Connection, id: SubscriptionId, offset: u64) -> Result<Option<DeliveryState>, StateError> {
    let mut statement = view.prepare_cached(
        "SELECT attempts, dead_at_micros, reason FROM dead_letters WHERE subscription_id = ?1 AND offset = ?2",
    )?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok(DeliveryState::Dead { attempts: row.get(0)?, dead_at_micros: row.get(1)?, reason: row.get(2)? })
    };
    Ok(statement.query_row((id.0, offset), read).optional()?)
}

fn retrying(view: &Connection, id: SubscriptionId, offset: u64) -> Result<Option<DeliveryState>, StateError> {
    let mut statement = view.prepare_cached(
        "SELECT attempts, due_at_micros, last_error FROM retrying WHERE subscription_id = ?1 AND offset = ?2",
    )?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok(DeliveryState::Retrying {
            attempts: row.get(0)?,
            due_at_micros: row.get(1)?,
            last_error: row.get(2)?,
        })
    };
    Ok(statement.query_row((id.0, offset), read).optional()?)
}

pub(crate) fn progress(view: &Connection, id: SubscriptionId) -> Result<Progress, StateError> {
    let (cursor, beyond): (u64, Vec<u8>) = view
        .prepare_cached("SELECT next_offset, settled_beyond FROM cursors WHERE subscription_id = ?1")?
        .query_row([id.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?
        .ok_or_else(|| unreadable(format_args!("the cursor of subscription {}: there is none", id.0)))?;
    Progress::decode(cursor, &beyond).map_err(unreadable)
}
