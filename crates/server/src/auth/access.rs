//! What somebody may do who has shown a key, is logged in, or needs neither.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use eventrelay_event::Tenant;
use eventrelay_state::ActorKind;

use super::author::Actor;
use super::scope::{Scope, Scopes};
use super::sessions::Session;
use crate::quota::TenantQuota;

/// What a request may do, and for whom.
#[derive(Debug, Clone)]
pub struct Access {
    pub(super) tenant: Tenant,
    pub(super) scopes: Scopes,
    /// How much the tenant may ask for.
    pub(super) quota: Arc<TenantQuota>,
    /// What it comes from.
    pub(super) holder: Holder,
}

/// What gives access.
#[derive(Debug, Clone)]
pub(super) enum Holder {
    /// Nothing is asked for.
    Anybody,
    /// A key.
    Key(Arc<Grant>),
    /// A login.
    Session(Arc<Session>),
    /// A token of another system's form, made out to this subject.
    Token(Arc<str>),
}

/// A key in use.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) tenant: Tenant,
    pub(super) scopes: Scopes,
    pub(super) quota: Arc<TenantQuota>,
    pub(super) expires_at_micros: Option<u64>,
    pub(super) last_used_micros: AtomicU64,
    pub(super) revoked: AtomicBool,
}

impl Grant {
    pub(super) fn is_valid(&self, now_micros: u64) -> bool {
        !self.revoked.load(Ordering::Relaxed) && self.expires_at_micros.is_none_or(|end| now_micros < end)
    }
}

impl Access {
    /// Whose events it is about.
    #[must_use]
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// Whether it allows something.
    #[must_use]
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.allow(scope)
    }

    /// How much the tenant may ask for.
    pub(crate) fn quota(&self) -> &TenantQuota {
        &self.quota
    }

    /// The scopes that it has.
    #[must_use]
    pub fn scopes(&self) -> Scopes {
        self.scopes
    }

    /// Whether it reaches another tenant's things, or only its own.
    #[must_use]
    pub fn reaches(&self, tenant: &Tenant) -> bool {
        self.tenant == *tenant || self.allows(Scope::Admin)
    }

    /// Who it is.
    #[must_use]
    pub fn actor(&self) -> Actor {
        let (kind, id, name) = match &self.holder {
            Holder::Anybody => (ActorKind::Anonymous, "", "anonymous"),
            Holder::Key(grant) => (ActorKind::ApiKey, grant.id.as_str(), grant.name.as_str()),
            Holder::Token(subject) => (ActorKind::ApiKey, subject.as_ref(), "signed token"),
            Holder::Session(session) => {
                (ActorKind::User, session.user().id.as_str(), session.user().email.as_str())
            }
        };
        Actor { kind, id: id.to_owned(), name: name.to_owned() }
    }

    /// The login behind it, if that is what it comes from.
    #[must_use]
    pub fn session(&self) -> Option<&Arc<Session>> {
        match &self.holder {
            Holder::Session(session) => Some(session),
            Holder::Anybody | Holder::Key(_) | Holder::Token(_) => None,
        }
    }

    /// Whether there is a key or a login behind it, which can expire or be revoked.
    #[must_use]
    pub fn can_end(&self) -> bool {
        !matches!(self.holder, Holder::Anybody)
    }

    /// Whether the key or login behind it is still good: what goes on for long asks again.
    #[must_use]
    pub fn is_valid(&self, now_micros: u64) -> bool {
        match &self.holder {
            // A token is looked at on every request.
            Holder::Anybody | Holder::Token(_) => true,
            Holder::Key(grant) => grant.is_valid(now_micros),
            Holder::Session(session) => session.is_valid(now_micros),
        }
    }
}
