//! The signing secrets of a webhook: shown to who may manage it, and rotated with an overlap.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::State;
use eventrelay_event::Timestamp;
use eventrelay_sinks::webhook;
use eventrelay_state::{Subscription, SubscriptionRecord};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::changed;
use crate::http::control::author::RequestAuthor;
use crate::http::control::caller::Caller;
use crate::http::control::json::Json;
use crate::http::control::path::Path;
use crate::http::control::reading;
use crate::http::control::refusals::invalid_subscription;
use crate::http::control::resources::Resources;
use crate::http::control::revision::IfMatch;
use crate::http::control::time::Time;
use crate::http::problem::Problem;

/// A week.
const MAX_OVERLAP_SECONDS: u32 = 604_800;
const DEFAULT_OVERLAP_SECONDS: u32 = 86_400;

/// A rotation of the signing secret.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Rotation {
    /// The new secret, `whsec_…` or `whsk_…`; a new one is made where nothing is said.
    #[schema(max_length = 256)]
    secret: Option<String>,
    /// How long the old secrets go on signing beside the new one. A day where nothing is said.
    #[serde(default = "default_overlap")]
    #[schema(minimum = 0, maximum = 604_800, default = 86_400)]
    overlap_seconds: u32,
}

fn default_overlap() -> u32 {
    DEFAULT_OVERLAP_SECONDS
}

/// The signing secrets of a webhook.
#[derive(Serialize, ToSchema)]
struct Secrets {
    /// Those that sign, the newest first.
    secrets: Vec<String>,
    /// Those that sign until a time.
    expiring: Vec<Expiring>,
}

/// A secret that signs until a time.
#[derive(Serialize, ToSchema)]
struct Expiring {
    /// The secret.
    secret: String,
    /// Until then.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Time,
}

pub(super) fn routes() -> OpenApiRouter<Resources> {
    OpenApiRouter::new().routes(routes!(get_secret)).routes(routes!(rotate_secret))
}

/// Show the signing secrets
///
/// Those that were made or set through the API; what a file or the environment holds is not shown.
#[utoipa::path(
    get, path = "/v1/subscriptions/{name}/secret", tag = "subscriptions", security(("bearer" = ["manage"])),
    params(("name" = String, Path, description = "Its name", example = "billing")),
    responses((status = 200, description = "The secrets", body = Secrets),
              (status = 409, description = "It is no webhook"))
)]
async fn get_secret(
    State(resources): State<Resources>,
    Caller(access): Caller,
    Path(name): Path<String>,
) -> Result<Json<Secrets>, Problem> {
    let record = reading::subscription(&resources, &access, &name).await?;
    Ok(Json(secrets_of(settings(&record.spec)?)))
}

/// Rotate the signing secret
///
/// From now on deliveries are signed with the new secret, and until the overlap ends with the old ones too: a receiver takes
/// either.
#[utoipa::path(
    post, path = "/v1/subscriptions/{name}/secret/rotate", tag = "subscriptions", security(("bearer" = ["manage"])),
    params(("name" = String, Path, description = "Its name", example = "billing"),
           ("If-Match" = Option<String>, Header, description = "The `ETag` that the change is meant for")),
    request_body(content = Rotation, example = json!({"overlap_seconds": 3600})),
    responses((status = 200, description = "The secrets", body = Secrets),
              (status = 409, description = "It is no webhook, or the configuration file declares it; or this `Idempotency-Key` is in use"),
              (status = 412, description = "It has been changed since"))
)]
async fn rotate_secret(
    State(resources): State<Resources>,
    Caller(access): Caller,
    RequestAuthor(author): RequestAuthor,
    Path(name): Path<String>,
    if_match: IfMatch,
    Json(rotation): Json<Rotation>,
) -> Result<Json<Secrets>, Problem> {
    if rotation.overlap_seconds > MAX_OVERLAP_SECONDS {
        let why = format!("overlap_seconds must be at most {MAX_OVERLAP_SECONDS}");
        return Err(invalid_subscription(why, Some("overlap_seconds".to_owned())));
    }
    let now_seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let secret = rotation.secret.unwrap_or_else(|| webhook::generate_secret().expose().to_owned());
    let change = |known: &SubscriptionRecord| {
        let mut spec = known.spec.clone();
        let settings = settings_mut(&mut spec)?;
        rotate(settings, &secret, now_seconds, u64::from(rotation.overlap_seconds));
        Ok(spec)
    };
    let record = changed(&resources, &access, &author, &name, &if_match, change).await?;
    Ok(Json(secrets_of(settings(&record.spec)?)))
}

/// The new secret takes the place of the old ones, which are left until the overlap ends.
fn rotate(settings: &mut Map<String, Value>, secret: &str, now_seconds: u64, overlap_seconds: u64) {
    let list = |settings: &Map<String, Value>, field: &str| -> Vec<Value> {
        settings.get(field).and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let still_good =
        |expiring: &Value| expiring["expires_at_seconds"].as_u64().is_some_and(|end| end > now_seconds);
    let mut expiring: Vec<Value> =
        list(settings, "expiring_secrets").into_iter().filter(still_good).collect();
    if overlap_seconds > 0 {
        let old = list(settings, "secrets").into_iter();
        expiring.extend(
            old.map(|old| json!({"secret": old, "expires_at_seconds": now_seconds + overlap_seconds})),
        );
    }
    settings.remove("unsigned");
    settings.insert("secrets".to_owned(), json!([secret]));
    settings.insert("expiring_secrets".to_owned(), Value::Array(expiring));
}

fn secrets_of(settings: &Map<String, Value>) -> Secrets {
    let texts = settings.get("secrets").and_then(Value::as_array).into_iter().flatten();
    let expiring = settings.get("expiring_secrets").and_then(Value::as_array).into_iter().flatten();
    Secrets {
        secrets: texts.filter_map(Value::as_str).map(str::to_owned).collect(),
        expiring: expiring
            .filter_map(|entry| {
                let end_micros = entry["expires_at_seconds"].as_u64()?.checked_mul(1_000_000)?;
                let secret = entry["secret"].as_str()?.to_owned();
                Some(Expiring { secret, expires_at: Time(Timestamp(end_micros)) })
            })
            .collect(),
    }
}

fn settings(spec: &Subscription) -> Result<&Map<String, Value>, Problem> {
    let sink = spec.sink.as_ref().filter(|sink| sink.kind == webhook::KIND);
    sink.map(|sink| &sink.settings).ok_or_else(no_webhook)
}

fn settings_mut(spec: &mut Subscription) -> Result<&mut Map<String, Value>, Problem> {
    let sink = spec.sink.as_mut().filter(|sink| sink.kind == webhook::KIND);
    sink.map(|sink| &mut sink.settings).ok_or_else(no_webhook)
}

fn no_webhook() -> Problem {
    Problem::new(StatusCode::CONFLICT, "not_a_webhook", "Only webhooks have signing secrets")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotation_leaves_the_old_secrets_until_the_overlap_ends() {
        let mut settings = json!({"secrets": ["old"], "expiring_secrets": [
            {"secret": "older", "expires_at_seconds": 150}, {"secret": "oldest", "expires_at_seconds": 100}]});
        let settings = settings.as_object_mut().unwrap();
        rotate(settings, "new", 100, 60);
        assert_eq!(settings["secrets"], json!(["new"]));
        assert_eq!(
            settings["expiring_secrets"],
            json!([{"secret": "older", "expires_at_seconds": 150}, {"secret": "old", "expires_at_seconds": 160}])
        );
        rotate(settings, "newest", 200, 0);
        assert_eq!((&settings["secrets"], &settings["expiring_secrets"]), (&json!(["newest"]), &json!([])));
    }
}
