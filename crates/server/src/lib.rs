//! The front doors: how producers and people reach the relay.
//!
//! [`http`] for now. What the doors will have in common is here: the accept loop (`accept`), who is let in (`admission`),
//! and what is counted of connections.

pub mod http;

mod accept;
mod admission;
mod connection_metrics;
mod deliveries;
mod health;
mod limits;
mod shutdown;

pub use accept::{BindError, Drained};
pub use deliveries::{Delivery, DeliveryState, EventStatus};
pub use health::{DeliveriesUnreadable, SubscriptionHealth, SubscriptionsHealth};
pub use limits::OptionsError;
