//! Stored subscriptions: found, listed, and changed one at a time. [`State::reconcile`] changes those of the configuration.
//!
//! Each change of a declaration or a lifecycle gives the subscription a new revision, so that a caller that has seen an
//! earlier one is told.

use rusqlite::{Connection, OptionalExtension, Row};

use crate::audit_log::{self, AuditEntry};
use crate::state::{now_micros, unreadable};
use crate::tenants;
use crate::{
    Lifecycle, Origin, Progress, State, StateError, Subscription, SubscriptionId, SubscriptionRecord,
};

/// Why a subscription was not changed. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionChangeError {
    /// The tenant has one of that name.
    #[error("the tenant has a subscription of that name")]
    Exists,
    /// It is not there, or no longer.
    #[error("there is no such subscription")]
    NotFound,
    /// Somebody else was faster.
    #[error("the subscription has been changed: it is at revision {revision}")]
    RevisionChanged {
        /// Its revision now.
        revision: u64,
    },
    /// The store failed.
    #[error(transparent)]
    State(#[from] StateError),
}

const COLUMNS: &str =
    "id, name, spec, lifecycle, lifecycle_reason, start_offset, created_at_micros, origin, revision,
                       updated_at_micros";

impl State {
    /// All subscriptions, also orphaned ones, in the order they were created. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn subscriptions(&self) -> Result<Vec<SubscriptionRecord>, StateError> {
        load_subscriptions(&self.reader())
    }

    /// A tenant's subscriptions whose names come behind `after`, by name, at most `limit`. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn subscriptions_of(
        &self,
        tenant: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<SubscriptionRecord>, StateError> {
        let reader = self.reader();
        let mut statement = reader.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM subscriptions WHERE tenant = ?1 AND name > ?2 ORDER BY name LIMIT ?3"
        ))?;
        let mut rows = statement.query((tenant, after, limit))?;
        read_all(&mut rows)
    }

    /// A tenant's subscription of that name. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn subscription(&self, tenant: &str, name: &str) -> Result<Option<SubscriptionRecord>, StateError> {
        find(&self.reader(), tenant, name)
    }

    /// Stores a new subscription that begins at `start_offset`; durable once this returns Ok.
    ///
    /// # Errors
    /// When the tenant has one of that name, or the disk is full or fails.
    pub async fn create_subscription(
        &self,
        spec: Subscription,
        start_offset: u64,
        lifecycle: Lifecycle,
        audit: Option<AuditEntry>,
    ) -> Result<SubscriptionRecord, SubscriptionChangeError> {
        let create = move |tx: &Connection| {
            if find(tx, spec.tenant.as_str(), &spec.name)?.is_some() {
                return Ok(Err(SubscriptionChangeError::Exists));
            }
            let id = insert(tx, &spec, start_offset, Origin::Api)?;
            update_lifecycle(tx, id, &lifecycle)?;
            note(tx, audit.as_ref())?;
            stored(tx, id).map(Ok)
        };
        self.writer.write(move |tx| create(tx)).await?
    }

    /// Gives a subscription another declaration; durable once this returns Ok. Its cursor stays.
    ///
    /// # Errors
    /// When it is gone, is not at `expected_revision`, or the disk is full or fails.
    pub async fn replace_subscription(
        &self,
        id: SubscriptionId,
        expected_revision: u64,
        spec: Subscription,
        lifecycle: Lifecycle,
        audit: Option<AuditEntry>,
    ) -> Result<SubscriptionRecord, SubscriptionChangeError> {
        let replace = move |tx: &Connection| {
            if let Err(refused) = check_revision(tx, id, expected_revision)? {
                return Ok(Err(refused));
            }
            update_spec(tx, id, &spec)?;
            update_lifecycle(tx, id, &lifecycle)?;
            note(tx, audit.as_ref())?;
            stored(tx, id).map(Ok)
        };
        self.writer.write(move |tx| replace(tx)).await?
    }

    /// Enables, pauses or disables a subscription; durable once this returns Ok.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub async fn set_lifecycle(
        &self,
        id: SubscriptionId,
        lifecycle: Lifecycle,
        audit: Option<AuditEntry>,
    ) -> Result<(), StateError> {
        let set = move |tx: &Connection| {
            update_lifecycle(tx, id, &lifecycle)?;
            note(tx, audit.as_ref())
        };
        self.writer.write(move |tx| set(tx)).await
    }

    /// Removes a subscription with its cursor, retries, dead letters, replays and attempts; durable once this returns Ok.
    ///
    /// # Errors
    /// When it is gone, is not at `expected_revision`, or the disk is full or fails.
    pub async fn delete_subscription(
        &self,
        id: SubscriptionId,
        expected_revision: u64,
        audit: Option<AuditEntry>,
    ) -> Result<(), SubscriptionChangeError> {
        let delete = move |tx: &Connection| {
            if let Err(refused) = check_revision(tx, id, expected_revision)? {
                return Ok(Err(refused));
            }
            tx.prepare_cached("DELETE FROM subscriptions WHERE id = ?1")?.execute([id.0])?;
            note(tx, audit.as_ref())?;
            Ok(Ok(()))
        };
        self.writer.write(move |tx| delete(tx)).await?
    }
}

pub(crate) fn load_subscriptions(connection: &Connection) -> Result<Vec<SubscriptionRecord>, StateError> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {COLUMNS} FROM subscriptions ORDER BY id"))?;
    let mut rows = statement.query([])?;
    read_all(&mut rows)
}

pub(crate) fn insert(
    connection: &Connection,
    spec: &Subscription,
    start_offset: u64,
    origin: Origin,
) -> Result<SubscriptionId, StateError> {
    let (json, now) = (spec_json(spec)?, now_micros());
    tenants::ensure(connection, &spec.tenant, now)?;
    let id: Option<i64> = connection
        .prepare_cached(
            "INSERT INTO subscriptions (tenant, name, spec, lifecycle, start_offset, created_at_micros, updated_at_micros,
                                        origin)
             VALUES (?1, ?2, ?3, 'enabled', ?4, ?5, ?5, ?6) RETURNING id",
        )?
        .query_row((spec.tenant.as_str(), &spec.name, json, start_offset, now, origin.name()), |row| row.get(0))
        .optional()?;
    let id = id.ok_or_else(|| unreadable("the id of a new subscription"))?;
    connection
        .prepare_cached(
            "INSERT INTO cursors (subscription_id, next_offset, settled_beyond, saved_at_micros) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute((id, start_offset, Progress::new(start_offset).encode_beyond(), now))?;
    Ok(SubscriptionId(id))
}

pub(crate) fn update_spec(
    connection: &Connection,
    id: SubscriptionId,
    spec: &Subscription,
) -> Result<(), StateError> {
    connection
        .prepare_cached(
            "UPDATE subscriptions SET spec = ?2, revision = revision + 1, updated_at_micros = ?3 WHERE id = ?1",
        )?
        .execute((id.0, spec_json(spec)?, now_micros()))?;
    Ok(())
}

/// A lifecycle that is none other than before is no change.
pub(crate) fn update_lifecycle(
    connection: &Connection,
    id: SubscriptionId,
    lifecycle: &Lifecycle,
) -> Result<(), StateError> {
    connection
        .prepare_cached(
            "UPDATE subscriptions SET lifecycle = ?2, lifecycle_reason = ?3, revision = revision + 1,
                                      updated_at_micros = ?4
             WHERE id = ?1 AND (lifecycle <> ?2 OR lifecycle_reason IS NOT ?3)",
        )?
        .execute((id.0, lifecycle.name(), lifecycle.reason(), now_micros()))?;
    Ok(())
}

/// Stores what a dispatcher has found of its target, in a checkpoint. That comes later than it was found, and what somebody has
/// asked for meanwhile stands: only an enabled subscription is disabled, and only a disabled one enabled again.
pub(crate) fn follow_target(
    connection: &Connection,
    id: SubscriptionId,
    found: &Lifecycle,
) -> Result<(), StateError> {
    let before = match found {
        Lifecycle::Enabled => "disabled",
        Lifecycle::Disabled { .. } => "enabled",
        Lifecycle::Paused | Lifecycle::Orphaned => return Ok(()),
    };
    let mut statement = connection.prepare_cached("SELECT lifecycle FROM subscriptions WHERE id = ?1")?;
    let stored: Option<String> = statement.query_row([id.0], |row| row.get(0)).optional()?;
    if stored.as_deref() == Some(before) { update_lifecycle(connection, id, found) } else { Ok(()) }
}

pub(crate) fn set_origin(
    connection: &Connection,
    id: SubscriptionId,
    origin: Origin,
) -> Result<(), StateError> {
    connection
        .prepare_cached("UPDATE subscriptions SET origin = ?2 WHERE id = ?1")?
        .execute((id.0, origin.name()))?;
    Ok(())
}

pub(crate) fn find(
    connection: &Connection,
    tenant: &str,
    name: &str,
) -> Result<Option<SubscriptionRecord>, StateError> {
    let mut statement = connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM subscriptions WHERE tenant = ?1 AND name = ?2"))?;
    statement.query_row((tenant, name), |row| Ok(read(row))).optional()?.transpose()
}

fn note(connection: &Connection, audit: Option<&AuditEntry>) -> Result<(), StateError> {
    audit.map_or(Ok(()), |entry| audit_log::append(connection, entry))
}

fn stored(connection: &Connection, id: SubscriptionId) -> Result<SubscriptionRecord, StateError> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {COLUMNS} FROM subscriptions WHERE id = ?1"))?;
    statement.query_row([id.0], |row| Ok(read(row)))?
}

fn check_revision(
    connection: &Connection,
    id: SubscriptionId,
    expected: u64,
) -> Result<Result<(), SubscriptionChangeError>, StateError> {
    let mut statement = connection.prepare_cached("SELECT revision FROM subscriptions WHERE id = ?1")?;
    let revision: Option<u64> = statement.query_row([id.0], |row| row.get(0)).optional()?;
    Ok(match revision {
        None => Err(SubscriptionChangeError::NotFound),
        Some(revision) if revision != expected => Err(SubscriptionChangeError::RevisionChanged { revision }),
        Some(_) => Ok(()),
    })
}

fn read_all(rows: &mut rusqlite::Rows<'_>) -> Result<Vec<SubscriptionRecord>, StateError> {
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        records.push(read(row)?);
    }
    Ok(records)
}

fn read(row: &Row<'_>) -> Result<SubscriptionRecord, StateError> {
    let (name, spec): (String, String) = (row.get(1)?, row.get(2)?);
    let (lifecycle, origin): (String, String) = (row.get(3)?, row.get(7)?);
    let bad = |what: String| unreadable(format_args!("subscription `{name}`: {what}"));
    Ok(SubscriptionRecord {
        id: SubscriptionId(row.get(0)?),
        spec: serde_json::from_str(&spec).map_err(|error| bad(error.to_string()))?,
        lifecycle: Lifecycle::from_columns(&lifecycle, row.get(4)?)
            .ok_or_else(|| bad(format!("lifecycle `{lifecycle}`")))?,
        start_offset: row.get(5)?,
        origin: Origin::from_name(&origin).ok_or_else(|| bad(format!("origin `{origin}`")))?,
        revision: row.get(8)?,
        created_at_micros: row.get(6)?,
        updated_at_micros: row.get(9)?,
    })
}

fn spec_json(spec: &Subscription) -> Result<String, StateError> {
    serde_json::to_string(spec).map_err(|error| StateError::Failed { why: error.to_string() })
}
