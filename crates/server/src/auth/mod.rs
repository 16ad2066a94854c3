//! Who may do what: API keys, the tenants that they are bound to, and their scopes.
//!
//! ```text
//!  request ── key ──▶ ApiKeys::authenticate ──▶ Access { tenant, scopes } ──▶ the handler, which sees that tenant alone
//! ```
//!
//! A key is 256 random bits, shown once; only its SHA-256 is kept. A key that is unknown, expired or revoked is answered as one
//! that is not there. While `auth.required` is off, a request without a key speaks for the default tenant and may do everything:
//! the server listens on loopback only then.

mod access;
mod api_key;
mod api_keys;
mod scope;

pub use access::Access;
pub use api_key::{ApiKey, NotAnApiKey};
pub(crate) use api_keys::now_micros;
pub use api_keys::{ApiKeys, AuthError, NewApiKey};
pub use scope::{Scope, Scopes, UnknownScope};
