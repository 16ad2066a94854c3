//! `/api/v1/app/{app}/endpoint/{endpoint}/send-example`: a message for one endpoint alone. It is an event as any other, so
//! subscriptions of the tenant that are no endpoints get it too; its header tells it apart. What it says is the operator's example,
//! but for who may publish.

use axum::extract::{Path, State};
use axum::response::IntoResponse;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::caller::Caller;
use super::event_type_routes::example_of;
use super::json::Json;
use super::message::{self, ENDPOINT, Labels, MessageOut};
use super::refusal::Refusal;
use super::resources::Resources;
use super::routes::Routes;
use crate::auth::{AuthError, Scope};
use crate::http::authentication::refused;
use crate::http::problem::Problem;

pub(super) fn routes() -> Routes<Resources> {
    let path = "/api/v1/app/{app_id}/endpoint/{endpoint_id}/send-example";
    Routes::new().post(path, Scope::Manage, send)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExampleIn {
    event_type: String,
    payload: Option<Box<RawValue>>,
}

async fn send(
    State(resources): State<Resources>,
    caller: Caller,
    Path((app, name)): Path<(String, String)>,
    Json(wanted): Json<ExampleIn>,
) -> Result<impl IntoResponse, Refusal> {
    if wanted.payload.is_some() && !caller.may(Scope::Publish) {
        return Err(refused(AuthError::MissingScope(Scope::Publish)).into());
    }
    let application = resources.application(&caller, app).await?;
    let (endpoint, _) = resources.endpoint(&application, name).await?;
    let payload = match wanted.payload {
        Some(payload) => payload,
        None => {
            let name = wanted.event_type.clone();
            let known = resources.read(move |state| state.svix_event_type(&name)).await?;
            let example = known.and_then(|event_type| example_of(&event_type));
            let example = example.unwrap_or_else(|| json!({"type": wanted.event_type, "example": true}));
            let text = RawValue::from_string(example.to_string());
            text.map_err(|error| Refusal::internal(error.to_string()))?
        }
    };
    let mut event = message::event(&resources, &application, wanted.event_type, &payload, Labels::default())?;
    event.headers.push((ENDPOINT.to_owned(), endpoint.id));
    let quota = resources.api_keys.quota_of(&application.tenant);
    let admitted = quota.admit_events(1, payload.get().len());
    let _in_flight = admitted.map_err(|exceeded| Problem::quota(&exceeded))?;
    let receipts = resources.publisher.publish(vec![event]).await?;
    let receipt = receipts.first().ok_or_else(|| Refusal::internal("no receipt"))?;
    let stored = resources.publisher.find(receipt.id, &application.tenant).await?;
    let stored = stored.ok_or_else(|| Refusal::internal("the message cannot be read"))?;
    Ok((StatusCode::ACCEPTED, Json(MessageOut::of(&stored, true)?)))
}
