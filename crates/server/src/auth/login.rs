//! From an email address and a password to a session.
//!
//! ```text
//!  may the address try? ─▶ may the name try? ─▶ is the password right? ─▶ session
//!         └─ locked              └─ locked             └─ refused: both count, and a known user's lock is stored
//! ```
//!
//! A user who is not there, one who is disabled, one without a password and one with another password are refused alike, and after a like
//! time.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use eventrelay_event::Tenant;
use eventrelay_state::{ActorKind, State, StateError, UserRecord};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::api_keys::now_micros;
use super::author::{Actor, Author, Change};
use super::lockout::{Counted, FORGOTTEN_AFTER_MICROS, Locked, Lockout};
use super::login_options::LoginOptions;
use super::password::{Password, PasswordError, Passwords};
use super::session_token::SessionToken;
use super::sessions::{Session, Sessions};

/// A refusal takes this long at least: what is stored of a user who is there takes a little time, too.
const LEAST_TIME_OF_REFUSAL: Duration = Duration::from_millis(300);

/// Lets users in.
#[derive(Debug)]
pub struct Logins {
    state: State,
    passwords: Arc<Passwords>,
    sessions: Arc<Sessions>,
    names: Lockout<[u8; 32]>,
    addresses: Arc<Lockout<IpAddr>>,
}

/// What somebody shows who wants to be let in.
#[derive(Debug)]
pub struct Credentials {
    /// Where the user has a role.
    pub tenant: Tenant,
    /// In any case of letters.
    pub email: String,
    /// As typed.
    pub password: Password,
}

/// Where a login comes from.
#[derive(Debug, Clone)]
pub struct LoginSource {
    /// The other end of the connection.
    pub address: IpAddr,
    /// What the browser calls itself.
    pub user_agent: String,
    /// The request's name in logs.
    pub request_id: Option<String>,
}

/// How somebody has logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LoginMethod {
    Password,
    Oidc,
}

impl LoginMethod {
    /// As the audit log tells it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Oidc => "oidc",
        }
    }
}

/// Why somebody is not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// What was shown is not right; what of it is nobody's business.
    #[error("the tenant, the email address or the password is wrong")]
    Refused,
    /// After too many failures, too early.
    #[error("too many logins have failed")]
    Locked {
        /// How long to wait.
        retry_after: Duration,
    },
    /// Passwords cannot be verified now.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The store cannot be read or written.
    #[error(transparent)]
    State(#[from] StateError),
}

impl Logins {
    pub(super) fn new(
        state: State,
        passwords: Arc<Passwords>,
        sessions: Arc<Sessions>,
        options: &LoginOptions,
    ) -> Self {
        let names = Lockout::new(options.lockout_of_users());
        let addresses = Arc::new(Lockout::new(options.lockout_of_addresses()));
        Self { state, passwords, sessions, names, addresses }
    }

    /// Ends the wait of somebody who has been given a new password.
    pub fn forget_failures(&self, user: &UserRecord) {
        self.names.forget(&name_of(&user.tenant, &user.email));
    }

    /// The failures by address, which all ways to log in share.
    pub(super) fn addresses(&self) -> Arc<Lockout<IpAddr>> {
        Arc::clone(&self.addresses)
    }

    /// Lets a user in. What the browser held before is worth nothing for it: the token is always a new one.
    ///
    /// # Errors
    /// When what is shown is wrong, comes too early, or cannot be looked at.
    pub async fn log_in(
        &self,
        credentials: Credentials,
        source: &LoginSource,
    ) -> Result<(SessionToken, Arc<Session>), LoginError> {
        let begun = Instant::now();
        let outcome = self.try_log_in(credentials, source).await;
        if matches!(outcome, Err(LoginError::Refused)) {
            tokio::time::sleep_until(begun + LEAST_TIME_OF_REFUSAL).await;
        }
        outcome
    }

    async fn try_log_in(
        &self,
        credentials: Credentials,
        source: &LoginSource,
    ) -> Result<(SessionToken, Arc<Session>), LoginError> {
        let Credentials { tenant, email, password } = credentials;
        let email = email.trim().to_lowercase();
        let name = name_of(&tenant, &email);
        let user = self.find(tenant, email).await?;
        self.prove(name, user.as_ref(), password, source).await?;
        let user = user.ok_or(LoginError::Refused)?;
        let with = (LoginMethod::Password, source.user_agent.as_str());
        let begun = self.sessions.begin(&user, &source.author(&user), with).await?;
        begun.ok_or(LoginError::Refused)
    }

    /// Looks at the password of a user who is logged in already, as carefully.
    pub(super) async fn prove_again(
        &self,
        user: &UserRecord,
        password: Password,
        source: &LoginSource,
    ) -> Result<(), LoginError> {
        self.prove(name_of(&user.tenant, &user.email), Some(user), password, source).await
    }

    async fn prove(
        &self,
        name: [u8; 32],
        user: Option<&UserRecord>,
        password: Password,
        source: &LoginSource,
    ) -> Result<(), LoginError> {
        let (now, address) = (now_micros(), network_of(source.address));
        let by_address = self.addresses.attempt(address, now).map_err(|locked| wait_for(locked, now))?;
        let by_name = match self.count_name(name, user, now) {
            Ok(counted) => counted,
            Err(locked) => {
                // Nothing was tried, so nothing of it speaks against the address.
                self.addresses.take_back(&address, by_address);
                return Err(wait_for(locked, now));
            }
        };
        let stored = user.filter(|user| !user.disabled).and_then(|user| user.password_hash.clone());
        match self.passwords.verify(stored, password).await {
            Ok(true) => {
                self.names.forget(&name);
                self.addresses.take_back(&address, by_address);
                Ok(())
            }
            Ok(false) => {
                self.store_lock(user, by_name, source).await?;
                Err(LoginError::Refused)
            }
            Err(error) => {
                self.names.take_back(&name, by_name);
                self.addresses.take_back(&address, by_address);
                Err(error.into())
            }
        }
    }

    /// Counts a try for a name, with what is stored of the failures before a restart.
    fn count_name(
        &self,
        name: [u8; 32],
        user: Option<&UserRecord>,
        now_micros: u64,
    ) -> Result<Counted, Locked> {
        let stored = user.and_then(|user| Some((user.failed_logins, user.locked_until_micros?)));
        if let Some((_, until_micros)) = stored
            && now_micros < until_micros
        {
            return Err(Locked { until_micros });
        }
        let counted = self.names.attempt(name, now_micros)?;
        let remembered =
            stored.filter(|(_, until)| now_micros < until.saturating_add(FORGOTTEN_AFTER_MICROS));
        let raised = remembered
            .and_then(|(failures, _)| self.names.raise(&name, failures.saturating_add(1), now_micros));
        Ok(raised.unwrap_or(counted))
    }

    /// Stores that a user is locked, so that a restart does not forget it.
    async fn store_lock(
        &self,
        user: Option<&UserRecord>,
        counted: Counted,
        source: &LoginSource,
    ) -> Result<(), StateError> {
        let (Some(user), Some(until_micros)) = (user, counted.locked_until_micros) else { return Ok(()) };
        tracing::warn!(user = user.id, tenant = %user.tenant, failures = counted.failures, address = %source.address, "logins of a user have to wait, after too many that failed");
        let until = eventrelay_event::Timestamp(until_micros).to_string();
        let audit = source.author_of_the_relay().entry(Change {
            action: "user.lock",
            tenant: &user.tenant,
            resource_name: &user.email,
            before: None,
            after: Some(serde_json::json!({"failed_logins": counted.failures, "locked_until": until})),
        });
        self.state.lock_user(user.id.clone(), counted.failures, until_micros, audit).await
    }

    async fn find(&self, tenant: Tenant, email: String) -> Result<Option<UserRecord>, StateError> {
        let state = self.state.clone();
        let found = tokio::task::spawn_blocking(move || state.user_by_email(&tenant, &email)).await;
        found.map_err(|error| StateError::Failed { why: error.to_string() })?
    }
}

impl LoginSource {
    /// What the relay does by itself for the sake of a login.
    pub(super) fn author_of_the_relay(&self) -> Author {
        Author {
            request_id: self.request_id.clone(),
            client_address: Some(self.address.to_string()),
            ..Author::system()
        }
    }

    /// A user who comes from there.
    pub(super) fn author(&self, user: &UserRecord) -> Author {
        Author {
            actor: Actor { kind: ActorKind::User, id: user.id.clone(), name: user.email.clone() },
            request_id: self.request_id.clone(),
            client_address: Some(self.address.to_string()),
        }
    }
}

/// By what failures of a name are counted, whether or not somebody has it: all names take the same room.
fn name_of(tenant: &Tenant, email: &str) -> [u8; 32] {
    let mut hasher = Sha256::new_with_prefix(tenant.as_str().as_bytes());
    hasher.update([0]);
    hasher.update(email.as_bytes());
    hasher.finalize().into()
}

/// Who has one IPv6 address has all that differ in the last 64 bits.
pub(super) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

fn wait_for(locked: Locked, now_micros: u64) -> LoginError {
    LoginError::Locked { retry_after: Duration::from_micros(locked.until_micros.saturating_sub(now_micros)) }
}
