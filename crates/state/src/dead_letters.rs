//! Dead letters, as people look at them and throw them away. Dispatchers make them, in their checkpoints.

use rusqlite::{OptionalExtension, Row};

use crate::{DeadLetter, State, StateError, SubscriptionId};

/// How many rows are deleted in one transaction, so that others get their turn.
const DELETED_AT_ONCE: usize = 500;

const COLUMNS: &str =
    "offset, append_time_micros, event, reason, attempts, first_failed_at_micros, dead_at_micros";

impl State {
    /// How many dead letters a subscription has. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn dead_letter_count(&self, id: SubscriptionId) -> Result<u64, StateError> {
        let reader = self.reader();
        let mut statement =
            reader.prepare_cached("SELECT count(*) FROM dead_letters WHERE subscription_id = ?1")?;
        Ok(statement.query_row([id.0], |row| row.get(0))?)
    }

    /// A subscription's dead letters from offset `from` on, at most `limit`, in offset order. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn dead_letters(
        &self,
        id: SubscriptionId,
        from: u64,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, StateError> {
        let reader = self.reader();
        let mut statement = reader.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM dead_letters WHERE subscription_id = ?1 AND offset >= ?2 ORDER BY offset LIMIT ?3"
        ))?;
        let letters = statement.query_map((id.0, from, limit), read)?;
        Ok(letters.collect::<Result<_, _>>()?)
    }

    /// The offset of a subscription's first dead letter whose event was appended at or after `micros`. Times never go back from
    /// one offset to the next. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn first_dead_letter_since(
        &self,
        id: SubscriptionId,
        micros: u64,
    ) -> Result<Option<u64>, StateError> {
        let reader = self.reader();
        let mut statement = reader.prepare_cached(
            "SELECT offset FROM dead_letters WHERE subscription_id = ?1 AND append_time_micros >= ?2
             ORDER BY offset LIMIT 1",
        )?;
        // No time is beyond what SQLite can hold.
        let micros = i64::try_from(micros).unwrap_or(i64::MAX);
        Ok(statement.query_row((id.0, micros), |row| row.get(0)).optional()?)
    }

    /// A subscription's dead letters below offset `before`, at most `limit`, the newest events first. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn newest_dead_letters(
        &self,
        id: SubscriptionId,
        before: u64,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, StateError> {
        let reader = self.reader();
        let mut statement = reader.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM dead_letters WHERE subscription_id = ?1 AND offset < ?2 ORDER BY offset DESC LIMIT ?3"
        ))?;
        // No offset is beyond what SQLite can hold.
        let before = i64::try_from(before).unwrap_or(i64::MAX);
        let letters = statement.query_map((id.0, before, limit), read)?;
        Ok(letters.collect::<Result<_, _>>()?)
    }

    /// Throws dead letters away, and tells how many there were of those named; durable once this returns Ok.
    ///
    /// # Errors
    /// When the disk is full or fails; some may be gone by then.
    pub async fn delete_dead_letters(
        &self,
        id: SubscriptionId,
        offsets: Vec<u64>,
    ) -> Result<u64, StateError> {
        let mut deleted = 0;
        for part in offsets.chunks(DELETED_AT_ONCE) {
            let part = part.to_vec();
            deleted += self
                .writer
                .write(move |tx| {
                    let mut delete = tx.prepare_cached(
                        "DELETE FROM dead_letters WHERE subscription_id = ?1 AND offset = ?2",
                    )?;
                    let mut count = 0;
                    for offset in part {
                        count += delete.execute((id.0, offset))? as u64;
                    }
                    Ok(count)
                })
                .await?;
        }
        Ok(deleted)
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<DeadLetter> {
    Ok(DeadLetter {
        offset: row.get(0)?,
        append_time_micros: row.get(1)?,
        event: row.get::<_, Option<Vec<u8>>>(2)?.map(Into::into),
        reason: row.get(3)?,
        attempts: row.get(4)?,
        first_failed_at_micros: row.get(5)?,
        dead_at_micros: row.get(6)?,
    })
}
