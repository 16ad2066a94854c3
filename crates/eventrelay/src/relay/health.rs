//! What the front door shows of the subscriptions.

use std::sync::Arc;

use eventrelay_delivery::{BreakerState, Engine, EventDelivery, RunState, SubscriptionStatus};
use eventrelay_event::StoredEvent;
use eventrelay_server::{DeliveriesUnreadable, Delivery, SubscriptionHealth, SubscriptionsHealth};

/// Asks the engine.
pub(super) struct EngineHealth(pub(super) Arc<Engine>);

impl SubscriptionsHealth for EngineHealth {
    fn subscriptions(&self) -> Vec<SubscriptionHealth> {
        self.0.subscriptions().into_iter().map(health).collect()
    }

    fn deliveries_of(&self, event: &StoredEvent) -> Result<Vec<Delivery>, DeliveriesUnreadable> {
        let found = self.0.deliveries_of(event);
        let found = found.map_err(|error| DeliveriesUnreadable { why: error.to_string() })?;
        Ok(found.into_iter().map(delivery).collect())
    }
}

fn delivery(found: EventDelivery) -> Delivery {
    Delivery { subscription: found.subscription, state: found.state.into() }
}

fn health(status: SubscriptionStatus) -> SubscriptionHealth {
    let run_state = status.run_state.name();
    let why = trouble(&status);
    SubscriptionHealth {
        name: status.name,
        status: run_state.to_owned(),
        healthy: why.is_none(),
        lag_events: status.lag_events,
        why,
    }
}

/// What somebody should look at, if anything. A pause is somebody's own decision.
fn trouble(status: &SubscriptionStatus) -> Option<String> {
    match &status.run_state {
        RunState::Disabled { reason } => return Some(format!("disabled: {reason}")),
        RunState::Damaged { why } | RunState::FilterStopped { why } => return Some(why.clone()),
        RunState::Stopped => return Some("stopped".to_owned()),
        RunState::Running | RunState::Paused => {}
    }
    if let Some(error) = &status.save_error {
        return Some(format!("its cursor cannot be saved: {error}"));
    }
    match status.breaker {
        BreakerState::Closed => None,
        BreakerState::Open => Some("its target is down".to_owned()),
        BreakerState::HalfOpen => Some("its target was down and is being tried".to_owned()),
    }
}
