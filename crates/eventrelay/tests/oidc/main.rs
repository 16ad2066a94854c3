//! Logins with an OpenID Connect provider: the built binary, an issuer of the tests' own, and a test that is the browser between them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

#[path = "../harness/mod.rs"]
mod harness;

mod failures;
mod issuer;
mod logins;
mod refusals;
mod world;
