//! The publisher on a real log, on a simulated disk.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod failure;
mod fixture;
mod limits;
mod lookup;
mod repetition;
mod submission;
