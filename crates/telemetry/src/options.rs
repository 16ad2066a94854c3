//! What the export can be told, in one table.

use std::collections::BTreeMap;
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{PathAndQuery, Scheme, Uri};
use serde::{Deserialize, Serialize};

use crate::HeaderText;

/// Where traces go, below the endpoint.
const TRACES_PATH: &str = "/v1/traces";
/// More than any header takes that a collector asks for.
const MAX_HEADERS: usize = 32;
/// An hour.
const MAX_TIME_MS: u64 = 60 * 60 * 1000;
/// Keeps a batch well below what collectors take in one request (20 MiB by default).
const MAX_BATCH_SPANS: usize = 8192;
/// Keeps the queue within some gigabytes, were every span as large as can be.
const MAX_QUEUED_SPANS: usize = 1_000_000;
const MAX_SERVICE_NAME_BYTES: usize = 255;
/// Headers that the request itself decides about.
const OWN_HEADERS: [HeaderName; 9] = [
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::HOST,
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::TE,
    header::UPGRADE,
    header::EXPECT,
];

/// The `[telemetry]` section of the configuration. Unknown names are errors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryOptions {
    /// A collector's `http` or `https` URL, to which `/v1/traces` is added. None: nothing is exported.
    pub otlp_endpoint: Option<String>,
    /// More headers of each request, such as an API key. Their values are never shown.
    pub otlp_headers: BTreeMap<String, HeaderText>,
    /// How a request's body is compressed.
    pub otlp_compression: Compression,
    /// How long a request may take, from the connection to the end of the answer.
    pub otlp_timeout_ms: u64,
    /// How long a span waits at most for others to be exported with.
    pub export_interval_ms: u64,
    /// The most spans that wait to be exported; more are dropped.
    pub max_queued_spans: usize,
    /// The most spans of one request.
    pub max_batch_spans: usize,
    /// The resource attribute `service.name`.
    pub service_name: String,
}

impl Default for TelemetryOptions {
    fn default() -> Self {
        Self {
            otlp_endpoint: None,
            otlp_headers: BTreeMap::new(),
            otlp_compression: Compression::None,
            otlp_timeout_ms: 10_000,
            export_interval_ms: 1_000,
            max_queued_spans: 8192,
            max_batch_spans: 512,
            service_name: "eventrelay".to_owned(),
        }
    }
}

/// `telemetry.otlp_compression`: how a request's body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Not at all.
    None,
    /// With gzip, which every collector takes.
    Gzip,
}

/// An option that makes no sense. Shows no header's value, and nothing of the endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("telemetry.{name}: {why}")]
pub struct OptionsError {
    /// The option's name.
    pub name: &'static str,
    /// What is wrong with it.
    pub why: String,
}

impl OptionsError {
    fn new(name: &'static str, why: impl Into<String>) -> Self {
        Self { name, why: why.into() }
    }
}

impl TelemetryOptions {
    /// Checks that the options make sense.
    ///
    /// # Errors
    /// The first that does not.
    pub fn validate(&self) -> Result<(), OptionsError> {
        self.traces_url()?;
        self.headers()?;
        within("otlp_timeout_ms", self.otlp_timeout_ms, 1, MAX_TIME_MS)?;
        within("export_interval_ms", self.export_interval_ms, 1, MAX_TIME_MS)?;
        within("max_queued_spans", self.max_queued_spans as u64, 1, MAX_QUEUED_SPANS as u64)?;
        within("max_batch_spans", self.max_batch_spans as u64, 1, MAX_BATCH_SPANS as u64)?;
        if self.service_name.trim().is_empty() || self.service_name.len() > MAX_SERVICE_NAME_BYTES {
            let why = format!("must have 1 to {MAX_SERVICE_NAME_BYTES} bytes, and not only white space");
            return Err(OptionsError::new("service_name", why));
        }
        Ok(())
    }

    /// Where requests go; none when nothing is exported.
    pub(crate) fn traces_url(&self) -> Result<Option<Uri>, OptionsError> {
        let Some(endpoint) = &self.otlp_endpoint else { return Ok(None) };
        let refused = |why: &str| OptionsError::new("otlp_endpoint", why);
        let expected = "must be a URL such as http://127.0.0.1:4318";
        let mut parts = endpoint.parse::<Uri>().map_err(|_| refused(expected))?.into_parts();
        if parts.scheme != Some(Scheme::HTTP) && parts.scheme != Some(Scheme::HTTPS) {
            return Err(refused(expected));
        }
        match &parts.authority {
            Some(authority) if authority.as_str().contains('@') => {
                return Err(refused("must have no user and password; set telemetry.otlp_headers"));
            }
            // What follows the host must be a port.
            Some(authority)
                if !authority.host().is_empty()
                    && (authority.host() == authority.as_str() || authority.port().is_some()) => {}
            _ => return Err(refused(expected)),
        }
        let given = parts.path_and_query.take().unwrap_or_else(|| PathAndQuery::from_static("/"));
        if given.query().is_some() {
            return Err(refused("must have no query"));
        }
        let base = given.path().trim_end_matches('/');
        if base.ends_with(TRACES_PATH) {
            return Err(refused("must be without /v1/traces, which is added"));
        }
        parts.path_and_query = Some(format!("{base}{TRACES_PATH}").parse().map_err(|_| refused(expected))?);
        Uri::from_parts(parts).map(Some).map_err(|_| refused(expected))
    }

    /// The headers that every request has beside its own.
    pub(crate) fn headers(&self) -> Result<HeaderMap, OptionsError> {
        if self.otlp_headers.len() > MAX_HEADERS {
            return Err(OptionsError::new("otlp_headers", format!("must be at most {MAX_HEADERS}")));
        }
        let mut headers = HeaderMap::new();
        for (given, value) in &self.otlp_headers {
            let refused = |why: &str| OptionsError::new("otlp_headers", format!("{given:?} {why}"));
            let name: HeaderName = given.parse().map_err(|_| refused("is no header's name"))?;
            if OWN_HEADERS.contains(&name) {
                return Err(refused("cannot be set"));
            }
            let mut value = HeaderValue::from_str(value.expose())
                .map_err(|_| refused("has a value with characters that a header cannot have"))?;
            value.set_sensitive(true);
            if headers.insert(name, value).is_some() {
                return Err(refused("is given twice"));
            }
        }
        let user_agent = concat!("eventrelay/", env!("CARGO_PKG_VERSION"));
        headers.entry(header::USER_AGENT).or_insert(HeaderValue::from_static(user_agent));
        Ok(headers)
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.otlp_timeout_ms)
    }
}

fn within(name: &'static str, value: u64, least: u64, most: u64) -> Result<(), OptionsError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(OptionsError::new(name, format!("{value} is out of range: {least} to {most}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_endpoint(endpoint: &str) -> TelemetryOptions {
        TelemetryOptions { otlp_endpoint: Some(endpoint.to_owned()), ..TelemetryOptions::default() }
    }

    fn with_headers(headers: &[(&str, &str)]) -> TelemetryOptions {
        let headers =
            headers.iter().map(|(name, value)| ((*name).to_owned(), HeaderText::new((*value).to_owned())));
        TelemetryOptions { otlp_headers: headers.collect(), ..TelemetryOptions::default() }
    }

    #[test]
    fn traces_go_below_the_endpoint() {
        assert_eq!(TelemetryOptions::default().traces_url(), Ok(None));
        for (endpoint, url) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://[::1]:4318/", "http://[::1]:4318/v1/traces"),
            ("https://collector.example/otlp/", "https://collector.example/otlp/v1/traces"),
        ] {
            assert_eq!(with_endpoint(endpoint).traces_url().unwrap().unwrap(), url);
        }
    }

    #[test]
    fn an_endpoint_that_is_none_is_refused_and_not_quoted() {
        for wrong in [
            "",
            "canary",
            "canary:4318",
            "//canary/",
            "/canary",
            "ftp://canary/",
            "http://",
            "http://:4318/",
            "http://canary:99999999/",
            "http://can ary/",
            "http://user:canary@collector/",
            "http://collector/?key=canary",
            "http://canary/v1/traces",
        ] {
            let error = with_endpoint(wrong).validate().unwrap_err();
            assert_eq!(error.name, "otlp_endpoint", "{wrong}");
            assert!(!error.to_string().contains("canary"), "{error}");
        }
    }

    #[test]
    fn headers_are_taken_and_not_shown() {
        let options = with_headers(&[("Authorization", "Bearer canary"), ("x-scope", "team")]);
        let headers = options.headers().unwrap();
        assert_eq!(
            (&headers["authorization"], &headers["x-scope"]),
            (&"Bearer canary".parse().unwrap(), &"team".parse().unwrap())
        );
        assert!(headers["user-agent"].to_str().unwrap().starts_with("eventrelay/"));
        assert!(!format!("{options:?} {headers:?}").contains("canary"));
        for wrong in [
            &[("content-type", "canary")][..],
            &[("Host", "canary")],
            &[("x a", "canary")],
            &[("x-a", "canary\r\nx-b: c")],
            &[("x-a", "canary"), ("X-A", "canary")],
        ] {
            let error = with_headers(wrong).validate().unwrap_err();
            assert!(error.name == "otlp_headers" && !error.why.contains("canary"), "{error}");
        }
    }

    #[test]
    fn limits_have_their_ranges() {
        assert_eq!(TelemetryOptions::default().validate(), Ok(()));
        let default = TelemetryOptions::default;
        for (name, wrong) in [
            ("otlp_timeout_ms", TelemetryOptions { otlp_timeout_ms: 0, ..default() }),
            ("export_interval_ms", TelemetryOptions { export_interval_ms: MAX_TIME_MS + 1, ..default() }),
            ("max_queued_spans", TelemetryOptions { max_queued_spans: 0, ..default() }),
            ("max_batch_spans", TelemetryOptions { max_batch_spans: MAX_BATCH_SPANS + 1, ..default() }),
            ("service_name", TelemetryOptions { service_name: " ".to_owned(), ..default() }),
            ("service_name", TelemetryOptions { service_name: "s".repeat(256), ..default() }),
        ] {
            assert_eq!(wrong.validate().unwrap_err().name, name);
        }
    }
}
