//! One file for each group of resources.

pub(crate) mod events;
pub(crate) mod filters;
pub(crate) mod health;
pub(crate) mod metrics;
pub(crate) mod pull;
pub(crate) mod stream;
