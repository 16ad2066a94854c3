//! From somebody whom the provider vouches for to a user of this relay.
//!
//! ```text
//!  a user has this issuer and subject ──▶ that user
//!  else a user of the tenant has this email address, which the provider has verified, and no other identity ──▶ linked
//!  else users are made, and the address is verified ──▶ made
//!  else ──▶ refused
//! ```
//!
//! Where a claim says the role, it does so at each login, before anything else is done: who has no role is refused. A disabled user is
//! refused, and so is one of another tenant, since the provider speaks for one alone. Whatever changes is in the audit log, and ends the
//! sessions of the user.

use std::collections::BTreeMap;
use std::sync::Arc;

use eventrelay_event::Tenant;
use eventrelay_state::{OidcIdentity, Role, State, StateError, UserRecord};

use super::claims::ClaimedEmail;
use super::provider::Proven;
use crate::auth::author::Author;
use crate::auth::login::{LoginMethod, LoginSource};
use crate::auth::session_token::SessionToken;
use crate::auth::sessions::{Session, Sessions};
use crate::auth::users::{NewRecord, UserError, Users};

/// How often a login is begun anew because somebody else has changed the user meanwhile.
const TRIES: usize = 4;

/// Who is let in, and as what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AdmissionRules {
    pub(super) issuer: String,
    pub(super) tenant: Tenant,
    pub(super) roles: Roles,
    pub(super) new_users: NewUsers,
    /// What an email address is of which the provider does not say whether it is verified.
    pub(super) trusts_email: bool,
}

/// Where roles come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Roles {
    /// They are given here.
    Kept,
    /// From the values of a claim.
    Claim { name: String, values: BTreeMap<String, Role> },
}

/// What becomes of somebody who is no user yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NewUsers {
    Refused,
    /// A user with this role.
    Of(Role),
    /// A user with the role of the claim.
    OfClaim,
}

/// Why somebody whom the provider vouches for is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// None of the claim's values has a role.
    #[error("the provider names no role that counts here")]
    NoRole,
    /// And none is made.
    #[error("there is no such user here")]
    NoUser,
    /// Somebody else might have it.
    #[error("the provider does not say that the email address is verified")]
    UnverifiedEmail,
    /// The email address is that of a user with another identity.
    #[error("the user of this email address has another identity at the provider")]
    OtherIdentity,
    /// The user may not log in.
    #[error("the user is disabled")]
    Disabled,
    /// The user was linked when the provider was that of another tenant.
    #[error("the user belongs to another tenant")]
    OtherTenant,
    /// No more are made.
    #[error("the tenant has too many users")]
    TooManyUsers,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdmissionError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    State(#[from] StateError),
}

/// Lets in whom the provider vouches for.
#[derive(Debug)]
pub(super) struct Admission {
    pub(super) rules: AdmissionRules,
    pub(super) state: State,
    pub(super) users: Users,
    pub(super) sessions: Arc<Sessions>,
}

impl AdmissionRules {
    /// The role that the claim says; none where roles are given here.
    fn role(&self, proven: &Proven) -> Result<Option<Role>, Refusal> {
        let Roles::Claim { name, values } = &self.roles else { return Ok(None) };
        let said = proven.claims.values(name).unwrap_or_default();
        let found = said.into_iter().filter_map(|value| values.get(value).copied());
        let power = |role: &Role| Role::ALL.iter().position(|other| other == role);
        found.max_by_key(power).map(Some).ok_or(Refusal::NoRole)
    }
}

impl Admission {
    pub(super) async fn admit(
        &self,
        proven: &Proven,
        source: &LoginSource,
    ) -> Result<(SessionToken, Arc<Session>), AdmissionError> {
        for _ in 0..TRIES {
            if let Some(begun) = self.try_to_admit(proven, source).await? {
                return Ok(begun);
            }
        }
        Err(StateError::Failed { why: "the user is being changed by others".to_owned() }.into())
    }

    /// None: somebody else has changed the user meanwhile.
    async fn try_to_admit(
        &self,
        proven: &Proven,
        source: &LoginSource,
    ) -> Result<Option<(SessionToken, Arc<Session>)>, AdmissionError> {
        let role = self.rules.role(proven)?;
        let identity = OidcIdentity { issuer: self.rules.issuer.clone(), subject: proven.subject.clone() };
        let author = source.author_of_the_relay();
        let user = match self.find_by_identity(identity.clone()).await? {
            Some(user) => self.known(user, role, &author).await?,
            None => self.unknown(identity, proven, role, &author).await?,
        };
        let Some(user) = user else { return Ok(None) };
        let author = source.author(&user);
        let begun = self.sessions.begin(&user, &author, (LoginMethod::Oidc, &source.user_agent)).await;
        Ok(begun?)
    }

    /// A user who was here before.
    async fn known(
        &self,
        user: UserRecord,
        role: Option<Role>,
        author: &Author,
    ) -> Result<Option<UserRecord>, AdmissionError> {
        if user.tenant != self.rules.tenant {
            return Err(Refusal::OtherTenant.into());
        }
        if user.disabled {
            return Err(Refusal::Disabled.into());
        }
        match role.filter(|role| *role != user.role) {
            None => Ok(Some(user)),
            Some(role) => self.store(&user, UserRecord { role, ..user.clone() }, "user.update", author).await,
        }
    }

    /// Somebody who comes for the first time.
    async fn unknown(
        &self,
        identity: OidcIdentity,
        proven: &Proven,
        role: Option<Role>,
        author: &Author,
    ) -> Result<Option<UserRecord>, AdmissionError> {
        let email = match proven.claims.email() {
            Some(ClaimedEmail { address, is_verified }) if is_verified.unwrap_or(self.rules.trusts_email) => {
                address
            }
            Some(_) => return Err(Refusal::UnverifiedEmail.into()),
            None => return Err(Refusal::NoUser.into()),
        };
        match self.find_by_email(email.clone()).await? {
            Some(user) if user.disabled => Err(Refusal::Disabled.into()),
            Some(user) if user.oidc.is_some() => Err(Refusal::OtherIdentity.into()),
            Some(user) => {
                let linked =
                    UserRecord { oidc: Some(identity), role: role.unwrap_or(user.role), ..user.clone() };
                self.store(&user, linked, "user.link", author).await
            }
            None => {
                let role = match (self.rules.new_users, role) {
                    (NewUsers::Of(role), _) | (NewUsers::OfClaim, Some(role)) => role,
                    (NewUsers::Refused, _) | (NewUsers::OfClaim, None) => return Err(Refusal::NoUser.into()),
                };
                let (tenant, name) = (self.rules.tenant.clone(), proven.claims.name());
                let new = NewRecord { tenant, email, name, role, password_hash: None, oidc: Some(identity) };
                settled(self.users.insert(new, author).await)
            }
        }
    }

    async fn store(
        &self,
        before: &UserRecord,
        user: UserRecord,
        action: &'static str,
        author: &Author,
    ) -> Result<Option<UserRecord>, AdmissionError> {
        settled(self.users.store(before, user, (action, "set"), author).await)
    }

    async fn find_by_identity(&self, identity: OidcIdentity) -> Result<Option<UserRecord>, StateError> {
        let state = self.state.clone();
        let found = tokio::task::spawn_blocking(move || state.user_by_oidc(&identity)).await;
        found.map_err(|error| StateError::Failed { why: error.to_string() })?
    }

    async fn find_by_email(&self, email: String) -> Result<Option<UserRecord>, StateError> {
        let (state, tenant) = (self.state.clone(), self.rules.tenant.clone());
        let found = tokio::task::spawn_blocking(move || state.user_by_email(&tenant, &email)).await;
        found.map_err(|error| StateError::Failed { why: error.to_string() })?
    }
}

/// What became of a change; none: somebody else was faster.
fn settled(changed: Result<UserRecord, UserError>) -> Result<Option<UserRecord>, AdmissionError> {
    match changed {
        Ok(user) => Ok(Some(user)),
        Err(UserError::Stale | UserError::Taken) => Ok(None),
        Err(UserError::TooMany) => Err(Refusal::TooManyUsers.into()),
        Err(UserError::State(error)) => Err(error.into()),
        // Of passwords and scopes there is nothing in it.
        Err(error) => Err(StateError::Failed { why: error.to_string() }.into()),
    }
}
