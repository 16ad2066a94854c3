//! The control plane with the real server: subscriptions and all that becomes of their deliveries, as an operator works with
//! them over HTTP.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

#[path = "../harness/mod.rs"]
mod harness;

mod deliveries;
mod operational_events;
mod subscriptions;
mod tenancy;
mod world;
