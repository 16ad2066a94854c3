//! What an HTTP subscription may set, with limits and defaults.

use std::collections::BTreeMap;
use std::path::PathBuf;

use http::Method;
use serde::Deserialize;

use super::statuses::StatusList;
use crate::http_client::Http2;
use crate::{Secret, SinkError, TlsFiles, settings};

/// The kind's name.
pub const KIND: &str = "http";

const MAX_TIMEOUT_MS: u64 = 120_000;
const MAX_RESPONSE_BYTES: usize = 64 * 1024;
const MAX_IDLE_CONNECTIONS: usize = 4096;
const MAX_BATCH_EVENTS: usize = 10_000;
const MAX_BATCH_BYTES: usize = 16 * 1024 * 1024;

/// The settings of an HTTP sink. Nothing in it that may be secret is shown by `Debug`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where requests go: `http` or `https`, without user, password or fragment. Path and query may hold fields of the
    /// event in braces (see the template module); their values are percent-encoded. It is treated as a secret.
    pub url: Secret,
    /// The method: any but `CONNECT`. Default `POST`.
    #[serde(default = "default_method")]
    pub method: String,
    /// More request headers; values may hold fields of the event in braces. They are treated as secrets. At most 32, 16 KiB
    /// together.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// What a request's body holds. Default `event`; `none` for `GET` and `HEAD`, which can have no other.
    pub body: Option<BodyFormat>,
    /// How events share a request. Default `none`: each has its own.
    #[serde(default)]
    pub batch: Batching,
    /// How many events share a request: 1 to 10,000. Default 100.
    #[serde(default = "default_batch_events")]
    pub batch_events: usize,
    /// How many bytes of stored events share a request: 1 to 16 MiB; one larger event goes alone. Default 1 MiB.
    #[serde(default = "default_batch_bytes")]
    pub batch_bytes: usize,
    /// User and password, sent as `authorization: Basic …`.
    pub basic: Option<Basic>,
    /// A token, sent as `authorization: Bearer …`.
    pub bearer_token: Option<Secret>,
    /// A file with that token; only in trusted settings.
    pub bearer_token_file: Option<PathBuf>,
    /// An environment variable with that token; only in trusted settings.
    pub bearer_token_env: Option<String>,
    /// Where tokens are fetched, and as whom.
    pub oauth2: Option<OAuth2>,
    /// Statuses that mean success, beside 2xx.
    #[serde(default)]
    pub success_statuses: StatusList,
    /// Statuses that are tried again, beside those that are by default.
    #[serde(default)]
    pub retry_statuses: StatusList,
    /// Statuses that give an event up, beside those that do by default.
    #[serde(default)]
    pub reject_statuses: StatusList,
    /// A path, with a query if need be, that `check` asks for with `GET`.
    pub check_path: Option<Secret>,
    /// How long a request may take, from name look-up to the end of the response, a token for it included: 1 to
    /// 120,000 ms. Default 15,000.
    #[serde(default = "settings::defaults::timeout_ms")]
    pub timeout_ms: u64,
    /// How long look-up, connection and TLS handshake may take of that: 1 to 120,000 ms. Default 5,000.
    #[serde(default = "settings::defaults::connect_timeout_ms")]
    pub connect_timeout_ms: u64,
    /// How much of a response's head and body is kept with the attempt: up to 65,536 bytes. Default 1,024.
    #[serde(default = "default_response_bytes")]
    pub response_bytes: usize,
    /// Which HTTP version to speak. Default `auto`.
    #[serde(default)]
    pub http2: Http2,
    /// Idle HTTP/1.1 connections kept for the next requests: up to 4,096. Default 64.
    #[serde(default = "default_max_idle_connections")]
    pub max_idle_connections: usize,
    /// Whom to believe and who we are, over TLS; for the token's server too.
    #[serde(default)]
    pub tls: TlsFiles,
}

/// What a request's body holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BodyFormat {
    /// The event as the API shows it.
    Event,
    /// CloudEvents 1.0, structured JSON.
    Cloudevents,
    /// CloudEvents 1.0, binary: the data as it came, the attributes as `ce-` headers.
    CloudeventsBinary,
    /// The event's data as it came, with its own content type.
    Data,
    /// Nothing.
    None,
}

/// How events share a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Batching {
    /// Not at all.
    #[default]
    None,
    /// As a JSON array.
    JsonArray,
    /// As lines of JSON.
    Ndjson,
}

/// A user and a password.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Basic {
    /// The user; without a colon.
    pub username: String,
    /// The password.
    pub password: Option<Secret>,
    /// A file with it; only in trusted settings.
    pub password_file: Option<PathBuf>,
    /// An environment variable with it; only in trusted settings.
    pub password_env: Option<String>,
}

/// OAuth 2.0 client credentials (RFC 6749, section 4.4).
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OAuth2 {
    /// Where tokens are fetched: `http` or `https`.
    pub token_url: Secret,
    /// The client's name.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: Option<Secret>,
    /// A file with it; only in trusted settings.
    pub client_secret_file: Option<PathBuf>,
    /// An environment variable with it; only in trusted settings.
    pub client_secret_env: Option<String>,
    /// What is asked for, separated by blanks.
    pub scope: Option<String>,
    /// More parameters of the request, e.g. `audience`. At most 16.
    #[serde(default)]
    pub parameters: BTreeMap<String, Secret>,
    /// How the client shows who it is. Default `basic`.
    #[serde(default)]
    pub client_authentication: ClientAuthentication,
}

/// How a client shows the token's server who it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuthentication {
    /// By `authorization: Basic …`, as every server must be able to.
    #[default]
    Basic,
    /// By `client_id` and `client_secret` in the body.
    Body,
}

impl Settings {
    /// Refuses numbers outside their limits and combinations that mean nothing.
    pub(super) fn check(&self) -> Result<(), SinkError> {
        settings::within(KIND, "timeout_ms", &self.timeout_ms, 1..=MAX_TIMEOUT_MS)?;
        settings::within(KIND, "connect_timeout_ms", &self.connect_timeout_ms, 1..=MAX_TIMEOUT_MS)?;
        settings::within(KIND, "response_bytes", &self.response_bytes, 0..=MAX_RESPONSE_BYTES)?;
        settings::within(KIND, "max_idle_connections", &self.max_idle_connections, 0..=MAX_IDLE_CONNECTIONS)?;
        settings::within(KIND, "batch_events", &self.batch_events, 1..=MAX_BATCH_EVENTS)?;
        settings::within(KIND, "batch_bytes", &self.batch_bytes, 1..=MAX_BATCH_BYTES)?;
        let body = self.body_format()?;
        if self.batch != Batching::None && matches!(body, BodyFormat::CloudeventsBinary | BodyFormat::None) {
            let why = "only bodies of the kind `event`, `cloudevents` and `data` can be shared";
            return Err(settings::refused(KIND, "batch", why));
        }
        Ok(())
    }

    /// The method.
    pub(super) fn method(&self) -> Result<Method, SinkError> {
        let method = Method::from_bytes(self.method.as_bytes())
            .map_err(|_| settings::refused(KIND, "method", "not a method's name"))?;
        if method == Method::CONNECT {
            return Err(settings::refused(KIND, "method", "CONNECT asks for a tunnel, not for a resource"));
        }
        Ok(method)
    }

    /// What bodies hold, where the method leaves a choice.
    pub(super) fn body_format(&self) -> Result<BodyFormat, SinkError> {
        let method = self.method()?;
        if !matches!(method, Method::GET | Method::HEAD) {
            return Ok(self.body.unwrap_or(BodyFormat::Event));
        }
        match self.body {
            None | Some(BodyFormat::None) => Ok(BodyFormat::None),
            Some(_) => {
                let why = format!("a {method} request has no body: only `none` goes with it");
                Err(settings::refused(KIND, "body", why))
            }
        }
    }
}

fn default_method() -> String {
    "POST".to_owned()
}

fn default_batch_events() -> usize {
    100
}

fn default_batch_bytes() -> usize {
    1024 * 1024
}

fn default_response_bytes() -> usize {
    1024
}

fn default_max_idle_connections() -> usize {
    64
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
        assert_eq!((settings.response_bytes, settings.max_idle_connections), (1024, 64));
        assert_eq!((settings.batch_events, settings.batch_bytes), (100, 1024 * 1024));
        assert_eq!(settings.body_format().unwrap(), BodyFormat::Event);
        assert_eq!((settings.method().unwrap(), settings.batch), (Method::POST, Batching::None));
        let get = check(&json!({"method": "GET"})).unwrap();
        assert_eq!(get.body_format().unwrap(), BodyFormat::None);
    }

    #[test]
    fn an_error_names_the_field() {
        for (extra, field) in [
            (json!({"timeout_ms": 0}), "timeout_ms"),
            (json!({"connect_timeout_ms": 120_001}), "connect_timeout_ms"),
            (json!({"response_bytes": 65_537}), "response_bytes"),
            (json!({"max_idle_connections": 4097}), "max_idle_connections"),
            (json!({"batch_events": 0}), "batch_events"),
            (json!({"batch_bytes": 16 * 1024 * 1024 + 1}), "batch_bytes"),
            (json!({"method": "SAY HELLO"}), "method"),
            (json!({"method": "CONNECT"}), "method"),
            (json!({"method": "GET", "body": "event"}), "body"),
            (json!({"body": "xml"}), "body"),
            (json!({"body": "cloudevents_binary", "batch": "ndjson"}), "batch"),
            (json!({"method": "HEAD", "batch": "ndjson"}), "batch"),
            (json!({"basic": {"user": "u"}}), "basic.user"),
            (json!({"oauth2": {"token_url": 1}}), "oauth2.token_url"),
            (json!({"retry_statuses": [99]}), "retry_statuses[0]"),
        ] {
            let error = check(&extra).unwrap_err();
            assert!(error.contains(&format!("`{field}`")), "{extra}: {error}");
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        let settings = check(&json!({
            "url": "https://example.com/canary?canary",
            "headers": {"x-key": "canary"},
            "check_path": "/canary",
            "bearer_token": "canary",
            "basic": {"username": "u", "password": "canary"},
            "oauth2": {
                "token_url": "https://example.com/canary",
                "client_id": "c",
                "client_secret": "canary",
                "parameters": {"assertion": "canary"},
            },
        }))
        .unwrap();
        let shown = format!("{settings:?}{settings:#?}");
        assert!(shown.contains("x-key") && !shown.contains("canary"), "{shown}");
    }
}
