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

use std::time::{Duration, SystemTime};

use http::StatusCode;
use http::header::{HeaderMap, RETRY_AFTER};

use crate::Outcome;

/// The longest wait that a receiver may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);

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

/// Reads `Retry-After`: seconds or an HTTP date, at least 0 and at most 24 hours. What is neither is ignored.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number too long to parse is a long wait too.
        let seconds = text.parse().map_or(MAX_RETRY_AFTER, Duration::from_secs);
        return Some(seconds.min(MAX_RETRY_AFTER));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or(Duration::ZERO).min(MAX_RETRY_AFTER))
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

    #[test]
    fn retry_after_is_seconds_or_a_date_clamped_to_a_day() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777); // Sun, 06 Nov 1994 08:49:37 GMT
        for (text, expected) in [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 120 ", Some(120)),
            ("86401", Some(86_400)),
            ("99999999999999999999999999", Some(86_400)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
            ("Sun Nov  6 08:50:37 1994", Some(60)),
            ("Sun, 06 Nov 1994 08:48:37 GMT", Some(0)),
            ("Sat, 06 Nov 2094 08:48:37 GMT", Some(86_400)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            assert_eq!(retry_after(&headers, now), expected.map(Duration::from_secs), "{text:?}");
        }
        let bytes = http::HeaderValue::from_bytes(b"\xff").unwrap();
        assert_eq!(retry_after(&HeaderMap::from_iter([(RETRY_AFTER, bytes)]), now), None);
    }
}
