//! What became of an event, as the front doors show it.

use std::sync::Arc;

use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use eventrelay_delivery::StateName;
use eventrelay_event::{StoredEvent, Timestamp};

use crate::health::{DeliveriesUnreadable, SubscriptionsHealth};

/// What became of an event for one subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = EventDelivery)]
pub struct Delivery {
    /// The subscription's name.
    pub subscription: String,
    /// What became of it there.
    #[serde(flatten)]
    #[schema(inline)]
    pub state: DeliveryState,
}

/// A delivery's state, by the names that the API has for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum DeliveryState {
    /// Not tried yet, or the outcome is not saved yet.
    Pending,
    /// It failed and will be tried again.
    Retrying {
        /// Attempts made so far.
        attempts: u32,
        /// When the next is due.
        #[serde(serialize_with = "rfc3339")]
        #[schema(value_type = String, format = DateTime)]
        next_attempt_at: Timestamp,
        /// What went wrong last, for people.
        error: String,
    },
    /// The destination has it.
    Delivered,
    /// A dead letter: it will not be tried again by itself.
    Dead {
        /// Attempts made.
        attempts: u32,
        /// When it was given up.
        #[serde(serialize_with = "rfc3339")]
        #[schema(value_type = String, format = DateTime)]
        dead_at: Timestamp,
        /// Why, for people.
        error: String,
    },
}

impl From<eventrelay_state::DeliveryState> for DeliveryState {
    /// Of an event that is for the subscription: what is settled is delivered.
    fn from(saved: eventrelay_state::DeliveryState) -> Self {
        use eventrelay_state::DeliveryState as Saved;
        match saved {
            Saved::Pending => Self::Pending,
            Saved::Settled => Self::Delivered,
            Saved::Retrying { attempts, due_at_micros, last_error } => {
                Self::Retrying { attempts, next_attempt_at: Timestamp(due_at_micros), error: last_error }
            }
            Saved::Dead { attempts, dead_at_micros, reason } => {
                Self::Dead { attempts, dead_at: Timestamp(dead_at_micros), error: reason }
            }
        }
    }
}

impl DeliveryState {
    fn name(&self) -> StateName {
        match self {
            Self::Pending => StateName::Pending,
            Self::Retrying { .. } => StateName::Retrying,
            Self::Delivered => StateName::Delivered,
            Self::Dead { .. } => StateName::Dead,
        }
    }
}

/// What became of an event for all subscriptions together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = EventStatusName)]
#[serde(rename_all = "snake_case")]
pub enum EventStatus {
    /// A subscription has not settled it yet.
    Processing,
    /// Every subscription that it is for has it; also where it is for none.
    Done,
    /// It is settled everywhere, and a dead letter somewhere.
    Failed,
}

impl EventStatus {
    /// Of all deliveries of an event.
    #[must_use]
    pub fn of(deliveries: &[Delivery]) -> Self {
        eventrelay_delivery::EventStatus::of(deliveries.iter().map(|delivery| delivery.state.name())).into()
    }
}

impl From<eventrelay_delivery::EventStatus> for EventStatus {
    fn from(status: eventrelay_delivery::EventStatus) -> Self {
        match status {
            eventrelay_delivery::EventStatus::Processing => Self::Processing,
            eventrelay_delivery::EventStatus::Done => Self::Done,
            eventrelay_delivery::EventStatus::Failed => Self::Failed,
        }
    }
}

/// What became of the event for each subscription that it is for, read off the runtime.
///
/// # Errors
/// When what is saved cannot be read.
pub(crate) async fn of_event(
    subscriptions: &Arc<dyn SubscriptionsHealth>,
    event: StoredEvent,
) -> Result<Vec<Delivery>, DeliveriesUnreadable> {
    let subscriptions = Arc::clone(subscriptions);
    let read = tokio::task::spawn_blocking(move || subscriptions.deliveries_of(&event)).await;
    read.unwrap_or_else(|error| Err(DeliveriesUnreadable { why: error.to_string() }))
}

fn rfc3339<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(time.encode(&mut [0; Timestamp::CHARS]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deliveries(states: &[DeliveryState]) -> Vec<Delivery> {
        let named = |state: &DeliveryState| Delivery { subscription: "s".to_owned(), state: state.clone() };
        states.iter().map(named).collect()
    }

    #[test]
    fn an_event_is_done_when_all_have_it_and_failed_when_nothing_more_will_happen() {
        let dead = DeliveryState::Dead { attempts: 3, dead_at: Timestamp(0), error: "500".to_owned() };
        let retrying =
            DeliveryState::Retrying { attempts: 1, next_attempt_at: Timestamp(0), error: "500".to_owned() };
        for (states, status) in [
            (vec![], EventStatus::Done),
            (vec![DeliveryState::Delivered, DeliveryState::Delivered], EventStatus::Done),
            (vec![DeliveryState::Delivered, DeliveryState::Pending], EventStatus::Processing),
            (vec![dead.clone(), retrying], EventStatus::Processing),
            (vec![DeliveryState::Delivered, dead], EventStatus::Failed),
        ] {
            assert_eq!(EventStatus::of(&deliveries(&states)), status, "{states:?}");
        }
    }
}
