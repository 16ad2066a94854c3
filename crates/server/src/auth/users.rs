//! The users: made, listed, changed and removed, by whom that is allowed to.
//!
//! Nothing of them is in memory: look-ups go to the store. Three rules hold for every change:
//! - what belongs to another tenant is not there, but for who has the scope `admin`
//! - nobody gives, or touches, what is beyond his own scopes: an operator makes no admin, and changes none
//! - whoever is logged in as a user who is changed is logged in no longer

use std::sync::Arc;

use eventrelay_event::Tenant;
use eventrelay_state::{OidcIdentity, Role, State, StateError, UserChange, UserRecord};
use serde_json::{Value, json};

use super::access::Access;
use super::api_keys::now_micros;
use super::author::{Author, Change};
use super::changes::Changes;
use super::login::{LoginError, LoginSource, Logins};
use super::password::{Password, PasswordError, Passwords};
use super::role::scopes_of;
use super::scope::Scope;
use super::sessions::Sessions;

/// The users of a relay.
#[derive(Debug, Clone)]
pub struct Users {
    state: State,
    passwords: Arc<Passwords>,
    sessions: Arc<Sessions>,
    changes: Changes,
}

/// What a new user is to be.
#[derive(Debug)]
pub struct NewUser {
    /// Where the user gets a role.
    pub tenant: Tenant,
    /// What the user logs in with.
    pub email: String,
    /// What people call the user; may be empty.
    pub name: String,
    /// What the user may do.
    pub role: Role,
    /// None: the user cannot log in with one.
    pub password: Option<Password>,
}

/// A user to be stored, whoever wants it.
#[derive(Debug)]
pub(super) struct NewRecord {
    pub(super) tenant: Tenant,
    pub(super) email: String,
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) password_hash: Option<String>,
    pub(super) oidc: Option<OidcIdentity>,
}

/// What is to be changed of a user; none: it stays.
#[derive(Debug, Default)]
pub struct UserEdit {
    /// What the user logs in with.
    pub email: Option<String>,
    /// What people call the user.
    pub name: Option<String>,
    /// What the user may do.
    pub role: Option<Role>,
    /// Whether the user may not log in.
    pub disabled: Option<bool>,
    /// A new password, which also ends a lock.
    pub password: Option<Password>,
}

/// Why nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// There is none, or it is another tenant's.
    #[error("there is no such user")]
    NotFound,
    /// It has been changed since.
    #[error("the user has been changed since")]
    Stale,
    /// Somebody else has it.
    #[error("another user of the tenant has this email address")]
    Taken,
    /// At the bound.
    #[error("the tenant has {} users already", UserRecord::MOST_PER_TENANT)]
    TooMany,
    /// The role is one that whoever asks cannot give, or touch.
    #[error("the role allows more than you may do yourself")]
    BeyondOwnScopes,
    /// The password that was to prove it is wrong, or comes too early.
    #[error(transparent)]
    Unproven(#[from] LoginError),
    /// Passwords cannot be hashed now.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The store cannot be read or written.
    #[error(transparent)]
    State(#[from] StateError),
}

impl Users {
    pub(super) fn new(
        state: State,
        passwords: Arc<Passwords>,
        sessions: Arc<Sessions>,
        changes: Changes,
    ) -> Self {
        Self { state, passwords, sessions, changes }
    }

    /// Makes a user; durable once this returns Ok.
    ///
    /// # Errors
    /// When the role is beyond the caller's scopes, or the email address is taken.
    pub async fn create(
        &self,
        access: &Access,
        new: NewUser,
        author: &Author,
    ) -> Result<UserRecord, UserError> {
        // Whether another tenant exists is none of the caller's business either.
        if !access.reaches(&new.tenant) || !access.scopes().include(scopes_of(new.role, &new.tenant)) {
            return Err(UserError::BeyondOwnScopes);
        }
        let password_hash = match new.password {
            Some(password) => Some(self.passwords.hash(password).await?),
            None => None,
        };
        let NewUser { tenant, email, name, role, .. } = new;
        self.insert(NewRecord { tenant, email, name, role, password_hash, oidc: None }, author).await
    }

    /// Makes a user, whoever asks.
    pub(super) async fn insert(&self, new: NewRecord, author: &Author) -> Result<UserRecord, UserError> {
        let now = now_micros();
        let user = UserRecord {
            id: format!("user_{:016x}", rand::random::<u64>()),
            tenant: new.tenant,
            email: new.email.to_lowercase(),
            name: new.name,
            role: new.role,
            password_hash: new.password_hash,
            oidc: new.oidc,
            disabled: false,
            failed_logins: 0,
            locked_until_micros: None,
            last_login_at_micros: None,
            created_at_micros: now,
            updated_at_micros: now,
            revision: 1,
        };
        let audit = author.entry(Change {
            action: "user.create",
            tenant: &user.tenant,
            resource_name: &user.email,
            before: None,
            after: Some(shown(&user, "set")),
        });
        done(self.state.create_user(user.clone(), audit).await?)?;
        Ok(user)
    }

    /// The user of an id, whom the caller may see: any of the tenant for its admin, else only the caller.
    ///
    /// # Errors
    /// [`UserError::NotFound`], or when the store cannot be read.
    pub async fn find(&self, access: &Access, id: &str) -> Result<UserRecord, UserError> {
        let is_self = is_self(access, id);
        if !is_self && !access.allows(Scope::TenantAdmin) {
            return Err(UserError::NotFound);
        }
        let (state, id) = (self.state.clone(), id.to_owned());
        let found = tokio::task::spawn_blocking(move || state.user(&id)).await;
        let found = found.map_err(|error| StateError::Failed { why: error.to_string() })??;
        found.filter(|user| access.reaches(&user.tenant)).ok_or(UserError::NotFound)
    }

    /// The users of a tenant, or of all whom the caller reaches, behind a tenant and email address, by both.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list(
        &self,
        access: &Access,
        tenant: Option<Tenant>,
        after: Option<(String, String)>,
        limit: u32,
    ) -> Result<Vec<UserRecord>, UserError> {
        let tenant = match tenant {
            Some(tenant) if access.reaches(&tenant) => Some(tenant),
            Some(_) => return Ok(Vec::new()),
            None if access.allows(Scope::Admin) => None,
            None => Some(access.tenant().clone()),
        };
        let state = self.state.clone();
        let list = move || {
            let after = after.as_ref().map(|(tenant, email)| (tenant.as_str(), email.as_str()));
            state.users(tenant.as_ref(), after, limit)
        };
        let listed = tokio::task::spawn_blocking(list).await;
        Ok(listed.map_err(|error| StateError::Failed { why: error.to_string() })??)
    }

    /// Changes a user whom the caller has found, if nobody else has meanwhile.
    ///
    /// # Errors
    /// When the role, before or after, is beyond the caller's scopes, the email address is taken, or the user has changed.
    pub async fn change(
        &self,
        access: &Access,
        found: UserRecord,
        edit: UserEdit,
        author: &Author,
    ) -> Result<UserRecord, UserError> {
        let role = edit.role.unwrap_or(found.role);
        for role in [found.role, role] {
            if !access.scopes().include(scopes_of(role, &found.tenant)) {
                return Err(UserError::BeyondOwnScopes);
            }
        }
        let mut user = UserRecord { role, ..found.clone() };
        user.email = edit.email.map_or(user.email, |email| email.to_lowercase());
        user.name = edit.name.unwrap_or(user.name);
        user.disabled = edit.disabled.unwrap_or(user.disabled);
        self.write(found, user, edit.password, author).await
    }

    /// Gives the caller a new password, who knows the one before.
    ///
    /// # Errors
    /// When the one before is wrong.
    pub async fn change_own_password(
        &self,
        logins: &Logins,
        found: UserRecord,
        (current, new): (Password, Password),
        (author, source): (&Author, &LoginSource),
    ) -> Result<UserRecord, UserError> {
        logins.prove_again(&found, current, source).await?;
        self.write(found.clone(), found, Some(new), author).await
    }

    /// Removes a user whom the caller has found, if nobody has changed it meanwhile.
    ///
    /// # Errors
    /// When its role is beyond the caller's scopes, or the user has changed.
    pub async fn delete(&self, access: &Access, found: UserRecord, author: &Author) -> Result<(), UserError> {
        if !access.scopes().include(scopes_of(found.role, &found.tenant)) {
            return Err(UserError::BeyondOwnScopes);
        }
        let audit = author.entry(Change {
            action: "user.delete",
            tenant: &found.tenant,
            resource_name: &found.email,
            before: Some(shown(&found, "set")),
            after: None,
        });
        let (state, sessions) = (self.state.clone(), Arc::clone(&self.sessions));
        let delete = async move {
            let change = state.delete_user(found.id.clone(), found.revision, audit).await?;
            if change == UserChange::Done {
                sessions.end_all_of(&found.id);
            }
            Ok(change)
        };
        done(self.changes.finish(delete).await?)
    }

    async fn write(
        &self,
        before: UserRecord,
        mut user: UserRecord,
        password: Option<Password>,
        author: &Author,
    ) -> Result<UserRecord, UserError> {
        let mut password_is = "set";
        if let Some(password) = password {
            user.password_hash = Some(self.passwords.hash(password).await?);
            (user.failed_logins, user.locked_until_micros) = (0, None);
            password_is = "changed";
        }
        self.store(&before, user, ("user.update", password_is), author).await
    }

    /// Writes a user over the one before, if nobody else has changed it meanwhile, and ends the user's sessions.
    pub(super) async fn store(
        &self,
        before: &UserRecord,
        mut user: UserRecord,
        (action, password_is): (&'static str, &str),
        author: &Author,
    ) -> Result<UserRecord, UserError> {
        user.updated_at_micros = now_micros().max(before.updated_at_micros);
        let audit = author.entry(Change {
            action,
            tenant: &user.tenant,
            resource_name: &user.email,
            before: Some(shown(before, "set")),
            after: Some(shown(&user, password_is)),
        });
        let (state, sessions, written) = (self.state.clone(), Arc::clone(&self.sessions), user.clone());
        let update = async move {
            let id = written.id.clone();
            let change = state.update_user(written, audit).await?;
            if change == UserChange::Done {
                sessions.end_all_of(&id);
            }
            Ok(change)
        };
        done(self.changes.finish(update).await?)?;
        user.revision += 1;
        Ok(user)
    }
}

/// Whether the caller is the user of this id.
pub(crate) fn is_self(access: &Access, id: &str) -> bool {
    access.session().is_some_and(|session| session.user().id == id)
}

/// What the audit log shows of a user: of the password, only whether there is one, and whether it is a new one.
fn shown(user: &UserRecord, password_is: &str) -> Value {
    json!({
        "id": user.id, "tenant": user.tenant.as_str(), "email": user.email, "name": user.name, "role": user.role.name(),
        "disabled": user.disabled,
        "oidc": user.oidc.as_ref().map(|oidc| json!({"issuer": oidc.issuer, "subject": oidc.subject})),
        "password": user.password_hash.as_ref().map_or("none", |_| password_is),
    })
}

fn done(change: UserChange) -> Result<(), UserError> {
    match change {
        UserChange::Done => Ok(()),
        UserChange::Stale => Err(UserError::Stale),
        UserChange::Taken => Err(UserError::Taken),
        UserChange::TooMany => Err(UserError::TooMany),
    }
}
