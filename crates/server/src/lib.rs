//! The front doors: how producers and people reach the relay. [`http`] for now.

pub mod auth;
pub mod http;

mod deliveries;
mod health;

pub use deliveries::{Delivery, DeliveryState, EventStatus};
pub use health::{DeliveriesUnreadable, SubscriptionHealth, SubscriptionsHealth};
