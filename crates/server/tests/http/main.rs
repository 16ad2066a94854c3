//! The HTTP front door from outside: a real log in a temporary directory behind it, a raw socket before it.

// Helpers of tests may fail as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod api;
#[path = "../fixtures/api_keys.rs"]
mod api_keys;
mod compression;
mod connections;
mod control;
mod deadlines;
mod framing;
mod health;
mod http2;
mod keys;
mod publish_stream;
mod publish_stream_limits;
mod quotas;
mod refusals;
mod stream;
mod support;
