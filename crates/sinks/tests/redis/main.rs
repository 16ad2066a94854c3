//! The Redis sink against real servers: one, a cluster, and one behind sentinels.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod checking;
mod cluster;
mod dead_letters;
mod delivering;
mod exactly_once;
mod faults;
mod logins;
mod raw_client;
mod refusing;
mod sentinel;
mod server;
mod tls;

#[path = "../broker_events/mod.rs"]
mod broker_events;
#[path = "../components/mod.rs"]
mod components;
#[path = "../log_lines/mod.rs"]
mod log_lines;
