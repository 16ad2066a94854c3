//! Who is logged in. A session is known by the SHA-256 of its token; the token itself is with its browser alone.

use rusqlite::{Connection, Row};

use crate::audit_log::{self, AuditEntry};
use crate::{State, StateError, UserRecord};

/// A stored session. Times are microseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRecord {
    /// The SHA-256 of its token.
    pub token_hash: [u8; 32],
    /// Who is logged in.
    pub user_id: String,
    /// When the user logged in.
    pub created_at_micros: u64,
    /// When it was last used, as of the latest [`State::note_sessions_seen`].
    pub last_seen_at_micros: u64,
    /// When it ends, however much it is used.
    pub expires_at_micros: u64,
    /// Where the user logged in from.
    pub client_address: String,
    /// With which program, as that calls itself.
    pub user_agent: String,
}

impl SessionRecord {
    /// The most sessions of a user: the one after it ends the oldest.
    pub const MOST_PER_USER: u32 = 10;
}

/// A login that is to become a session.
#[derive(Debug, Clone)]
pub struct SessionStart {
    /// The session.
    pub session: SessionRecord,
    /// The revision of the user whose password was looked at: another one may have another password.
    pub user_revision: u64,
    /// What the audit log says of it.
    pub audit: AuditEntry,
}

impl State {
    /// Begins a session, unless the user has changed meanwhile or may not log in; durable once this returns true. The user's
    /// failed logins are forgotten, and so are sessions that have expired.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub async fn begin_session(&self, start: SessionStart) -> Result<bool, StateError> {
        let begin = move |tx: &rusqlite::Savepoint<'_>| {
            let SessionStart { session, user_revision, audit } = &start;
            let logged_in = tx
                .prepare_cached(
                    "UPDATE users SET failed_logins = 0, locked_until_micros = NULL, last_login_at_micros = ?3
                     WHERE id = ?1 AND revision = ?2 AND NOT disabled",
                )?
                .execute((&session.user_id, user_revision, session.created_at_micros))?;
            if logged_in == 0 {
                return Ok(false);
            }
            insert(tx, session)?;
            remove_ended(tx, &session.user_id, session.created_at_micros)?;
            audit_log::append(tx, audit)?;
            Ok(true)
        };
        self.writer.write(begin).await
    }

    /// Ends a session. False when there is none.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub async fn end_session(&self, token_hash: [u8; 32], audit: AuditEntry) -> Result<bool, StateError> {
        let end = move |tx: &rusqlite::Savepoint<'_>| {
            let ended =
                tx.prepare_cached("DELETE FROM sessions WHERE token_hash = ?1")?.execute([token_hash])?;
            if ended > 0 {
                audit_log::append(tx, &audit)?;
            }
            Ok(ended > 0)
        };
        self.writer.write(end).await
    }

    /// Notes when sessions were last used.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub async fn note_sessions_seen(&self, seen: Vec<([u8; 32], u64)>) -> Result<(), StateError> {
        let note = move |tx: &rusqlite::Savepoint<'_>| {
            let mut update =
                tx.prepare_cached("UPDATE sessions SET last_seen_at_micros = ?2 WHERE token_hash = ?1")?;
            for seen in &seen {
                update.execute(*seen)?;
            }
            Ok(())
        };
        self.writer.write(note).await
    }

    /// The sessions that have not expired, each with its user. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn sessions(&self, now_micros: u64) -> Result<Vec<(SessionRecord, UserRecord)>, StateError> {
        let reader = self.reader();
        let mut statement = reader.prepare_cached(
            "SELECT users.id, tenant, email, name, role, password_hash, oidc_issuer, oidc_subject, disabled, failed_logins,
                    locked_until_micros, last_login_at_micros, users.created_at_micros, updated_at_micros, revision,
                    token_hash, sessions.created_at_micros, last_seen_at_micros, expires_at_micros, client_address, user_agent
             FROM sessions JOIN users ON users.id = user_id
             WHERE expires_at_micros > ?1 AND NOT disabled",
        )?;
        let mut rows = statement.query([now_micros])?;
        let mut sessions = Vec::new();
        while let Some(row) = rows.next()? {
            sessions.push((read(row)?, crate::users::read(row)?));
        }
        Ok(sessions)
    }

    /// Whether a session is stored. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn has_session(&self, token_hash: [u8; 32]) -> Result<bool, StateError> {
        let reader = self.reader();
        let mut statement =
            reader.prepare_cached("SELECT EXISTS (SELECT 1 FROM sessions WHERE token_hash = ?1)")?;
        Ok(statement.query_row([token_hash], |row| row.get(0))?)
    }
}

fn insert(connection: &Connection, session: &SessionRecord) -> Result<(), StateError> {
    connection
        .prepare_cached(
            "INSERT INTO sessions (token_hash, user_id, created_at_micros, last_seen_at_micros, expires_at_micros,
                                   client_address, user_agent)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute((
            session.token_hash,
            &session.user_id,
            session.created_at_micros,
            session.last_seen_at_micros,
            session.expires_at_micros,
            &session.client_address,
            &session.user_agent,
        ))?;
    Ok(())
}

/// Removes what has expired, and the user's oldest sessions beyond the most.
fn remove_ended(connection: &Connection, user_id: &str, now_micros: u64) -> Result<(), StateError> {
    connection.prepare_cached("DELETE FROM sessions WHERE expires_at_micros <= ?1")?.execute([now_micros])?;
    connection
        .prepare_cached(
            "DELETE FROM sessions WHERE user_id = ?1 AND token_hash NOT IN (
                 SELECT token_hash FROM sessions WHERE user_id = ?1 ORDER BY created_at_micros DESC LIMIT ?2)",
        )?
        .execute((user_id, SessionRecord::MOST_PER_USER))?;
    Ok(())
}

/// What follows the user's columns.
fn read(row: &Row<'_>) -> rusqlite::Result<SessionRecord> {
    Ok(SessionRecord {
        token_hash: row.get(15)?,
        user_id: row.get(0)?,
        created_at_micros: row.get(16)?,
        last_seen_at_micros: row.get(17)?,
        expires_at_micros: row.get(18)?,
        client_address: row.get(19)?,
        user_agent: row.get(20)?,
    })
}
