//! HTTP for the `object_store` library, through the egress guard.
//!
//! The library makes requests and reads answers, and leaves to whoever implements [`HttpService`] how they get there. So its
//! own client (reqwest) is not even linked, and every connection, that for a token included, is made by
//! [`crate::egress`]: resolved, judged, dialled and judged again. Proxies from the environment and redirects do not
//! exist here either.
//!
//! An answer is read as a whole, up to [`ANSWER_BYTES`]; what is larger is asked for in pieces. What is neither success nor
//! about a condition (304, 409, 412) is turned into a [`StoreFailure`] at once, so that all stores fail alike.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http::header::{HeaderValue, USER_AGENT};
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use tokio::time::Instant;

use super::failure::{FailureKind, StoreFailure};
use super::settings::KIND;
use crate::egress::ClientTls;
use crate::http_client::{self, Answer, ExchangeLimits, Http2, OutgoingRequest, Pool, Target};
use crate::{Environment, SinkError};

/// The pieces in which an object is read.
pub(super) const PIECE_BYTES: u64 = 8 * 1024 * 1024;
/// The most bytes of an answer's body: a piece, or a page of names, and a little more.
const ANSWER_BYTES: usize = 9 * 1024 * 1024;
/// The store, and whoever gives tokens for it.
const MAX_SERVERS: usize = 4;
/// Objects that are written at once, each over a connection.
const MAX_IDLE_CONNECTIONS: usize = 16;

/// Makes the library's requests. Clones share their connections.
#[derive(Clone)]
pub(super) struct GuardedHttp(Arc<Inner>);

struct Inner {
    environment: Environment,
    tls: ClientTls,
    timeout: Duration,
    connect_timeout: Duration,
    servers: Mutex<HashMap<String, Server>>,
}

/// A scheme, a host and a port.
#[derive(Clone)]
struct Server {
    target: Target,
    pool: Arc<Pool>,
}

impl GuardedHttp {
    pub(super) fn new(
        environment: Environment,
        tls: ClientTls,
        timeout: Duration,
        connect_timeout: Duration,
    ) -> Self {
        Self(Arc::new(Inner { environment, tls, timeout, connect_timeout, servers: Mutex::default() }))
    }

    pub(super) async fn close(&self) {
        let servers: Vec<_> = self.servers().drain().collect();
        for (_, server) in servers {
            server.pool.close().await;
        }
    }

    /// Where requests to `origin` (`https://host:port`) go, judged as the settings' own URLs are.
    fn server(&self, origin: &str) -> Result<Server, StoreFailure> {
        if let Some(server) = self.servers().get(origin) {
            return Ok(server.clone());
        }
        let inner = &self.0;
        let refused = |error: SinkError| StoreFailure::new(FailureKind::Other, error.to_string());
        let (target, endpoint) =
            Target::parse(KIND, "endpoint", origin, &inner.environment).map_err(refused)?;
        let tls = endpoint.tls_name().map(|_| inner.tls.clone());
        let connector = inner.environment.connector(endpoint.clone(), tls, inner.connect_timeout);
        let server = Server { target, pool: Pool::new(connector, Http2::Never, MAX_IDLE_CONNECTIONS) };
        let mut servers = self.servers();
        if servers.len() >= MAX_SERVERS {
            let why = format!("{endpoint} is one server more than a store needs");
            return Err(StoreFailure::new(FailureKind::Other, why));
        }
        Ok(servers.entry(origin.to_owned()).or_insert(server).clone())
    }

    async fn send(&self, request: HttpRequest) -> Result<Answer, StoreFailure> {
        let other = |why: &str| StoreFailure::new(FailureKind::Other, why);
        let (mut parts, body) = request.into_parts();
        let (Some(scheme), Some(authority)) = (parts.uri.scheme(), parts.uri.authority()) else {
            return Err(other("the library has made a request to nowhere"));
        };
        let server = self.server(&format!("{scheme}://{authority}"))?;
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let target = server.target.at(path).map_err(|error| other(&error.to_string()))?;
        let body = body.collect().await.map_err(|error| other(&error.to_string()))?.to_bytes();
        let user_agent = HeaderValue::from_static(http_client::USER_AGENT);
        parts.headers.entry(USER_AGENT).or_insert(user_agent);
        let limits = ExchangeLimits {
            deadline: Instant::now() + self.0.timeout,
            keep_bytes: ANSWER_BYTES,
            body_timeout: self.0.timeout,
        };
        let is_head = parts.method == Method::HEAD;
        let request = OutgoingRequest { method: parts.method, target, headers: parts.headers, body };
        let answer = server.pool.send(&request, limits).await.map_err(|error| {
            let endpoint = server.pool.connector().endpoint();
            StoreFailure::new(FailureKind::Unreachable, error.describe(endpoint, self.0.timeout))
        })?;
        if answer.truncated && !is_head {
            let why = "the store's answer was cut off, did not end in time, or is larger than it should be";
            return Err(StoreFailure::new(FailureKind::Unreachable, why));
        }
        Ok(answer)
    }

    fn servers(&self) -> MutexGuard<'_, HashMap<String, Server>> {
        // Nothing is left half done under the lock, so a panic elsewhere does not spoil it.
        self.0.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl HttpService for GuardedHttp {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let failed = |failure: StoreFailure| HttpError::new(HttpErrorKind::Unknown, failure);
        let answer = self.send(request).await.map_err(failed)?;
        let about_a_condition =
            [StatusCode::NOT_MODIFIED, StatusCode::CONFLICT, StatusCode::PRECONDITION_FAILED];
        if !answer.status().is_success() && !about_a_condition.contains(&answer.status()) {
            return Err(failed(StoreFailure::of_answer(&answer)));
        }
        Ok(HttpResponse::from_parts(answer.head, answer.body.into()))
    }
}

impl HttpConnector for GuardedHttp {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

impl fmt::Debug for GuardedHttp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GuardedHttp")
    }
}
