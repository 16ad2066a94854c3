//! The command line, as its users have it: each command at least once, against the real server.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

#[path = "../harness/mod.rs"]
mod harness;

mod alone;
mod apply;
mod dead_letters;
mod events;
mod failures;
mod operations;
mod replays;
mod subscriptions;
mod world;
