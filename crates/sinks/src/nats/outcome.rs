//! What an answer of the server means for the delivery. The table is in the module's own docs.

use std::error::Error as _;

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::{self, ErrorCode};

use crate::Outcome;
use crate::error::chain;

/// Judges a publish that was not acknowledged.
pub(super) fn of_error(error: &PublishError, subject: &str) -> Outcome {
    let answer = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
    match (error.kind(), answer) {
        // Nothing of it can be smaller at the next try.
        (PublishErrorKind::MaxPayloadExceeded, _) => {
            Outcome::Reject { why: format!("the event is too large for the server: {}", chain(error)) }
        }
        (_, Some(answer)) if is_about_the_event(answer.error_code()) => {
            Outcome::Reject { why: format!("the stream refused the event: {answer}") }
        }
        (_, Some(answer)) => retry(format!("the stream did not take the event: {answer}")),
        (PublishErrorKind::StreamNotFound, None) => retry(format!(
            "no stream took {subject:?}: none captures it, or the one that does has no leader at the moment"
        )),
        (PublishErrorKind::BrokenPipe, None) => {
            retry("the connection broke before the acknowledgement came".into())
        }
        (PublishErrorKind::TimedOut, None) => retry("no acknowledgement came in time".into()),
        (_, None) => retry(format!("the publish failed: {}", chain(error))),
    }
}

/// The event cannot be sent as the user that we are.
pub(super) fn denied(subject: &str) -> Outcome {
    retry(format!("the server does not let this user publish to {subject:?}"))
}

pub(super) fn retry(why: String) -> Outcome {
    Outcome::Retry { after: None, why }
}

/// Whether an error lies in the event and not in the stream, its limits or its cluster, all of which change.
fn is_about_the_event(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM | ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(code: u64) -> Outcome {
        let answer: jetstream::Error = serde_json::from_value(
            serde_json::json!({"code": 400, "err_code": code, "description": "the words"}),
        )
        .unwrap();
        of_error(&PublishError::with_source(PublishErrorKind::Other, answer), "a.b")
    }

    #[test]
    fn only_what_lies_in_the_event_is_refused_for_good() {
        for code in [10054, 10097] {
            assert!(matches!(answered(code), Outcome::Reject { why } if why.contains("the words")), "{code}");
        }
        // Full, wrong stream, sealed, no resources, no JetStream, no such error yet.
        for code in [10077, 10060, 10109, 10023, 10039, 10008, 10158, 19_999] {
            assert!(
                matches!(answered(code), Outcome::Retry { why, .. } if why.contains("the words")),
                "{code}"
            );
        }
        let too_large = of_error(&PublishError::new(PublishErrorKind::MaxPayloadExceeded), "a.b");
        assert!(matches!(too_large, Outcome::Reject { .. }));
    }

    #[test]
    fn a_missing_stream_is_named_and_waited_for() {
        let outcome = of_error(&PublishError::new(PublishErrorKind::StreamNotFound), "a.b");
        assert!(matches!(outcome, Outcome::Retry { why, .. } if why.contains("no stream took \"a.b\"")));
    }
}
