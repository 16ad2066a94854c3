//! Why calls and messages are refused, with the same stable codes as over HTTP.
//!
//! | status | codes | |
//! |---|---|---|
//! | `INVALID_ARGUMENT` | `invalid_event`, `empty_batch`, `event_too_large`, `batch_too_large`, those of data that is no JSON, `malformed_message`, `invalid_sequence`, `invalid_pull_request` | repeat it changed |
//! | `ALREADY_EXISTS` | `idempotency_key_reused` | another event has the key |
//! | `NOT_FOUND` | `event_not_found`, `subscription_not_found` | |
//! | `FAILED_PRECONDITION` | `push_subscription` | it has a sink: there is nothing to pull |
//! | `OUT_OF_RANGE` | `invalid_start`, `offset_trimmed` | begin elsewhere |
//! | `UNAUTHENTICATED` | `unauthenticated` | show a good key |
//! | `PERMISSION_DENIED` | `missing_scope`, `forbidden_host`, `forbidden_origin` | |
//! | `RESOURCE_EXHAUSTED` | `message_too_large` | repeat it smaller |
//! | `RESOURCE_EXHAUSTED` | `overloaded`, `disk_full`, `too_many_streams`, `too_many_pulls`, `rate_limited`, `too_many_bytes_in_flight` | nothing is stored: repeat it later |
//! | `UNAVAILABLE` | `unavailable`, `shutting_down`, `log_poisoned`, `log_unreadable` | nothing is stored: repeat it later |
//! | `UNKNOWN` | `outcome_unknown`, `unconfirmed` | repeat it with the same key, after a restart |
//! | `DEADLINE_EXCEEDED` | `call_timeout`, `message_timeout` | repeat it with the same key |

use std::collections::HashMap;
use std::time::Duration;

use eventrelay_ingest::{FindError, PublishError};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::proto::v1;
use crate::quota::Exceeded;

/// What `google.rpc.ErrorInfo.domain` says.
const DOMAIN: &str = "eventrelay";

/// How long to wait when nobody knows better: a restart or a full disk takes a while.
const RETRY_LATER: Duration = Duration::from_secs(5);

/// A refusal on its way to the client. Boxed, since it is the rare case of many results.
#[derive(Debug, Clone)]
pub(crate) struct Refused(Box<Details>);

#[derive(Debug, Clone)]
struct Details {
    status: Code,
    code: &'static str,
    message: String,
    index: Option<usize>,
    field: Option<String>,
    retry_after: Option<Duration>,
    oldest_offset: Option<u64>,
}

impl Refused {
    pub(crate) fn new(status: Code, code: &'static str, message: impl Into<String>) -> Self {
        let retry_after = matches!(status, Code::Unavailable | Code::Unknown).then_some(RETRY_LATER);
        let message = message.into();
        Self(Box::new(Details {
            status,
            code,
            message,
            index: None,
            field: None,
            retry_after,
            oldest_offset: None,
        }))
    }

    /// The event to blame, from 0, and its field.
    pub(crate) fn blaming(mut self, index: Option<usize>, field: Option<&str>) -> Self {
        self.0.index = index;
        self.0.field = field.map(str::to_owned);
        self
    }

    pub(crate) fn retry_after(mut self, retry_after: Duration) -> Self {
        self.0.retry_after = Some(retry_after);
        self
    }

    pub(crate) fn oldest_offset(mut self, offset: u64) -> Self {
        self.0.oldest_offset = Some(offset);
        self
    }

    /// The stable code.
    pub(crate) fn code(&self) -> &'static str {
        self.0.code
    }

    /// The stable code of a call's end, when it came from here.
    pub(crate) fn code_of(status: &Status) -> Option<String> {
        status.get_details_error_info().filter(|info| info.domain == DOMAIN).map(|info| info.reason)
    }

    pub(crate) fn message(&self) -> &str {
        &self.0.message
    }

    /// Whether the client is to blame, so that repeating the same changes nothing.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self.0.status, Code::InvalidArgument | Code::AlreadyExists)
    }

    /// The end of a call.
    pub(crate) fn into_status(self) -> Status {
        let details = *self.0;
        let mut metadata = HashMap::new();
        if let Some(index) = details.index {
            metadata.insert("index".to_owned(), index.to_string());
        }
        if let Some(field) = details.field {
            metadata.insert("field".to_owned(), field);
        }
        if let Some(offset) = details.oldest_offset {
            metadata.insert("oldest_offset".to_owned(), offset.to_string());
        }
        let mut errors = ErrorDetails::with_error_info(details.code, DOMAIN, metadata);
        if let Some(retry_after) = details.retry_after {
            errors.set_retry_info(Some(retry_after));
        }
        Status::with_error_details(details.status, details.message, errors)
    }

    /// The outcome of one message of a stream.
    pub(crate) fn into_refusal(self) -> v1::Refusal {
        let details = *self.0;
        v1::Refusal {
            code: details.code.to_owned(),
            message: details.message,
            status: details.status as i32,
            index: details.index.and_then(|index| u32::try_from(index).ok()),
            field: details.field,
            retry_after_ms: details
                .retry_after
                .map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    /// What is no id, what is nobody's and what is another tenant's answer alike.
    pub(crate) fn event_not_found() -> Self {
        Self::new(Code::NotFound, "event_not_found", "there is no such event")
    }

    /// Every call ends with it that a shutdown cuts short.
    pub(crate) fn shutting_down() -> Self {
        Self::new(Code::Unavailable, "shutting_down", "the server is shutting down")
    }

    /// No key, or one that is not good, or no longer.
    pub(crate) fn unauthenticated() -> Self {
        let message = "send a good API key in the metadata: authorization: Bearer <key>, or x-api-key: <key>";
        Self::new(Code::Unauthenticated, "unauthenticated", message)
    }

    pub(crate) fn overloaded(retry_after: Duration) -> Self {
        let message = "more events are waiting than can be stored in time";
        Self::new(Code::ResourceExhausted, "overloaded", message).retry_after(retry_after)
    }
}

impl From<Exceeded> for Refused {
    fn from(exceeded: Exceeded) -> Self {
        Self::new(Code::ResourceExhausted, exceeded.code(), exceeded.to_string())
            .retry_after(exceeded.retry_after)
    }
}

impl From<PublishError> for Refused {
    fn from(error: PublishError) -> Self {
        let status = match error {
            PublishError::InvalidEvent { .. }
            | PublishError::EmptyBatch
            | PublishError::EventTooLarge { .. }
            | PublishError::BatchTooLarge { .. } => Code::InvalidArgument,
            PublishError::IdempotencyKeyReused { .. } => Code::AlreadyExists,
            PublishError::Overloaded { .. } | PublishError::DiskFull => Code::ResourceExhausted,
            PublishError::OutcomeUnknown { .. } | PublishError::Unconfirmed { .. } => Code::Unknown,
            PublishError::LogPoisoned { .. }
            | PublishError::Unavailable { .. }
            | PublishError::ShuttingDown => Code::Unavailable,
        };
        let refused =
            Self::new(status, error.code(), error.to_string()).blaming(error.index(), error.field());
        match (error.retry_after(), status) {
            (Some(after), _) => refused.retry_after(after),
            (None, Code::ResourceExhausted) => refused.retry_after(RETRY_LATER),
            (None, _) => refused,
        }
    }
}

impl From<FindError> for Refused {
    fn from(error: FindError) -> Self {
        let FindError::Interrupted = error else {
            // Paths and positions are for the operator's eyes.
            tracing::error!(%error, "an event cannot be looked up");
            return Self::new(Code::Unavailable, "log_unreadable", "the log cannot be read there");
        };
        Self::shutting_down()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_the_status_that_its_remedy_asks_for() {
        let why = || std::sync::Arc::from("because");
        let cases = [
            (PublishError::InvalidEvent { index: 1, field: "type".into(), why: "w" }, Code::InvalidArgument),
            (PublishError::EventTooLarge { index: 1, bytes: 2, limit: 1 }, Code::InvalidArgument),
            (PublishError::EmptyBatch, Code::InvalidArgument),
            (PublishError::BatchTooLarge { size: 2, limit: 1, unit: "events" }, Code::InvalidArgument),
            (PublishError::IdempotencyKeyReused { index: 1 }, Code::AlreadyExists),
            (PublishError::Overloaded { retry_after: Duration::from_secs(1) }, Code::ResourceExhausted),
            (PublishError::OutcomeUnknown { why: why() }, Code::Unknown),
            (PublishError::DiskFull, Code::ResourceExhausted),
            (PublishError::LogPoisoned { why: why() }, Code::Unavailable),
            (PublishError::Unavailable { why: why() }, Code::Unavailable),
            (PublishError::ShuttingDown, Code::Unavailable),
        ];
        for (error, status) in cases {
            let (code, index) = (error.code(), error.index());
            let refused = Refused::from(error);
            let refusal = refused.clone().into_refusal();
            assert_eq!((refusal.code.as_str(), refusal.status), (code, status as i32));
            assert_eq!(refused.is_final(), refusal.retry_after_ms.is_none(), "{code}");
            let ended = refused.into_status();
            let info = ended.get_details_error_info().unwrap();
            assert_eq!((ended.code(), info.reason.as_str(), info.domain.as_str()), (status, code, DOMAIN));
            assert_eq!(info.metadata.get("index").cloned(), index.map(|index| index.to_string()));
            assert_eq!(ended.get_details_retry_info().is_some(), refusal.retry_after_ms.is_some(), "{code}");
        }
    }
}
