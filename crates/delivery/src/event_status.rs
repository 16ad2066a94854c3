//! What became of an event: for each subscription that it is for, from saved cursors and exceptions.

use eventrelay_event::StoredEvent;
use eventrelay_state::{DeliveryState, StateError};

use crate::engine::Engine;

/// What became of an event for one subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventDelivery {
    /// The subscription's name.
    pub subscription: String,
    /// The kind of its sink; `pull` where consumers pull.
    pub sink: &'static str,
    /// As far as it is saved: a delivery of this moment still counts as pending.
    pub state: DeliveryState,
}

/// A delivery's state by its name alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateName {
    /// Not tried yet, or not noted.
    Pending,
    /// To be tried again.
    Retrying,
    /// Delivered.
    Delivered,
    /// A dead letter.
    Dead,
}

/// What became of an event for all subscriptions that it is for, together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventStatus {
    /// One has not settled it yet.
    Processing,
    /// Each has it; also where it is for none.
    Done,
    /// It is settled everywhere, and a dead letter somewhere.
    Failed,
}

impl StateName {
    /// The name of a state of an event that is for the subscription: what is settled is delivered.
    #[must_use]
    pub fn of(state: &DeliveryState) -> Self {
        match state {
            DeliveryState::Pending => Self::Pending,
            DeliveryState::Retrying { .. } => Self::Retrying,
            DeliveryState::Settled => Self::Delivered,
            DeliveryState::Dead { .. } => Self::Dead,
        }
    }
}

impl EventStatus {
    /// Of all deliveries of an event.
    #[must_use]
    pub fn of(deliveries: impl IntoIterator<Item = StateName>) -> Self {
        let mut status = Self::Done;
        for state in deliveries {
            match state {
                StateName::Pending | StateName::Retrying => return Self::Processing,
                StateName::Dead => status = Self::Failed,
                StateName::Delivered => {}
            }
        }
        status
    }
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
        let mut deliveries = Vec::new();
        for handle in of_tenant.iter().filter(|handle| handle.is_for(event, documents)) {
            // None: it is being deleted.
            if let Some(state) = self.state().delivery_state(handle.id, event.offset())? {
                deliveries.push(EventDelivery {
                    subscription: handle.name.clone(),
                    sink: handle.kind,
                    state,
                });
            }
        }
        Ok(deliveries)
    }
}
