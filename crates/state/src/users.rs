//! The users of the dashboard: who each is, and what he may do in his tenant. Of a password only its argon2 hash is kept.
//!
//! Every change that somebody makes raises `revision`; one that was decided on an older revision changes nothing. Logins do not
//! raise it.

use eventrelay_event::Tenant;
use rusqlite::{Connection, OptionalExtension, Row};
use serde::{Deserialize, Serialize};

use crate::audit_log::{self, AuditEntry};
use crate::state::unreadable;
use crate::{State, StateError, tenants};

/// What a user may do in his tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Looks at things.
    Viewer,
    /// Also publishes, consumes and manages subscriptions.
    Operator,
    /// Also manages keys and users.
    Admin,
}

impl Role {
    /// All of them, the least powerful first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// The stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The role that has this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// Who a user is at an OpenID Connect issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OidcIdentity {
    /// The issuer's URL.
    pub issuer: String,
    /// The issuer's name for the user, which never changes.
    pub subject: String,
}

/// A stored user. Times are microseconds since the Unix epoch.
#[derive(Clone, PartialEq, Eq)]
pub struct UserRecord {
    /// Names the user for programs.
    pub id: String,
    /// Where the user has a role.
    pub tenant: Tenant,
    /// What the user logs in with, in lower case. No two of a tenant have the same.
    pub email: String,
    /// What people call the user; may be empty.
    pub name: String,
    /// What the user may do.
    pub role: Role,
    /// The password's hash, as a PHC string; none: the user has no password.
    pub password_hash: Option<String>,
    /// Who the user is at an issuer, if the user logs in there.
    pub oidc: Option<OidcIdentity>,
    /// Whether the user may not log in.
    pub disabled: bool,
    /// Logins that failed since the last that did not, as of the last lock.
    pub failed_logins: u32,
    /// Until when logins are refused.
    pub locked_until_micros: Option<u64>,
    /// When the user last logged in.
    pub last_login_at_micros: Option<u64>,
    /// When the user was made.
    pub created_at_micros: u64,
    /// When the user was last changed.
    pub updated_at_micros: u64,
    /// How often the user has been written.
    pub revision: u64,
}

/// Leaves out the password's hash, which is nobody's business.
impl std::fmt::Debug for UserRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserRecord")
            .field("id", &self.id)
            .field("tenant", &self.tenant)
            .field("role", &self.role)
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserChange {
    /// It is made.
    Done,
    /// There is no user of this id and revision.
    Stale,
    /// Another user of the tenant has the email address, or the same identity at the issuer.
    Taken,
    /// The tenant has [`UserRecord::MOST_PER_TENANT`] users already.
    TooMany,
}

impl UserRecord {
    /// The most users that a tenant has.
    pub const MOST_PER_TENANT: u32 = 10_000;
}

const COLUMNS: &str =
    "id, tenant, email, name, role, password_hash, oidc_issuer, oidc_subject, disabled, failed_logins,
    locked_until_micros, last_login_at_micros, created_at_micros, updated_at_micros, revision";

impl State {
    /// Stores a new user, and the tenant where it is named for the first time; durable once this returns Ok.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub async fn create_user(&self, user: UserRecord, audit: AuditEntry) -> Result<UserChange, StateError> {
        let create = move |tx: &rusqlite::Savepoint<'_>| {
            let of_tenant: u32 = tx
                .prepare_cached("SELECT count(*) FROM users WHERE tenant = ?1")?
                .query_row([user.tenant.as_str()], |row| row.get(0))?;
            if of_tenant >= UserRecord::MOST_PER_TENANT {
                return Ok(UserChange::TooMany);
            }
            if is_taken(tx, &user)? {
                return Ok(UserChange::Taken);
            }
            tenants::ensure(tx, &user.tenant, user.created_at_micros)?;
            insert(tx, &user)?;
            audit_log::append(tx, &audit)?;
            Ok(UserChange::Done)
        };
        self.writer.write(create).await
    }

    /// Writes a user over the one of the same id and revision, and raises that. Whoever is logged in as the user is not any
    /// more: the role, the password or the permission to log in may be others.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub async fn update_user(&self, user: UserRecord, audit: AuditEntry) -> Result<UserChange, StateError> {
        let update = move |tx: &rusqlite::Savepoint<'_>| {
            if is_taken(tx, &user)? {
                return Ok(UserChange::Taken);
            }
            if overwrite(tx, &user)? == 0 {
                return Ok(UserChange::Stale);
            }
            tx.prepare_cached("DELETE FROM sessions WHERE user_id = ?1")?.execute([&user.id])?;
            audit_log::append(tx, &audit)?;
            Ok(UserChange::Done)
        };
        self.writer.write(update).await
    }

    /// Removes a user of this revision, and whoever is logged in as the user.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub async fn delete_user(
        &self,
        id: String,
        revision: u64,
        audit: AuditEntry,
    ) -> Result<UserChange, StateError> {
        let delete = move |tx: &rusqlite::Savepoint<'_>| {
            let deleted = tx
                .prepare_cached("DELETE FROM users WHERE id = ?1 AND revision = ?2")?
                .execute((&id, revision))?;
            if deleted == 0 {
                return Ok(UserChange::Stale);
            }
            audit_log::append(tx, &audit)?;
            Ok(UserChange::Done)
        };
        self.writer.write(delete).await
    }

    /// Notes how many logins have failed and until when more are refused, with what the audit log says of it.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub async fn lock_user(
        &self,
        id: String,
        failed_logins: u32,
        locked_until_micros: u64,
        audit: AuditEntry,
    ) -> Result<(), StateError> {
        let lock = move |tx: &rusqlite::Savepoint<'_>| {
            let locked = tx
                .prepare_cached(
                    "UPDATE users SET failed_logins = ?2, locked_until_micros = ?3 WHERE id = ?1",
                )?
                .execute((&id, failed_logins, locked_until_micros))?;
            if locked > 0 { audit_log::append(tx, &audit) } else { Ok(()) }
        };
        self.writer.write(lock).await
    }

    /// The users of a tenant, or of all, behind one of this tenant and email address, at most `limit`, by both. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn users(
        &self,
        tenant: Option<&Tenant>,
        after: Option<(&str, &str)>,
        limit: u32,
    ) -> Result<Vec<UserRecord>, StateError> {
        let reader = self.reader();
        let mut statement = reader.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM users
             WHERE (tenant, email) > (?1, ?2) AND (?3 IS NULL OR tenant = ?3) ORDER BY tenant, email LIMIT ?4"
        ))?;
        let (after_tenant, after_email) = after.unwrap_or_default();
        let mut rows = statement.query((after_tenant, after_email, tenant.map(Tenant::as_str), limit))?;
        let mut users = Vec::new();
        while let Some(row) = rows.next()? {
            users.push(read(row)?);
        }
        Ok(users)
    }

    /// The user of an id. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn user(&self, id: &str) -> Result<Option<UserRecord>, StateError> {
        self.one_user("id = ?1 AND ?2 IS NULL", (id, None::<&str>))
    }

    /// The user who logs in to a tenant with an email address, which is in lower case. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn user_by_email(&self, tenant: &Tenant, email: &str) -> Result<Option<UserRecord>, StateError> {
        self.one_user("tenant = ?1 AND email = ?2", (tenant.as_str(), Some(email)))
    }

    /// The user whom an issuer calls so. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn user_by_oidc(&self, identity: &OidcIdentity) -> Result<Option<UserRecord>, StateError> {
        self.one_user("oidc_issuer = ?1 AND oidc_subject = ?2", (&identity.issuer, Some(&identity.subject)))
    }

    fn one_user(
        &self,
        condition: &str,
        (first, second): (&str, Option<&str>),
    ) -> Result<Option<UserRecord>, StateError> {
        let reader = self.reader();
        let mut statement =
            reader.prepare_cached(&format!("SELECT {COLUMNS} FROM users WHERE {condition}"))?;
        statement.query_row((first, second), |row| Ok(read(row))).optional()?.transpose()
    }
}

/// Whether another user has what only one can have.
fn is_taken(connection: &Connection, user: &UserRecord) -> Result<bool, StateError> {
    let mut statement = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM users WHERE id <> ?1 AND ((tenant = ?2 AND email = ?3)
                        OR (oidc_issuer = ?4 AND oidc_subject = ?5)))",
    )?;
    let oidc = user.oidc.as_ref();
    Ok(statement.query_row(
        (
            &user.id,
            user.tenant.as_str(),
            &user.email,
            oidc.map(|oidc| &oidc.issuer),
            oidc.map(|oidc| &oidc.subject),
        ),
        |row| row.get(0),
    )?)
}

fn insert(connection: &Connection, user: &UserRecord) -> Result<(), StateError> {
    let mut statement = connection.prepare_cached(&format!(
        "INSERT INTO users ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)"
    ))?;
    statement.execute((
        &user.id,
        user.tenant.as_str(),
        &user.email,
        &user.name,
        user.role.name(),
        &user.password_hash,
        user.oidc.as_ref().map(|oidc| &oidc.issuer),
        user.oidc.as_ref().map(|oidc| &oidc.subject),
        user.disabled,
        user.failed_logins,
        user.locked_until_micros,
        user.last_login_at_micros,
        user.created_at_micros,
        user.updated_at_micros,
        user.revision,
    ))?;
    Ok(())
}

/// Writes all that a change can change, and gives how many users that were: one or none.
fn overwrite(connection: &Connection, user: &UserRecord) -> Result<usize, StateError> {
    let mut statement = connection.prepare_cached(
        "UPDATE users SET email = ?3, name = ?4, role = ?5, password_hash = ?6, oidc_issuer = ?7, oidc_subject = ?8,
                          disabled = ?9, failed_logins = ?10, locked_until_micros = ?11, updated_at_micros = ?12,
                          revision = revision + 1
         WHERE id = ?1 AND revision = ?2",
    )?;
    Ok(statement.execute((
        &user.id,
        user.revision,
        &user.email,
        &user.name,
        user.role.name(),
        &user.password_hash,
        user.oidc.as_ref().map(|oidc| &oidc.issuer),
        user.oidc.as_ref().map(|oidc| &oidc.subject),
        user.disabled,
        user.failed_logins,
        user.locked_until_micros,
        user.updated_at_micros,
    ))?)
}

pub(crate) fn read(row: &Row<'_>) -> Result<UserRecord, StateError> {
    let (id, tenant, role): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(4)?);
    let tenant = Tenant::parse(&tenant)
        .map_err(|error| unreadable(format_args!("the tenant of user `{id}`: {error}")))?;
    let role = Role::from_name(&role)
        .ok_or_else(|| unreadable(format_args!("the role of user `{id}`: `{role}`")))?;
    let (issuer, subject): (Option<String>, Option<String>) = (row.get(6)?, row.get(7)?);
    Ok(UserRecord {
        id,
        tenant,
        email: row.get(2)?,
        name: row.get(3)?,
        role,
        password_hash: row.get(5)?,
        oidc: issuer.zip(subject).map(|(issuer, subject)| OidcIdentity { issuer, subject }),
        disabled: row.get(8)?,
        failed_logins: row.get(9)?,
        locked_until_micros: row.get(10)?,
        last_login_at_micros: row.get(11)?,
        created_at_micros: row.get(12)?,
        updated_at_micros: row.get(13)?,
        revision: row.get(14)?,
    })
}
