//! `/api/v1/app/{app}/endpoint/{endpoint}/secret`: what signs. A secret that is rotated signs on, beside the new one, for a time of
//! grace.

use axum::extract::{Path, State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::caller::Caller;
use super::endpoint;
use super::endpoint_routes::{edit, new_secret};
use super::json::Json;
use super::refusal::Refusal;
use super::resources::Resources;
use super::routes::Routes;
use crate::auth::{Scope, now_micros};
use crate::http::control::author::RequestAuthor;

const DEFAULT_GRACE_SECONDS: u64 = 24 * 60 * 60;
const MAX_GRACE_SECONDS: u64 = 7 * 24 * 60 * 60;
/// The most old secrets that sign at once.
const MAX_OLD_SECRETS: usize = 10;

pub(super) fn routes() -> Routes<Resources> {
    Routes::new()
        // It lets its reader sign.
        .get("/api/v1/app/{app_id}/endpoint/{endpoint_id}/secret", Scope::Manage, get)
        .post("/api/v1/app/{app_id}/endpoint/{endpoint_id}/secret/rotate", Scope::Manage, rotate)
}

#[derive(Debug, Serialize)]
struct SecretOut {
    key: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RotateIn {
    key: Option<String>,
    grace_period_seconds: Option<u64>,
}

async fn get(
    State(resources): State<Resources>,
    caller: Caller,
    Path((app, name)): Path<(String, String)>,
) -> Result<Json<SecretOut>, Refusal> {
    let application = resources.application(&caller, app).await?;
    let (_, record) = resources.endpoint(&application, name).await?;
    let first = endpoint::setting(&record.spec, "secrets").and_then(|secrets| secrets.get(0));
    let key = first.and_then(Value::as_str).ok_or_else(Refusal::not_found)?;
    Ok(Json(SecretOut { key: key.to_owned() }))
}

async fn rotate(
    State(resources): State<Resources>,
    caller: Caller,
    RequestAuthor(author): RequestAuthor,
    Path((app, name)): Path<(String, String)>,
    Json(wanted): Json<RotateIn>,
) -> Result<(StatusCode, Json<SecretOut>), Refusal> {
    let grace = wanted.grace_period_seconds.unwrap_or(DEFAULT_GRACE_SECONDS);
    if grace > MAX_GRACE_SECONDS {
        let why = format!("must be at most {MAX_GRACE_SECONDS} (7 days)");
        return Err(Refusal::invalid("gracePeriodSeconds", why));
    }
    let application = resources.application(&caller, app).await?;
    let (endpoint, _) = resources.endpoint(&application, name).await?;
    let key = wanted.key.as_deref().map_or_else(new_secret, endpoint::normal_secret);
    let now = now_micros() / 1_000_000;
    edit(&resources, &author, &endpoint, |spec| {
        let secrets =
            endpoint::setting(spec, "secrets").and_then(Value::as_array).cloned().unwrap_or_default();
        let expiring = endpoint::setting(spec, "expiring_secrets").and_then(Value::as_array).cloned();
        let old = aged(secrets, expiring.unwrap_or_default(), &key, now, grace);
        endpoint::set(spec, "secrets", json!([key]));
        endpoint::set(spec, "expiring_secrets", Value::Array(old));
        Ok(())
    })
    .await?;
    Ok((StatusCode::OK, Json(SecretOut { key })))
}

/// The old secrets that sign on: those until now, until the time of grace is over, and those of earlier rotations whose time is not.
fn aged(secrets: Vec<Value>, expiring: Vec<Value>, new: &str, now: u64, grace: u64) -> Vec<Value> {
    let is_good =
        |old: &Value| old["expires_at_seconds"].as_u64().is_some_and(|end| end > now) && old["secret"] != new;
    let until = now + grace;
    let replaced = secrets.into_iter().filter(|old| grace > 0 && old != new);
    let replaced = replaced.map(|old| json!({"secret": old, "expires_at_seconds": until}));
    let mut old: Vec<Value> = expiring.into_iter().filter(is_good).chain(replaced).collect();
    // The oldest go first.
    old.drain(..old.len().saturating_sub(MAX_OLD_SECRETS));
    old
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_secrets_sign_until_their_time_is_over() {
        let first = aged(vec![json!("a")], vec![], "b", 100, 50);
        assert_eq!(first, [json!({"secret": "a", "expires_at_seconds": 150})]);
        let second = aged(vec![json!("b")], first.clone(), "c", 140, 50);
        assert_eq!(second.len(), 2);
        assert_eq!(aged(vec![json!("b")], first.clone(), "c", 150, 0), Vec::<Value>::new());
        assert_eq!(
            aged(vec![json!("b")], first, "a", 140, 50)[0]["secret"],
            "b",
            "an old one that signs again"
        );
    }
}
