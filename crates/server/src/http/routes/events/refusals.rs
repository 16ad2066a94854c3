//! Why events are refused, as problems. The `code` is the lower crate's own, stable one; the status is chosen here.
//!
//! | status | codes | |
//! |---|---|---|
//! | 400 | `invalid_event`, `empty_batch`, and those of a body that is no events | repeat it changed |
//! | 413 | `event_too_large`, `batch_too_large` | repeat it smaller |
//! | 422 | `idempotency_key_reused` | as the Idempotency-Key draft of the IETF has it |
//! | 503 | `overloaded`, `unavailable`, `shutting_down` | nothing is stored: repeat it |
//! | 503 | `outcome_unknown`, `log_poisoned`, `unconfirmed` | repeat it with the same key, after a restart |
//! | 507 | `disk_full` | nothing is stored: repeat it when there is room |

use std::time::Duration;

use eventrelay_event::{DecodeEventsError, DecodeEventsErrorKind};
use eventrelay_ingest::{FindError, PublishError};
use http::StatusCode;

use crate::http::problem::Problem;

/// How long to wait when nobody knows better: a restart or a full disk takes a while.
const RETRY_LATER: Duration = Duration::from_secs(5);

/// A body that cannot be read as events.
pub(in crate::http::routes) fn of_decoding(error: &DecodeEventsError) -> Problem {
    let (status, title) = match error.kind {
        DecodeEventsErrorKind::BatchTooLarge { .. } => {
            (StatusCode::PAYLOAD_TOO_LARGE, "The batch is too large")
        }
        _ => (StatusCode::BAD_REQUEST, "The body cannot be read as events"),
    };
    Problem::new(status, error.code(), title)
        .detail(error.to_string())
        .index(error.index)
        .field(error.field().map(str::to_owned))
}

/// Events that were not stored.
pub(in crate::http) fn of_publishing(error: &PublishError) -> Problem {
    let (status, title) = match error {
        PublishError::InvalidEvent { .. } => (StatusCode::BAD_REQUEST, "An event is not valid"),
        PublishError::EmptyBatch => (StatusCode::BAD_REQUEST, "There is nothing to publish"),
        PublishError::EventTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "An event is too large"),
        PublishError::BatchTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "The batch is too large"),
        PublishError::IdempotencyKeyReused { .. } => {
            (StatusCode::UNPROCESSABLE_ENTITY, "The idempotency key was used for another event")
        }
        PublishError::DiskFull => (StatusCode::INSUFFICIENT_STORAGE, "The disk is full"),
        PublishError::OutcomeUnknown { .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, "Whether the events were stored is not known")
        }
        PublishError::Unconfirmed { .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, "Whether the event repeats a stored one cannot be told")
        }
        PublishError::Overloaded { .. }
        | PublishError::LogPoisoned { .. }
        | PublishError::Unavailable { .. }
        | PublishError::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, "No events are taken now"),
    };
    let problem = Problem::new(status, error.code(), title)
        .detail(error.to_string())
        .index(error.index())
        .field(error.field().map(str::to_owned));
    if status.is_server_error() {
        problem.retry_after(error.retry_after().unwrap_or(RETRY_LATER))
    } else {
        problem
    }
}

/// An event that is there, but cannot be read.
pub(in crate::http) fn of_finding(error: &FindError) -> Problem {
    let (code, title) = match error {
        FindError::Read(_) | FindError::Decode(_) => ("log_unreadable", "The log cannot be read there"),
        FindError::Interrupted => ("shutting_down", "The server is shutting down"),
    };
    // Paths and positions are for the operator's eyes.
    tracing::error!(%error, code, "an event cannot be looked up");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, title).retry_after(RETRY_LATER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_the_status_that_its_remedy_asks_for() {
        let why = || std::sync::Arc::from("because");
        let cases = [
            (PublishError::InvalidEvent { index: 1, field: "type".into(), why: "w" }, 400, "invalid_event"),
            (PublishError::EventTooLarge { index: 1, bytes: 2, limit: 1 }, 413, "event_too_large"),
            (PublishError::EmptyBatch, 400, "empty_batch"),
            (PublishError::BatchTooLarge { size: 2, limit: 1, unit: "events" }, 413, "batch_too_large"),
            (PublishError::IdempotencyKeyReused { index: 1 }, 422, "idempotency_key_reused"),
            (PublishError::Overloaded { retry_after: Duration::from_secs(1) }, 503, "overloaded"),
            (PublishError::OutcomeUnknown { why: why() }, 503, "outcome_unknown"),
            (PublishError::DiskFull, 507, "disk_full"),
            (PublishError::LogPoisoned { why: why() }, 503, "log_poisoned"),
            (PublishError::Unavailable { why: why() }, 503, "unavailable"),
            (PublishError::ShuttingDown, 503, "shutting_down"),
        ];
        for (error, status, code) in cases {
            let problem = of_publishing(&error);
            assert_eq!((problem.status().as_u16(), problem.code()), (status, code));
            let response = problem.into_response();
            assert_eq!(response.headers().contains_key("retry-after"), status >= 500, "{code}");
            let json: serde_json::Value = serde_json::from_slice(response.body().bytes().unwrap()).unwrap();
            assert_eq!(
                json.get("index").and_then(serde_json::Value::as_u64),
                error.index().map(|i| i as u64)
            );
        }
    }
}
