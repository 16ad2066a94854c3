//! One request to the collector and its answer: OTLP/HTTP 1.x, binary protobuf.
//!
//! | answer | |
//! |---|---|
//! | `2xx` | taken, but for the spans that a partial success rejects |
//! | `429`, `502`, `503`, `504`, none, or not in time | to be tried again, after `Retry-After` where there is one |
//! | any other, redirects included | refused for good |

use std::error::Error;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::uri::Authority;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use prost::Message;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};

use crate::proto::collector::ExportTraceServiceResponse;
use crate::retry::retry_after;
use crate::{Compression, OptionsError, TelemetryOptions};

/// The largest answer that is read.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// A connection is kept for the next request; not for longer than what is between us and the collector may forget it.
const MAX_IDLE: Duration = Duration::from_secs(30);
/// How much of the collector's words is told.
const MAX_WORDS_CHARS: usize = 256;

/// Sends requests to one collector.
pub(crate) struct Collector {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: Uri,
    headers: HeaderMap,
    compression: Compression,
    timeout: Duration,
}

/// A request that was taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Spans that were not.
    pub(crate) rejected: usize,
    /// What the collector has to say about that.
    pub(crate) words: String,
}

/// A request that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportError {
    #[error("the collector gave no answer: {why}")]
    NoAnswer { why: String },
    #[error("the collector did not answer within {} ms", limit.as_millis())]
    TimedOut { limit: Duration },
    #[error("the collector answered {status}")]
    Status { status: StatusCode, retry_after: Option<Duration> },
    #[error("the request cannot be written: {0}")]
    Unwritable(#[from] http::Error),
}

impl ExportError {
    /// Whether the same request may succeed later.
    pub(crate) fn is_temporary(&self) -> bool {
        match self {
            Self::NoAnswer { .. } | Self::TimedOut { .. } => true,
            Self::Status { status, .. } => matches!(status.as_u16(), 429 | 502 | 503 | 504),
            Self::Unwritable(_) => false,
        }
    }

    /// How long the collector has asked us to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl Collector {
    /// The collector that the options name, if any. Connects to nothing yet.
    pub(crate) fn new(options: &TelemetryOptions) -> Result<Option<Self>, OptionsError> {
        let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
        Self::believing(options, roots)
    }

    /// The same with the authorities whose certificates are believed.
    pub(crate) fn believing(
        options: &TelemetryOptions,
        roots: RootCertStore,
    ) -> Result<Option<Self>, OptionsError> {
        let Some(url) = options.traces_url()? else { return Ok(None) };
        // Named here, so that it does not depend on what else is linked into the process.
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| OptionsError {
                name: "otlp_endpoint",
                why: format!("TLS cannot be set up: {error}"),
            })?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(MAX_IDLE)
            .pool_max_idle_per_host(1)
            .build(connector);
        let mut headers = options.headers()?;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        if options.otlp_compression == Compression::Gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let (compression, timeout) = (options.otlp_compression, options.timeout());
        Ok(Some(Self { client, url, headers, compression, timeout }))
    }

    /// Where requests go: host and port, for a path may hold a secret.
    pub(crate) fn shown(&self) -> &str {
        self.url.authority().map_or("", Authority::as_str)
    }

    /// How bodies are compressed.
    pub(crate) fn compression(&self) -> Compression {
        self.compression
    }

    /// Sends one request. `body` is compressed already.
    ///
    /// # Errors
    /// When it was not taken.
    pub(crate) async fn send(&self, body: Bytes) -> Result<Taken, ExportError> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.clone();
        *request.headers_mut() = self.headers.clone();
        match tokio::time::timeout(self.timeout, self.exchange(request)).await {
            Ok(answered) => answered,
            Err(_elapsed) => Err(ExportError::TimedOut { limit: self.timeout }),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Taken, ExportError> {
        let no_answer = |error: &(dyn Error + 'static)| ExportError::NoAnswer { why: chain(error) };
        let answer = self.client.request(request).await.map_err(|error| no_answer(&error))?;
        let (parts, body) = answer.into_parts();
        if !parts.status.is_success() {
            let retry_after = retry_after(&parts.headers, SystemTime::now());
            return Err(ExportError::Status { status: parts.status, retry_after });
        }
        let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| no_answer(&*error))?.to_bytes();
        Ok(taken(&body))
    }
}

/// What a collector's answer says. One that is no protobuf (a proxy's, say) has no objection.
fn taken(body: &[u8]) -> Taken {
    let answer = ExportTraceServiceResponse::decode(body).unwrap_or_default();
    let partial = answer.partial_success.unwrap_or_default();
    Taken {
        rejected: usize::try_from(partial.rejected_spans).unwrap_or_default(),
        words: partial.error_message.chars().take(MAX_WORDS_CHARS).collect(),
    }
}

/// Compresses a body, which takes milliseconds: not for the runtime's threads.
pub(crate) fn compress(body: Vec<u8>, compression: Compression) -> std::io::Result<Bytes> {
    match compression {
        Compression::None => Ok(body.into()),
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), flate2::Compression::fast());
            encoder.write_all(&body)?;
            encoder.finish().map(Bytes::from)
        }
    }
}

/// An error with its causes.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
