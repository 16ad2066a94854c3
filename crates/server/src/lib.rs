//! The front doors: how producers and people reach the relay. [`http`] for now.

pub mod http;

mod health;

pub use health::{SubscriptionHealth, SubscriptionsHealth};
