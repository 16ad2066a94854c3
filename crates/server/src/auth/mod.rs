//! Who may do what: API keys, users and their sessions, the tenants that they are bound to, and their scopes.
//!
//! ```text
//!  program ── key ────▶ ApiKeys::authenticate ──┐
//!  browser ── cookie ─▶ Sessions::authenticate ─┴▶ Access { tenant, scopes } ──▶ the handler, which sees that tenant alone
//!
//!  browser ── email, password ──▶ Logins::log_in ──────────────┬▶ session
//!  browser ── OpenID Connect provider ──▶ OidcLogins::finish ──┘
//! ```
//!
//! A key is 256 random bits, shown once; only its SHA-256 is kept. A key that is unknown, expired or revoked is answered as one
//! that is not there. The same holds for a session's token, which its cookie carries. While `auth.required` is off, a request
//! without a key speaks for the default tenant and may do everything: the server listens on loopback only then.
//!
//! Whoever makes a change is its [`Author`], for the audit log.

mod access;
mod accounts;
mod api_key;
mod api_keys;
mod author;
mod changes;
mod constant_time;
mod lockout;
mod login;
mod login_options;
mod oidc;
mod password;
mod role;
mod scope;
mod session_token;
mod sessions;
mod user_fields;
mod users;

pub use access::Access;
pub use accounts::Accounts;
pub use api_key::{ApiKey, NotAnApiKey};
pub(crate) use api_keys::now_micros;
pub use api_keys::{ApiKeys, AuthError, NewApiKey};
pub use author::{Actor, Author, Change};
pub use login::{Credentials, LoginError, LoginSource, Logins};
pub use login_options::LoginOptions;
pub(crate) use oidc::PENDING_LIFETIME_SECONDS;
pub use oidc::{
    Begun, Finished, NotAPath, OidcError, OidcLogins, OidcOptions, OidcOptionsError, OidcStartError, Refusal,
    ReturnTo, Returned,
};
pub use password::{Password, PasswordError, UnfitPassword};
pub use role::scopes_of;
pub use scope::{Scope, Scopes, UnknownScope};
pub use session_token::SessionToken;
pub use sessions::{Session, SessionTimes, SessionUser, Sessions};
pub(crate) use user_fields::{MAX_EMAIL_CHARS, MAX_NAME_CHARS, is_email, is_name};
pub(crate) use users::is_self;
pub use users::{NewUser, UserEdit, UserError, Users};
