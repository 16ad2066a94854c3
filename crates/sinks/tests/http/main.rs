//! The HTTP sink against real sockets: what is asked of a target, and what its answers come to.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod batches;
mod checks;
mod outcomes;
#[path = "../http_receiver/mod.rs"]
mod receiver;
mod requests;
mod sinks;
mod tls;
#[path = "../tls_receiver/mod.rs"]
mod tls_receiver;
mod tokens;
