//! Users with the real server and command: logins, what each role may do, and what the audit log tells.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

#[path = "../harness/mod.rs"]
mod harness;

mod audit;
mod logins;
mod roles;
mod world;
