//! A place in the log, as people write it: `earliest`, `latest`, an offset, or a time.

use std::str::FromStr;

use serde_json::{Value, json};

/// A place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Earliest,
    Latest,
    Offset(u64),
    /// In RFC 3339, which the server reads.
    Time(String),
}

impl Place {
    /// As the API takes it.
    pub(crate) fn json(&self) -> Value {
        match self {
            Self::Earliest => json!("earliest"),
            Self::Latest => json!("latest"),
            Self::Offset(offset) => json!({"offset": offset}),
            Self::Time(time) => json!({"time": time}),
        }
    }
}

impl FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_like_a_time = || text.contains('T') && text.starts_with(|first: char| first.is_ascii_digit());
        match text {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            _ => match text.parse() {
                Ok(offset) => Ok(Self::Offset(offset)),
                Err(_) if is_like_a_time() => Ok(Self::Time(text.to_owned())),
                Err(_) => {
                    Err("expected `earliest`, `latest`, an offset, or a time such as 2026-01-31T12:00:00Z")
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_sent_as_the_api_takes_it() {
        let sent = |text: &str| text.parse::<Place>().map(|place| place.json());
        assert_eq!(sent("earliest"), Ok(json!("earliest")));
        assert_eq!(sent("1200"), Ok(json!({"offset": 1200})));
        assert_eq!(sent("2026-01-31T12:00:00Z"), Ok(json!({"time": "2026-01-31T12:00:00Z"})));
        for wrong in ["", "-1", "yesterday", "Tuesday", "2026-01-31"] {
            assert!(sent(wrong).is_err(), "{wrong}");
        }
    }
}
