//! When a request is tried again: the waits grow, and there is an end to them.

use std::time::{Duration, SystemTime};

use http::header::{HeaderMap, RETRY_AFTER};
use rand::RngExt;

/// Tries of one request.
const MAX_TRIES: u32 = 5;
/// The longest wait after the first failure; each failure doubles it.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest that a collector can ask us to wait.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(5);

/// The tries of one request.
#[derive(Debug, Default)]
pub(crate) struct Retries {
    failed: u32,
}

impl Retries {
    /// A try has failed: how long to wait before the next, as the collector has asked or else a random time; `None` when
    /// there is no next.
    pub(crate) fn next(&mut self, asked: Option<Duration>) -> Option<Duration> {
        self.failed += 1;
        if self.failed >= MAX_TRIES {
            return None;
        }
        let longest = FIRST_WAIT * 2_u32.pow(self.failed - 1);
        Some(asked.unwrap_or_else(|| rand::rng().random_range(longest / 2..=longest)))
    }
}

/// What `Retry-After` asks for: seconds, or a date.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number too long to parse is a long wait too.
        text.parse().map_or(MAX_RETRY_AFTER, Duration::from_secs)
    } else {
        httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or(Duration::ZERO)
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end() {
        let mut retries = Retries::default();
        for longest_ms in [500, 1000, 2000, 4000] {
            let wait = retries.next(None).unwrap().as_millis();
            assert!((longest_ms / 2..=longest_ms).contains(&wait), "{wait} of {longest_ms}");
        }
        assert_eq!(retries.next(None), None);
        let asked = Some(Duration::from_secs(7));
        assert_eq!(Retries::default().next(asked), asked);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_not_for_ever() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777); // Sun, 06 Nov 1994 08:49:37 GMT
        for (text, seconds) in [
            ("0", Some(0)),
            (" 20 ", Some(20)),
            ("301", Some(300)),
            ("99999999999999999999999", Some(300)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:48:37 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            assert_eq!(retry_after(&headers, now), seconds.map(Duration::from_secs), "{text:?}");
        }
    }
}
