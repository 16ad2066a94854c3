//! One file or folder per group of commands.

pub(crate) mod apply;
pub(crate) mod attempts;
pub(crate) mod audit_log;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod dead_letters;
pub(crate) mod deliveries;
pub(crate) mod events;
pub(crate) mod keys;
pub(crate) mod log;
pub(crate) mod publish;
pub(crate) mod replay;
pub(crate) mod seek;
pub(crate) mod serve;
pub(crate) mod subscriptions;
pub(crate) mod svix;
pub(crate) mod tail;
pub(crate) mod tenants;
pub(crate) mod users;
pub(crate) mod version;

use std::future::Future;

use crate::exit::Failure;

/// Runs a command that waits for the network. One thread is enough for any that talks to one server.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::unexpected(format!("cannot start: {error}")))?.block_on(work)
}
