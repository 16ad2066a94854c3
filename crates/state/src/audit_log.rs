//! Every change that somebody made: who, what, when, before and after.
//!
//! An entry for a change that is in the state is written by the function that makes the change, in the same transaction: there
//! is never one without the other. Of each tenant the newest [`AuditEntry::KEPT_PER_TENANT`] are kept, so that nobody can make
//! another's be forgotten. Secrets never get here: the caller leaves them out.

use eventrelay_event::Tenant;
use rusqlite::{Connection, Row};

use crate::state::unreadable;
use crate::{State, StateError};

/// Who made a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActorKind {
    /// A program, or a person with a key.
    ApiKey,
    /// Somebody who is logged in.
    User,
    /// Somebody who was asked for no key.
    Anonymous,
    /// The configuration file, at a start.
    Configuration,
    /// The relay by itself.
    System,
}

impl ActorKind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::ApiKey, Self::User, Self::Anonymous, Self::Configuration, Self::System];

    /// The stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::User => "user",
            Self::Anonymous => "anonymous",
            Self::Configuration => "configuration",
            Self::System => "system",
        }
    }

    /// The kind that has this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// One change, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// When it was made, in microseconds since the Unix epoch.
    pub at_micros: u64,
    /// Whose thing was changed.
    pub tenant: Tenant,
    /// Who made it.
    pub actor_kind: ActorKind,
    /// The actor's id; empty where there is none.
    pub actor_id: String,
    /// What the actor is called.
    pub actor_name: String,
    /// What was done: `subscription.update`.
    pub action: String,
    /// What kind of thing was changed: `subscription`.
    pub resource_kind: String,
    /// Which one.
    pub resource_name: String,
    /// JSON of what it was; none: it was not there.
    pub before: Option<String>,
    /// JSON of what it is now; none: it is gone.
    pub after: Option<String>,
    /// The request that made it.
    pub request_id: Option<String>,
    /// Where that came from.
    pub client_address: Option<String>,
}

impl AuditEntry {
    /// How many entries are kept of a tenant.
    pub const KEPT_PER_TENANT: u32 = 100_000;
    /// The most bytes of `before`, and of `after`; of more, only how many they were is kept.
    pub const DOCUMENT_LIMIT_BYTES: usize = 64 * 1024;
}

/// One change, as it is read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// Its number: later changes have larger ones.
    pub id: u64,
    /// What was written.
    pub entry: AuditEntry,
}

/// Which changes to look for. What is none is all the same.
#[derive(Debug, Clone, Default)]
pub struct AuditQuery {
    /// Whose things.
    pub tenant: Option<Tenant>,
    /// Made at this time or later.
    pub from_micros: Option<u64>,
    /// Made before this time.
    pub to_micros: Option<u64>,
    /// The actor's id or name.
    pub actor: Option<String>,
    /// The kind of actor.
    pub actor_kind: Option<ActorKind>,
    /// What was done.
    pub action: Option<String>,
    /// What kind of thing was changed.
    pub resource_kind: Option<String>,
    /// Which one.
    pub resource_name: Option<String>,
    /// Only entries with a smaller number: where the page before ended.
    pub before_id: Option<u64>,
    /// The most entries.
    pub limit: u32,
}

impl State {
    /// Writes an entry for a change that is not in the state; durable once this returns Ok.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub async fn append_audit_entry(&self, entry: AuditEntry) -> Result<(), StateError> {
        self.writer.write(move |tx| append(tx, &entry)).await
    }

    /// The entries that match, newest first. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn audit_log(&self, query: &AuditQuery) -> Result<Vec<AuditRecord>, StateError> {
        let reader = self.reader();
        // Newest first by the key itself: a page ends as soon as it is full.
        let mut statement = reader.prepare_cached(
            "SELECT id, at_micros, tenant, actor_kind, actor_id, actor_name, action, resource_kind, resource_name,
                    before, after, request_id, client_address
             FROM audit_log
             WHERE (?1 IS NULL OR tenant = ?1) AND (?2 IS NULL OR at_micros >= ?2) AND (?3 IS NULL OR at_micros < ?3)
               AND (?4 IS NULL OR ?4 IN (actor_id, actor_name)) AND (?5 IS NULL OR actor_kind = ?5)
               AND (?6 IS NULL OR action = ?6) AND (?7 IS NULL OR resource_kind = ?7)
               AND (?8 IS NULL OR resource_name = ?8) AND (?9 IS NULL OR id < ?9)
             ORDER BY id DESC LIMIT ?10",
        )?;
        let mut rows = statement.query((
            query.tenant.as_ref().map(Tenant::as_str),
            query.from_micros,
            query.to_micros,
            &query.actor,
            query.actor_kind.map(ActorKind::name),
            &query.action,
            &query.resource_kind,
            &query.resource_name,
            query.before_id,
            query.limit,
        ))?;
        let mut records = Vec::new();
        while let Some(row) = rows.next()? {
            records.push(read(row)?);
        }
        Ok(records)
    }
}

/// Writes an entry within the transaction of the change that it is about.
pub(crate) fn append(connection: &Connection, entry: &AuditEntry) -> Result<(), StateError> {
    let tenant = entry.tenant.as_str();
    let number: i64 = connection
        .prepare_cached("SELECT ifnull(max(tenant_number), 0) + 1 FROM audit_log WHERE tenant = ?1")?
        .query_row([tenant], |row| row.get(0))?;
    connection
        .prepare_cached(
            "INSERT INTO audit_log (at_micros, tenant, tenant_number, actor_kind, actor_id, actor_name, action,
                                    resource_kind, resource_name, before, after, request_id, client_address)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        )?
        .execute((
            entry.at_micros,
            tenant,
            number,
            entry.actor_kind.name(),
            &entry.actor_id,
            &entry.actor_name,
            &entry.action,
            &entry.resource_kind,
            &entry.resource_name,
            entry.before.as_deref().map(bounded),
            entry.after.as_deref().map(bounded),
            &entry.request_id,
            &entry.client_address,
        ))?;
    connection
        .prepare_cached("DELETE FROM audit_log WHERE tenant = ?1 AND tenant_number <= ?2")?
        .execute((tenant, number - i64::from(AuditEntry::KEPT_PER_TENANT)))?;
    Ok(())
}

/// The document, or of one that is too large, how large it was.
fn bounded(document: &str) -> String {
    if document.len() <= AuditEntry::DOCUMENT_LIMIT_BYTES {
        return document.to_owned();
    }
    format!("{{\"omitted_bytes\":{}}}", document.len())
}

fn read(row: &Row<'_>) -> Result<AuditRecord, StateError> {
    let (id, tenant, kind): (u64, String, String) = (row.get(0)?, row.get(2)?, row.get(3)?);
    let tenant = Tenant::parse(&tenant)
        .map_err(|error| unreadable(format_args!("the tenant of entry {id} of the audit log: {error}")))?;
    let actor_kind = ActorKind::from_name(&kind)
        .ok_or_else(|| unreadable(format_args!("the actor of entry {id} of the audit log: `{kind}`")))?;
    let entry = AuditEntry {
        at_micros: row.get(1)?,
        tenant,
        actor_kind,
        actor_id: row.get(4)?,
        actor_name: row.get(5)?,
        action: row.get(6)?,
        resource_kind: row.get(7)?,
        resource_name: row.get(8)?,
        before: row.get(9)?,
        after: row.get(10)?,
        request_id: row.get(11)?,
        client_address: row.get(12)?,
    };
    Ok(AuditRecord { id, entry })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_a_tenant_go_and_not_anothers() {
        let mut connection = Connection::open_in_memory().unwrap();
        let transaction = connection.transaction().unwrap();
        crate::schema::migrate(&transaction, 0).unwrap();
        let append = |tenant: &str, action: &str| {
            let entry = AuditEntry {
                at_micros: 0,
                tenant: Tenant::parse(tenant).unwrap(),
                actor_kind: ActorKind::System,
                actor_id: String::new(),
                actor_name: String::new(),
                action: action.to_owned(),
                resource_kind: String::new(),
                resource_name: String::new(),
                before: None,
                after: None,
                request_id: None,
                client_address: None,
            };
            append(&transaction, &entry).unwrap();
        };
        append("quiet", "its only one");
        append("busy", "one that goes");
        append("busy", "one that stays");
        // As if so many more had come that only the first is one too many.
        let newest = AuditEntry::KEPT_PER_TENANT;
        let moved = "UPDATE audit_log SET tenant_number = ?1 WHERE action = 'one that stays'";
        transaction.execute(moved, [newest]).unwrap();
        append("busy", "the newest");
        let mut statement = transaction.prepare("SELECT action FROM audit_log ORDER BY id").unwrap();
        let kept: Vec<String> =
            statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert_eq!(kept, ["its only one", "one that stays", "the newest"]);
    }

    #[test]
    fn a_document_that_is_too_large_is_replaced_and_stays_json() {
        let fits = format!("\"{}\"", "x".repeat(AuditEntry::DOCUMENT_LIMIT_BYTES - 2));
        assert_eq!(bounded(&fits), fits);
        assert_eq!(bounded(&format!("{fits} ")), r#"{"omitted_bytes":65537}"#);
    }
}
