//! `Idempotency-Key` on a `POST` of the control plane: done once, and answered the same however often it is sent.
//!
//! ```text
//!  key unknown       ──▶ done; the answer is kept for 24 h, then sent
//!  under way         ──▶ 409 idempotency_key_in_use
//!  answered          ──▶ the same answer, with `idempotent-replayed: true`
//!  another request   ──▶ 422 idempotency_key_reused
//! ```
//!
//! A key is a tenant's, for one path. What else there is to a request (query and body) must be the same. Answers of 5xx and
//! those over 64 KiB are not kept: such a request is done again. So is one whose server was killed between its effect and the
//! keeping of its answer.
//!
//! What was begun is finished, also when the client leaves: else its repeat would do it a second time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use eventrelay_event::Tenant;
use eventrelay_state::{AnswerRecord, RequestName, StateError};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LOCATION};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};
use tokio_util::task::TaskTracker;

use crate::auth::{Access, now_micros};
use crate::http::problem::Problem;
use crate::http::routes::events::idempotency_key;

/// How long an answer is kept.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// The largest body of an answer that is kept.
const MAX_KEPT_BYTES: usize = 64 * 1024;
/// The headers that are an answer's own.
const KEPT_HEADERS: [HeaderName; 4] = [CONTENT_TYPE, CACHE_CONTROL, ETAG, LOCATION];
/// The most bytes of requests that are under way, and of one tenant's; each counts for some at least.
const MAX_BYTES_UNDER_WAY: usize = 64 * 1024 * 1024;
const MAX_BYTES_OF_TENANT: usize = 16 * 1024 * 1024;
const MIN_BYTES: usize = 16 * 1024;
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The answers that are kept, and the requests that are under way.
#[derive(Debug, Clone)]
pub(crate) struct Idempotency {
    answers: eventrelay_state::State,
    under_way: Arc<Mutex<UnderWay>>,
    /// What was begun.
    tasks: TaskTracker,
}

/// Requests that are finished whether their clients stay or go, so what they hold is bounded here.
#[derive(Debug, Default)]
struct UnderWay {
    names: HashMap<RequestName, usize>,
    bytes: usize,
    bytes_by_tenant: HashMap<Tenant, usize>,
}

impl UnderWay {
    fn add(&mut self, name: &RequestName, body_bytes: usize) -> Result<(), Problem> {
        if self.names.contains_key(name) {
            return Err(in_use());
        }
        let bytes = body_bytes.max(MIN_BYTES);
        let of_tenant = self.bytes_by_tenant.get(&name.tenant).copied().unwrap_or(0);
        // One alone is taken, however large it is.
        let fits = self.bytes + bytes <= MAX_BYTES_UNDER_WAY && of_tenant + bytes <= MAX_BYTES_OF_TENANT;
        if !fits && of_tenant > 0 {
            return Err(too_many());
        }
        self.names.insert(name.clone(), bytes);
        self.bytes += bytes;
        self.bytes_by_tenant.insert(name.tenant.clone(), of_tenant + bytes);
        Ok(())
    }

    fn remove(&mut self, name: &RequestName) {
        let Some(bytes) = self.names.remove(name) else { return };
        self.bytes -= bytes;
        let left = self.bytes_by_tenant.get(&name.tenant).map_or(0, |all| all - bytes);
        match left {
            0 => self.bytes_by_tenant.remove(&name.tenant),
            left => self.bytes_by_tenant.insert(name.tenant.clone(), left),
        };
    }
}

impl Idempotency {
    pub(crate) fn new(answers: eventrelay_state::State) -> Self {
        Self { answers, under_way: Arc::default(), tasks: TaskTracker::new() }
    }

    /// What was begun and is not finished yet.
    pub(crate) fn tasks(&self) -> TaskTracker {
        self.tasks.clone()
    }

    /// Claims a name, until the claim is dropped.
    fn claim(&self, name: &RequestName, body_bytes: usize) -> Result<Claim, Problem> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).add(name, body_bytes)?;
        Ok(Claim { under_way: Arc::clone(&self.under_way), name: name.clone() })
    }

    async fn kept(&self, name: RequestName) -> Result<Option<AnswerRecord>, Problem> {
        let answers = self.answers.clone();
        let found = tokio::task::spawn_blocking(move || answers.answer(&name, oldest_micros())).await;
        found.map_err(|error| Problem::internal(error.to_string()))?.map_err(|error| unavailable(&error))
    }

    /// Keeps an answer where it is one to keep. The request is done, so a failure is not its client's business.
    async fn keep(
        &self,
        name: RequestName,
        fingerprint: [u8; 32],
        parts: &http::response::Parts,
        body: &Bytes,
    ) {
        if parts.status.is_server_error() || body.len() > MAX_KEPT_BYTES {
            return;
        }
        let header = |name: HeaderName| {
            let value = parts.headers.get(&name)?.to_str().ok()?;
            Some((name.as_str().to_owned(), value.to_owned()))
        };
        let answer = AnswerRecord {
            fingerprint,
            status: parts.status.as_u16(),
            headers: KEPT_HEADERS.into_iter().filter_map(header).collect(),
            body: body.to_vec(),
            answered_at_micros: now_micros(),
        };
        if let Err(error) = self.answers.keep_answer(name, answer, oldest_micros()).await {
            tracing::warn!(%error, "an answer could not be kept: a repeat of its request would be done again");
        }
    }
}

/// A name whose request is under way.
struct Claim {
    under_way: Arc<Mutex<UnderWay>>,
    name: RequestName,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

/// Lets a request through once.
pub(super) async fn once(State(idempotency): State<Idempotency>, request: Request, next: Next) -> Response {
    // What is for everybody has no tenant, and so no name.
    let Some(access) = request.extensions().get::<Access>().filter(|_| request.method() == Method::POST)
    else {
        return next.run(request).await;
    };
    let (tenant, asker) = (access.tenant().clone(), access.actor().id);
    match idempotency_key(request.headers()) {
        Ok(None) => next.run(request).await,
        Ok(Some(key)) => {
            let key = key.to_owned();
            let done = idempotency.once(tenant, key, asker, request, next).await;
            done.unwrap_or_else(IntoResponse::into_response)
        }
        Err(problem) => IntoResponse::into_response(problem),
    }
}

impl Idempotency {
    /// Lets a request that a tenant's client calls `idempotency_key` through once.
    ///
    /// # Errors
    /// `idempotency_key_in_use` while it is under way, `idempotency_key_reused` when another request, or another `asker`'s, was
    /// called that, and when the answers cannot be read.
    pub(crate) async fn once(
        &self,
        tenant: Tenant,
        idempotency_key: String,
        asker: String,
        request: Request,
        next: Next,
    ) -> Result<Response, Problem> {
        let name = RequestName {
            tenant,
            idempotency_key,
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
        };
        let idempotency = self.clone();
        let task = async move { idempotency.done_once(name, &asker, request, next).await };
        let done = self.tasks.spawn(task).await;
        done.map_err(|error| Problem::internal(error.to_string()))?
    }

    async fn done_once(
        &self,
        name: RequestName,
        asker: &str,
        request: Request,
        next: Next,
    ) -> Result<Response, Problem> {
        let (parts, body) = request.into_parts();
        // It was bounded when it was read.
        let body = axum::body::to_bytes(body, usize::MAX).await;
        let body = body.map_err(|error| Problem::internal(error.to_string()))?;
        let _claim = self.claim(&name, body.len())?;
        // Another caller of the tenant gets no answer that was meant for the first, which may hold a secret.
        let fingerprint = fingerprint(asker, parts.uri.query().unwrap_or_default(), &body);
        match self.kept(name.clone()).await? {
            Some(answer) if answer.fingerprint == fingerprint => return replayed(answer),
            Some(_) => return Err(reused()),
            None => {}
        }
        let answered = next.run(Request::from_parts(parts, body.into())).await;
        let (parts, body) = answered.into_parts();
        let body = body.collect().await.map_err(|error| Problem::internal(error.to_string()))?.to_bytes();
        self.keep(name, fingerprint, &parts, &body).await;
        Ok(Response::from_parts(parts, body.into()))
    }
}

fn replayed(answer: AnswerRecord) -> Result<Response, Problem> {
    let status = StatusCode::from_u16(answer.status);
    let status = status.map_err(|error| Problem::internal(error.to_string()))?;
    let mut headers = HeaderMap::new();
    for (name, value) in &answer.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    headers.insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    Ok((status, headers, answer.body).into_response())
}

/// The SHA-256 of what a repeat must have alike.
fn fingerprint(asker: &str, query: &str, body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    // With its length, so that no end of one can be taken for the beginning of the next.
    for text in [asker, query] {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    hash.update(body);
    hash.finalize().into()
}

/// The time of the oldest answer that still counts.
fn oldest_micros() -> u64 {
    now_micros().saturating_sub(u64::try_from(KEPT.as_micros()).unwrap_or(u64::MAX))
}

fn in_use() -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "idempotency_key_in_use",
        "A request with this Idempotency-Key is under way",
    )
    .retry_after(Duration::from_secs(1))
}

fn too_many() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Too many requests are under way")
        .retry_after(Duration::from_secs(1))
}

fn reused() -> Problem {
    let title = "Another request had this Idempotency-Key";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", title)
        .detail("Its query or its body was another one; give a new request a new key")
}

fn unavailable(error: &StateError) -> Problem {
    let title = "The answers of earlier requests cannot be read";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "state_unavailable", title)
        .detail(error.to_string())
        .retry_after(Duration::from_secs(5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_way_is_bounded_and_one_tenant_leaves_room_for_others() {
        let name = |tenant: &str, key: usize| RequestName {
            tenant: Tenant::parse(tenant).unwrap(),
            idempotency_key: key.to_string(),
            method: "POST".to_owned(),
            path: "/v1/keys".to_owned(),
        };
        let code = |result: Result<(), Problem>| result.map_err(|problem| problem.code());
        let mut under_way = UnderWay::default();
        let megabyte = 1024 * 1024;
        let taken = (0..100).filter(|&key| under_way.add(&name("acme", key), megabyte).is_ok()).count();
        assert_eq!(taken, 16);
        assert_eq!(code(under_way.add(&name("acme", 0), 1)), Err("idempotency_key_in_use"));
        assert_eq!(code(under_way.add(&name("acme", 100), 1)), Err("overloaded"));
        assert_eq!(code(under_way.add(&name("globex", 0), megabyte)), Ok(()));
        under_way.remove(&name("acme", 0));
        assert_eq!(code(under_way.add(&name("acme", 100), 1)), Ok(()));
        (0..101).for_each(|key| under_way.remove(&name("acme", key)));
        under_way.remove(&name("globex", 0));
        assert!(under_way.names.is_empty() && under_way.bytes_by_tenant.is_empty());
        assert_eq!(under_way.bytes, 0);
    }

    #[test]
    fn what_moves_from_the_query_to_the_body_is_another_request() {
        assert_eq!(fingerprint("k", "a=1", b"x"), fingerprint("k", "a=1", b"x"));
        assert_ne!(fingerprint("k", "a=1", b"x"), fingerprint("k", "a=1x", b""));
        assert_ne!(fingerprint("k", "", b"{}"), fingerprint("k", "", b"{ }"));
        assert_ne!(fingerprint("k", "", b"{}"), fingerprint("other", "", b"{}"));
    }
}
