//! The front doors: how producers and people reach the relay.
//!
//! [`http`] for everything, [`grpc`] for typed clients and streams, [`tcp`] for producers that send frames or lines. What the doors have in common is here: the accept
//! loop (`accept`), who is let in (`admission`), [`tls`], what is counted of connections, who may do what ([`auth`]) and how much ([`quota`]).

pub mod auth;
pub mod grpc;
pub mod http;
pub mod proto;
pub mod quota;
pub mod tcp;
pub mod tls;

mod accept;
mod admission;
mod batch_key;
mod configuration;
mod connection_metrics;
mod connection_tasks;
mod deliveries;
mod health;
mod limits;
mod listen;
mod payloads;
mod protocol_error;
mod receipt;
mod request_trace;
mod shutdown;

pub use accept::{BindError, Drained};
pub use configuration::{Configuration, ConfigurationProblem};
pub use deliveries::{Delivery, DeliveryState, EventStatus};
pub use health::{DeliveriesUnreadable, SubscriptionHealth, SubscriptionsHealth};
pub use limits::OptionsError;
pub use listen::Listen;
