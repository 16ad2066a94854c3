//! The publisher: what stands between the front doors and the log.
//!
//! Every event that is stored has come through [`Publisher::publish`], which checks it against the rules of
//! [`eventrelay_event::rules`], gives it a key to tell repetitions by (`key`), appends it, and confirms what the log takes for
//! a repetition against the event that is stored (`repetition`). It answers once the events are durable.
//!
//! Nothing here is shared between publishes but counters: no lock is taken, and no task is started.

mod error;
mod key;
mod lookup;
mod metrics;
mod publisher;
mod repetition;

pub use error::{FindError, PublishError};
pub use metrics::PublisherMetrics;
pub use publisher::{PublishLimits, Publisher, Receipt, Receipts, RefusedBatch, Submitted};
