//! The RabbitMQ sink against a real broker.
//!
//! It takes seconds to start, so what can share one does: `sharing.rs` is one test of many scenes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod broker;
mod checking;
mod delivering;
mod faults;
mod management;
mod refusing;
mod sharing;
mod tls;

#[path = "../broker_events/mod.rs"]
mod broker_events;
#[path = "../components/mod.rs"]
mod components;
#[path = "../log_lines/mod.rs"]
mod log_lines;
