//! The configuration without its secrets, for people and programs that look at a running relay.
//!
//! A sink's settings are shown by permission only: a setting that is not known to be harmless is not shown, so a new kind of
//! sink cannot give its secrets away.

use eventrelay_sinks::REDACTED;
use serde_json::{Map, Value};

use super::Config;

/// The settings of sinks whose texts say nothing secret. Names of variables and files that hold secrets are none themselves.
const HARMLESS: [&str; 16] = [
    "kind",
    "topic",
    "table",
    "stream",
    "bucket",
    "container",
    "region",
    "database",
    "exchange",
    "queue",
    "routing_key",
    "method",
    "format",
    "compression",
    "order",
    "mode",
];

/// All sections with every default. The headers of the export of traces hide themselves.
pub(crate) fn redacted(config: &Config) -> Value {
    let mut shown = serde_json::to_value(config).unwrap_or_default();
    if let Some(endpoint) = shown.pointer_mut("/telemetry/otlp_endpoint") {
        *endpoint = endpoint.as_str().map_or(Value::Null, |url| without_secrets(url).into());
    }
    if let Some(secret) = shown.pointer_mut("/compat/svix_jwt_secret").filter(|secret| !secret.is_null()) {
        hide(secret);
    }
    let subscriptions = shown.get_mut("subscriptions").and_then(Value::as_array_mut);
    for subscription in subscriptions.into_iter().flatten() {
        if let Some(sink) = subscription.get_mut("sink").and_then(Value::as_object_mut) {
            redact_settings(sink);
        }
    }
    shown
}

fn redact_settings(settings: &mut Map<String, Value>) {
    for (name, value) in settings {
        let names_a_place = name.ends_with("_env") || name.ends_with("_file");
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
            Value::String(text) if name == "url" => *text = without_secrets(text),
            Value::String(_) if names_a_place || HARMLESS.contains(&name.as_str()) => {}
            Value::Object(inner) => redact_settings(inner),
            Value::String(_) | Value::Array(_) => hide(value),
        }
    }
}

fn hide(value: &mut Value) {
    *value = REDACTED.into();
}

/// Scheme, host and port of a URL: a user, a password, a path and a query can each be a secret.
fn without_secrets(url: &str) -> String {
    let parsed = url.parse::<http::Uri>().ok();
    let parts = parsed.as_ref().and_then(|uri| Some((uri.scheme_str()?, uri.host()?, uri.port_u16())));
    match parts {
        Some((scheme, host, Some(port))) => format!("{scheme}://{host}:{port}/{REDACTED}"),
        Some((scheme, host, None)) => format!("{scheme}://{host}/{REDACTED}"),
        None => REDACTED.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_of_a_sink_is_shown_wherever_it_stands() {
        let config = Config::from_toml(
            r#"
            [telemetry]
            otlp_headers = { authorization = "canary" }
            [[subscriptions]]
            name = "orders"
            [subscriptions.sink]
            kind = "webhook"
            url = "https://hooks.example:8443/canary?token=canary"
            secrets = ["whsec_canarycanarycanarycanarycanarycanary"]
            headers = { authorization = "canary" }
            "#,
        )
        .unwrap();
        let shown = redacted(&config);
        assert!(!shown.to_string().contains("canary"), "{shown}");
        let sink = &shown["subscriptions"][0]["sink"];
        assert_eq!(sink["url"], "https://hooks.example:8443/[redacted]");
        assert_eq!((&sink["kind"], &sink["secrets"]), (&"webhook".into(), &REDACTED.into()));
        assert_eq!(shown["log"]["segment_bytes"], 128 << 20);
    }

    #[test]
    fn a_setting_that_nobody_knows_is_not_shown() {
        let mut settings = Map::from_iter([
            ("kind".to_owned(), "new".into()),
            ("passphrase".to_owned(), "canary".into()),
            ("hosts".to_owned(), serde_json::json!(["canary"])),
            ("tls".to_owned(), serde_json::json!({"pin": "canary", "enabled": true})),
        ]);
        redact_settings(&mut settings);
        let shown = Value::Object(settings);
        assert!(!shown.to_string().contains("canary"), "{shown}");
        assert_eq!((&shown["kind"], &shown["tls"]["enabled"]), (&"new".into(), &true.into()));
    }
}
