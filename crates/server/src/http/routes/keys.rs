//! `/v1/keys`: makes, lists and revokes API keys. Needs the scope `admin`.
//!
//! | | | |
//! |---|---|---|
//! | `POST /v1/keys` | `{"name": "shop", "scopes": ["publish"], "tenant": "acme", "expires_in_seconds": 86400}` | 201 with the key, shown this once |
//! | `GET /v1/keys` | | 200 with all of them, but for what they say |
//! | `DELETE /v1/keys/{id}` | | 204; the key is good for nothing from then on |

use std::sync::Arc;
use std::time::Duration;

use eventrelay_event::{Tenant, Timestamp};
use eventrelay_state::{ApiKeyRecord, StateError};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use serde::{Deserialize, Serialize};

use crate::auth::{NewApiKey, Scope, Scopes};
use crate::http::body::Body;
use crate::http::problem::Problem;
use crate::http::service::Shared;
use crate::http::upload::Upload;

const MAX_NAME_CHARS: usize = 128;
const MAX_LIFETIME_SECONDS: u64 = 100 * 366 * 24 * 3600;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    name: String,
    scopes: Vec<String>,
    tenant: Option<String>,
    expires_in_seconds: Option<u64>,
}

#[derive(Serialize)]
struct Shown {
    id: String,
    /// Only in the answer to its making.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    name: String,
    tenant: String,
    scopes: Vec<String>,
    created_at: String,
    expires_at: Option<String>,
    last_used_at: Option<String>,
    revoked_at: Option<String>,
}

#[derive(Serialize)]
struct List {
    data: Vec<Shown>,
}

impl Shown {
    fn of(record: ApiKeyRecord) -> Self {
        let time = |micros| Timestamp(micros).to_string();
        Self {
            id: record.id,
            key: None,
            name: record.name,
            tenant: record.tenant.to_string(),
            scopes: record.scopes,
            created_at: time(record.created_at_micros),
            expires_at: record.expires_at_micros.map(time),
            last_used_at: record.last_used_at_micros.map(time),
            revoked_at: record.revoked_at_micros.map(time),
        }
    }
}

/// Makes a key.
///
/// # Errors
/// 400 `invalid_key_request` when what it is to be makes no sense, 503 when it cannot be stored.
pub(crate) async fn create(shared: &Shared, upload: &mut Upload<'_>) -> Result<Response<Body>, Problem> {
    let received = upload.read().await?;
    let new = parse(&received.bytes)?;
    let (key, record) = shared.api_keys.create(new).await.map_err(|error| not_stored(&error))?;
    tracing::info!(id = record.id, tenant = %record.tenant, scopes = ?record.scopes, "an API key was made");
    let shown = Shown { key: Some(key.expose().to_owned()), ..Shown::of(record) };
    json(StatusCode::CREATED, &shown)
}

/// Lists all keys.
///
/// # Errors
/// 503 when they cannot be read.
pub(crate) async fn list(shared: &Shared) -> Result<Response<Body>, Problem> {
    let api_keys = Arc::clone(&shared.api_keys);
    let listed = tokio::task::spawn_blocking(move || api_keys.list()).await;
    let listed = listed.map_err(|error| Problem::internal(error.to_string()))?;
    let listed = listed.map_err(|error| not_stored(&error))?;
    json(StatusCode::OK, &List { data: listed.into_iter().map(Shown::of).collect() })
}

/// Revokes a key.
///
/// # Errors
/// 404 `key_not_found`, 503 when it cannot be stored.
pub(crate) async fn revoke(shared: &Shared, id: &str) -> Result<Response<Body>, Problem> {
    if !shared.api_keys.revoke(id).await.map_err(|error| not_stored(&error))? {
        return Err(Problem::new(StatusCode::NOT_FOUND, "key_not_found", "There is no such API key"));
    }
    tracing::info!(id, "an API key was revoked");
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

fn parse(body: &[u8]) -> Result<NewApiKey, Problem> {
    let create: Create = serde_json::from_slice(body).map_err(|error| invalid("", error.to_string()))?;
    if !(1..=MAX_NAME_CHARS).contains(&create.name.chars().count())
        || create.name.chars().any(char::is_control)
    {
        return Err(invalid(
            "name",
            format!("must be 1 to {MAX_NAME_CHARS} characters, none of them a control"),
        ));
    }
    let scopes = create.scopes.iter().map(|name| name.parse::<Scope>()).collect::<Result<Scopes, _>>();
    let scopes = scopes.map_err(|error| invalid("scopes", error.to_string()))?;
    if scopes.names().next().is_none() {
        return Err(invalid("scopes", "must name one at least".to_owned()));
    }
    let tenant = create.tenant.as_deref().map_or(Ok(Tenant::default()), Tenant::parse);
    let tenant = tenant.map_err(|error| invalid("tenant", error.to_string()))?;
    if create.expires_in_seconds.is_some_and(|seconds| !(1..=MAX_LIFETIME_SECONDS).contains(&seconds)) {
        return Err(invalid("expires_in_seconds", format!("must be 1 to {MAX_LIFETIME_SECONDS}")));
    }
    let lifetime = create.expires_in_seconds.map(Duration::from_secs);
    Ok(NewApiKey { name: create.name, tenant, scopes, lifetime })
}

fn invalid(field: &str, detail: String) -> Problem {
    let title = "This is no request for an API key";
    let problem = Problem::new(StatusCode::BAD_REQUEST, "invalid_key_request", title).detail(detail);
    if field.is_empty() { problem } else { problem.field(Some(field.to_owned())) }
}

fn not_stored(error: &StateError) -> Problem {
    let title = "The API keys cannot be read or written";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "state_unavailable", title)
        .detail(error.to_string())
        .retry_after(Duration::from_secs(5))
}

fn json(status: StatusCode, value: &impl Serialize) -> Result<Response<Body>, Problem> {
    let body = serde_json::to_vec(value).map_err(|error| Problem::internal(error.to_string()))?;
    let mut response = Response::new(Body::full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_what_the_key_is_to_be() {
        let new =
            parse(br#"{"name":"shop","scopes":["publish","read"],"tenant":"acme","expires_in_seconds":60}"#)
                .unwrap();
        assert_eq!((new.name.as_str(), new.tenant.as_str()), ("shop", "acme"));
        assert!(new.scopes.allow(Scope::Read) && !new.scopes.allow(Scope::Manage));
        assert_eq!(new.lifetime, Some(Duration::from_secs(60)));
        for wrong in [
            "",
            "{}",
            r#"{"name":"","scopes":["read"]}"#,
            r#"{"name":"a\u0007","scopes":["read"]}"#,
            r#"{"name":"a","scopes":[]}"#,
            r#"{"name":"a","scopes":["root"]}"#,
            r#"{"name":"a","scopes":["read"],"tenant":"No"}"#,
            r#"{"name":"a","scopes":["read"],"expires_in_seconds":0}"#,
            r#"{"name":"a","scopes":["read"],"role":"x"}"#,
        ] {
            assert_eq!(parse(wrong.as_bytes()).unwrap_err().code(), "invalid_key_request", "{wrong}");
        }
    }
}
