//! The open state: what can be asked of it and written to it.
//!
//! Reads block for the time of a query on a connection of their own, so an async caller runs them with
//! `spawn_blocking`; writes wait for the writing thread.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use eventrelay_event::Purpose;
use rusqlite::{Connection, Row};

use crate::attempts::save_attempts;
use crate::delivery_state::progress;
use crate::open::{open_reader, open_writer};
use crate::replays::save_progress;
use crate::subscriptions::follow_target;
use crate::writer::Writer;
use crate::{
    Checkpoint, DeadLetter, LogIdentity, OpenError, OpenMode, Position, Retrying, StateError, SubscriptionId,
};

/// Subscriptions, cursors, retries, dead letters and attempts. Cheap to clone.
#[derive(Debug, Clone)]
pub struct State {
    pub(crate) writer: Writer,
    reader: Arc<Mutex<Connection>>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl State {
    /// Opens the state file at `path`, or creates it beside an empty log. Blocking.
    ///
    /// # Errors
    /// When the file is missing beside a log that holds events, damaged, of a newer release, of another log, or ahead
    /// of its log; each error says what to do.
    pub fn open(path: &Path, log: LogIdentity, mode: OpenMode) -> Result<Self, OpenError> {
        let writer = open_writer(path, log, mode)?;
        let reader = open_reader(path)?;
        let (writer, thread) =
            Writer::start(writer).map_err(|error| OpenError::Io { path: path.to_owned(), error })?;
        Ok(Self { writer, reader: Arc::new(Mutex::new(reader)), thread: Arc::new(Mutex::new(Some(thread))) })
    }

    /// Finishes the writes that are queued and ends the writing thread. Later writes fail with [`StateError::Closed`].
    pub async fn close(&self) {
        self.writer.close().await;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        if let Ok(Err(_)) = tokio::task::spawn_blocking(move || thread.join()).await {
            tracing::error!("the state store's writing thread had panicked");
        }
    }

    /// Saves what became of deliveries: all of it durable once this returns Ok, none of it otherwise.
    ///
    /// # Errors
    /// When the disk is full or fails. The same checkpoint can be saved again.
    pub async fn save(&self, checkpoint: Checkpoint) -> Result<(), StateError> {
        self.writer.write(move |tx| save_checkpoint(tx, &checkpoint)).await
    }

    /// Where a subscription stands. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read, or there is no such subscription.
    pub fn position(&self, id: SubscriptionId) -> Result<Position, StateError> {
        let reader = self.reader();
        let no_cursor = || unreadable(format_args!("the cursor of subscription {}: there is none", id.0));
        let progress = progress(&reader, id)?.ok_or_else(no_cursor)?;
        let mut statement = reader.prepare_cached(
            "SELECT offset, attempts, panics, due_at_micros, first_failed_at_micros, last_error, event_key, purpose
             FROM retrying WHERE subscription_id = ?1 ORDER BY offset",
        )?;
        let mut rows = statement.query([id.0])?;
        let mut retrying = Vec::new();
        while let Some(row) = rows.next()? {
            retrying.push(read_retrying(row)?);
        }
        Ok(Position { progress, retrying })
    }

    pub(crate) fn reader(&self) -> MutexGuard<'_, Connection> {
        // A panic while reading leaves the connection as it was.
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time by the system's clock, in microseconds since the Unix epoch.
pub(crate) fn now_micros() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX)
}

pub(crate) fn unreadable(what: impl std::fmt::Display) -> StateError {
    StateError::Unreadable { what: what.to_string() }
}

fn save_checkpoint(connection: &Connection, checkpoint: &Checkpoint) -> Result<(), StateError> {
    let id = checkpoint.subscription.0;
    connection
        .prepare_cached(
            "UPDATE cursors SET next_offset = ?2, settled_beyond = ?3, saved_at_micros = ?4 WHERE subscription_id = ?1",
        )?
        .execute((id, checkpoint.progress.cursor(), checkpoint.progress.encode_beyond(), now_micros()))?;
    for offset in &checkpoint.no_longer_retrying {
        connection
            .prepare_cached("DELETE FROM retrying WHERE subscription_id = ?1 AND offset = ?2")?
            .execute((id, offset))?;
    }
    for retrying in &checkpoint.retrying {
        save_retrying(connection, id, retrying)?;
    }
    for offset in &checkpoint.no_longer_dead {
        connection
            .prepare_cached("DELETE FROM dead_letters WHERE subscription_id = ?1 AND offset = ?2")?
            .execute((id, offset))?;
    }
    for letter in &checkpoint.dead_letters {
        save_dead_letter(connection, id, letter)?;
    }
    for (replay, progress) in &checkpoint.replays {
        save_progress(connection, *replay, progress)?;
    }
    if let Some(lifecycle) = &checkpoint.lifecycle {
        follow_target(connection, checkpoint.subscription, lifecycle)?;
    }
    save_attempts(connection, id, &checkpoint.attempts)
}

fn save_retrying(connection: &Connection, id: i64, retrying: &Retrying) -> Result<(), StateError> {
    connection
        .prepare_cached(
            "INSERT INTO retrying (subscription_id, offset, attempts, panics, due_at_micros, first_failed_at_micros,
                                   last_error, event_key, purpose)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (subscription_id, offset) DO UPDATE SET
                 attempts = excluded.attempts, panics = excluded.panics, due_at_micros = excluded.due_at_micros,
                 last_error = excluded.last_error, event_key = excluded.event_key, purpose = excluded.purpose",
        )?
        .execute((
            id,
            retrying.offset,
            retrying.attempts,
            retrying.panics,
            retrying.due_at_micros,
            retrying.first_failed_at_micros,
            &retrying.last_error,
            &retrying.event_key,
            retrying.purpose.name(),
        ))?;
    Ok(())
}

fn save_dead_letter(connection: &Connection, id: i64, letter: &DeadLetter) -> Result<(), StateError> {
    // The same event can die again after a redrive: its newest death counts. Where the log no longer had it by then, the copy
    // that was kept at its first death is all that is left of it.
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO dead_letters (subscription_id, offset, append_time_micros, event, reason, attempts,
                                                  first_failed_at_micros, dead_at_micros)
             SELECT ?1, ?2, coalesce(?3, max(append_time_micros)), coalesce(?4, max(event)), ?5, ?6, ?7, ?8
             FROM dead_letters WHERE subscription_id = ?1 AND offset = ?2",
        )?
        .execute((
            id,
            letter.offset,
            letter.append_time_micros,
            letter.event.as_deref(),
            &letter.reason,
            letter.attempts,
            letter.first_failed_at_micros,
            letter.dead_at_micros,
        ))?;
    Ok(())
}

fn read_retrying(row: &Row<'_>) -> Result<Retrying, StateError> {
    let purpose: String = row.get(7)?;
    Ok(Retrying {
        offset: row.get(0)?,
        attempts: row.get(1)?,
        panics: row.get(2)?,
        due_at_micros: row.get(3)?,
        first_failed_at_micros: row.get(4)?,
        last_error: row.get(5)?,
        event_key: row.get(6)?,
        purpose: Purpose::from_name(&purpose)
            .ok_or_else(|| unreadable(format_args!("a retry's purpose `{purpose}`")))?,
    })
}
