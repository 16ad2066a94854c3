//! The API keys: what each may do, and the hash by which it is known. What a key says is shown once and kept nowhere.

use eventrelay_event::Tenant;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::audit_log::{self, AuditEntry};
use crate::state::unreadable;
use crate::{State, StateError, tenants};

/// A stored API key. Times are microseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyRecord {
    /// Names it for people and for its revocation; no secret.
    pub id: String,
    /// The SHA-256 of the key.
    pub secret_hash: [u8; 32],
    /// Whose events it is for.
    pub tenant: Tenant,
    /// What its owner calls it.
    pub name: String,
    /// The names of what it may do.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at_micros: u64,
    /// When it ends by itself, if it does.
    pub expires_at_micros: Option<u64>,
    /// When it was last used, as of the latest [`State::note_api_keys_used`].
    pub last_used_at_micros: Option<u64>,
    /// When it was revoked, if it was.
    pub revoked_at_micros: Option<u64>,
}

impl ApiKeyRecord {
    /// How many of a tenant's revoked keys are remembered, the latest.
    pub const REVOKED_KEPT_PER_TENANT: u32 = 1_000;
}

const COLUMNS: &str =
    "id, secret_hash, tenant, name, scopes, created_at_micros, expires_at_micros, last_used_at_micros,
    revoked_at_micros";

impl State {
    /// Stores a new key, and the tenant where it is named for the first time; durable once this returns Ok.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub async fn create_api_key(&self, key: ApiKeyRecord, audit: AuditEntry) -> Result<(), StateError> {
        let create = move |tx: &rusqlite::Savepoint<'_>| {
            tenants::ensure(tx, &key.tenant, key.created_at_micros)?;
            insert(tx, &key)?;
            forget_revoked(tx, &key.tenant)?;
            audit_log::append(tx, &audit)
        };
        self.writer.write(create).await
    }

    /// All keys, the revoked ones too, by id. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn api_keys(&self) -> Result<Vec<ApiKeyRecord>, StateError> {
        let reader = self.reader();
        let mut statement = reader.prepare_cached(&format!("SELECT {COLUMNS} FROM api_keys ORDER BY id"))?;
        let mut rows = statement.query([])?;
        let mut keys = Vec::new();
        while let Some(row) = rows.next()? {
            keys.push(read(row)?);
        }
        Ok(keys)
    }

    /// The keys of a tenant, or of all, whose ids follow `after`, at most `limit`, the revoked ones too, by id. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn api_keys_after(
        &self,
        tenant: Option<&Tenant>,
        after: &str,
        limit: u32,
    ) -> Result<Vec<ApiKeyRecord>, StateError> {
        let reader = self.reader();
        let mut statement = reader.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM api_keys WHERE id > ?1 AND (?2 IS NULL OR tenant = ?2) ORDER BY id LIMIT ?3"
        ))?;
        let mut rows = statement.query((after, tenant.map(Tenant::as_str), limit))?;
        let mut keys = Vec::new();
        while let Some(row) = rows.next()? {
            keys.push(read(row)?);
        }
        Ok(keys)
    }

    /// The key of this id, also a revoked one. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn api_key(&self, id: &str) -> Result<Option<ApiKeyRecord>, StateError> {
        let reader = self.reader();
        let mut statement =
            reader.prepare_cached(&format!("SELECT {COLUMNS} FROM api_keys WHERE id = ?1"))?;
        statement.query_row([id], |row| Ok(read(row))).optional()?.transpose()
    }

    /// Ends a key for good; durable once this returns Ok. False when there is none of this id that is not revoked.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub async fn revoke_api_key(
        &self,
        id: String,
        now_micros: u64,
        audit: AuditEntry,
    ) -> Result<bool, StateError> {
        let revoke = move |tx: &rusqlite::Savepoint<'_>| {
            let changed = tx
                .prepare_cached(
                    "UPDATE api_keys SET revoked_at_micros = ?2 WHERE id = ?1 AND revoked_at_micros IS NULL",
                )?
                .execute((&id, now_micros))?;
            if changed > 0 {
                audit_log::append(tx, &audit)?;
            }
            Ok(changed > 0)
        };
        self.writer.write(revoke).await
    }

    /// Notes when keys were last used, by id.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub async fn note_api_keys_used(&self, used: Vec<(String, u64)>) -> Result<(), StateError> {
        let note = move |tx: &rusqlite::Savepoint<'_>| {
            let mut update =
                tx.prepare_cached("UPDATE api_keys SET last_used_at_micros = ?2 WHERE id = ?1")?;
            for (id, at_micros) in &used {
                update.execute((id, at_micros))?;
            }
            Ok(())
        };
        self.writer.write(note).await
    }
}

/// So that making and revoking keys fills no disk: what became of older ones is in the audit log.
fn forget_revoked(connection: &Connection, tenant: &Tenant) -> Result<(), StateError> {
    connection
        .prepare_cached(
            "DELETE FROM api_keys WHERE tenant = ?1 AND revoked_at_micros <= (
                 SELECT revoked_at_micros FROM api_keys WHERE tenant = ?1 AND revoked_at_micros IS NOT NULL
                 ORDER BY revoked_at_micros DESC LIMIT 1 OFFSET ?2)",
        )?
        .execute((tenant.as_str(), ApiKeyRecord::REVOKED_KEPT_PER_TENANT))?;
    Ok(())
}

fn insert(connection: &Connection, key: &ApiKeyRecord) -> Result<(), StateError> {
    connection
        .prepare_cached(
            "INSERT INTO api_keys (id, secret_hash, tenant, name, scopes, created_at_micros, expires_at_micros,
                                   last_used_at_micros, revoked_at_micros)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute((
            &key.id,
            key.secret_hash,
            key.tenant.as_str(),
            &key.name,
            key.scopes.join(" "),
            key.created_at_micros,
            key.expires_at_micros,
            key.last_used_at_micros,
            key.revoked_at_micros,
        ))?;
    Ok(())
}

fn read(row: &Row<'_>) -> Result<ApiKeyRecord, StateError> {
    let (id, tenant, scopes): (String, String, String) = (row.get(0)?, row.get(2)?, row.get(4)?);
    let tenant = Tenant::parse(&tenant)
        .map_err(|error| unreadable(format_args!("the tenant of API key `{id}`: {error}")))?;
    Ok(ApiKeyRecord {
        id,
        secret_hash: row.get(1)?,
        tenant,
        name: row.get(3)?,
        scopes: scopes.split_whitespace().map(str::to_owned).collect(),
        created_at_micros: row.get(5)?,
        expires_at_micros: row.get(6)?,
        last_used_at_micros: row.get(7)?,
        revoked_at_micros: row.get(8)?,
    })
}
