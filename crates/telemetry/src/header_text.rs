//! The value of a configured header, which may be a secret.

use std::fmt;

use serde::de::{Deserializer, Error as _, IgnoredAny};
use serde::{Deserialize, Serialize, Serializer};
use zeroize::Zeroizing;

/// What is shown instead.
const REDACTED: &str = "[redacted]";

/// A header's value, which is an API key more often than not: it is never shown. `Debug` and `Serialize` give
/// `[redacted]`, an error about it does not quote it, and its memory is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct HeaderText(Zeroizing<String>);

impl HeaderText {
    /// Takes a text as a header's value.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself. What it goes into must not be shown either.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for HeaderText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for HeaderText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

impl<'de> Deserialize<'de> for HeaderText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// So that serde's own error, which quotes what it found, is not made.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            Text(String),
            Other(IgnoredAny),
        }
        match Given::deserialize(deserializer)? {
            Given::Text(text) => Ok(Self::new(text)),
            Given::Other(IgnoredAny) => Err(D::Error::custom("a header's value must be a string")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_shows_it() {
        let text: HeaderText = serde_json::from_str(r#""canary""#).unwrap();
        assert_eq!(text.expose(), "canary");
        assert_eq!(
            (format!("{text:?}"), serde_json::to_string(&text).unwrap()),
            (REDACTED.into(), format!("{REDACTED:?}"))
        );
        for wrong in [r#"["canary"]"#, r#"{"canary": "canary"}"#, "4711"] {
            let error = serde_json::from_str::<HeaderText>(wrong).unwrap_err().to_string();
            assert!(
                error.contains("must be a string") && !error.contains("canary") && !error.contains("4711"),
                "{error}"
            );
        }
    }
}
