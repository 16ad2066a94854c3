//! What requests with an idempotency key were answered: a repeat gets the same answer, and nothing is done twice.
//!
//! The newest [`KEPT_PER_TENANT`] of a tenant are kept, and none for longer than the caller says: both are seen to whenever one
//! is added. A tenant with many requests forgets its own answers earlier, and nobody else's.

use eventrelay_event::Tenant;
use rusqlite::{Connection, OptionalExtension};

use crate::state::unreadable;
use crate::{State, StateError};

/// The most answers that are kept for a tenant.
const KEPT_PER_TENANT: u32 = 1_000;

/// Which request it was.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestName {
    /// Whose.
    pub tenant: Tenant,
    /// What its client calls it.
    pub idempotency_key: String,
    /// The HTTP method.
    pub method: String,
    /// The path.
    pub path: String,
}

/// What it was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerRecord {
    /// The SHA-256 of the rest of the request.
    pub fingerprint: [u8; 32],
    /// The HTTP status.
    pub status: u16,
    /// The headers that are the answer's own.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// When, in microseconds since the Unix epoch.
    pub answered_at_micros: u64,
}

impl State {
    /// What a request was answered, at `since_micros` or later. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn answer(&self, name: &RequestName, since_micros: u64) -> Result<Option<AnswerRecord>, StateError> {
        let reader = self.reader();
        let mut statement = reader.prepare_cached(
            "SELECT fingerprint, status, headers, body, answered_at_micros FROM answers
             WHERE tenant = ?1 AND idempotency_key = ?2 AND method = ?3 AND path = ?4 AND answered_at_micros >= ?5",
        )?;
        let columns = (name.tenant.as_str(), &name.idempotency_key, &name.method, &name.path, since_micros);
        let found = statement
            .query_row(columns, |row| {
                let headers: String = row.get(2)?;
                let answer = AnswerRecord {
                    fingerprint: row.get(0)?,
                    status: row.get(1)?,
                    headers: Vec::new(),
                    body: row.get(3)?,
                    answered_at_micros: row.get(4)?,
                };
                Ok((answer, headers))
            })
            .optional()?;
        let Some((answer, headers)) = found else { return Ok(None) };
        let headers = serde_json::from_str(&headers)
            .map_err(|error| unreadable(format_args!("the headers of an answer: {error}")))?;
        Ok(Some(AnswerRecord { headers, ..answer }))
    }

    /// Keeps an answer, in place of an earlier one of the name, and forgets those before `since_micros`. Durable once this
    /// returns Ok.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub async fn keep_answer(
        &self,
        name: RequestName,
        answer: AnswerRecord,
        since_micros: u64,
    ) -> Result<(), StateError> {
        let headers = serde_json::to_string(&answer.headers)
            .map_err(|error| StateError::Failed { why: error.to_string() })?;
        let keep = move |tx: &rusqlite::Savepoint<'_>| {
            forget(tx, &name.tenant, since_micros)?;
            tx.prepare_cached(
                "INSERT OR REPLACE INTO answers (tenant, idempotency_key, method, path, fingerprint, status, headers, body,
                                                 answered_at_micros)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute((
                name.tenant.as_str(),
                &name.idempotency_key,
                &name.method,
                &name.path,
                answer.fingerprint,
                answer.status,
                &headers,
                &answer.body,
                answer.answered_at_micros,
            ))?;
            Ok(())
        };
        self.writer.write(keep).await
    }
}

/// Makes room for one more.
fn forget(connection: &Connection, tenant: &Tenant, since_micros: u64) -> Result<(), StateError> {
    connection
        .prepare_cached("DELETE FROM answers WHERE answered_at_micros < ?1")?
        .execute([since_micros])?;
    connection
        .prepare_cached(
            "DELETE FROM answers WHERE tenant = ?1 AND answered_at_micros <= (
                 SELECT answered_at_micros FROM answers WHERE tenant = ?1
                 ORDER BY answered_at_micros DESC LIMIT 1 OFFSET ?2)",
        )?
        .execute((tenant.as_str(), KEPT_PER_TENANT - 1))?;
    Ok(())
}
