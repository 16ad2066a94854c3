//! Logins with an OpenID Connect provider.
//!
//! ```text
//!  browser ── GET /v1/oidc/login ──▶ OidcLogins::begin ── 303, cookie ──▶ provider
//!  browser ◀── 303 with code and state ────────────────────────────────── provider
//!  browser ── GET /v1/oidc/callback, cookie ──▶ OidcLogins::finish ──▶ session
//! ```
//!
//! | | |
//! |---|---|
//! | [`options`] | `[auth.oidc]` |
//! | [`logins`] | the way of a login |
//! | [`pending`], [`return_to`] | what the browser keeps of it until it comes back |
//! | [`provider`], [`provider_http`], [`discovery`] | what the provider is asked |
//! | [`id_token`], [`signing_keys`], [`claims`] | what it answers, and whether that is to be believed |
//! | [`admission`] | who that is here |

mod admission;
mod claims;
mod discovery;
mod endpoint;
mod id_token;
mod logins;
mod options;
mod pending;
mod provider;
mod provider_http;
mod return_to;
mod signing_keys;

pub use admission::Refusal;
pub use logins::{Begun, Finished, OidcError, OidcLogins, OidcStartError, Returned};
pub use options::{OidcOptions, OidcOptionsError};
pub(crate) use pending::LIFETIME_SECONDS as PENDING_LIFETIME_SECONDS;
pub use return_to::{NotAPath, ReturnTo};
