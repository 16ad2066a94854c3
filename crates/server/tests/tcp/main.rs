//! The TCP front door from outside: a real log in a temporary directory behind it, a raw socket before it.

// Helpers of tests may fail as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../fixtures/api_keys.rs"]
mod api_keys;
mod connections;
mod deadlines;
mod frames;
mod hostile;
mod keys;
mod lines;
mod quotas;
mod support;
