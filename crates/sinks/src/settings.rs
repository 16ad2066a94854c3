//! How a sink's settings are read: strictly, with errors that name the field and quote no value.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::SinkError;

/// Reads one kind's settings. An unknown field is an error; so is a value of the wrong type.
pub(crate) fn parse<T: DeserializeOwned>(kind: &'static str, settings: &Value) -> Result<T, SinkError> {
    serde_path_to_error::deserialize(settings).map_err(|error| SinkError::Setting {
        kind,
        field: error.path().to_string(),
        why: without_quoted_value(&error.inner().to_string()),
    })
}

/// `serde` quotes a text that it did not expect, and a misplaced text may be a secret.
fn without_quoted_value(message: &str) -> String {
    for (before, after, instead) in
        [("string \"", "\", expected", "a string"), ("variant `", "`, expected", "variant")]
    {
        let Some(start) = message.find(before) else { continue };
        // Of a text that itself reads like the end of the quote, nothing must be left.
        let expected = message[start..].rfind(after).map_or("", |end| &message[start + end + 1..]);
        return format!("{}{instead}{expected}", &message[..start]);
    }
    message.to_owned()
}

/// The error of one field of one kind.
pub(crate) fn refused(kind: &'static str, field: impl Into<String>, why: impl Into<String>) -> SinkError {
    SinkError::Setting { kind, field: field.into(), why: why.into() }
}

/// Refuses a number outside its limits, naming the field.
pub(crate) fn within<T: PartialOrd + std::fmt::Display>(
    kind: &'static str,
    field: &str,
    value: &T,
    limits: std::ops::RangeInclusive<T>,
) -> Result<(), SinkError> {
    if limits.contains(value) {
        return Ok(());
    }
    Err(refused(kind, field, format!("{value} is not from {} to {}", limits.start(), limits.end())))
}

/// What settings are that several kinds have alike, where they are not set.
pub(crate) mod defaults {
    pub(crate) fn timeout_ms() -> u64 {
        15_000
    }

    pub(crate) fn connect_timeout_ms() -> u64 {
        5_000
    }

    pub(crate) fn batch_events() -> usize {
        1000
    }

    pub(crate) fn batch_bytes() -> usize {
        4 * 1024 * 1024
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Example {
        #[serde(default)]
        limits: BTreeMap<String, u32>,
        #[serde(default)]
        words: Vec<String>,
        choice: Option<Choice>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Choice {
        Left,
        Right,
    }

    #[test]
    fn an_error_names_the_field_and_quotes_no_value() {
        let error = parse::<Example>("example", &json!({"limits": {"a": "canary\", expected"}})).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("`limits.a`") && text.contains("expected u32"), "{text}");
        assert!(!text.contains("canary"), "{text}");
        let text = parse::<Example>("example", &json!({"choice": "canary"})).unwrap_err().to_string();
        assert!(text.ends_with("`choice`: unknown variant, expected `left` or `right`"), "{text}");
        let text = parse::<Example>("example", &json!({"words": "canary"})).unwrap_err().to_string();
        assert!(text.contains("`words`") && !text.contains("canary"), "{text}");
    }

    #[test]
    fn an_unknown_field_is_an_error_that_lists_the_known() {
        let text = parse::<Example>("example", &json!({"word": []})).unwrap_err().to_string();
        assert!(text.contains("unknown field `word`") && text.contains("`words`"), "{text}");
    }

    #[test]
    fn a_number_outside_its_limits_names_both() {
        let text = within("example", "n", &11, 1..=10).unwrap_err().to_string();
        assert!(text.contains("`n`") && text.contains("11 is not from 1 to 10"), "{text}");
    }
}
