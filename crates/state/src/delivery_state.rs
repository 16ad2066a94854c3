//! What became of one event for one subscription. Cursors and exceptions tell: nothing is stored per delivery that went well.

use std::collections::BTreeMap;
use std::ops::Range;

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

/// What became of a range of events for one subscription, as of one checkpoint.
#[derive(Debug, Clone)]
pub struct DeliveryStates {
    progress: Progress,
    /// Those that are retrying or dead.
    exceptions: BTreeMap<u64, DeliveryState>,
}

impl DeliveryStates {
    /// What became of the event at `offset`, which must be in the range that was asked for.
    #[must_use]
    pub fn of(&self, offset: u64) -> DeliveryState {
        match self.exceptions.get(&offset) {
            Some(state) => state.clone(),
            None if self.progress.is_settled(offset) => DeliveryState::Settled,
            None => DeliveryState::Pending,
        }
    }
}

/// Deliveries of which each has a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exception {
    /// They failed and will be tried again.
    Retrying,
    /// They will not be tried again by themselves.
    Dead,
}

impl State {
    /// What became of the events of a range for a subscription, as of its latest checkpoint; none: it has been deleted. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn delivery_states(
        &self,
        id: SubscriptionId,
        range: Range<u64>,
    ) -> Result<Option<DeliveryStates>, StateError> {
        let reader = self.reader();
        let view = reader.unchecked_transaction()?;
        let Some(progress) = progress(&view, id)? else { return Ok(None) };
        let mut exceptions = BTreeMap::new();
        let mut statement = view.prepare_cached(
            "SELECT offset, attempts, dead_at_micros, reason FROM dead_letters
             WHERE subscription_id = ?1 AND offset >= ?2 AND offset < ?3",
        )?;
        let mut rows = statement.query((id.0, range.start, bounded(range.end)))?;
        while let Some(row) = rows.next()? {
            let (attempts, dead_at_micros, reason) = (row.get(1)?, row.get(2)?, row.get(3)?);
            exceptions.insert(row.get(0)?, DeliveryState::Dead { attempts, dead_at_micros, reason });
        }
        // A dead letter that is tried again stays until it is delivered.
        let mut statement = view.prepare_cached(
            "SELECT offset, attempts, due_at_micros, last_error FROM retrying
             WHERE subscription_id = ?1 AND offset >= ?2 AND offset < ?3",
        )?;
        let mut rows = statement.query((id.0, range.start, bounded(range.end)))?;
        while let Some(row) = rows.next()? {
            let (attempts, due_at_micros, last_error) = (row.get(1)?, row.get(2)?, row.get(3)?);
            exceptions.insert(row.get(0)?, DeliveryState::Retrying { attempts, due_at_micros, last_error });
        }
        Ok(Some(DeliveryStates { progress, exceptions }))
    }

    /// The offsets of a range whose deliveries are retrying, or dead; at most `limit`. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn exceptions(
        &self,
        id: SubscriptionId,
        which: Exception,
        range: Range<u64>,
        newest_first: bool,
        limit: u32,
    ) -> Result<Vec<u64>, StateError> {
        let table = match which {
            Exception::Retrying => "retrying",
            Exception::Dead => "dead_letters",
        };
        let order = if newest_first { "DESC" } else { "ASC" };
        let reader = self.reader();
        let mut statement = reader.prepare_cached(&format!(
            "SELECT offset FROM {table} WHERE subscription_id = ?1 AND offset >= ?2 AND offset < ?3
             ORDER BY offset {order} LIMIT ?4"
        ))?;
        let offsets =
            statement.query_map((id.0, range.start, bounded(range.end), limit), |row| row.get(0))?;
        Ok(offsets.collect::<Result<_, _>>()?)
    }

    /// What became of the event at `offset` for a subscription, as of its latest checkpoint; none: it has been deleted. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn delivery_state(
        &self,
        id: SubscriptionId,
        offset: u64,
    ) -> Result<Option<DeliveryState>, StateError> {
        let reader = self.reader();
        // One view of all tables, for a checkpoint changes them together.
        let view = reader.unchecked_transaction()?;
        // A dead letter that is tried again stays until it is delivered.
        if let Some(retrying) = retrying(&view, id, offset)? {
            return Ok(Some(retrying));
        }
        if let Some(dead) = dead(&view, id, offset)? {
            return Ok(Some(dead));
        }
        let state = |progress: Progress| match progress.is_settled(offset) {
            true => DeliveryState::Settled,
            false => DeliveryState::Pending,
        };
        Ok(progress(&view, id)?.map(state))
    }
}

/// No offset is beyond what SQLite can hold.
fn bounded(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
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

/// Where a subscription is; none: there is no such subscription.
pub(crate) fn progress(view: &Connection, id: SubscriptionId) -> Result<Option<Progress>, StateError> {
    let saved: Option<(u64, Vec<u8>)> = view
        .prepare_cached("SELECT next_offset, settled_beyond FROM cursors WHERE subscription_id = ?1")?
        .query_row([id.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    saved.map(|(cursor, beyond)| Progress::decode(cursor, &beyond).map_err(unreadable)).transpose()
}
