//! What somebody may do who has shown a key, or needs none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use eventrelay_event::Tenant;

use super::scope::{Scope, Scopes};
use crate::quota::TenantQuota;

/// What a request may do, and for whom.
#[derive(Debug, Clone)]
pub struct Access {
    pub(super) tenant: Tenant,
    pub(super) scopes: Scopes,
    /// How much the tenant may ask for.
    pub(super) quota: Arc<TenantQuota>,
    /// The key behind it; none where keys are not asked for.
    pub(super) grant: Option<Arc<Grant>>,
}

/// A key in use.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) id: String,
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

    /// Whether there is a key behind it, which can expire or be revoked.
    #[must_use]
    pub fn can_end(&self) -> bool {
        self.grant.is_some()
    }

    /// Whether the key behind it is still good: what goes on for long asks again.
    #[must_use]
    pub fn is_valid(&self, now_micros: u64) -> bool {
        self.grant.as_ref().is_none_or(|grant| grant.is_valid(now_micros))
    }
}
