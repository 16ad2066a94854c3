//! Logins with a provider, from the first request to the session.
//!
//! ```text
//!  begin   return_to ─▶ pending login ─▶ cookie, and the provider's address
//!  finish  cookie ─▶ is it sealed here, is the state its own? ─▶ may the address try? ─▶ Provider::prove ─▶ Admission::admit ─▶ session
//! ```
//!
//! Only what the provider or its token refuses counts against the address, as a wrong password does: a wrong state has cost nothing, and any
//! web page can have a browser send one.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use eventrelay_state::StateError;
use tokio::sync::Semaphore;
use url::Url;

use super::admission::{Admission, AdmissionError, Refusal, Roles};
use super::options::{OidcOptions, OidcOptionsError};
use super::pending::{PendingLogin, PendingLogins};
use super::provider::{ProofError, Provider, plain_word};
use super::provider_http::ProviderError;
use super::return_to::ReturnTo;
use crate::auth::Accounts;
use crate::auth::api_keys::now_micros;
use crate::auth::lockout::Lockout;
use crate::auth::login::{LoginSource, network_of};
use crate::auth::session_token::SessionToken;
use crate::auth::sessions::Session;

/// The most logins that are looked at with the provider at the same time.
const AT_ONCE: usize = 32;

/// Lets users in whom a provider vouches for.
#[derive(Debug)]
pub struct OidcLogins {
    name: String,
    provider: Provider,
    pending: PendingLogins,
    admission: Admission,
    addresses: Arc<Lockout<IpAddr>>,
    places: Semaphore,
}

/// What a browser is told that wants to log in.
#[derive(Debug)]
pub struct Begun {
    /// Where it goes.
    pub url: Url,
    /// What it keeps, for [`OidcLogins::finish`].
    pub cookie: String,
}

/// With what a browser comes back from the provider.
#[derive(Debug, Default)]
pub struct Returned {
    /// What it was sent there with.
    pub state: Option<String>,
    /// What the provider gives for the login.
    pub code: Option<String>,
    /// Or why there is none.
    pub error: Option<String>,
    /// Who the provider is, where it says so (RFC 9207).
    pub issuer: Option<String>,
}

/// A login that has succeeded.
#[derive(Debug)]
pub struct Finished {
    /// For the session's cookie.
    pub token: SessionToken,
    /// The session.
    pub session: Arc<Session>,
    /// Where the browser goes on to.
    pub return_to: ReturnTo,
}

/// Why somebody is not let in.
#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    /// The browser has begun no login here, or another one, or too long ago.
    #[error("the login was not begun in this browser, or more than ten minutes ago")]
    NotBegun,
    /// The provider has not logged anybody in.
    #[error("the provider says: {0}")]
    Denied(String),
    /// What the provider gives proves nothing; the log tells what of it.
    #[error("what the provider gives for the login is not good")]
    Unproven,
    /// The provider cannot be asked, or has no usable answer.
    #[error("the provider cannot be asked now")]
    Unavailable,
    /// The provider vouches for somebody who is not let in.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// After too many failures, too early.
    #[error("too many logins have failed")]
    Locked {
        /// How long to wait.
        retry_after: Duration,
    },
    /// Too many others are looked at.
    #[error("too many logins are under way")]
    Busy,
    /// The store cannot be read or written.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Why logins with a provider cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum OidcStartError {
    /// A setting cannot be used.
    #[error(transparent)]
    Options(#[from] OidcOptionsError),
    /// It should not happen.
    #[error("auth.oidc: {0}")]
    Failed(String),
}

impl OidcLogins {
    /// None where there is no provider. Blocking: it reads files. Asks nobody yet.
    pub(in crate::auth) fn open(
        options: &OidcOptions,
        accounts: &Accounts,
    ) -> Result<Option<Self>, OidcStartError> {
        let Some(settings) = options.settings()? else { return Ok(None) };
        let (name, rules) = (settings.name.clone(), settings.rules.clone());
        let role_claim = match &rules.roles {
            Roles::Claim { name, .. } => Some(name.clone()),
            Roles::Kept => None,
        };
        let provider = Provider::new(settings, role_claim);
        Ok(Some(Self {
            name,
            provider: provider.map_err(|error| OidcStartError::Failed(error.to_string()))?,
            pending: PendingLogins::new(),
            admission: Admission {
                rules,
                state: accounts.state.clone(),
                users: accounts.users.clone(),
                sessions: Arc::clone(&accounts.sessions),
            },
            addresses: accounts.logins.addresses(),
            places: Semaphore::new(AT_ONCE),
        }))
    }

    /// What a login page calls the provider.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Begins a login.
    ///
    /// # Errors
    /// When the provider does not say where to.
    pub async fn begin(&self, return_to: ReturnTo) -> Result<Begun, OidcError> {
        let login = PendingLogins::begin(return_to, now_seconds());
        let url = self.provider.authorization_url(&login).await.map_err(|error| unavailable(&error))?;
        let cookie = self.pending.seal(&login).ok_or(OidcError::Unavailable)?;
        Ok(Begun { url, cookie })
    }

    /// Ends a login that was begun in the same browser.
    ///
    /// # Errors
    /// When it was not, or the provider vouches for nobody who is let in.
    pub async fn finish(
        &self,
        cookie: Option<&str>,
        returned: &Returned,
        source: &LoginSource,
    ) -> Result<Finished, OidcError> {
        let login = cookie.and_then(|cookie| self.pending.open(cookie, now_seconds()));
        let state = returned.state.as_deref().unwrap_or_default();
        let login = login.filter(|login| login.is_state(state)).ok_or(OidcError::NotBegun)?;
        if returned.issuer.as_deref().is_some_and(|issuer| issuer != self.provider.issuer()) {
            tracing::warn!(address = %source.address, "a login came back from another issuer than it was sent to");
            return Err(OidcError::Unproven);
        }
        let code = match (&returned.code, &returned.error) {
            (_, Some(error)) => {
                return Err(OidcError::Denied(plain_word(error).unwrap_or("error".to_owned())));
            }
            (Some(code), None) => code,
            (None, None) => return Err(OidcError::Unproven),
        };
        let (token, session) = self.prove_and_admit(code, &login, source).await?;
        Ok(Finished { token, session, return_to: login.return_to })
    }

    async fn prove_and_admit(
        &self,
        code: &str,
        login: &PendingLogin,
        source: &LoginSource,
    ) -> Result<(SessionToken, Arc<Session>), OidcError> {
        let _place = self.places.try_acquire().map_err(|_| OidcError::Busy)?;
        let (now, address) = (now_micros(), network_of(source.address));
        let counted = self.addresses.attempt(address, now).map_err(|locked| OidcError::Locked {
            retry_after: Duration::from_micros(locked.until_micros.saturating_sub(now)),
        })?;
        let proven = match self.provider.prove(code, login, now_seconds()).await {
            Ok(proven) => proven,
            Err(ProofError::Unavailable(error)) => {
                self.addresses.take_back(&address, counted);
                return Err(unavailable(&error));
            }
            Err(error) => {
                tracing::warn!(%error, address = %source.address, "a login with the OpenID Connect provider has failed");
                return Err(OidcError::Unproven);
            }
        };
        self.addresses.take_back(&address, counted);
        self.admission.admit(&proven, source).await.map_err(|error| match error {
            AdmissionError::Refused(refusal) => {
                let subject = proven.subject.as_str();
                tracing::warn!(subject, %refusal, "somebody whom the OpenID Connect provider vouches for is not let in");
                OidcError::Refused(refusal)
            }
            AdmissionError::State(error) => OidcError::State(error),
        })
    }
}

fn unavailable(error: &ProviderError) -> OidcError {
    tracing::warn!(%error, "the OpenID Connect provider cannot be asked");
    OidcError::Unavailable
}

fn now_seconds() -> u64 {
    now_micros() / 1_000_000
}
