//! HTTP requests to one target: what the webhook, the HTTP sink and object storage have in common.
//!
//! - `Target` is a URL in the forms that requests need; `Pool` holds the connections to one host and port, made by the
//!   egress guard; `Answer` is what came back, bounded in size and time.
//! - A request is something that can be written more than once ([`WriteRequest`]), for a connection may turn out to be
//!   stale, and HTTP/1.1 and HTTP/2 write it differently.
//! - Nothing here knows events, follows redirects, or tries again but for a stale connection.

mod answer;
mod connection;
mod custom_headers;
mod error;
mod exchange;
mod pool;
mod request;
mod retry_after;
mod target;
mod versions;

pub(crate) use answer::Answer;
pub(crate) use connection::{ExchangeError, ExchangeLimits};
pub(crate) use custom_headers::{custom_headers, custom_value};
pub(crate) use error::SendError;
pub(crate) use exchange::exchange;
pub(crate) use pool::Pool;
pub(crate) use request::{Body, OutgoingRequest, WriteRequest};
pub(crate) use retry_after::retry_after;
pub(crate) use target::Target;
pub use versions::Http2;

/// What a request says of who sends it, where the settings say nothing.
pub(crate) const USER_AGENT: &str = concat!("eventrelay/", env!("CARGO_PKG_VERSION"));
