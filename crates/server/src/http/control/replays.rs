//! Replays and redrives: made, listed, shown, cancelled. And seek, which moves the cursor itself.

use std::num::NonZeroU32;

use axum::extract::State;
use eventrelay_delivery::{ControlError, ReplayRequest};
use eventrelay_expression::EventFilter;
use eventrelay_state::{ReplayId, ReplayRecord, ReplayState, Start};
use http::StatusCode;
use http::header::LOCATION;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::author::RequestAuthor;
use super::caller::Caller;
use super::json::Json;
use super::page::{Listed, Page};
use super::path::Path;
use super::query::Query;
use super::resources::Resources;
use super::subscriptions::schema::{FilterDeclaration, Place};
use super::time::Time;
use super::{audited, reading, refusals};
use crate::auth::Access;
use crate::http::problem::Problem;

/// A part of the log to deliver again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReplayBody {
    /// From here on.
    #[schema(value_type = Place)]
    from: Start,
    /// To here, exclusive; as far as anything is settled where nothing is said, for what comes then is live.
    #[schema(value_type = Option<Place>)]
    to: Option<Start>,
    /// Which events, beside the subscription's own filter.
    #[serde(default)]
    #[schema(value_type = FilterDeclaration, required = false)]
    filter: EventFilter,
    /// The most events a second, beside the subscription's own limit.
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 4_294_967_295u64)]
    max_events_per_second: Option<NonZeroU32>,
}

/// Where the cursor is to go.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SeekBody {
    /// The place.
    #[schema(value_type = Place)]
    to: Start,
}

/// Where the cursor is.
#[derive(Serialize, ToSchema)]
struct SeekAnswer {
    /// The offset with which deliveries go on.
    cursor: u64,
}

/// A part of the log, or dead letters, on their way once more.
#[derive(Serialize, ToSchema)]
pub(super) struct ReplayShown {
    /// Its number.
    id: i64,
    /// The subscription.
    subscription: String,
    /// `replay` (of the log) or `redrive` (of dead letters).
    kind: &'static str,
    /// `running`, `done`, `cancelled` or `failed`.
    state: &'static str,
    /// Why it failed, for people.
    #[schema(required = true)]
    state_reason: Option<String>,
    /// Which events.
    #[schema(value_type = FilterDeclaration)]
    filter: Value,
    /// The most events a second, beside the subscription's own limit.
    #[schema(required = true, value_type = Option<u32>)]
    max_events_per_second: Option<u32>,
    /// Its first offset.
    start_offset: u64,
    /// Every offset below it is settled.
    next_offset: u64,
    /// The offset after its last.
    end_offset: u64,
    /// Delivered at the first try.
    delivered: u64,
    /// Handed to the subscription's retries.
    deferred: u64,
    /// Refused for good: dead letters.
    refused: u64,
    /// No longer in the log.
    lost: u64,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    created_at: Time,
    /// When it ended.
    #[schema(required = true, value_type = Option<String>, format = DateTime)]
    finished_at: Option<Time>,
}

pub(super) fn routes() -> OpenApiRouter<Resources> {
    OpenApiRouter::new()
        .routes(routes!(create_replay, list_replays))
        .routes(routes!(get_replay))
        .routes(routes!(cancel_replay))
        .routes(routes!(seek_subscription))
}

/// Replay a part of the log
///
/// Delivers events again to this subscription, beside its live cursor. Retention may have let some of them go: those are counted
/// as `lost`; a range with nothing in it is done at once.
#[utoipa::path(
    post, path = "/v1/subscriptions/{name}/replays", tag = "replays", security(("bearer" = ["manage"])),
    params(("name" = String, Path, description = "The subscription's name", example = "billing")),
    request_body(content = ReplayBody, example = json!({"from": "earliest", "filter": {"types": ["order.*"]}, "max_events_per_second": 100})),
    responses((status = 202, description = "The replay", body = ReplayShown,
               headers(("location" = String, description = "Where it is shown"))),
              (status = 409, description = "Too many are under way; it does not run; or this `Idempotency-Key` is in use"),
              (status = 410, description = "Retention has let its start go"))
)]
async fn create_replay(
    State(resources): State<Resources>,
    Caller(access): Caller,
    RequestAuthor(author): RequestAuthor,
    Path(name): Path<String>,
    Json(body): Json<ReplayBody>,
) -> Result<(StatusCode, [(http::HeaderName, String); 1], Json<ReplayShown>), Problem> {
    let ReplayBody { from, to, filter, max_events_per_second } = body;
    reading::subscription(&resources, &access, &name).await?;
    let after = Some(json!({"from": from, "to": to, "filter": filter}));
    let audit = audited::of_subscription(&access, &author, "replay.create", &name, after);
    audited::note(&resources, audit).await?;
    let request = ReplayRequest { from, to, filter, max_events_per_second };
    let begun = resources.engine.replay(access.tenant().as_str(), &name, request).await;
    let record = begun.map_err(|error| refusals::of_control(&error))?;
    let location = format!("/v1/subscriptions/{name}/replays/{}", record.id.0);
    Ok((StatusCode::ACCEPTED, [(LOCATION, location)], Json(ReplayShown::of(&name, &record))))
}

/// List a subscription's replays and redrives
///
/// The newest first, of the hundred that are kept.
#[utoipa::path(
    get, path = "/v1/subscriptions/{name}/replays", tag = "replays", security(("bearer" = ["read"])),
    params(("name" = String, Path, description = "The subscription's name", example = "billing"), Page),
    responses((status = 200, description = "A page of them", body = Listed<ReplayShown>))
)]
async fn list_replays(
    State(resources): State<Resources>,
    Caller(access): Caller,
    Path(name): Path<String>,
    Query(page): Query<Page>,
) -> Result<Json<Listed<ReplayShown>>, Problem> {
    let mut found = all(&resources, &access, &name).await?;
    if let Some(before) = page.cursor.and_then(|cursor| cursor.0.parse::<i64>().ok()) {
        found.retain(|record| record.id.0 < before);
    }
    let listed = Listed::new(found, page.limit, |record| record.id.0);
    Ok(Json(listed.map(|record| ReplayShown::of(&name, &record))))
}

/// Show a replay or redrive
#[utoipa::path(
    get, path = "/v1/subscriptions/{name}/replays/{id}", tag = "replays", security(("bearer" = ["read"])),
    params(("name" = String, Path, description = "The subscription's name", example = "billing"),
           ("id" = i64, Path, description = "Its number", example = 1,
            extensions(("x-example-from" = json!({"operation": "create_replay", "pattern": "[0-9]+"}))))),
    responses((status = 200, description = "How far it has come", body = ReplayShown))
)]
async fn get_replay(
    State(resources): State<Resources>,
    Caller(access): Caller,
    Path((name, id)): Path<(String, i64)>,
) -> Result<Json<ReplayShown>, Problem> {
    Ok(Json(ReplayShown::of(&name, &one(&resources, &access, &name, id).await?)))
}

/// Cancel a replay or redrive
///
/// What is on its way ends by itself; what was delivered stays delivered. One that has ended stays as it is.
#[utoipa::path(
    post, path = "/v1/subscriptions/{name}/replays/{id}/cancel", tag = "replays", security(("bearer" = ["manage"])),
    params(("name" = String, Path, description = "The subscription's name", example = "billing"),
           ("id" = i64, Path, description = "Its number", example = 1,
            extensions(("x-example-from" = json!({"operation": "create_replay", "pattern": "[0-9]+"}))))),
    responses((status = 200, description = "How far it has come", body = ReplayShown),
              (status = 409, description = "The subscription does not run; or this `Idempotency-Key` is in use"))
)]
async fn cancel_replay(
    State(resources): State<Resources>,
    Caller(access): Caller,
    RequestAuthor(author): RequestAuthor,
    Path((name, id)): Path<(String, i64)>,
) -> Result<Json<ReplayShown>, Problem> {
    one(&resources, &access, &name, id).await?;
    let audit = audited::of_subscription(&access, &author, "replay.cancel", &name, Some(json!({"id": id})));
    audited::note(&resources, audit).await?;
    match resources.engine.cancel_replay(access.tenant().as_str(), &name, ReplayId(id)).await {
        // One that has ended needs no end.
        Ok(()) | Err(ControlError::NoSuchReplay { .. }) => {}
        Err(error) => return Err(refusals::of_control(&error)),
    }
    Ok(Json(ReplayShown::of(&name, &one(&resources, &access, &name, id).await?)))
}

/// Move a subscription's cursor
///
/// Forwards, and what is passed is not delivered; or backwards, and it is delivered again. What waits for a retry is forgotten;
/// dead letters and replays stay. Beyond the log's end there is no place to go.
#[utoipa::path(
    post, path = "/v1/subscriptions/{name}/seek", tag = "replays", security(("bearer" = ["manage"])),
    params(("name" = String, Path, description = "The subscription's name", example = "billing")),
    request_body(content = SeekBody, example = json!({"to": "latest"})),
    responses((status = 200, description = "Where it goes on", body = SeekAnswer),
              (status = 409, description = "It does not run; or this `Idempotency-Key` is in use"),
              (status = 410, description = "Retention has let that place go"))
)]
async fn seek_subscription(
    State(resources): State<Resources>,
    Caller(access): Caller,
    RequestAuthor(author): RequestAuthor,
    Path(name): Path<String>,
    Json(body): Json<SeekBody>,
) -> Result<Json<SeekAnswer>, Problem> {
    reading::subscription(&resources, &access, &name).await?;
    let audit =
        audited::of_subscription(&access, &author, "subscription.seek", &name, Some(json!({"to": body.to})));
    audited::note(&resources, audit).await?;
    let moved = resources.engine.seek(access.tenant().as_str(), &name, body.to).await;
    Ok(Json(SeekAnswer { cursor: moved.map_err(|error| refusals::of_control(&error))? }))
}

async fn all(resources: &Resources, access: &Access, name: &str) -> Result<Vec<ReplayRecord>, Problem> {
    let record = reading::subscription(resources, access, name).await?;
    reading::state(resources, move |state| state.replays(record.id)).await
}

async fn one(resources: &Resources, access: &Access, name: &str, id: i64) -> Result<ReplayRecord, Problem> {
    let found = all(resources, access, name).await?.into_iter().find(|record| record.id.0 == id);
    found.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "replay_not_found", "There is no such replay"))
}

impl ReplayShown {
    pub(super) fn of(subscription: &str, record: &ReplayRecord) -> Self {
        let (request, progress) = (&record.request, &record.progress);
        let state_reason = match &progress.state {
            ReplayState::Failed { reason } => Some(reason.clone()),
            ReplayState::Running | ReplayState::Done | ReplayState::Cancelled => None,
        };
        Self {
            id: record.id.0,
            subscription: subscription.to_owned(),
            kind: request.kind.name(),
            state: progress.state.name(),
            state_reason,
            // It was read from JSON.
            filter: serde_json::to_value(&request.filter).unwrap_or_default(),
            max_events_per_second: request.max_events_per_second.map(NonZeroU32::get),
            start_offset: request.start_offset,
            next_offset: progress.next_offset,
            end_offset: request.end_offset,
            delivered: progress.delivered,
            deferred: progress.deferred,
            refused: progress.refused,
            lost: progress.lost,
            created_at: Time::of_micros(record.created_at_micros),
            finished_at: progress.finished_at_micros.map(Time::of_micros),
        }
    }
}
