//! How long a call may take: what the client asks for in `grpc-timeout`, and never longer than the server's own limit.
//!
//! The header is one to eight digits and a unit: `H`, `M`, `S`, `m`, `u` or `n`. What is not that is ignored, as the
//! protocol's other implementations do.

use std::time::Duration;

use http::HeaderMap;

/// The call's limit.
pub(crate) fn of(headers: &HeaderMap, longest_ms: u64) -> Duration {
    let longest = Duration::from_millis(longest_ms);
    let asked = headers.get("grpc-timeout").and_then(|value| parse(value.to_str().ok()?));
    asked.map_or(longest, |asked| asked.min(longest))
}

fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let legal = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let count: u64 = digits.parse().ok().filter(|_| legal)?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_can_ask_for_less_but_not_for_more() {
        let limit = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", http::HeaderValue::from_static(value));
            of(&headers, 60_000).as_nanos()
        };
        for (value, nanos) in [("2S", 2_000_000_000), ("3m", 3_000_000), ("4u", 4_000), ("5n", 5)] {
            assert_eq!(limit(value), nanos, "{value}");
        }
        for value in ["1H", "99999999H", "2M", "", "S", "123456789n", "-1S", "1s", "1.5S"] {
            assert_eq!(limit(value), 60_000_000_000, "{value}");
        }
    }
}
