//! What an answer means for the delivery.
//!
//! | answer | outcome |
//! |---|---|
//! | 2xx | delivered |
//! | 410 | gone: the subscription is to be disabled |
//! | 3xx | retry: a redirect is a failure and is never followed |
//! | anything else | retry, after `Retry-After` where given |
//!
//! No other status gives an event up at once, not even 400, 413 or 415: Standard Webhooks retries them all,
//! since receivers are deployed wrong and repaired. It is the retry schedule that ends it.

use std::time::Duration;

use http::StatusCode;

use crate::Outcome;

/// Judges an answer by its status and `Retry-After`.
pub(super) fn of_answer(status: StatusCode, retry_after: Option<Duration>) -> Outcome {
    if status.is_success() {
        return Outcome::Delivered;
    }
    let why = format!("the receiver answered {status}");
    if status == StatusCode::GONE {
        return Outcome::Gone { why };
    }
    let why = if status.is_redirection() {
        format!("{why}; redirects are not followed: set the URL that the receiver means")
    } else {
        why
    };
    Outcome::Retry { after: retry_after, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: u16) -> Outcome {
        of_answer(StatusCode::from_u16(status).unwrap(), Some(Duration::from_secs(7)))
    }

    #[test]
    fn only_2xx_is_delivered() {
        for status in [200, 201, 202, 204, 226, 299] {
            assert_eq!(outcome(status), Outcome::Delivered, "{status}");
        }
    }

    #[test]
    fn only_410_is_gone() {
        assert!(matches!(outcome(410), Outcome::Gone { why } if why.contains("410")));
    }

    #[test]
    fn every_other_status_is_retried_when_asked_to() {
        for status in [
            101, 300, 301, 302, 304, 307, 308, 400, 401, 404, 408, 413, 415, 422, 425, 429, 500, 502, 503,
            504, 999,
        ] {
            let Outcome::Retry { after, why } = outcome(status) else { panic!("{status}") };
            assert_eq!(after, Some(Duration::from_secs(7)), "{status}");
            assert!(why.contains(&status.to_string()), "{why}");
            assert_eq!(why.contains("not followed"), (300..400).contains(&status), "{why}");
        }
    }
}
