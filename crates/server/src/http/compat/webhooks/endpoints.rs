//! Webhooks: made, shown, changed and deleted. Their secrets and whole URLs are shown to who may manage them.
//!
//! A secret is ours (`whsec_…`, `whsk_…`), or any text of 24 to 64 bytes, whose bytes are then the key of the HMAC.

use axum::extract::State;
use axum::response::IntoResponse;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use eventrelay_delivery::ChangeError;
use eventrelay_sinks::{UrlView, redacted, webhook};
use eventrelay_state::{Lifecycle, Subscription, SubscriptionRecord};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{is_webhook, webhooks_after};
use crate::auth::{Access, Author, Scope};
use crate::http::compat::request_body::{RequestBody, invalid, required};
use crate::http::control::author::RequestAuthor;
use crate::http::control::caller::Caller;
use crate::http::control::json::Json;
use crate::http::control::page::{Cursor, Listed, PageLimit};
use crate::http::control::path::Path;
use crate::http::control::query::Query;
use crate::http::control::resources::Resources;
use crate::http::control::time::Time;
use crate::http::control::{audited, reading, refusals};
use crate::http::problem::Problem;

/// How often a change is made again when somebody else was faster.
const CHANGE_TRIES: usize = 5;
/// What an HMAC-SHA256 key of Standard Webhooks has.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

pub(super) fn routes() -> OpenApiRouter<Resources> {
    OpenApiRouter::new().routes(routes!(create_webhook, list_webhooks)).routes(routes!(
        get_webhook,
        replace_webhook,
        patch_webhook,
        delete_webhook
    ))
}

/// A webhook as it comes; with `PATCH` what is absent stays.
#[derive(Debug, Default, Deserialize)]
struct WantedWebhook {
    #[serde(alias = "target_url", alias = "targetUrl", alias = "callback_url")]
    url: Option<String>,
    #[serde(alias = "eventTypes", alias = "events", alias = "topics")]
    event_types: Option<Vec<String>>,
    #[serde(alias = "name")]
    description: Option<String>,
    #[serde(alias = "signing_secret", alias = "signingSecret")]
    secret: Option<String>,
    #[serde(alias = "isActive", alias = "active", alias = "enabled")]
    is_active: Option<bool>,
}

#[derive(Serialize)]
struct Webhook {
    id: String,
    url: Option<String>,
    event_types: Vec<String>,
    description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    is_active: bool,
    created_at: Time,
    updated_at: Time,
}

impl Webhook {
    fn of(access: &Access, record: &SubscriptionRecord) -> Self {
        let (spec, may_manage) = (&record.spec, access.allows(Scope::Manage));
        let stored = spec.sink.as_ref().map(|sink| &sink.settings);
        let urls = if may_manage { UrlView::Whole } else { UrlView::Origin };
        let shown = stored.map(|settings| redacted(settings, urls)).unwrap_or_default();
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let filter = serde_json::to_value(&spec.filter).unwrap_or_default();
        let types = filter["types"].as_array().into_iter().flatten();
        Self {
            id: spec.name.clone(),
            url: text(shown.get("url")),
            event_types: types.filter_map(Value::as_str).map(str::to_owned).collect(),
            description: spec.description.clone(),
            secret: stored
                .filter(|_| may_manage)
                .and_then(|settings| text(settings.get("secrets").and_then(|all| all.get(0)))),
            is_active: record.lifecycle == Lifecycle::Enabled,
            created_at: Time::of_micros(record.created_at_micros),
            updated_at: Time::of_micros(record.updated_at_micros),
        }
    }
}

#[utoipa::path(post, path = "/api/webhooks", operation_id = "webhooks_create", security(("bearer" = ["manage"])),
    request_body(content = Object), responses((status = 201, description = "The webhook, with its secret")))]
async fn create_webhook(
    State(resources): State<Resources>,
    Caller(access): Caller,
    RequestAuthor(author): RequestAuthor,
    body: RequestBody,
) -> Result<impl IntoResponse, Problem> {
    let wanted: WantedWebhook = body.parse()?;
    let url = required(wanted.url, "url")?;
    let secret = match wanted.secret {
        Some(secret) => signing_secret(secret)?,
        None => webhook::generate_secret().expose().to_owned(),
    };
    let declared = json!({
        "name": format!("wh_{:016x}", rand::random::<u64>()),
        "tenant": access.tenant().as_str(),
        "description": wanted.description.unwrap_or_default(),
        "filter": {"types": wanted.event_types.unwrap_or_default()},
        "keep_attempts": "all",
        "sink": {"kind": webhook::KIND, "url": url, "secrets": [secret]},
    });
    let spec = declaration(declared)?;
    let lifecycle = if wanted.is_active == Some(false) { Lifecycle::Paused } else { Lifecycle::Enabled };
    let audit = audited::declaration(&author, "subscription.create", None, Some(&spec));
    let created = resources.engine.create(spec, lifecycle, audit).await;
    let record = created.map_err(|error| refusals::of_change(&error))?;
    Ok((StatusCode::CREATED, Json(Webhook::of(&access, &record))))
}

#[derive(Debug, Deserialize)]
struct WebhookList {
    #[serde(default)]
    limit: PageLimit,
    cursor: Option<Cursor<String>>,
}

#[utoipa::path(get, path = "/api/webhooks", operation_id = "webhooks_list", security(("bearer" = ["read"])),
    responses((status = 200, description = "By id")))]
async fn list_webhooks(
    State(resources): State<Resources>,
    Caller(access): Caller,
    Query(list): Query<WebhookList>,
) -> Result<Json<Listed<Webhook>>, Problem> {
    let after = list.cursor.map_or_else(String::new, |cursor| cursor.0);
    let found = webhooks_after(&resources, &access, &after, list.limit.items() + 1).await?;
    let listed = Listed::new(found, list.limit, |record| record.spec.name.clone());
    Ok(Json(listed.map(|record| Webhook::of(&access, &record))))
}

#[utoipa::path(get, path = "/api/webhooks/{id}", operation_id = "webhooks_get", security(("bearer" = ["read"])),
    params(("id" = String, Path)), responses((status = 200, description = "The webhook")))]
async fn get_webhook(
    State(resources): State<Resources>,
    Caller(access): Caller,
    Path(id): Path<String>,
) -> Result<Json<Webhook>, Problem> {
    Ok(Json(Webhook::of(&access, &stored(&resources, &access, &id).await?)))
}

#[utoipa::path(put, path = "/api/webhooks/{id}", operation_id = "webhooks_replace", security(("bearer" = ["manage"])),
    params(("id" = String, Path)), request_body(content = Object),
    responses((status = 200, description = "The webhook; without a secret it keeps its own")))]
async fn replace_webhook(
    State(resources): State<Resources>,
    Caller(access): Caller,
    RequestAuthor(author): RequestAuthor,
    Path(id): Path<String>,
    body: RequestBody,
) -> Result<Json<Webhook>, Problem> {
    let wanted: WantedWebhook = body.parse()?;
    let whole = WantedWebhook {
        url: Some(required(wanted.url, "url")?),
        event_types: Some(wanted.event_types.unwrap_or_default()),
        description: Some(wanted.description.unwrap_or_default()),
        secret: wanted.secret,
        is_active: Some(wanted.is_active.unwrap_or(true)),
    };
    Ok(Json(Webhook::of(&access, &change(&resources, &access, &author, &id, whole).await?)))
}

#[utoipa::path(patch, path = "/api/webhooks/{id}", operation_id = "webhooks_patch", security(("bearer" = ["manage"])),
    params(("id" = String, Path)), request_body(content = Object),
    responses((status = 200, description = "The webhook; what is absent stays")))]
async fn patch_webhook(
    State(resources): State<Resources>,
    Caller(access): Caller,
    RequestAuthor(author): RequestAuthor,
    Path(id): Path<String>,
    body: RequestBody,
) -> Result<Json<Webhook>, Problem> {
    Ok(Json(Webhook::of(&access, &change(&resources, &access, &author, &id, body.parse()?).await?)))
}

#[utoipa::path(delete, path = "/api/webhooks/{id}", operation_id = "webhooks_delete", security(("bearer" = ["manage"])),
    params(("id" = String, Path)), responses((status = 204, description = "It is gone")))]
async fn delete_webhook(
    State(resources): State<Resources>,
    Caller(access): Caller,
    RequestAuthor(author): RequestAuthor,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let known = stored(&resources, &access, &id).await?;
    let audit = audited::declaration(&author, "subscription.delete", Some(&known.spec), None);
    let deleted = resources.engine.delete(access.tenant().as_str(), &id, None, audit).await;
    deleted.map_err(|error| refusals::of_change(&error))?;
    Ok(StatusCode::NO_CONTENT)
}

/// The caller's webhook of that id; a subscription that is none answers as one that is not there.
async fn stored(resources: &Resources, access: &Access, id: &str) -> Result<SubscriptionRecord, Problem> {
    let found =
        reading::subscription(resources, access, id).await.map_err(|problem| match problem.code() {
            "subscription_not_found" => absent(),
            _ => problem,
        })?;
    if is_webhook(&found) { Ok(found) } else { Err(absent()) }
}

fn absent() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "webhook_not_found", "There is no such webhook")
}

/// Changes the declaration as it is stored now, then whether it delivers.
async fn change(
    resources: &Resources,
    access: &Access,
    author: &Author,
    id: &str,
    wanted: WantedWebhook,
) -> Result<SubscriptionRecord, Problem> {
    let secret = wanted.secret.clone().map(signing_secret).transpose()?;
    for tries in 1..=CHANGE_TRIES {
        let known = stored(resources, access, id).await?;
        let spec = changed(&known.spec, &wanted, secret.as_deref())?;
        if spec == known.spec {
            break;
        }
        let audit = audited::declaration(author, "subscription.update", Some(&known.spec), Some(&spec));
        match resources.engine.replace(spec, known.revision, audit).await {
            Ok(_) => break,
            Err(ChangeError::RevisionChanged { .. }) if tries < CHANGE_TRIES => {}
            Err(error) => return Err(refusals::of_change(&error)),
        }
    }
    let (tenant, engine) = (access.tenant().as_str(), &resources.engine);
    let is_active = stored(resources, access, id).await?.lifecycle == Lifecycle::Enabled;
    let audit = |action| Some(audited::of_subscription(access, author, action, id, None));
    let moved = match wanted.is_active {
        Some(true) if !is_active => engine.resume(tenant, id, audit("subscription.resume")).await,
        Some(false) if is_active => engine.pause(tenant, id, audit("subscription.pause")).await,
        _ => Ok(()),
    };
    moved.map_err(|error| refusals::of_control(&error))?;
    stored(resources, access, id).await
}

/// The declaration with what is wanted of it.
fn changed(
    known: &Subscription,
    wanted: &WantedWebhook,
    secret: Option<&str>,
) -> Result<Subscription, Problem> {
    let mut declared = serde_json::to_value(known).map_err(|error| Problem::internal(error.to_string()))?;
    if let Some(url) = &wanted.url {
        declared["sink"]["url"] = json!(url);
    }
    if let Some(secret) = secret {
        declared["sink"]["secrets"] = json!([secret]);
        if let Some(settings) = declared["sink"].as_object_mut() {
            settings.remove("unsigned");
        }
    }
    if let Some(types) = &wanted.event_types {
        declared["filter"]["types"] = json!(types);
    }
    if let Some(description) = &wanted.description {
        declared["description"] = json!(description);
    }
    declaration(declared)
}

fn declaration(declared: Value) -> Result<Subscription, Problem> {
    let spec: Subscription = serde_json::from_value(declared).map_err(|error| {
        Problem::new(StatusCode::BAD_REQUEST, "invalid_webhook", "The webhook is not valid")
            .detail(error.to_string())
    })?;
    let checked = spec.validate();
    checked.map_err(|error| refusals::of_change(&ChangeError::Invalid(error)))?;
    Ok(spec)
}

/// A secret of ours as it is, and any other text as the bytes of a key.
fn signing_secret(text: String) -> Result<String, Problem> {
    if text.starts_with("whsec_") || text.starts_with("whsk_") {
        return Ok(text);
    }
    if !SECRET_BYTES.contains(&text.len()) {
        return Err(invalid("secret", "must be `whsec_…`, or a text of 24 to 64 bytes"));
    }
    Ok(format!("whsec_{}", STANDARD.encode(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_of_ones_own_is_the_key_itself() {
        let own = "a-secret-of-24-bytes-ok!";
        let made = signing_secret(own.to_owned()).unwrap();
        assert_eq!(STANDARD.decode(made.strip_prefix("whsec_").unwrap()).unwrap(), own.as_bytes());
        assert_eq!(signing_secret("whsec_AAAA".to_owned()).unwrap(), "whsec_AAAA");
        assert_eq!(signing_secret("short".to_owned()).unwrap_err().code(), "invalid_field");
    }

    #[test]
    fn a_patch_leaves_what_it_does_not_name() {
        let known = json!({"name": "wh_1", "filter": {"types": ["a"], "cel": "true"}, "description": "d",
            "sink": {"kind": "webhook", "url": "https://example.com/", "secrets": ["whsec_1"], "timeout_ms": 7}});
        let known: Subscription = serde_json::from_value(known).unwrap();
        assert_eq!(changed(&known, &WantedWebhook::default(), None).unwrap(), known);
        let wanted: WantedWebhook =
            serde_json::from_value(json!({"eventTypes": ["b"], "targetUrl": "https://example.org/"}))
                .unwrap();
        let made = changed(&known, &wanted, None).unwrap();
        let settings = &made.sink.as_ref().unwrap().settings;
        assert_eq!((&settings["url"], &settings["timeout_ms"]), (&json!("https://example.org/"), &json!(7)));
        let filter = serde_json::to_value(&made.filter).unwrap();
        assert_eq!((&filter["types"], &filter["cel"]), (&json!(["b"]), &json!("true")));
    }
}
