//! A sink's settings as people may see them, and what they send back without having seen the secrets.
//!
//! Every field whose type is [`Secret`](crate::Secret) is shown as [`REDACTED`]. Where such a value comes back in a changed
//! declaration, it stands for the one that is stored.

use serde_json::{Map, Value};

/// Stands for a secret.
pub const REDACTED: &str = "[redacted]";

/// The fields of all kinds that hold secrets, wherever they stand in the settings; URLs are told apart below.
const SECRET_FIELDS: &[&str] = &[
    "access_key",
    "access_key_id",
    "bearer_token",
    "check_path",
    "client_secret",
    "credentials",
    "headers",
    "nkey_seed",
    "parameters",
    "password",
    "sas_token",
    "secret",
    "secret_access_key",
    "secrets",
    "sentinel_password",
    "service_account_key",
    "session_token",
    "token",
];

/// URLs whose paths and queries may carry tokens.
const URL_FIELDS: &[&str] = &["url", "token_url"];

/// How much of URLs is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlView {
    /// All of them: to who may change them.
    Whole,
    /// Scheme, host and port.
    Origin,
}

/// Settings without their secrets.
#[must_use]
pub fn redacted(settings: &Map<String, Value>, urls: UrlView) -> Map<String, Value> {
    let shown = |(name, value): (&String, &Value)| {
        let shown = if SECRET_FIELDS.contains(&name.as_str()) {
            hidden(value)
        } else if URL_FIELDS.contains(&name.as_str()) && urls == UrlView::Origin {
            origin(value)
        } else {
            within(value, urls)
        };
        (name.clone(), shown)
    };
    settings.iter().map(shown).collect()
}

/// Puts what is stored where a secret came back as it was shown.
pub fn restore(settings: &mut Map<String, Value>, stored: &Map<String, Value>) {
    for (name, value) in settings {
        if let Some(known) = stored.get(name) {
            restore_value(value, known);
        }
    }
}

fn restore_value(value: &mut Value, known: &Value) {
    match (value, known) {
        (value @ Value::String(_), known) if *value == REDACTED => *value = known.clone(),
        (Value::Object(members), Value::Object(known)) => restore(members, known),
        (Value::Array(items), Value::Array(known)) => {
            items.iter_mut().zip(known).for_each(|(item, known)| restore_value(item, known));
        }
        _ => {}
    }
}

fn within(value: &Value, urls: UrlView) -> Value {
    match value {
        Value::Object(members) => Value::Object(redacted(members, urls)),
        Value::Array(items) => items.iter().map(|item| within(item, urls)).collect(),
        Value::String(text) => Value::String(without_user(text)),
        other => other.clone(),
    }
}

/// The shape stays, so that names of headers and the number of secrets are seen.
fn hidden(value: &Value) -> Value {
    match value {
        Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), hidden(value))).collect(),
        Value::Array(items) => items.iter().map(hidden).collect(),
        Value::Null => Value::Null,
        Value::String(_) | Value::Number(_) | Value::Bool(_) => REDACTED.into(),
    }
}

fn origin(value: &Value) -> Value {
    let url = value.as_str().and_then(|text| url::Url::parse(text).ok());
    match url {
        Some(url) if url.host_str().is_some() => format!("{}/…", url.origin().ascii_serialization()).into(),
        _ => REDACTED.into(),
    }
}

/// Passwords do not belong in URLs; where one is, it is not shown.
fn without_user(text: &str) -> String {
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, rest)), Some((_, host)))
            if rest.split('/').next().is_some_and(|part| part.contains('@')) =>
        {
            format!("{scheme}://{REDACTED}@{host}")
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn every_field_that_is_a_secret_is_known() {
        let sources = [
            include_str!("webhook/settings.rs"),
            include_str!("http/settings.rs"),
            include_str!("kafka/settings.rs"),
            include_str!("nats/settings.rs"),
            include_str!("object_store/settings.rs"),
            include_str!("postgres/settings.rs"),
            include_str!("rabbitmq/settings.rs"),
            include_str!("redis/settings.rs"),
        ];
        let mut seen = 0;
        for line in sources.iter().flat_map(|source| source.lines()) {
            let Some((name, kind)) = line.trim().strip_prefix("pub ").and_then(|rest| rest.split_once(": "))
            else {
                continue;
            };
            let is_secret = ["Secret,", "<Secret>", " Secret>"].iter().any(|part| kind.contains(part));
            if is_secret {
                seen += 1;
                assert!(SECRET_FIELDS.contains(&name) || URL_FIELDS.contains(&name), "`{name}` is a secret");
            }
        }
        assert!(seen > 20, "the sources are read: {seen}");
    }

    #[test]
    fn secrets_are_hidden_wherever_they_stand_and_come_back_as_they_were() {
        let stored = map(&json!({
            "url": "https://example.com/canary?canary", "secrets": ["whsec_canary"],
            "headers": {"authorization": "canary"}, "expiring_secrets": [{"secret": "canary", "expires_at_seconds": 7}],
            "s3": {"bucket": "b", "secret_access_key": "canary"}, "servers": ["redis://u:canary@host:6379"], "timeout_ms": 5,
        }));
        let shown = Value::Object(redacted(&stored, UrlView::Origin));
        assert!(!shown.to_string().contains("canary"), "{shown}");
        assert_eq!(shown["url"], "https://example.com/…");
        assert_eq!(shown["headers"], json!({"authorization": REDACTED}));
        assert_eq!(shown["expiring_secrets"][0]["expires_at_seconds"], 7);
        assert_eq!((&shown["s3"]["bucket"], &shown["timeout_ms"]), (&json!("b"), &json!(5)));

        let mut returned = redacted(&stored, UrlView::Whole);
        returned.remove("servers");
        returned.insert("timeout_ms".to_owned(), json!(9));
        restore(&mut returned, &stored);
        let mut expected = stored;
        expected.remove("servers");
        expected.insert("timeout_ms".to_owned(), json!(9));
        assert_eq!(returned, expected);
    }
}
