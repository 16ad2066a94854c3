//! The webhook sink against real sockets: receivers that behave, receivers that do not, and names that lie.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod hostile;
mod outcomes;
mod pooling;
#[path = "../http_receiver/mod.rs"]
mod receiver;
mod requests;
mod secrets;
mod sinks;
mod ssrf;
mod tls;
#[path = "../tls_receiver/mod.rs"]
mod tls_receiver;
