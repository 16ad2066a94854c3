//! OAuth 2.0 tokens by client credentials (RFC 6749, section 4.4).
//!
//! - A token is kept until a while before it expires: a tenth of its life, at most a minute. One whose server says
//!   nothing of that is kept for five minutes.
//! - One fetch at a time, however many requests wait for it; when it fails, all that waited hear why, and only who asks
//!   afterwards tries again.
//! - A token that the target refuses (401) is forgotten, and the request is made once more with a new one.
//! - The token's server is connected to through the same guard as the target, and is trusted as the target is (`tls`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use http::{HeaderName, Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use url::form_urlencoded;

use super::authorization::{basic, bearer};
use super::headers::Headers;
use super::settings::{ClientAuthentication, KIND, OAuth2, Settings};
use crate::egress::Endpoint;
use crate::http_client::{ExchangeLimits, Http2, OutgoingRequest, Pool, Target};
use crate::setting_files::SecretSource;
use crate::{Environment, Secret, SinkError, settings};

/// How long a token is kept whose server does not say.
const DEFAULT_LIFE: Duration = Duration::from_mins(5);
const MAX_LIFE: Duration = Duration::from_hours(24);
/// How long before it expires a token is not used any more, at most.
const MAX_MARGIN: Duration = Duration::from_mins(1);
/// More than any token needs.
const ANSWER_BYTES: usize = 64 * 1024;
const MAX_PARAMETERS: usize = 16;

/// Which of the tokens that were fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Generation {
    number: u64,
    /// Whether it was fetched for the request that asked.
    fresh: bool,
}

/// Why there is no token.
#[derive(Debug, Clone, thiserror::Error)]
#[error("no token: {why}")]
pub(super) struct TokenError {
    why: String,
    /// Whether the token's server knows us and says no.
    pub(super) refused: bool,
    /// What it asks us to wait.
    pub(super) after: Option<Duration>,
}

/// Fetches tokens, and keeps the latest.
pub(super) struct TokenSource {
    request: OutgoingRequest,
    pool: Arc<Pool>,
    timeout: Duration,
    state: Mutex<State>,
    /// Held while one is fetched.
    fetching: Semaphore,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    fetched: u64,
    failures: u64,
    failure: Option<TokenError>,
}

struct Token {
    header: HeaderValue,
    number: u64,
    good_until: Instant,
}

/// A token's server's answer.
#[derive(Deserialize)]
struct TokenAnswer {
    access_token: Secret,
    token_type: Option<String>,
    expires_in: Option<Value>,
}

impl TokenSource {
    pub(super) fn new(
        oauth2: &OAuth2,
        settings: &Settings,
        headers: &Headers,
        environment: &Environment,
    ) -> Result<Self, SinkError> {
        let field = "oauth2.token_url";
        let (target, endpoint) = Target::parse(KIND, field, oauth2.token_url.expose(), environment)?;
        let tls = match endpoint.tls_name() {
            // HTTP/2 is of no use for a request now and then.
            Some(_) => {
                Some(settings.tls.client_tls(KIND, Http2::Never.protocols(), &endpoint, environment)?)
            }
            None => None,
        };
        let timeout = Duration::from_millis(settings.timeout_ms);
        let connector =
            environment.connector(endpoint, tls, Duration::from_millis(settings.connect_timeout_ms));
        Ok(Self {
            request: request(oauth2, target, headers, environment)?,
            pool: Pool::new(connector, Http2::Never, 1),
            timeout,
            state: Mutex::default(),
            fetching: Semaphore::new(1),
        })
    }

    /// The value of `authorization`, from a token that is still good. Safe to drop at any await.
    pub(super) async fn token(&self, deadline: Instant) -> Result<(HeaderValue, Generation), TokenError> {
        let failures_before = self.lock().failures;
        if let Some(token) = self.kept() {
            return Ok(token);
        }
        let _permit = match timeout_at(deadline, self.fetching.acquire()).await {
            Ok(permit) => permit,
            Err(_elapsed) => return Err(self.timed_out()),
        };
        if let Some(token) = self.kept() {
            return Ok(token);
        }
        if let Some(failure) = self.failure_since(failures_before) {
            return Err(failure);
        }
        let result = self.fetch(deadline).await;
        let mut state = self.lock();
        match result {
            Ok((header, life)) => {
                state.fetched += 1;
                let number = state.fetched;
                let good_until = Instant::now() + life - (life / 10).min(MAX_MARGIN);
                state.token = Some(Token { header: header.clone(), number, good_until });
                Ok((header, Generation { number, fresh: true }))
            }
            Err(error) => {
                state.failures += 1;
                state.failure = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Forgets a token, unless there is a newer one. Whether another try makes sense: not with a token that was fetched for
    /// the request that was refused.
    pub(super) fn refused(&self, generation: &Generation) -> bool {
        let mut state = self.lock();
        state.token.take_if(|token| token.number == generation.number);
        !generation.fresh
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    async fn fetch(&self, deadline: Instant) -> Result<(HeaderValue, Duration), TokenError> {
        let limits =
            ExchangeLimits { deadline, keep_bytes: ANSWER_BYTES, body_timeout: ExchangeLimits::BODY_TIMEOUT };
        let answer = self.pool.send(&self.request, limits).await.map_err(|error| TokenError {
            why: error.describe(self.endpoint(), self.timeout),
            refused: false,
            after: None,
        })?;
        let status = answer.status();
        if status != StatusCode::OK {
            let why = format!("{} answered {status}{}", self.endpoint(), error_code(&answer.body));
            // 429 is no word about who we are.
            let refused = status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS;
            return Err(TokenError { why, refused, after: answer.retry_after() });
        }
        let invalid = |what: &str| TokenError {
            why: format!("{} answered with {what}", self.endpoint()),
            refused: false,
            after: None,
        };
        let token: TokenAnswer =
            serde_json::from_slice(&answer.body).map_err(|_| invalid("something else than a token"))?;
        if token.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
            return Err(invalid("a token that is not a bearer token"));
        }
        let header = bearer(token.access_token.expose())
            .ok_or_else(|| invalid("a token that a header cannot hold"))?;
        Ok((header, life(token.expires_in.as_ref())))
    }

    fn kept(&self) -> Option<(HeaderValue, Generation)> {
        let state = self.lock();
        let token = state.token.as_ref().filter(|token| Instant::now() < token.good_until)?;
        Some((token.header.clone(), Generation { number: token.number, fresh: false }))
    }

    fn failure_since(&self, failures_before: u64) -> Option<TokenError> {
        let state = self.lock();
        if state.failures > failures_before { state.failure.clone() } else { None }
    }

    fn timed_out(&self) -> TokenError {
        let why = format!("{} gave none within {} ms", self.endpoint(), self.timeout.as_millis());
        TokenError { why, refused: false, after: None }
    }

    fn endpoint(&self) -> &Endpoint {
        self.pool.connector().endpoint()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing is left half done under the lock, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The request for a token; the same every time.
fn request(
    oauth2: &OAuth2,
    target: Target,
    headers: &Headers,
    environment: &Environment,
) -> Result<OutgoingRequest, SinkError> {
    settings::within(KIND, "oauth2.parameters", &oauth2.parameters.len(), 0..=MAX_PARAMETERS)?;
    let secret = SecretSource {
        field: "client_secret",
        value: oauth2.client_secret.as_ref(),
        file: oauth2.client_secret_file.as_deref(),
        env: oauth2.client_secret_env.as_deref(),
    }
    .read(KIND, environment)?
    .ok_or_else(|| settings::refused(KIND, "oauth2.client_secret", "is missing"))?;
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    if let Some(scope) = &oauth2.scope {
        form.append_pair("scope", scope);
    }
    for (name, value) in &oauth2.parameters {
        form.append_pair(name, value.expose());
    }
    let mut request_headers = HeaderMap::new();
    let mut add = |name: HeaderName, value: HeaderValue| request_headers.insert(name, value);
    add(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    add(ACCEPT, HeaderValue::from_static("application/json"));
    if let Some(user_agent) = headers.fixed().get(USER_AGENT) {
        add(USER_AGENT, user_agent.clone());
    }
    match oauth2.client_authentication {
        ClientAuthentication::Body => {
            form.append_pair("client_id", &oauth2.client_id);
            form.append_pair("client_secret", secret.expose());
        }
        ClientAuthentication::Basic => {
            // Section 2.3.1: both are encoded as in a form first.
            let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let value = basic(&encoded(&oauth2.client_id), &Secret::new(encoded(secret.expose())));
            let value =
                value.ok_or_else(|| settings::refused(KIND, "oauth2", "not what a header can hold"))?;
            add(AUTHORIZATION, value);
        }
    }
    let body = Bytes::from(form.finish());
    Ok(OutgoingRequest { method: Method::POST, target, headers: request_headers, body })
}

/// How long a token is good: seconds, which some servers write as a string.
fn life(expires_in: Option<&Value>) -> Duration {
    let seconds = match expires_in {
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        _ => None,
    };
    seconds.map_or(DEFAULT_LIFE, Duration::from_secs).min(MAX_LIFE)
}

/// The code of an OAuth error, which is made for machines and no secret; its description may say anything.
fn error_code(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct ErrorAnswer {
        error: String,
    }
    let is_code = |text: &String| {
        text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    serde_json::from_slice::<ErrorAnswer>(body)
        .ok()
        .map(|answer| answer.error)
        .filter(is_code)
        .map(|code| format!(": {code}"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_is_kept_for_as_long_as_its_server_says() {
        for (expires_in, seconds) in [
            (Some(json!(3600)), 3600),
            (Some(json!("3600")), 3600),
            (Some(json!(0)), 0),
            (Some(json!(1_000_000_000)), 86_400),
            (Some(json!("soon")), 300),
            (Some(json!(-1)), 300),
            (None, 300),
        ] {
            assert_eq!(life(expires_in.as_ref()), Duration::from_secs(seconds), "{expires_in:?}");
        }
    }

    #[test]
    fn of_an_error_only_its_code_is_shown() {
        let body = br#"{"error":"invalid_client","error_description":"canary"}"#;
        assert_eq!(error_code(body), ": invalid_client");
        assert_eq!(error_code(br#"{"error":"can ary"}"#), "");
        assert_eq!(error_code(b"canary"), "");
    }
}
