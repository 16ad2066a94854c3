//! What the front doors ask the delivery side: how its subscriptions are.

use serde::Serialize;

/// Tells how the subscriptions are. Asked rarely, by people and monitors; must not block.
pub trait SubscriptionsHealth: Send + Sync + 'static {
    /// Every subscription, by name.
    fn subscriptions(&self) -> Vec<SubscriptionHealth>;
}

/// How one subscription is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}
