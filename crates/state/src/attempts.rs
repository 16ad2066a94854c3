//! Kept attempts: of each subscription the newest [`AttemptRecord::KEPT_PER_SUBSCRIPTION`].

use eventrelay_event::Purpose;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::state::unreadable;
use crate::{AttemptId, AttemptOutcome, AttemptRecord, State, StateError, SubscriptionId};

/// Which attempts of a subscription.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AttemptQuery {
    /// Only those of this event.
    pub offset: Option<u64>,
    /// Only those that ended so.
    pub outcome: Option<AttemptOutcome>,
    /// Only those that began at or after it: microseconds since the Unix epoch.
    pub from_micros: Option<u64>,
    /// Only those that began before it.
    pub to_micros: Option<u64>,
    /// Only those kept before this one.
    pub before: Option<AttemptId>,
}

const COLUMNS: &str = "id, offset, attempt, outcome, reason, started_at_micros, took_micros, response_status,
                       response_body, response_truncated, exchange, purpose";

impl State {
    /// A subscription's newest kept attempts, at most `limit`, newest first. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn attempts(
        &self,
        id: SubscriptionId,
        query: &AttemptQuery,
        limit: u32,
    ) -> Result<Vec<(AttemptId, AttemptRecord)>, StateError> {
        let reader = self.reader();
        // An event has few attempts, so it is looked up by the index that begins with it.
        let index = if query.offset.is_some() { "attempts_by_event" } else { "attempts_by_subscription" };
        let mut statement = reader.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM attempts INDEXED BY {index} WHERE subscription_id = ?1
                 AND (?2 IS NULL OR offset = ?2) AND (?3 IS NULL OR outcome = ?3)
                 AND (?4 IS NULL OR started_at_micros >= ?4) AND (?5 IS NULL OR started_at_micros < ?5)
                 AND (?6 IS NULL OR id < ?6)
             ORDER BY id DESC LIMIT ?7"
        ))?;
        let mut rows = statement.query((
            id.0,
            query.offset,
            query.outcome.map(AttemptOutcome::name),
            query.from_micros,
            query.to_micros,
            query.before.map(|before| before.0),
            limit,
        ))?;
        let mut attempts = Vec::new();
        while let Some(row) = rows.next()? {
            attempts.push(read(row)?);
        }
        Ok(attempts)
    }

    /// One kept attempt of a subscription. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn attempt(
        &self,
        id: SubscriptionId,
        attempt: AttemptId,
    ) -> Result<Option<AttemptRecord>, StateError> {
        let reader = self.reader();
        let mut statement = reader.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM attempts WHERE subscription_id = ?1 AND id = ?2"
        ))?;
        let found = statement.query_row((id.0, attempt.0), |row| Ok(read(row))).optional()?;
        Ok(found.transpose()?.map(|(_, record)| record))
    }
}

pub(crate) fn save_attempts(
    connection: &Connection,
    id: i64,
    attempts: &[AttemptRecord],
) -> Result<(), StateError> {
    if attempts.is_empty() {
        return Ok(());
    }
    let mut insert = connection.prepare_cached(
        "INSERT INTO attempts (subscription_id, offset, attempt, outcome, reason, started_at_micros, took_micros,
                               response_status, response_body, response_truncated, exchange, purpose)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?;
    for attempt in attempts {
        let body = attempt.response_body.as_deref();
        let kept = body.map(|body| &body[..body.len().min(AttemptRecord::RESPONSE_LIMIT_BYTES)]);
        let exchange =
            attempt.exchange.as_ref().map(serde_json::to_string).transpose().map_err(unreadable)?;
        insert.execute((
            id,
            attempt.offset,
            attempt.attempt,
            attempt.outcome.name(),
            &attempt.reason,
            attempt.started_at_micros,
            attempt.took_micros,
            attempt.response_status,
            kept,
            attempt.response_truncated || kept.map(<[u8]>::len) != body.map(<[u8]>::len),
            exchange,
            attempt.purpose.name(),
        ))?;
    }
    connection
        .prepare_cached(
            "DELETE FROM attempts WHERE subscription_id = ?1 AND id <= (
                 SELECT id FROM attempts WHERE subscription_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
        )?
        .execute((id, AttemptRecord::KEPT_PER_SUBSCRIPTION))?;
    Ok(())
}

fn read(row: &Row<'_>) -> Result<(AttemptId, AttemptRecord), StateError> {
    let outcome: String = row.get(3)?;
    let (exchange, purpose): (Option<String>, String) = (row.get(10)?, row.get(11)?);
    let record = AttemptRecord {
        offset: row.get(1)?,
        attempt: row.get(2)?,
        purpose: Purpose::from_name(&purpose)
            .ok_or_else(|| unreadable(format_args!("an attempt's purpose `{purpose}`")))?,
        outcome: AttemptOutcome::from_name(&outcome)
            .ok_or_else(|| unreadable(format_args!("an attempt's outcome `{outcome}`")))?,
        reason: row.get(4)?,
        started_at_micros: row.get(5)?,
        took_micros: row.get(6)?,
        response_status: row.get(7)?,
        response_body: row.get::<_, Option<Vec<u8>>>(8)?.map(Into::into),
        response_truncated: row.get(9)?,
        exchange: exchange.map(|text| serde_json::from_str(&text)).transpose().map_err(unreadable)?,
    };
    Ok((AttemptId(row.get(0)?), record))
}
