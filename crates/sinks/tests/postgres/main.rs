//! The PostgreSQL sink against a real server: what rows look like, what becomes of events that are refused, and what is in the
//! table after everything that can go wrong on the way.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../components/mod.rs"]
mod components;

mod checks;
mod database;
mod exactly_once;
mod faults;
mod fencing;
mod ledger;
mod outcomes;
mod proxy;
mod rows;
mod tls;
