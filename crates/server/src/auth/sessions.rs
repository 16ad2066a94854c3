//! Who is logged in.
//!
//! ```text
//!  login ── begin ──▶ open ── used ──▶ open ── silent for the idle timeout, or as old as the lifetime ──▶ ended
//!                       └── logout; the user is changed, disabled or removed; ten newer sessions ──────▶ ended
//! ```
//!
//! All that are open are in memory by the hash of their token, so a request costs one hash and one look-up. A beginning and an
//! end are durable first. When a session was last used is saved at shutdown; after a kill it counts from the last save, so that
//! it ends too early rather than too late.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use std::time::Duration;

use eventrelay_event::{Tenant, Timestamp};
use eventrelay_state::{Role, SessionRecord, SessionStart, State, StateError, UserRecord};

use super::access::{Access, Holder};
use super::api_keys::now_micros;
use super::author::{Author, Change};
use super::changes::Changes;
use super::login::LoginMethod;
use super::role::scopes_of;
use super::session_token::SessionToken;
use crate::quota::{Quotas, TenantQuota};

/// The most sessions; each is in memory.
const MOST_SESSIONS: usize = 100_000;
/// Of what a browser calls itself, so much is kept.
const USER_AGENT_CHARS: usize = 256;

/// How long sessions last.
#[derive(Debug, Clone, Copy)]
pub struct SessionTimes {
    /// Without a request.
    pub idle: Duration,
    /// However much they are used.
    pub lifetime: Duration,
}

/// The sessions of a relay.
#[derive(Debug)]
pub struct Sessions {
    state: State,
    quotas: Quotas,
    times: SessionTimes,
    changes: Changes,
    open: RwLock<HashMap<[u8; 32], Arc<Session>>>,
}

/// Who a session is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionUser {
    /// The user's id.
    pub id: String,
    /// Where the user has a role.
    pub tenant: Tenant,
    /// What the user logs in with.
    pub email: String,
    /// What people call the user.
    pub name: String,
    /// What the user may do.
    pub role: Role,
}

/// A session that is open.
#[derive(Debug)]
pub struct Session {
    token_hash: [u8; 32],
    user: SessionUser,
    quota: Arc<TenantQuota>,
    created_at_micros: u64,
    expires_at_micros: u64,
    idle_micros: u64,
    last_seen_micros: AtomicU64,
    ended: AtomicBool,
}

impl Session {
    /// Who is logged in.
    #[must_use]
    pub fn user(&self) -> &SessionUser {
        &self.user
    }

    /// When it ends, however much it is used.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        Timestamp(self.expires_at_micros)
    }

    pub(super) fn is_valid(&self, now_micros: u64) -> bool {
        let idle_at = self.last_seen_micros.load(Ordering::Relaxed).saturating_add(self.idle_micros);
        !self.ended.load(Ordering::Relaxed) && now_micros < self.expires_at_micros && now_micros < idle_at
    }
}

impl Sessions {
    /// The sessions that are stored and still good. Blocking.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) fn open(
        state: State,
        times: SessionTimes,
        quotas: Quotas,
        changes: Changes,
    ) -> Result<Self, StateError> {
        let now = now_micros();
        let sessions = Self { state, quotas, times, changes, open: RwLock::default() };
        let stored = sessions.state.sessions(now)?;
        let open = stored.into_iter().map(|(record, user)| sessions.session(&record, &user));
        let open = open.filter(|session| session.is_valid(now));
        let open = open.map(|session| (session.token_hash, Arc::new(session))).collect();
        Ok(Self { open: RwLock::new(open), ..sessions })
    }

    /// What somebody may do who shows this token; none: the session is not open.
    #[must_use]
    pub fn authenticate(&self, token: &SessionToken) -> Option<Access> {
        self.authenticate_at(token, now_micros())
    }

    fn authenticate_at(&self, token: &SessionToken, now_micros: u64) -> Option<Access> {
        let found = self.open.read().unwrap_or_else(PoisonError::into_inner).get(&token.hash()).cloned();
        let session = found.filter(|session| session.is_valid(now_micros))?;
        session.last_seen_micros.fetch_max(now_micros, Ordering::Relaxed);
        Some(Access {
            tenant: session.user.tenant.clone(),
            scopes: scopes_of(session.user.role, &session.user.tenant),
            quota: Arc::clone(&session.quota),
            holder: Holder::Session(session),
        })
    }

    /// Begins a session for a user, always with a new token. None when the user has changed since the record was read.
    ///
    /// # Errors
    /// When it cannot be stored, or there are too many.
    pub(super) async fn begin(
        &self,
        user: &UserRecord,
        author: &Author,
        (method, user_agent): (LoginMethod, &str),
    ) -> Result<Option<(SessionToken, Arc<Session>)>, StateError> {
        let (token, now) = (SessionToken::generate(), now_micros());
        self.make_room(now)?;
        let micros = u64::try_from(self.times.lifetime.as_micros()).unwrap_or(u64::MAX);
        let record = SessionRecord {
            token_hash: token.hash(),
            user_id: user.id.clone(),
            created_at_micros: now,
            last_seen_at_micros: now,
            expires_at_micros: now.saturating_add(micros).min(i64::MAX.unsigned_abs()),
            client_address: author.client_address.clone().unwrap_or_default(),
            user_agent: user_agent.chars().take(USER_AGENT_CHARS).collect(),
        };
        let after = serde_json::json!({
            "method": method.name(), "client_address": record.client_address, "user_agent": record.user_agent,
            "expires_at": Timestamp(record.expires_at_micros).to_string(),
        });
        let audit = author.entry(Change {
            action: "session.create",
            tenant: &user.tenant,
            resource_name: &user.email,
            before: None,
            after: Some(after),
        });
        let session = Arc::new(self.session(&record, user));
        let start = SessionStart { session: record, user_revision: user.revision, audit };
        if !self.state.begin_session(start).await? {
            return Ok(None);
        }
        self.insert(Arc::clone(&session));
        // The user may have been changed between the two lines above, and whoever did it has not found this session.
        if self.is_stored(session.token_hash).await? {
            return Ok(Some((token, session)));
        }
        self.remove_where(|other| other.token_hash == session.token_hash);
        Ok(None)
    }

    /// Ends one session.
    ///
    /// # Errors
    /// When it cannot be stored; it is still open then.
    pub async fn end(self: &Arc<Self>, session: &Session, author: &Author) -> Result<(), StateError> {
        let audit = author.entry(Change {
            action: "session.delete",
            tenant: &session.user.tenant,
            resource_name: &session.user.email,
            before: Some(serde_json::json!({"expires_at": session.expires_at().to_string()})),
            after: None,
        });
        let (sessions, token_hash) = (Arc::clone(self), session.token_hash);
        let end = async move {
            sessions.state.end_session(token_hash, audit).await?;
            sessions.remove_where(|other| other.token_hash == token_hash);
            Ok(())
        };
        self.changes.finish(end).await
    }

    /// Ends all sessions of a user in memory, who was changed or removed in the store.
    pub(super) fn end_all_of(&self, user_id: &str) {
        self.remove_where(|session| session.user.id == user_id);
    }

    /// Stores when sessions were last used. What has not been stored when the process is killed is forgotten.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub async fn save_usage(&self) -> Result<(), StateError> {
        let seen = {
            let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
            let seen = open
                .values()
                .map(|session| (session.token_hash, session.last_seen_micros.load(Ordering::Relaxed)));
            seen.collect::<Vec<_>>()
        };
        if seen.is_empty() { Ok(()) } else { self.state.note_sessions_seen(seen).await }
    }

    fn session(&self, record: &SessionRecord, user: &UserRecord) -> Session {
        Session {
            token_hash: record.token_hash,
            user: SessionUser {
                id: user.id.clone(),
                tenant: user.tenant.clone(),
                email: user.email.clone(),
                name: user.name.clone(),
                role: user.role,
            },
            quota: self.quotas.of(&user.tenant),
            created_at_micros: record.created_at_micros,
            expires_at_micros: record.expires_at_micros,
            idle_micros: u64::try_from(self.times.idle.as_micros()).unwrap_or(u64::MAX),
            last_seen_micros: AtomicU64::new(record.last_seen_at_micros),
            ended: AtomicBool::new(false),
        }
    }

    /// As the store does with a new session: the user's oldest beyond the most go.
    fn insert(&self, session: Arc<Session>) {
        let mut open = self.write();
        let user_id = session.user.id.clone();
        open.insert(session.token_hash, session);
        let mut of_user: Vec<_> = open.values().filter(|other| other.user.id == user_id).cloned().collect();
        of_user.sort_by_key(|other| std::cmp::Reverse(other.created_at_micros));
        for oldest in of_user.iter().skip(SessionRecord::MOST_PER_USER as usize) {
            oldest.ended.store(true, Ordering::Relaxed);
            open.remove(&oldest.token_hash);
        }
    }

    fn make_room(&self, now_micros: u64) -> Result<(), StateError> {
        let mut open = self.write();
        if open.len() >= MOST_SESSIONS {
            open.retain(|_, session| session.is_valid(now_micros));
        }
        match open.len() {
            count if count >= MOST_SESSIONS => {
                Err(StateError::Failed { why: format!("there are {count} sessions already") })
            }
            _ => Ok(()),
        }
    }

    fn remove_where(&self, goes: impl Fn(&Session) -> bool) {
        self.write().retain(|_, session| {
            let goes = goes(session);
            session.ended.fetch_or(goes, Ordering::Relaxed);
            !goes
        });
    }

    async fn is_stored(&self, token_hash: [u8; 32]) -> Result<bool, StateError> {
        let state = self.state.clone();
        let stored = tokio::task::spawn_blocking(move || state.has_session(token_hash)).await;
        stored.map_err(|error| StateError::Failed { why: error.to_string() })?
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<[u8; 32], Arc<Session>>> {
        self.open.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use eventrelay_state::{LogIdentity, OpenMode, UserChange};

    use super::*;

    const WITH: (LoginMethod, &str) = (LoginMethod::Password, "b");
    const SECOND: u64 = 1_000_000;

    fn state(directory: &tempfile::TempDir) -> State {
        let log = LogIdentity { log_id: [7; 16], oldest_offset: 0, end_offset: 0 };
        State::open(&directory.path().join("state.db"), log, OpenMode::Normal).unwrap()
    }

    async fn user(state: &State) -> UserRecord {
        let user = UserRecord {
            id: "user_a".to_owned(),
            tenant: Tenant::parse("acme").unwrap(),
            email: "ann@example.com".to_owned(),
            name: String::new(),
            role: Role::Viewer,
            password_hash: None,
            oidc: None,
            disabled: false,
            failed_logins: 0,
            locked_until_micros: None,
            last_login_at_micros: None,
            created_at_micros: 1,
            updated_at_micros: 1,
            revision: 1,
        };
        let tenant = user.tenant.clone();
        let change = Change {
            action: "user.create",
            tenant: &tenant,
            resource_name: "ann",
            before: None,
            after: None,
        };
        let audit = Author::system().entry(change);
        assert_eq!(state.create_user(user.clone(), audit).await.unwrap(), UserChange::Done);
        user
    }

    fn times(idle_seconds: u64, lifetime_seconds: u64) -> SessionTimes {
        SessionTimes {
            idle: Duration::from_secs(idle_seconds),
            lifetime: Duration::from_secs(lifetime_seconds),
        }
    }

    #[tokio::test]
    async fn a_session_ends_when_it_is_silent_or_old_and_each_use_counts() {
        let directory = tempfile::tempdir().unwrap();
        let state = state(&directory);
        let ann = user(&state).await;
        let sessions =
            Sessions::open(state.clone(), times(10, 25), Quotas::none(), Changes::default()).unwrap();
        let begin = async || sessions.begin(&ann, &Author::system(), WITH).await.unwrap().unwrap();
        let (token, session) = begin().await;
        let start = session.created_at_micros;
        let is_open = |seconds: u64| sessions.authenticate_at(&token, start + seconds * SECOND).is_some();
        assert!(is_open(9) && is_open(18), "used within the idle timeout");
        assert!(is_open(24) && !is_open(25), "however much it is used");
        let (silent, session) = begin().await;
        let start = session.created_at_micros;
        assert!(sessions.authenticate_at(&silent, start + 10 * SECOND).is_none());
    }

    #[tokio::test]
    async fn when_it_was_last_used_survives_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let state = state(&directory);
        let ann = user(&state).await;
        let open =
            || Sessions::open(state.clone(), times(10, 1_000), Quotas::none(), Changes::default()).unwrap();
        let sessions = open();
        let (token, session) = sessions.begin(&ann, &Author::system(), WITH).await.unwrap().unwrap();
        let start = session.created_at_micros;
        assert!(sessions.authenticate_at(&token, start + 9 * SECOND).is_some());
        let killed = open();
        assert!(
            killed.authenticate_at(&token, start + 12 * SECOND).is_none(),
            "too early rather than too late"
        );
        sessions.save_usage().await.unwrap();
        assert!(open().authenticate_at(&token, start + 12 * SECOND).is_some());
    }

    #[tokio::test]
    async fn the_oldest_of_a_user_goes_and_a_user_who_has_changed_gets_none() {
        let directory = tempfile::tempdir().unwrap();
        let state = state(&directory);
        let ann = user(&state).await;
        let sessions =
            Sessions::open(state.clone(), times(10, 25), Quotas::none(), Changes::default()).unwrap();
        let begin = async || sessions.begin(&ann, &Author::system(), WITH).await.unwrap().unwrap();
        let (first, _) = begin().await;
        for _ in 0..SessionRecord::MOST_PER_USER - 1 {
            begin().await;
        }
        assert!(sessions.authenticate(&first).is_some());
        let (newest, _) = begin().await;
        assert!(sessions.authenticate(&first).is_none() && sessions.authenticate(&newest).is_some());
        let changed = UserRecord { revision: 2, ..ann.clone() };
        assert!(sessions.begin(&changed, &Author::system(), WITH).await.unwrap().is_none());
    }
}
