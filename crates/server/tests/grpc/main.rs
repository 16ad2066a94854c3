//! The gRPC front door, by clients of its own contracts and by rude ones.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's way to fail")]

#[path = "../fixtures/api_keys.rs"]
mod api_keys;
mod compatibility;
mod hostile;
mod keys;
mod publish;
mod quotas;
mod reading;
mod status;
mod stopping;
mod streams;
mod support;
mod tracing;
