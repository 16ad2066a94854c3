//! A small HTTP/1 client for the commands that talk to a server, in the clear or over TLS.
//!
//! It tells apart what matters to a publisher: that the server was never reached (nothing can have been accepted),
//! and that it was reached but gave no answer (anything may have been accepted). [`Api`] is what commands use that ask for
//! anything but events.

mod api;
mod tls;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;

pub(crate) use api::{Api, Page, parse, segment};

use crate::arguments::ServerAddress;
use crate::exit::{Exit, Failure};
use tls::Distrust;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a whole answer may take; longer than any wait of the server's own.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest answer that is taken: the receipts of the largest batch fit.
const ANSWER_LIMIT_BYTES: usize = 256 << 20;

/// The variable with the API key: not a flag, for a command line can be seen by everybody on the machine.
pub(crate) const API_KEY_VARIABLE: &str = "EVENTRELAY_API_KEY";
/// Names the server where `--url` does not.
const URL_VARIABLE: &str = "EVENTRELAY_URL";
const DEFAULT_URL: &str = "http://127.0.0.1:8080";
/// The header that names a publish.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A client of one server.
pub(crate) struct Client {
    pool: Pool<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: Uri,
    /// Shown with every request.
    api_key: Option<HeaderValue>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("cannot reach {url}: {why}; is `eventrelay serve` running?")]
    Unreachable { url: Uri, why: String },
    #[error("{url} is not believed: {why}; --ca-file names the authority to believe")]
    NotBelieved { url: Uri, why: String },
    #[error("{url} does not let this client in: {why}")]
    TurnedAway { url: Uri, why: String },
    #[error("the connection to {url} broke before the answer: {why}")]
    NoAnswer { url: Uri, why: String },
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::new(Exit::Unreachable, error)
    }
}

/// What the server answered.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// How long it asked to wait.
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Bytes,
}

/// An error as the server words it (RFC 9457). Whatever is missing stays empty.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Problem {
    pub(crate) code: String,
    pub(crate) title: String,
    pub(crate) detail: String,
    /// Which event of a batch it is about.
    pub(crate) index: Option<usize>,
}

impl Answer {
    /// The error that the body describes; of a body that does not (a proxy's page, say), the status alone.
    pub(crate) fn problem(&self) -> Problem {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| Problem { title: self.status.to_string(), ..Problem::default() })
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.detail.is_empty() { &self.title } else { &self.detail })?;
        if self.code.is_empty() { Ok(()) } else { write!(f, " ({})", self.code) }
    }
}

impl Client {
    /// A client of the server at a URL such as `http://127.0.0.1:8080` or `https://relay.example`.
    pub(crate) fn new(server: &ServerAddress) -> Result<Self, Failure> {
        let (named_by, url) = match &server.url {
            Some(url) => ("--url", url.clone()),
            None => (URL_VARIABLE, std::env::var(URL_VARIABLE).unwrap_or_else(|_| DEFAULT_URL.to_owned())),
        };
        let usage = |why: &str| Failure::usage(format!("{named_by} {url}: {why}"));
        let base: Uri = url.parse().map_err(|_| usage("not a URL"))?;
        let config = match base.scheme_str() {
            Some("http") if base.authority().is_some() => tls::config_for_http(server).map_err(usage)?,
            Some("https") if base.authority().is_some() => tls::config_for_https(server)?,
            _ => {
                return Err(usage(
                    "expected http://HOST:PORT, or https://HOST:PORT where the server speaks TLS",
                ));
            }
        };
        let api_key = std::env::var(API_KEY_VARIABLE).ok().map(|key| bearer(&key)).transpose()?;
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        // The one around it minds the scheme.
        connector.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        Ok(Self { pool: Pool::builder(TokioExecutor::new()).build(connector), base, api_key })
    }

    /// Sends a body and takes the whole answer.
    pub(crate) async fn post(
        &self,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: Bytes,
    ) -> Result<Answer, ClientError> {
        self.in_time(with_headers(Request::post(self.url(path)?), headers), body).await
    }

    /// Sends any request and takes the whole answer.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: Bytes,
    ) -> Result<Answer, ClientError> {
        let request = Request::builder().method(method).uri(self.url(path)?);
        self.in_time(with_headers(request, headers), body).await
    }

    /// Asks for a body without end, and gives it back as it comes.
    pub(crate) async fn follow(&self, path: &str) -> Result<Response<Incoming>, ClientError> {
        self.exchange(Request::get(self.url(path)?), Bytes::new()).await
    }

    /// Takes what is left of an answer.
    pub(crate) async fn whole_answer(&self, response: Response<Incoming>) -> Result<Answer, ClientError> {
        let status = response.status();
        let retry_after = retry_after(&response);
        let body = Limited::new(response.into_body(), ANSWER_LIMIT_BYTES).collect().await;
        let body = body.map_err(|error| self.no_answer(error.to_string()))?.to_bytes();
        Ok(Answer { status, retry_after, body })
    }

    async fn in_time(&self, request: http::request::Builder, body: Bytes) -> Result<Answer, ClientError> {
        let exchange = async { self.whole_answer(self.exchange(request, body).await?).await };
        let answered = tokio::time::timeout(ANSWER_TIMEOUT, exchange).await;
        answered.unwrap_or_else(|_| Err(self.no_answer(format!("none within {ANSWER_TIMEOUT:?}"))))
    }

    async fn exchange(
        &self,
        request: http::request::Builder,
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        let request = match &self.api_key {
            Some(key) => request.header(header::AUTHORIZATION, key),
            None => request,
        };
        let request = request.body(Full::new(body)).map_err(|error| self.unreachable(error.to_string()))?;
        self.pool.request(request).await.map_err(|error| {
            let why = root_cause(&error);
            let url = self.base.clone();
            match Distrust::in_error(&error) {
                Some(Distrust::OfServer) => ClientError::NotBelieved { url, why },
                Some(Distrust::OfClient) => ClientError::TurnedAway { url, why },
                None if error.is_connect() => self.unreachable(why),
                None => self.no_answer(why),
            }
        })
    }

    fn unreachable(&self, why: String) -> ClientError {
        ClientError::Unreachable { url: self.base.clone(), why }
    }

    fn no_answer(&self, why: String) -> ClientError {
        ClientError::NoAnswer { url: self.base.clone(), why }
    }

    fn url(&self, path: &str) -> Result<Uri, ClientError> {
        let url = format!("{}{path}", self.base.to_string().trim_end_matches('/'));
        url.parse().map_err(|error| self.unreachable(format!("{error}")))
    }
}

fn with_headers(request: http::request::Builder, headers: &[(HeaderName, &str)]) -> http::request::Builder {
    headers.iter().fold(request, |request, (name, value)| request.header(name, *value))
}

/// A key as the header that shows it; kept out of all that is printed.
fn bearer(key: &str) -> Result<HeaderValue, Failure> {
    let malformed = |_| Failure::usage(format!("{API_KEY_VARIABLE} does not hold an API key"));
    let mut value = HeaderValue::from_str(&format!("Bearer {}", key.trim())).map_err(malformed)?;
    value.set_sensitive(true);
    Ok(value)
}

/// `Retry-After` in seconds; the form with a date is left to the caller's own pace.
fn retry_after<B>(response: &Response<B>) -> Option<Duration> {
    let value = response.headers().get(header::RETRY_AFTER)?;
    value.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// The innermost error says what happened; those around it say where.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
