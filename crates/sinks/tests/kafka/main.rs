//! The Kafka sink against librdkafka's mock cluster, which fails as it is told, and against a real broker.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../components/mod.rs"]
mod components;

mod broker;
mod cluster;
mod faults;
mod foreign;
mod hostile;
mod order;
mod partition_log;
mod real;
mod secure;
mod sinks;
