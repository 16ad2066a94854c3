//! The users of a relay, their logins and their sessions, opened together.

use std::sync::Arc;

use eventrelay_state::{State, StateError};

use super::changes::Changes;
use super::login::Logins;
use super::login_options::LoginOptions;
use super::oidc::{OidcLogins, OidcOptions, OidcStartError};
use super::password::Passwords;
use super::sessions::Sessions;
use super::users::Users;
use crate::quota::Quotas;

/// Users, logins and sessions.
#[derive(Debug)]
pub struct Accounts {
    /// Who there is.
    pub users: Users,
    /// Lets them in.
    pub logins: Logins,
    /// Who is in.
    pub sessions: Arc<Sessions>,
    /// How users log in.
    pub options: LoginOptions,
    /// Where tenants and the audit log are.
    pub state: State,
    /// Lets in whom a provider vouches for; none: there is no provider.
    pub oidc: Option<OidcLogins>,
    changes: Changes,
}

impl Accounts {
    /// Opens them. Blocking.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn open(state: State, options: LoginOptions, quotas: Quotas) -> Result<Self, StateError> {
        let changes = Changes::default();
        let passwords = Arc::new(Passwords::new());
        let sessions =
            Arc::new(Sessions::open(state.clone(), options.session_times(), quotas, changes.clone())?);
        let logins = Logins::new(state.clone(), Arc::clone(&passwords), Arc::clone(&sessions), &options);
        let users = Users::new(state.clone(), passwords, Arc::clone(&sessions), changes.clone());
        Ok(Self { users, logins, sessions, options, state, oidc: None, changes })
    }

    /// With logins by a provider, where the options name one. Blocking: it reads files.
    ///
    /// # Errors
    /// When an option or a file cannot be used.
    pub fn with_oidc(self, options: &OidcOptions) -> Result<Self, OidcStartError> {
        let oidc = OidcLogins::open(options, &self)?;
        Ok(Self { oidc, ..self })
    }

    /// Finishes the changes that were begun, and stores when sessions were last used.
    ///
    /// # Errors
    /// When that cannot be stored.
    pub async fn close(&self) -> Result<(), StateError> {
        self.changes.wait().await;
        self.sessions.save_usage().await
    }

    /// Whether a session's cookie asks for TLS on a connection.
    pub(crate) fn uses_secure_cookies(&self, is_tls: bool) -> bool {
        is_tls || self.options.always_secure_cookie
    }
}

#[cfg(test)]
mod tests;
