//! An attempt as the kept attempt that it is, and what became of a message at an endpoint.

use eventrelay_event::{MessageId, Purpose, StoredEvent, Timestamp};
use eventrelay_sinks::UrlView;
use eventrelay_state::{AttemptId, AttemptOutcome, AttemptRecord, DeliveryState};
use serde::Serialize;

use super::endpoint;
use super::ids;
use super::message::MessageOut;
use super::refusal::Refusal;
use super::resources::Found;

/// What became of a message, or of one attempt: Svix's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Success = 0,
    Pending = 1,
    Fail = 2,
    Sending = 3,
}

impl Status {
    pub(super) fn of_number(number: u16) -> Option<Self> {
        [Self::Success, Self::Pending, Self::Fail, Self::Sending]
            .into_iter()
            .find(|status| status.number() == number)
    }

    pub(super) fn number(self) -> u16 {
        self as u16
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Pending => "pending",
            Self::Fail => "fail",
            Self::Sending => "sending",
        }
    }

    pub(super) fn of_attempt(outcome: AttemptOutcome) -> Self {
        match outcome {
            AttemptOutcome::Delivered => Self::Success,
            AttemptOutcome::Retry | AttemptOutcome::Reject | AttemptOutcome::Gone => Self::Fail,
        }
    }

    /// What became of a message, and when it is tried again, if it is.
    pub(super) fn of_delivery(state: &DeliveryState) -> (Self, Option<String>) {
        match state {
            DeliveryState::Settled => (Self::Success, None),
            DeliveryState::Pending => (Self::Pending, None),
            DeliveryState::Retrying { due_at_micros, .. } => {
                (Self::Pending, Some(Timestamp(*due_at_micros).to_string()))
            }
            DeliveryState::Dead { .. } => (Self::Fail, None),
        }
    }
}

/// An attempt that was kept.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) id: AttemptId,
    pub(super) record: AttemptRecord,
}

/// An attempt as it is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AttemptOut {
    pub(super) id: String,
    msg_id: String,
    endpoint_id: String,
    url: String,
    status: u16,
    status_text: &'static str,
    response: String,
    response_status_code: u16,
    response_duration_ms: u64,
    trigger_type: u8,
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    msg: Option<MessageOut>,
}

impl AttemptOut {
    /// An attempt to bring a message to an endpoint. Where no answer came, what went wrong stands in its place.
    pub(super) fn of(
        kept: &Kept,
        (endpoint, subscription): &Found,
        event: &StoredEvent,
        urls: UrlView,
        with_content: bool,
        with_message: bool,
    ) -> Result<Self, Refusal> {
        let record = &kept.record;
        let status = Status::of_attempt(record.outcome);
        let response = match &record.response_body {
            _ if !with_content => String::new(),
            Some(body) => String::from_utf8_lossy(body).into_owned(),
            None => record.reason.clone(),
        };
        let msg = with_message.then(|| MessageOut::of(event, with_content)).transpose()?;
        Ok(Self {
            id: ids::attempt(record.started_at_micros, subscription.id, kept.id),
            msg_id: MessageId(event.id()).to_string(),
            endpoint_id: endpoint.id.clone(),
            url: endpoint::url(&subscription.spec, urls),
            status: status.number(),
            status_text: status.text(),
            response,
            response_status_code: record.response_status.unwrap_or(0),
            response_duration_ms: record.took_micros / 1000,
            trigger_type: u8::from(record.purpose != Purpose::Live),
            timestamp: Timestamp(record.started_at_micros).to_string(),
            msg,
        })
    }
}
