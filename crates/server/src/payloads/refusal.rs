//! Why a frame or a line was refused, and how its sender is told.
//!
//! A frame is answered by one byte, a line by one line. The byte says what to do; the line has the stable `code` too:
//!
//! | byte | codes | what to do |
//! |---|---|---|
//! | `0x00` | (accepted) | |
//! | `0x01` | `empty_frame`, `not_an_object`, `invalid_event`, `malformed_json` and all else that is wrong with the payload | change it |
//! | `0x02` | `frame_too_large`, `line_too_large`, `event_too_large` | send less |
//! | `0x03` | `idempotency_key_reused` | a fault of the producer |
//! | `0x04` | `overloaded`, `unavailable`, `shutting_down`, `too_many_connections`, `rate_limited`, `too_many_bytes_in_flight`, `too_many_streams` | nothing is stored: repeat it later |
//! | `0x05` | `outcome_unknown`, `unconfirmed` | it may be stored: repeat it with the same idempotency key |
//! | `0x06` | `log_poisoned` | nothing is stored until a restart |
//! | `0x07` | `disk_full` | nothing is stored: repeat it when there is room |
//! | `0x08` | `unauthenticated`, `missing_scope` | connect again with another API key |

use std::borrow::Cow;
use std::time::Duration;

use eventrelay_event::{DecodeEventsError, InvalidEvent};
use eventrelay_ingest::PublishError;
use serde::Serialize;

use crate::quota::Exceeded;

/// Answers a frame that is durable.
pub(crate) const ACCEPTED: u8 = 0x00;

/// How long to wait when nobody knows better: a restart or a full disk takes a while.
const RETRY_LATER: Duration = Duration::from_secs(5);

/// Why a payload was refused. As JSON it is the problem line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Refusal {
    /// A name that stays the same over releases.
    pub(crate) code: &'static str,
    /// For people; may change.
    pub(crate) detail: Cow<'static, str>,
    /// The field to blame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) field: Option<String>,
    /// When to try again, in seconds, where waiting helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retry_after: Option<u64>,
}

impl Refusal {
    pub(crate) fn new(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), field: None, retry_after: None }
    }

    /// A payload that cannot be read as one event.
    pub(crate) fn of_decoding(error: &DecodeEventsError) -> Self {
        let mut refusal = Self::new(error.code(), error.kind.to_string());
        refusal.field = error.field().map(str::to_owned);
        refusal
    }

    /// An event that breaks a rule.
    pub(crate) fn of_event(invalid: &InvalidEvent) -> Self {
        match invalid {
            InvalidEvent::Field { field, why } => {
                let mut refusal = Self::new("invalid_event", *why);
                refusal.field = Some(field.to_string());
                refusal
            }
            InvalidEvent::TooLarge { .. } => Self::new("event_too_large", invalid.to_string()),
        }
    }

    /// An event that was not stored, for its own fault or another's.
    pub(crate) fn of_publishing(error: &PublishError) -> Self {
        let code = error.code();
        let mut refusal = Self::new(code, error.to_string());
        refusal.field = error.field().map(str::to_owned);
        if class_of(code) >= RETRIED_FROM {
            refusal.retry_after = Some(whole_seconds(error.retry_after().unwrap_or(RETRY_LATER)));
        }
        refusal
    }

    /// Events over a quota.
    pub(crate) fn of_quota(exceeded: &Exceeded) -> Self {
        let mut refusal = Self::new(exceeded.code(), exceeded.to_string());
        refusal.retry_after = Some(whole_seconds(exceeded.retry_after));
        refusal
    }

    /// The byte that answers a frame.
    pub(crate) fn byte(&self) -> u8 {
        class_of(self.code)
    }

    /// It, where waiting helps and nobody knows how long.
    pub(crate) fn retried_later(mut self) -> Self {
        self.retry_after = Some(RETRY_LATER.as_secs());
        self
    }

    /// Appends the line that answers a line.
    pub(crate) fn write_line(&self, out: &mut Vec<u8>) {
        // Writing strings and numbers to memory cannot fail.
        if serde_json::to_writer(&mut *out, self).is_err() {
            tracing::error!(code = self.code, "a refusal cannot be written");
        }
        out.push(b'\n');
    }
}

/// From this class on, the same payload may be taken later.
const RETRIED_FROM: u8 = 0x04;

/// A wait of 0 would invite a storm.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_millis().div_ceil(1000).clamp(1, 86_400) as u64
}

fn class_of(code: &str) -> u8 {
    match code {
        "frame_too_large" | "line_too_large" | "event_too_large" | "batch_too_large" => 0x02,
        "idempotency_key_reused" => 0x03,
        "overloaded"
        | "unavailable"
        | "shutting_down"
        | "too_many_connections"
        | "rate_limited"
        | "too_many_bytes_in_flight"
        | "too_many_streams" => 0x04,
        "outcome_unknown" | "unconfirmed" => 0x05,
        "log_poisoned" => 0x06,
        "disk_full" => 0x07,
        "unauthenticated" | "missing_scope" => 0x08,
        _ => 0x01,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn every_publish_error_has_the_byte_that_its_remedy_asks_for() {
        let why = || Arc::from("because");
        let cases = [
            (PublishError::InvalidEvent { index: 1, field: "type".into(), why: "w" }, 0x01),
            (PublishError::EventTooLarge { index: 1, bytes: 2, limit: 1 }, 0x02),
            (PublishError::IdempotencyKeyReused { index: 1 }, 0x03),
            (PublishError::Overloaded { retry_after: Duration::from_millis(1) }, 0x04),
            (PublishError::Unavailable { why: why() }, 0x04),
            (PublishError::ShuttingDown, 0x04),
            (PublishError::OutcomeUnknown { why: why() }, 0x05),
            (PublishError::LogPoisoned { why: why() }, 0x06),
            (PublishError::DiskFull, 0x07),
        ];
        for (error, byte) in cases {
            let refusal = Refusal::of_publishing(&error);
            assert_eq!((refusal.code, refusal.byte()), (error.code(), byte));
            assert_eq!(refusal.retry_after.is_some(), byte >= 0x04, "{error}");
        }
    }

    #[test]
    fn a_refusal_is_one_line_of_json_whatever_it_says() {
        let mut out = Vec::new();
        Refusal::new("invalid_event", "a \"quote\" and\na line").write_line(&mut out);
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
        let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(json, serde_json::json!({"code": "invalid_event", "detail": "a \"quote\" and\na line"}));
    }
}
