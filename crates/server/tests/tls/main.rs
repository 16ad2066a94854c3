//! TLS on every front door, from outside: certificates of the test's own, and clients that believe them or do not.

// Helpers of tests may fail as tests do; each door's server is used in part.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

#[path = "../fixtures/api_keys.rs"]
mod api_keys;
mod client_certificates;
mod files;
mod grpc;
#[path = "../grpc/support.rs"]
mod grpc_server;
mod handshake;
mod http;
#[path = "../http/support.rs"]
mod http_server;
mod reload;
mod support;
mod tcp;
#[path = "../tcp/support.rs"]
mod tcp_server;
