//! The object storage sink against two real stores and a directory: what objects look like, what is in the store after
//! everything that can go wrong on the way, and that each event is in one object.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod at_least_once;
mod checks;
mod conditions;
mod contents;
mod dropping;
mod exactly_once;
mod fake_store;
mod faults;
mod folders;
mod gcs;
mod guard;
#[cfg(feature = "parquet")]
mod parquet;
mod random;
mod secrets;
mod stores;

#[path = "../broker_events/mod.rs"]
mod broker_events;
#[path = "../components/mod.rs"]
mod components;
#[path = "../http_receiver/mod.rs"]
mod http_receiver;
#[path = "../log_lines/mod.rs"]
mod log_lines;
