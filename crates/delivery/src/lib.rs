//! Delivery: at least once, in the order asked for, whatever the targets do.
//!
//! The log is the queue, and a subscription is a cursor into it plus the few events that are exceptions: those that
//! wait for a retry and those that are dead. So a delivery that succeeds costs no write of its own, and the backlog
//! of a target that is down costs no memory.
//!
//! - [`Engine`] runs one dispatcher task per subscription and tells how each stands.
//! - [`EventLog`] is what it needs of the log; [`resolve_start`] finds a new subscription's place in it.
//! - [`pull`] is for consumers that fetch events themselves, under leases.
//! - [`Engine::seek`], [`Engine::replay`] and [`Engine::redrive`] deliver again what was delivered, or was not.
//! - A subscription's order, retries, circuit breaker and rate are those of [`eventrelay_state::Subscription`].
//!
//! One bad target hurts only itself: each subscription has its own cursor, calls, rate and breaker, its memory is
//! bounded, and a sink that hangs or panics is cut short.

mod activity;
mod backoff;
mod breaker;
mod call;
mod call_spans;
mod checkpointer;
mod clock;
mod consumer_group;
mod control;
mod dead_letter_copies;
mod decoded_chunk;
mod deliveries;
mod dispatcher;
mod engine;
mod event_log;
mod event_status;
mod key_gate;
mod launch;
mod lifecycle;
mod metrics;
#[cfg(test)]
mod model;
mod notices;
mod options;
pub mod pull;
mod rate_limit;
mod reader;
mod retry_schedule;
mod rewind;
mod roster;
mod sample;
mod search;
mod status;
mod store;
mod tenant_rates;
mod transformer;
mod turns;

pub use activity::{ActivitySummary, ActivityWindow};
pub use breaker::BreakerState;
pub use consumer_group::GroupError;
pub use control::{BuildTarget, ChangeError};
pub use deliveries::RetryNow;
pub use engine::{ControlError, Engine, EngineError, ShutdownReport, Target};
pub use event_log::{EventLog, RecordRun, StartError, resolve_start};
pub use event_status::{EventDelivery, EventStatus, StateName};
pub use notices::{Happened, Notice, Notices};
pub use options::EngineOptions;
pub use rewind::{RedriveRequest, ReplayRequest};
pub use sample::Sampled;
pub use search::{DeliverySearch, Found, SearchError, SearchPage, SearchRequest};
pub use status::{RunState, SubscriptionStatus};
