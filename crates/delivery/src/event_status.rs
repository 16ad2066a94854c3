//! What became of an event: for each subscription that it is for, from saved cursors and exceptions.

use eventrelay_event::StoredEvent;
use eventrelay_state::{DeliveryState, StateError};

use crate::engine::Engine;

/// What became of an event for one subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventDelivery {
    /// The subscription's name.
    pub subscription: String,
    /// As far as it is saved: a delivery of this moment still counts as pending.
    pub state: DeliveryState,
}

impl Engine {
    /// What became of the event for each subscription that it is for: of its tenant, begun at or below it, and with a
    /// filter that it matches. Blocking.
    ///
    /// # Errors
    /// When the state store cannot be read.
    pub fn deliveries_of(&self, event: &StoredEvent) -> Result<Vec<EventDelivery>, StateError> {
        let documents = &self.roster().documents;
        let of_tenant = self.roster().of_tenant(event.tenant());
        let wants = of_tenant.iter().filter(|handle| handle.is_for(event, documents));
        wants
            .map(|handle| {
                let state = self.state().delivery_state(handle.id, event.offset())?;
                Ok(EventDelivery { subscription: handle.name.clone(), state })
            })
            .collect()
    }
}
