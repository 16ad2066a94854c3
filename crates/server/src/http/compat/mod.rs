//! The APIs of other systems, so that their clients need nothing but another address. A file per client: its operations, each
//! with its `#[utoipa::path]`, as in [`super::control`], and `routes()`, which [`rest_clients`] merges
//! where `[compat]` has it on.
//!
//! ```text
//!  service ── Operations::find ──▶ guard, key, scope, quota ──▶ body (at most http.max_body_bytes) ──▶ a handler
//! ```
//!
//! What all of them have in common, and what differs from the control plane:
//! - Status codes, names and defaults are the other system's. Errors are our own problems, with a status of theirs.
//! - They are not in the OpenAPI document: that describes our API. What is documented here says what a key must be good for
//!   and whether there is a body.
//! - Unknown fields are ignored, as there; `Content-Type` is not looked at, for their clients often send none that fits.
//! - SDKs of Svix have tokens, problems and pages of a form of their own, so [`svix`] has its own way in.
//! - Names are bounded, lists are bounded, and another tenant's things answer as absent ones do.

mod ingester;
mod options;
mod publish;
mod request_body;
mod rest_clients;
pub(crate) mod svix;
mod webhooks;

pub use options::{CompatOptions, CompatOptionsError, JwtSecret};
pub(crate) use rest_clients::{RestClients, answer};
pub use svix::{OrganizationToken, organization_token};
