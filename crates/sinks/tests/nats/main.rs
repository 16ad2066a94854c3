//! The NATS sink against a real server with JetStream on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod checking;
mod delivering;
mod faults;
mod logins;
mod raw_client;
mod refusing;
mod server;
mod tls;

#[path = "../broker_events/mod.rs"]
mod broker_events;
#[path = "../components/mod.rs"]
mod components;
#[path = "../log_lines/mod.rs"]
mod log_lines;
