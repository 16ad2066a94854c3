//! The HTTP front door: API version 1, health and metrics, over HTTP/1.1 and HTTP/2 (prior knowledge) on one port.
//!
//! | | |
//! |---|---|
//! | `POST /v1/events` | publish: see [`routes::events`] |
//! | `POST /v1/events/stream` | publish without end: see [`routes::events`] |
//! | `GET /v1/events/{id}` | one event |
//! | `GET /v1/events/{id}/status` | what became of it |
//! | `GET /v1/events/stream` | the log as it grows: see [`routes::stream`] |
//! | `POST /v1/subscriptions/{name}/pull`, `…/ack`, `…/nack`, `…/extend` | pull events under leases: see [`routes::pull`] |
//! | `GET /health`, `/healthz`, `/readyz` | see [`routes::health`] |
//! | `GET /metrics` | OpenMetrics text |
//! | `/events`, `/replay`, `/api/…` | what clients of other systems ask: see [`compat`] |
//! | all else | the control plane: see [`control`] |
//!
//! The way of a request, one file each:
//!
//! ```text
//! server      binds; crate::accept lets connections in and owns their tasks
//! connection  picks the protocol, runs hyper, drains
//! gate        under hyper: strict framing, deadlines, closing
//! service     above hyper: route, guard, authentication (by key, or session_cookie and same_origin), upload, routes/* or control/*, problem
//! ```
//!
//! Every limit is in [`ServerOptions`].

pub(crate) mod authentication;
mod body;
mod compat;
mod connection;
mod control;
mod cookie;
mod decompress;
mod decompress_stream;
pub(crate) mod gate;
pub(crate) mod guard;
mod login_cookie;
mod metrics;
mod options;
mod problem;
mod public_url;
mod request_id;
mod request_source;
mod route;
mod routed;
mod routes;
mod same_origin;
mod server;
mod service;
mod session_cookie;
pub(crate) mod state;
mod upload;

pub use compat::{CompatOptions, CompatOptionsError, JwtSecret, OrganizationToken, organization_token};
pub use metrics::HttpMetrics;
pub use options::ServerOptions;
pub use public_url::{PublicUrl, PublicUrlError};
pub use server::HttpServer;
pub use service::Services;
