//! One request to the provider and its answer: bounded in time and size, and never sent on to where the answer leads.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HeaderValue};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use url::Url;

/// From the look-up of the name to the end of the answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The largest answer that is read.
const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// Asks a provider.
pub(super) struct ProviderHttp(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

/// Why the provider is of no use now. It says nothing of what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProviderError {
    #[error("{host} gave no answer: {why}")]
    NoAnswer { host: String, why: String },
    #[error("{host} did not answer within {} ms", TIMEOUT.as_millis())]
    TimedOut { host: String },
    #[error("{host} answered {status}")]
    Status { host: String, status: u16 },
    #[error("the answer of {host} makes no sense: {why}")]
    Nonsense { host: String, why: String },
    #[error("a request cannot be written: {0}")]
    Unwritable(String),
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

impl ProviderHttp {
    /// Connects to nothing yet.
    pub(super) fn new(authorities: RootCertStore) -> Result<Self, ProviderError> {
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| ProviderError::Tls(error.to_string()))?
            .with_root_certificates(authorities)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        // No connection outlives its request: logins are rare, and nothing is left to be waited for at the end.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self(client))
    }

    /// Sends a request, which has method, headers and body, and gives what is answered, whatever its status.
    pub(super) async fn send(
        &self,
        url: &Url,
        request: http::request::Builder,
        body: String,
    ) -> Result<(StatusCode, Bytes), ProviderError> {
        let uri =
            url.as_str().parse::<Uri>().map_err(|error| ProviderError::Unwritable(error.to_string()))?;
        let request = request.uri(uri).header(ACCEPT, HeaderValue::from_static("application/json"));
        let request = request.body(Full::new(Bytes::from(body)));
        let request = request.map_err(|error| ProviderError::Unwritable(error.to_string()))?;
        match tokio::time::timeout(TIMEOUT, self.exchange(url, request)).await {
            Ok(answered) => answered,
            Err(_elapsed) => Err(ProviderError::TimedOut { host: host(url) }),
        }
    }

    /// The body of a document that must be there.
    pub(super) async fn get(&self, url: &Url) -> Result<Bytes, ProviderError> {
        let (status, body) = self.send(url, Request::builder(), String::new()).await?;
        if status == StatusCode::OK { Ok(body) } else { Err(unexpected(url, status)) }
    }

    async fn exchange(
        &self,
        url: &Url,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), ProviderError> {
        let no_answer =
            |error: &(dyn Error + 'static)| ProviderError::NoAnswer { host: host(url), why: chain(error) };
        let answer = self.0.request(request).await.map_err(|error| no_answer(&error))?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
        Ok((parts.status, body.map_err(|error| no_answer(&*error))?.to_bytes()))
    }
}

impl std::fmt::Debug for ProviderHttp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProviderHttp")
    }
}

/// An answer that is none of those that there can be.
pub(super) fn unexpected(url: &Url, status: StatusCode) -> ProviderError {
    ProviderError::Status { host: host(url), status: status.as_u16() }
}

/// An answer that cannot be used.
pub(super) fn nonsense(url: &Url, why: &dyn std::fmt::Display) -> ProviderError {
    ProviderError::Nonsense { host: host(url), why: why.to_string() }
}

/// All that is told of a URL.
fn host(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
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
