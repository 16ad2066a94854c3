//! What a webhook subscription may set, with limits and defaults.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use crate::http_client::Http2;
use crate::{Secret, SinkError, settings};

/// The kind's name.
pub const KIND: &str = "webhook";

/// The settings of a webhook. Nothing in it that may be secret is shown by `Debug`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where to POST: `http` or `https`, without user, password or fragment. Paths and queries carry tokens,
    /// so it is treated as a secret.
    pub url: Secret,
    /// The signing secrets, `whsec_…` or `whsk_…`; all of them sign. At most 16.
    #[serde(default)]
    pub secrets: Vec<Secret>,
    /// Secrets that sign until a time, after which they do nothing: what a rotation leaves of the old ones. At most 16 with the
    /// others.
    #[serde(default)]
    pub expiring_secrets: Vec<ExpiringSecret>,
    /// A file with more secrets, one a line. Read when the sink is made; only in trusted settings.
    pub secrets_file: Option<PathBuf>,
    /// An environment variable with more secrets, separated by white space; only in trusted settings.
    pub secrets_env: Option<String>,
    /// Deliver without a signature. Without it a webhook without secrets is refused.
    #[serde(default)]
    pub unsigned: bool,
    /// What the request's body holds. Default `standard`.
    #[serde(default)]
    pub body: BodyFormat,
    /// How the event's id is written in `webhook-id`. Default `event`.
    #[serde(default)]
    pub id_format: IdFormat,
    /// Send id, timestamp and signature as `svix-id`, `svix-timestamp` and `svix-signature` too, for receivers that look for
    /// those.
    #[serde(default)]
    pub svix_headers: bool,
    /// How long an attempt may take from name look-up to the end of the response: 1 to 120,000 ms. Default
    /// 15,000.
    #[serde(default = "settings::defaults::timeout_ms")]
    pub timeout_ms: u64,
    /// How long look-up, connection and TLS handshake may take of that: 1 to 120,000 ms. Default 5,000.
    #[serde(default = "settings::defaults::connect_timeout_ms")]
    pub connect_timeout_ms: u64,
    /// How much of a response's body is kept with the attempt: up to 65,536 bytes. Default 4,096.
    #[serde(default = "default_response_body_bytes")]
    pub response_body_bytes: usize,
    /// More request headers, e.g. `authorization`. Their values are treated as secrets. At most 32, 16 KiB
    /// together.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Which HTTP version to speak. Default `auto`.
    #[serde(default)]
    pub http2: Http2,
    /// Idle HTTP/1.1 connections kept for the next deliveries: up to 4,096. Default 256; below the
    /// subscription's concurrency every burst makes new connections.
    #[serde(default = "default_max_idle_connections")]
    pub max_idle_connections: usize,
    /// A PEM file of the certificate authorities to believe instead of the public ones; only in trusted
    /// settings.
    pub ca_file: Option<PathBuf>,
    /// A PEM file with the client's certificate chain; only in trusted settings.
    pub client_certificate_file: Option<PathBuf>,
    /// A PEM file with that certificate's private key; only in trusted settings.
    pub client_key_file: Option<PathBuf>,
    /// Believe any certificate of the receiver. For tests only: it is warned about at each start.
    #[serde(default)]
    pub insecure_skip_verify: bool,
}

/// A secret that signs until a time.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpiringSecret {
    /// As one of `secrets`.
    pub secret: Secret,
    /// Until then, in Unix seconds.
    pub expires_at_seconds: u64,
}

/// How an event's id is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdFormat {
    /// As everywhere else.
    #[default]
    Event,
    /// As Svix writes ids of messages: `msg_…`.
    Svix,
}

/// What a request's body holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BodyFormat {
    /// Standard Webhooks: `{"type", "timestamp", "data"}`.
    #[default]
    Standard,
    /// CloudEvents 1.0, structured JSON.
    Cloudevents,
    /// The event's data as it came, with its own content type.
    Data,
}

const MAX_TIMEOUT_MS: u64 = 120_000;
const MAX_RESPONSE_BODY_BYTES: usize = 64 * 1024;
const MAX_IDLE_CONNECTIONS: usize = 4096;

impl Settings {
    /// Refuses numbers outside their limits and combinations that mean nothing.
    pub(super) fn check(&self) -> Result<(), SinkError> {
        settings::within(KIND, "timeout_ms", &self.timeout_ms, 1..=MAX_TIMEOUT_MS)?;
        settings::within(KIND, "connect_timeout_ms", &self.connect_timeout_ms, 1..=MAX_TIMEOUT_MS)?;
        settings::within(
            KIND,
            "response_body_bytes",
            &self.response_body_bytes,
            0..=MAX_RESPONSE_BODY_BYTES,
        )?;
        settings::within(KIND, "max_idle_connections", &self.max_idle_connections, 0..=MAX_IDLE_CONNECTIONS)?;
        let named = [
            ("secrets_file", self.secrets_file.is_some()),
            ("secrets_env", self.secrets_env.is_some()),
            ("secrets", !self.secrets.is_empty()),
            ("expiring_secrets", !self.expiring_secrets.is_empty()),
        ];
        if self.unsigned
            && let Some((field, _)) = named.iter().find(|(_, given)| *given)
        {
            return Err(settings::refused(KIND, "unsigned", format!("cannot be true beside `{field}`")));
        }
        if self.client_certificate_file.is_some() != self.client_key_file.is_some() {
            let why = "client_certificate_file and client_key_file go together";
            return Err(settings::refused(KIND, "client_certificate_file", why));
        }
        Ok(())
    }

    /// The fields in use that mean something over TLS only.
    pub(super) fn tls_fields(&self) -> impl Iterator<Item = &'static str> {
        let fields = [
            ("ca_file", self.ca_file.is_some()),
            ("client_certificate_file", self.client_certificate_file.is_some()),
            ("insecure_skip_verify", self.insecure_skip_verify),
        ];
        fields.into_iter().filter(|(_, given)| *given).map(|(field, _)| field)
    }

    /// The fields in use that reach into this machine, which only an operator may let them.
    pub(super) fn machine_fields(&self) -> impl Iterator<Item = &'static str> {
        let fields = [
            ("secrets_file", self.secrets_file.is_some()),
            ("secrets_env", self.secrets_env.is_some()),
            ("ca_file", self.ca_file.is_some()),
            ("client_certificate_file", self.client_certificate_file.is_some()),
            ("client_key_file", self.client_key_file.is_some()),
        ];
        fields.into_iter().filter(|(_, given)| *given).map(|(field, _)| field)
    }
}

fn default_response_body_bytes() -> usize {
    4096
}

fn default_max_idle_connections() -> usize {
    256
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(extra: &Value) -> Result<Settings, String> {
        let mut value = json!({"url": "https://example.com/"});
        value.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let settings: Settings = settings::parse(KIND, &value).map_err(|error| error.to_string())?;
        settings.check().map_err(|error| error.to_string())?;
        Ok(settings)
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let settings = check(&json!({})).unwrap();
        assert_eq!((settings.timeout_ms, settings.connect_timeout_ms), (15_000, 5_000));
        assert_eq!((settings.response_body_bytes, settings.max_idle_connections), (4096, 256));
        assert_eq!((settings.body, settings.http2), (BodyFormat::Standard, Http2::Auto));
        assert!(!settings.unsigned && !settings.insecure_skip_verify);
    }

    #[test]
    fn an_error_names_the_field() {
        for (extra, field) in [
            (json!({"timeout_ms": 0}), "timeout_ms"),
            (json!({"timeout_ms": 120_001}), "timeout_ms"),
            (json!({"connect_timeout_ms": "5s"}), "connect_timeout_ms"),
            (json!({"response_body_bytes": 65_537}), "response_body_bytes"),
            (json!({"max_idle_connections": 4097}), "max_idle_connections"),
            (json!({"body": "xml"}), "body"),
            (json!({"http2": true}), "http2"),
            (json!({"secrets": ["whsec_", 1]}), "secrets[1]"),
            (json!({"headers": {"a": 1}}), "headers.a"),
            (json!({"secret": "x"}), "secret"),
            (json!({"unsigned": true, "secrets": ["x"]}), "unsigned"),
            (json!({"client_key_file": "key.pem"}), "client_certificate_file"),
        ] {
            let error = check(&extra).unwrap_err();
            assert!(error.contains(&format!("`{field}`")), "{extra}: {error}");
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        let settings = check(&json!({
            "url": "https://example.com/canary?canary",
            "secrets": ["whsec_canary"],
            "headers": {"authorization": "Bearer canary"},
        }))
        .unwrap();
        let shown = format!("{settings:?}{settings:#?}");
        assert!(shown.contains("authorization") && !shown.contains("canary"), "{shown}");
    }
}
