//! The tenants: what each is called, and what its owner notes about it. What it owns names it.
//!
//! A tenant that is named for the first time, by a key or a user, gets its row with them ([`ensure`]). Every change raises
//! `revision`; one that was decided on an older revision changes nothing.

use std::collections::BTreeMap;

use eventrelay_event::Tenant;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::audit_log::{self, AuditEntry};
use crate::state::unreadable;
use crate::{State, StateError};

/// A stored tenant. Times are microseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantRecord {
    /// Its name, which never changes.
    pub name: Tenant,
    /// What people call it; empty: its name.
    pub display_name: String,
    /// Whatever its owner notes.
    pub metadata: BTreeMap<String, String>,
    /// When it was made.
    pub created_at_micros: u64,
    /// When it was last changed.
    pub updated_at_micros: u64,
    /// How often it has been written.
    pub revision: u64,
}

/// What became of a tenant that was to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TenantRemoval {
    /// It is gone.
    Removed,
    /// There is none of this revision.
    Stale,
    /// It still has something.
    NotEmpty {
        /// Subscriptions of any state.
        subscriptions: u64,
        /// API keys that are not revoked.
        api_keys: u64,
        /// Users.
        users: u64,
    },
}

impl State {
    /// Stores a new tenant; durable once this returns Ok. False when there is one of this name.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub async fn create_tenant(&self, tenant: TenantRecord, audit: AuditEntry) -> Result<bool, StateError> {
        let create = move |tx: &rusqlite::Savepoint<'_>| {
            let created = insert(tx, &tenant)?;
            if created {
                audit_log::append(tx, &audit)?;
            }
            Ok(created)
        };
        self.writer.write(create).await
    }

    /// Writes a tenant over the one of the same name and revision, and raises that. False when there is none.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub async fn update_tenant(&self, tenant: TenantRecord, audit: AuditEntry) -> Result<bool, StateError> {
        let update = move |tx: &rusqlite::Savepoint<'_>| {
            let changed = tx
                .prepare_cached(
                    "UPDATE tenants SET display_name = ?3, metadata = ?4, updated_at_micros = ?5, revision = revision + 1
                     WHERE name = ?1 AND revision = ?2",
                )?
                .execute((
                    tenant.name.as_str(),
                    tenant.revision,
                    &tenant.display_name,
                    encode(&tenant.metadata)?,
                    tenant.updated_at_micros,
                ))?;
            if changed > 0 {
                audit_log::append(tx, &audit)?;
            }
            Ok(changed > 0)
        };
        self.writer.write(update).await
    }

    /// Removes a tenant that has nothing left.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub async fn delete_tenant(
        &self,
        name: Tenant,
        revision: u64,
        audit: AuditEntry,
    ) -> Result<TenantRemoval, StateError> {
        let delete = move |tx: &rusqlite::Savepoint<'_>| {
            if let Some(left) = left_of(tx, &name)? {
                return Ok(left);
            }
            let deleted = tx
                .prepare_cached("DELETE FROM tenants WHERE name = ?1 AND revision = ?2")?
                .execute((name.as_str(), revision))?;
            if deleted == 0 {
                return Ok(TenantRemoval::Stale);
            }
            audit_log::append(tx, &audit)?;
            Ok(TenantRemoval::Removed)
        };
        self.writer.write(delete).await
    }

    /// The tenants behind a name, at most `limit`, by name. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn tenants(&self, after: Option<&str>, limit: u32) -> Result<Vec<TenantRecord>, StateError> {
        let reader = self.reader();
        let mut statement = reader.prepare_cached(
            "SELECT name, display_name, metadata, created_at_micros, updated_at_micros, revision
             FROM tenants WHERE name > ?1 ORDER BY name LIMIT ?2",
        )?;
        let mut rows = statement.query((after.unwrap_or_default(), limit))?;
        let mut tenants = Vec::new();
        while let Some(row) = rows.next()? {
            tenants.push(read(row)?);
        }
        Ok(tenants)
    }

    /// The tenant of a name. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn tenant(&self, name: &str) -> Result<Option<TenantRecord>, StateError> {
        let reader = self.reader();
        let mut statement = reader.prepare_cached(
            "SELECT name, display_name, metadata, created_at_micros, updated_at_micros, revision
             FROM tenants WHERE name = ?1",
        )?;
        statement.query_row([name], |row| Ok(read(row))).optional()?.transpose()
    }
}

/// Gives a tenant that is named a row, unless it has one.
pub(crate) fn ensure(connection: &Connection, name: &Tenant, now_micros: u64) -> Result<(), StateError> {
    let tenant = TenantRecord {
        name: name.clone(),
        display_name: String::new(),
        metadata: BTreeMap::new(),
        created_at_micros: now_micros,
        updated_at_micros: now_micros,
        revision: 1,
    };
    insert(connection, &tenant).map(drop)
}

fn insert(connection: &Connection, tenant: &TenantRecord) -> Result<bool, StateError> {
    let inserted = connection
        .prepare_cached(
            "INSERT INTO tenants (name, display_name, metadata, created_at_micros, updated_at_micros, revision)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (name) DO NOTHING",
        )?
        .execute((
            tenant.name.as_str(),
            &tenant.display_name,
            encode(&tenant.metadata)?,
            tenant.created_at_micros,
            tenant.updated_at_micros,
            tenant.revision,
        ))?;
    Ok(inserted > 0)
}

/// What keeps a tenant from going, if anything does.
fn left_of(connection: &Connection, name: &Tenant) -> Result<Option<TenantRemoval>, StateError> {
    let counts = connection
        .prepare_cached(
            "SELECT (SELECT count(*) FROM subscriptions WHERE tenant = ?1),
                    (SELECT count(*) FROM api_keys WHERE tenant = ?1 AND revoked_at_micros IS NULL),
                    (SELECT count(*) FROM users WHERE tenant = ?1)",
        )?
        .query_row([name.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(match counts {
        (0, 0, 0) => None,
        (subscriptions, api_keys, users) => Some(TenantRemoval::NotEmpty { subscriptions, api_keys, users }),
    })
}

fn encode(metadata: &BTreeMap<String, String>) -> Result<String, StateError> {
    serde_json::to_string(metadata).map_err(|error| StateError::Failed { why: error.to_string() })
}

fn read(row: &Row<'_>) -> Result<TenantRecord, StateError> {
    let (name, metadata): (String, String) = (row.get(0)?, row.get(2)?);
    let bad = |error: &dyn std::fmt::Display| unreadable(format_args!("tenant `{name}`: {error}"));
    Ok(TenantRecord {
        name: Tenant::parse(&name).map_err(|error| bad(&error))?,
        display_name: row.get(1)?,
        metadata: serde_json::from_str(&metadata).map_err(|error| bad(&error))?,
        created_at_micros: row.get(3)?,
        updated_at_micros: row.get(4)?,
        revision: row.get(5)?,
    })
}
