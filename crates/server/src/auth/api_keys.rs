//! The keys of a relay: made, listed, revoked, and asked for on every request.
//!
//! All that are good are in memory by their hash, so a request costs one hash and one look-up. A change is durable first and
//! then takes effect, at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use eventrelay_event::{Tenant, Timestamp};
use eventrelay_state::{ApiKeyRecord, State, StateError};

use super::access::{Access, Grant, Holder};
use super::api_key::ApiKey;
use super::author::{Author, Change};
use super::changes::Changes;
use super::scope::{Scope, Scopes};
use crate::quota::{Quotas, TenantQuota};

/// The most keys; each is in memory.
const MAX_KEYS: usize = 100_000;
/// The most of one tenant that are good.
const MAX_KEYS_OF_TENANT: usize = 10_000;
/// The id of the key that the configuration names.
const BOOTSTRAP_ID: &str = "bootstrap";

/// The keys, and who has them.
#[derive(Debug)]
pub struct ApiKeys {
    state: State,
    required: bool,
    quotas: Quotas,
    grants: Arc<Grants>,
    changes: Changes,
}

/// Those that are good, by the hash of their key.
type Grants = RwLock<HashMap<[u8; 32], Arc<Grant>>>;

/// What a new key is to be.
#[derive(Debug, Clone)]
pub struct NewApiKey {
    /// What its owner calls it.
    pub name: String,
    /// Whose events it is for.
    pub tenant: Tenant,
    /// What it may do.
    pub scopes: Scopes,
    /// When it ends by itself; none: never.
    pub lifetime: Option<Duration>,
}

/// Why a request may not do what it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// It has no key, or one that is not good; which of them is nobody's business.
    #[error("an API key that is good is needed")]
    Unauthenticated,
    /// Its key is good, and not for this.
    #[error("the API key lacks the scope `{}`", .0.name())]
    MissingScope(Scope),
}

impl ApiKeys {
    /// The keys that are stored, and the one that the configuration names, which may do everything. Blocking.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn open(
        state: State,
        required: bool,
        bootstrap: Option<&ApiKey>,
        quotas: Quotas,
    ) -> Result<Self, StateError> {
        let stored = state.api_keys()?;
        let good = stored.into_iter().filter(|key| key.revoked_at_micros.is_none());
        let mut grants: HashMap<_, _> =
            good.map(|key| (key.secret_hash, Arc::new(grant(&key, &quotas)))).collect();
        if let Some(key) = bootstrap {
            grants.insert(key.hash(), Arc::new(bootstrap_grant(&quotas)));
        }
        let grants = Arc::new(RwLock::new(grants));
        Ok(Self { state, required, quotas, grants, changes: Changes::default() })
    }

    /// Whether everybody has to show a key.
    #[must_use]
    pub fn required(&self) -> bool {
        self.required
    }

    /// What somebody may do who shows this, if they may do anything.
    ///
    /// # Errors
    /// [`AuthError::Unauthenticated`] when there is no key and one is asked for, or it is not good.
    pub fn authenticate(&self, presented: Option<&str>) -> Result<Access, AuthError> {
        let Some(presented) = presented else {
            return if self.required {
                Err(AuthError::Unauthenticated)
            } else {
                Ok(self.open_access(Tenant::default()))
            };
        };
        let key = ApiKey::parse(presented).map_err(|_| AuthError::Unauthenticated)?;
        let now = now_micros();
        let found = self.grants.read().unwrap_or_else(PoisonError::into_inner).get(&key.hash()).cloned();
        let grant = found.filter(|grant| grant.is_valid(now)).ok_or(AuthError::Unauthenticated)?;
        grant.last_used_micros.store(now, Ordering::Relaxed);
        let (tenant, quota) = (grant.tenant.clone(), Arc::clone(&grant.quota));
        Ok(Access { tenant, scopes: grant.scopes, quota, holder: Holder::Key(grant) })
    }

    /// What everybody may do for a tenant where no keys are asked for.
    pub(crate) fn open_access(&self, tenant: Tenant) -> Access {
        assert!(!self.required, "who has no key gets in only where none is asked for");
        let quota = self.quotas.of(&tenant);
        Access { tenant, scopes: Scopes::ALL, quota, holder: Holder::Anybody }
    }

    /// What somebody may do who has shown a signed token that is made out to `subject`.
    pub(crate) fn token_access(&self, subject: &str, tenant: Tenant, scopes: Scopes) -> Access {
        let quota = self.quotas.of(&tenant);
        Access { tenant, scopes, quota, holder: Holder::Token(subject.into()) }
    }

    /// How much a tenant may ask for, for who may ask for it in its name.
    pub(crate) fn quota_of(&self, tenant: &Tenant) -> Arc<TenantQuota> {
        self.quotas.of(tenant)
    }

    /// The same, for something that needs a scope.
    ///
    /// # Errors
    /// As [`ApiKeys::authenticate`], and [`AuthError::MissingScope`].
    pub fn authorize(&self, presented: Option<&str>, scope: Scope) -> Result<Access, AuthError> {
        let access = self.authenticate(presented)?;
        if access.allows(scope) { Ok(access) } else { Err(AuthError::MissingScope(scope)) }
    }

    /// Whether a tenant may have one more; those that have expired do not count.
    #[must_use]
    pub fn has_room_for(&self, tenant: &Tenant) -> bool {
        let now = now_micros();
        let grants = self.grants.read().unwrap_or_else(PoisonError::into_inner);
        let counts = |grant: &&Arc<Grant>| {
            grant.tenant == *tenant && grant.expires_at_micros.is_none_or(|expires| now < expires)
        };
        grants.values().filter(counts).count() < MAX_KEYS_OF_TENANT
    }

    /// Makes a key. It is good, and durable, once this returns Ok; what it says is known to the caller alone.
    ///
    /// # Errors
    /// When it cannot be stored, or there are too many.
    pub async fn create(
        &self,
        new: NewApiKey,
        author: &Author,
    ) -> Result<(ApiKey, ApiKeyRecord), StateError> {
        let count = self.grants.read().unwrap_or_else(PoisonError::into_inner).len();
        if count >= MAX_KEYS {
            return Err(StateError::Failed { why: format!("there are {count} API keys already") });
        }
        let (key, now) = (ApiKey::generate(), now_micros());
        let micros = |lifetime: Duration| u64::try_from(lifetime.as_micros()).unwrap_or(u64::MAX);
        let record = ApiKeyRecord {
            id: format!("key_{:016x}", rand::random::<u64>()),
            secret_hash: key.hash(),
            tenant: new.tenant,
            name: new.name,
            scopes: new.scopes.names().map(str::to_owned).collect(),
            created_at_micros: now,
            expires_at_micros: new.lifetime.map(|lifetime| now.saturating_add(micros(lifetime))),
            last_used_at_micros: None,
            revoked_at_micros: None,
        };
        let entry = author.entry(Change {
            action: "api_key.create",
            tenant: &record.tenant,
            resource_name: &record.id,
            before: None,
            after: Some(shown(&record)),
        });
        self.state.create_api_key(record.clone(), entry).await?;
        let mut grants = self.grants.write().unwrap_or_else(PoisonError::into_inner);
        grants.insert(record.secret_hash, Arc::new(grant(&record, &self.quotas)));
        drop(grants);
        Ok((key, record))
    }

    /// All stored keys with when they were last used. Blocking.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn list(&self) -> Result<Vec<ApiKeyRecord>, StateError> {
        Ok(self.state.api_keys()?.into_iter().map(|key| self.with_usage(key)).collect())
    }

    /// The keys whose ids follow `after`, at most `limit`, by id. Blocking.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn list_after(
        &self,
        tenant: Option<&Tenant>,
        after: &str,
        limit: u32,
    ) -> Result<Vec<ApiKeyRecord>, StateError> {
        let keys = self.state.api_keys_after(tenant, after, limit)?;
        Ok(keys.into_iter().map(|key| self.with_usage(key)).collect())
    }

    /// The key of an id, also a revoked one. Blocking.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn find(&self, id: &str) -> Result<Option<ApiKeyRecord>, StateError> {
        Ok(self.state.api_key(id)?.map(|key| self.with_usage(key)))
    }

    /// A stored key with when it was last used, which is stored at shutdown only.
    fn with_usage(&self, key: ApiKeyRecord) -> ApiKeyRecord {
        let grants = self.grants.read().unwrap_or_else(PoisonError::into_inner);
        let used = grants.get(&key.secret_hash).map(|grant| grant.last_used_micros.load(Ordering::Relaxed));
        let last_used_at_micros = key.last_used_at_micros.max(used.filter(|at| *at > 0));
        ApiKeyRecord { last_used_at_micros, ..key }
    }

    /// Ends a key that was found for good, also for what goes on with it. False when it is not good any more.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub async fn revoke(&self, key: ApiKeyRecord, author: &Author) -> Result<bool, StateError> {
        let entry = author.entry(Change {
            action: "api_key.revoke",
            tenant: &key.tenant,
            resource_name: &key.id,
            before: Some(shown(&key)),
            after: None,
        });
        let (state, grants, id) = (self.state.clone(), Arc::clone(&self.grants), key.id);
        let revoke = async move {
            let revoked = state.revoke_api_key(id.clone(), now_micros(), entry).await?;
            if revoked {
                forget(&grants, &id);
            }
            Ok(revoked)
        };
        self.changes.finish(revoke).await
    }

    /// Finishes revocations that were begun, and stores when keys were last used. What has not been stored when the process is killed is forgotten.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub async fn save_usage(&self) -> Result<(), StateError> {
        self.changes.wait().await;
        let used = {
            let grants = self.grants.read().unwrap_or_else(PoisonError::into_inner);
            let used = grants
                .values()
                .map(|grant| (grant.id.clone(), grant.last_used_micros.load(Ordering::Relaxed)));
            used.filter(|(_, at)| *at > 0).collect::<Vec<_>>()
        };
        if used.is_empty() { Ok(()) } else { self.state.note_api_keys_used(used).await }
    }
}

/// Ends what goes on with a key, and lets nothing new begin with it.
fn forget(grants: &Grants, id: &str) {
    let mut grants = grants.write().unwrap_or_else(PoisonError::into_inner);
    grants.retain(|_, grant| {
        let goes = grant.id == id;
        grant.revoked.fetch_or(goes, Ordering::Relaxed);
        !goes
    });
}

fn grant(key: &ApiKeyRecord, quotas: &Quotas) -> Grant {
    Grant {
        id: key.id.clone(),
        name: key.name.clone(),
        tenant: key.tenant.clone(),
        // A scope of a later release allows nothing here.
        scopes: Scopes::of_names(&key.scopes),
        quota: quotas.of(&key.tenant),
        expires_at_micros: key.expires_at_micros,
        last_used_micros: AtomicU64::new(0),
        revoked: AtomicBool::new(false),
    }
}

fn bootstrap_grant(quotas: &Quotas) -> Grant {
    Grant {
        id: BOOTSTRAP_ID.to_owned(),
        name: BOOTSTRAP_ID.to_owned(),
        tenant: Tenant::default(),
        scopes: Scopes::ALL,
        quota: quotas.of(&Tenant::default()),
        expires_at_micros: None,
        last_used_micros: AtomicU64::new(0),
        revoked: AtomicBool::new(false),
    }
}

/// What the audit log shows of a key.
fn shown(key: &ApiKeyRecord) -> serde_json::Value {
    let time = |micros| Timestamp(micros).to_string();
    serde_json::json!({
        "name": key.name, "tenant": key.tenant.as_str(), "scopes": key.scopes,
        "expires_at": key.expires_at_micros.map(time),
    })
}

pub(crate) fn now_micros() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use eventrelay_state::{LogIdentity, OpenMode};

    use super::*;

    struct Home(tempfile::TempDir);

    impl Home {
        fn state(&self) -> State {
            let log = LogIdentity { log_id: [7; 16], oldest_offset: 0, end_offset: 0 };
            State::open(&self.0.path().join("state.db"), log, OpenMode::Normal).unwrap()
        }
    }

    fn new(tenant: &str, scopes: &[Scope]) -> NewApiKey {
        let scopes = scopes.iter().copied().collect();
        NewApiKey { name: "shop".to_owned(), tenant: Tenant::parse(tenant).unwrap(), scopes, lifetime: None }
    }

    #[tokio::test]
    async fn a_key_is_good_for_its_tenant_and_scopes_until_it_is_revoked_also_after_a_restart() {
        let home = Home(tempfile::tempdir().unwrap());
        let state = home.state();
        let keys = ApiKeys::open(state.clone(), true, None, Quotas::none()).unwrap();
        assert_eq!(keys.authenticate(None).unwrap_err(), AuthError::Unauthenticated);
        let (key, record) = keys.create(new("acme", &[Scope::Publish]), &Author::system()).await.unwrap();
        state.close().await;

        let keys = ApiKeys::open(home.state(), true, None, Quotas::none()).unwrap();
        let access = keys.authorize(Some(key.expose()), Scope::Publish).unwrap();
        assert_eq!(access.tenant().as_str(), "acme");
        let refused = keys.authorize(Some(key.expose()), Scope::Read).unwrap_err();
        assert_eq!(refused, AuthError::MissingScope(Scope::Read));
        let stranger = ApiKey::generate();
        for bad in ["", "er_", stranger.expose()] {
            assert_eq!(keys.authenticate(Some(bad)).unwrap_err(), AuthError::Unauthenticated);
        }
        assert!(keys.list().unwrap()[0].last_used_at_micros.is_some());

        assert!(keys.revoke(record.clone(), &Author::system()).await.unwrap());
        assert!(!keys.revoke(record.clone(), &Author::system()).await.unwrap());
        assert_eq!(keys.authenticate(Some(key.expose())).unwrap_err(), AuthError::Unauthenticated);
        assert!(!access.is_valid(now_micros()), "what goes on with the key notices");
        let keys = ApiKeys::open(home.state(), true, None, Quotas::none()).unwrap();
        assert_eq!(keys.authenticate(Some(key.expose())).unwrap_err(), AuthError::Unauthenticated);
    }

    #[tokio::test]
    async fn a_key_ends_when_its_time_has_come() {
        let home = Home(tempfile::tempdir().unwrap());
        let keys = ApiKeys::open(home.state(), true, None, Quotas::none()).unwrap();
        let brief = NewApiKey { lifetime: Some(Duration::ZERO), ..new("acme", &[Scope::Read]) };
        let (key, _) = keys.create(brief, &Author::system()).await.unwrap();
        assert_eq!(keys.authenticate(Some(key.expose())).unwrap_err(), AuthError::Unauthenticated);
    }

    #[tokio::test]
    async fn where_keys_are_not_asked_for_one_that_is_shown_must_be_good_all_the_same() {
        let home = Home(tempfile::tempdir().unwrap());
        let bootstrap = ApiKey::generate();
        let keys = ApiKeys::open(home.state(), false, Some(&bootstrap), Quotas::none()).unwrap();
        assert!(keys.authorize(None, Scope::Admin).is_ok());
        assert!(keys.authorize(Some(bootstrap.expose()), Scope::Admin).is_ok());
        assert!(keys.authenticate(Some(ApiKey::generate().expose())).is_err());
        keys.save_usage().await.unwrap();
    }
}
