//! The front doors: how producers and people reach the relay. [`http`] and [`grpc`].

pub mod auth;
pub mod grpc;
pub mod http;
pub mod proto;

mod connection_tasks;
mod deliveries;
mod health;

pub use deliveries::{Delivery, DeliveryState, EventStatus};
pub use health::{DeliveriesUnreadable, SubscriptionHealth, SubscriptionsHealth};
