//! What a push subscription delivers through: one trait, and one file or folder per kind.
//!
//! A sink knows its target and nothing of retries, order or cursors: it is given a batch, tries once, and
//! says of each event what came of it. It is durable before it says [`Outcome::Delivered`].
//!
//! - [`build`] makes a sink from a kind's name and its settings; [`Environment`] is what the operator allows
//!   it.
//! - [`egress`] is the only way out to the network, and keeps sinks from being talked into reaching inside
//!   it.

pub mod egress;
pub mod file;
pub mod http;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod nats;
pub mod object_store;
pub mod postgres;
pub mod rabbitmq;
pub mod redis;
pub mod stdout;
pub mod webhook;

mod bisect;
mod connect_failure;
mod content_mode;
mod environment;
mod error;
mod host;
mod http_client;
mod lines;
mod redaction;
mod registry;
mod secret;
mod setting_files;
mod settings;
mod shared_connection;
mod sink;
mod template;
#[cfg(test)]
mod testing;

pub(crate) use bisect::BatchFailure;
pub use content_mode::ContentMode;
pub use environment::Environment;
pub use error::SinkError;
pub use eventrelay_event::Purpose;
pub use redaction::{REDACTED, UrlView, redacted, restore};
pub use registry::{KINDS, build};
pub use secret::Secret;
pub use setting_files::TlsFiles;
pub use sink::{
    Attempt, BatchLimit, BoxFuture, CheckError, DeadLetterCopy, Delivery, Exchange, GroupError, Guarantee,
    Outcome, Owner, Response, Sink,
};
