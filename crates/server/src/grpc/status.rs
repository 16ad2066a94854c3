//! What became of an event, for both contracts that ask: the twin of `GET /v1/events/{id}/status`.

use eventrelay_event::StoredEvent;
use tonic::Code;

use super::messages::timestamp;
use super::refusals::Refused;
use super::service::Shared;
use crate::auth::Access;
use crate::deliveries::{self, Delivery, DeliveryState, EventStatus};
use crate::proto::v1;
use crate::proto::v1::delivery::State;

/// An event that is there, and its deliveries.
pub(crate) struct Found {
    id: String,
    offset: u64,
    deliveries: Vec<Delivery>,
}

/// The stored event of an id. What is no id, what is nobody's and what is another tenant's answer alike: none.
///
/// # Errors
/// When the log cannot be read there.
pub(crate) async fn stored(
    shared: &Shared,
    access: &Access,
    id: &str,
) -> Result<Option<StoredEvent>, Refused> {
    let Ok(id) = id.parse() else { return Ok(None) };
    Ok(shared.publisher.find(id, access.tenant()).await?)
}

/// What became of the event of an id; none where there is no such event.
///
/// # Errors
/// When the log, or what is saved of deliveries, cannot be read.
pub(crate) async fn find(shared: &Shared, access: &Access, id: &str) -> Result<Option<Found>, Refused> {
    let Some(event) = stored(shared, access, id).await? else { return Ok(None) };
    let (id, offset) = (event.id().to_string(), event.offset());
    let deliveries = deliveries::of_event(&shared.subscriptions, event).await.map_err(|error| {
        // What it says is for the operator's eyes.
        tracing::error!(%error, "what became of an event cannot be told");
        Refused::new(Code::Unavailable, "state_unreadable", "what is saved of deliveries cannot be read")
    })?;
    Ok(Some(Found { id, offset, deliveries }))
}

impl Found {
    /// What became of it for all subscriptions together.
    pub(crate) fn status(&self) -> EventStatus {
        EventStatus::of(&self.deliveries)
    }

    pub(crate) fn into_message(self) -> v1::GetStatusResponse {
        let status = match self.status() {
            EventStatus::Processing => v1::EventStatus::Processing,
            EventStatus::Done => v1::EventStatus::Done,
            EventStatus::Failed => v1::EventStatus::Failed,
        };
        v1::GetStatusResponse {
            id: self.id,
            offset: self.offset,
            status: status.into(),
            deliveries: self.deliveries.into_iter().map(delivery).collect(),
        }
    }
}

fn delivery(delivery: Delivery) -> v1::Delivery {
    let state = match delivery.state {
        DeliveryState::Pending => State::Pending(()),
        DeliveryState::Retrying { attempts, next_attempt_at, error } => State::Retrying(v1::Retrying {
            attempts,
            next_attempt_at: Some(timestamp(next_attempt_at.0)),
            error,
        }),
        DeliveryState::Delivered => State::Delivered(()),
        DeliveryState::Dead { attempts, dead_at, error } => {
            State::Dead(v1::Dead { attempts, dead_at: Some(timestamp(dead_at.0)), error })
        }
    };
    v1::Delivery { subscription: delivery.subscription, state: Some(state) }
}
