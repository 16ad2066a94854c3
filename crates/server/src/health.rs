//! What the front doors ask the delivery side: how its subscriptions are, and what became of an event.

use eventrelay_event::StoredEvent;
use serde::Serialize;
use utoipa::ToSchema;

use crate::deliveries::Delivery;

/// Tells how the subscriptions are. Asked by people and monitors.
pub trait SubscriptionsHealth: Send + Sync + 'static {
    /// Every subscription, by name. Must not block.
    fn subscriptions(&self) -> Vec<SubscriptionHealth>;

    /// What became of the event for each subscription that it is for. May block.
    ///
    /// # Errors
    /// When what is saved cannot be read.
    fn deliveries_of(&self, event: &StoredEvent) -> Result<Vec<Delivery>, DeliveriesUnreadable>;
}

/// What is saved of deliveries cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct DeliveriesUnreadable {
    /// What was found, for people.
    pub why: String,
}

/// How one subscription is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SubscriptionHealth {
    /// Its name.
    pub name: String,
    /// What it is doing: `running`, `paused`, `disabled`, …
    pub status: String,
    /// Whether it needs nobody's attention.
    pub healthy: bool,
    /// How many events of the log are above its cursor.
    pub lag_events: u64,
    /// What is wrong, for people.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}
