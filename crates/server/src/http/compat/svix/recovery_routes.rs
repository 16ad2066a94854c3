//! Messages that are sent again, many at once: those that failed, those from before the endpoint was there, or those of a kind.
//! Each is a background task: a replay or redrive of the endpoint's subscription.

use axum::extract::{Path, State};
use eventrelay_delivery::{RedriveRequest, ReplayRequest};
use eventrelay_event::Timestamp;
use eventrelay_expression::EventFilter;
use eventrelay_state::{ReplayRecord, ReplayState, Start, Subscription, SvixApplication, SvixEndpoint};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::attempt::Status;
use super::caller::Caller;
use super::ids;
use super::json::Json;
use super::message::CHANNELS;
use super::parameters::micros_of;
use super::refusal::Refusal;
use super::resources::{Found, Resources};
use super::routes::Routes;
use crate::auth::{Author, Scope};
use crate::http::control::author::RequestAuthor;

pub(super) fn routes() -> Routes<Resources> {
    Routes::new()
        .post("/api/v1/app/{app_id}/endpoint/{endpoint_id}/recover", Scope::Manage, recover)
        .post("/api/v1/app/{app_id}/endpoint/{endpoint_id}/replay-missing", Scope::Manage, replay_missing)
        .post("/api/v1/app/{app_id}/endpoint/{endpoint_id}/bulk-replay", Scope::Manage, bulk_replay)
        .get("/api/v1/background-task/{task_id}", Scope::Admin, task)
}

#[derive(Debug, Deserialize)]
struct PeriodIn {
    since: String,
    until: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BulkIn {
    #[serde(flatten)]
    period: PeriodIn,
    event_types: Option<Vec<String>>,
    channel: Option<String>,
    tag: Option<String>,
    status: Option<u16>,
    status_code_class: Option<u16>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TaskOut {
    id: String,
    status: &'static str,
    task: &'static str,
    updated_at: String,
    data: serde_json::Value,
}

const RECOVER: &str = "endpoint.recover";
const REPLAY: &str = "endpoint.replay";
const BULK_REPLAY: &str = "endpoint.bulk-replay";

impl TaskOut {
    fn of(replay: &ReplayRecord, task: &'static str) -> Self {
        let progress = &replay.progress;
        Self {
            id: ids::task(replay.created_at_micros, replay.request.subscription, replay.id),
            status: match progress.state {
                ReplayState::Running => "running",
                ReplayState::Failed { .. } | ReplayState::Cancelled => "failed",
                ReplayState::Done => "finished",
            },
            task,
            updated_at: Timestamp(replay.created_at_micros).to_string(),
            data: json!({"messagesSent": progress.delivered + progress.deferred}),
        }
    }
}

impl PeriodIn {
    fn bounds(&self) -> Result<(Timestamp, Option<Timestamp>), Refusal> {
        let time = |field, text: &str| micros_of(text).map_err(|why| Refusal::invalid(field, why));
        let until = self.until.as_deref().map(|text| time("until", text)).transpose()?;
        Ok((time("since", &self.since)?, until))
    }
}

async fn endpoint_of(
    resources: &Resources,
    caller: &Caller,
    (app, name): (String, String),
) -> Result<(SvixApplication, Found), Refusal> {
    let application = resources.application(caller, app).await?;
    let endpoint = resources.endpoint(&application, name).await?;
    Ok((application, endpoint))
}

/// Notes what is about to be done.
async fn note(
    resources: &Resources,
    author: &Author,
    spec: &Subscription,
    task: &str,
    period: &PeriodIn,
) -> Result<(), Refusal> {
    let what = json!({"task": task, "since": period.since, "until": period.until});
    resources.note(author, "replay.create", &spec.tenant, &spec.name, Some(what)).await
}

type Started = Result<(StatusCode, Json<TaskOut>), Refusal>;

/// Sends again what failed for good. What waits for another attempt has not failed yet.
async fn recover(
    State(resources): State<Resources>,
    caller: Caller,
    RequestAuthor(author): RequestAuthor,
    Path(names): Path<(String, String)>,
    Json(period): Json<PeriodIn>,
) -> Started {
    let (_, (endpoint, record)) = endpoint_of(&resources, &caller, names).await?;
    note(&resources, &author, &record.spec, RECOVER, &period).await?;
    let replay = redrive(&resources, &endpoint, &period, EventFilter::default()).await?;
    Ok((StatusCode::ACCEPTED, Json(TaskOut::of(&replay, RECOVER))))
}

/// Sends what was there before the endpoint: all that is newer is delivered anyway.
async fn replay_missing(
    State(resources): State<Resources>,
    caller: Caller,
    RequestAuthor(author): RequestAuthor,
    Path(names): Path<(String, String)>,
    Json(period): Json<PeriodIn>,
) -> Started {
    let (application, (endpoint, record)) = endpoint_of(&resources, &caller, names).await?;
    note(&resources, &author, &record.spec, REPLAY, &period).await?;
    let (since, until) = period.bounds()?;
    let from = resolve(&resources, since).await?.max(application.start_offset).min(record.start_offset);
    let to = match until {
        Some(until) => resolve(&resources, until).await?.min(record.start_offset),
        None => record.start_offset,
    };
    let request = ReplayRequest {
        from: Start::Offset(from),
        to: Some(Start::Offset(to.max(from))),
        filter: EventFilter::default(),
        max_events_per_second: None,
    };
    let replay = resources.engine.replay(&endpoint.tenant, &endpoint.subscription, request).await?;
    Ok((StatusCode::ACCEPTED, Json(TaskOut::of(&replay, REPLAY))))
}

/// Sends again what is of a kind; with `status` 2 only what failed for good.
async fn bulk_replay(
    State(resources): State<Resources>,
    caller: Caller,
    RequestAuthor(author): RequestAuthor,
    Path(names): Path<(String, String)>,
    Json(wanted): Json<BulkIn>,
) -> Started {
    let (application, (endpoint, record)) = endpoint_of(&resources, &caller, names).await?;
    if wanted.status_code_class.is_some() || wanted.tag.is_some() {
        return Err(Refusal::unsupported("Messages are not chosen by statusCodeClass or tag"));
    }
    let filter = filter(&wanted)?;
    note(&resources, &author, &record.spec, BULK_REPLAY, &wanted.period).await?;
    let replay = match wanted.status.map(Status::of_number) {
        Some(Some(Status::Fail)) => redrive(&resources, &endpoint, &wanted.period, filter).await?,
        None => {
            let (since, until) = wanted.period.bounds()?;
            // What the tenant had before is not the application's.
            let from = resolve(&resources, since).await?.max(application.start_offset);
            let to = match until {
                Some(until) => Some(Start::Offset(resolve(&resources, until).await?.max(from))),
                None => None,
            };
            let request =
                ReplayRequest { from: Start::Offset(from), to, filter, max_events_per_second: None };
            resources.engine.replay(&endpoint.tenant, &endpoint.subscription, request).await?
        }
        Some(_) => return Err(Refusal::invalid("status", "must be 2 (fail), or left out")),
    };
    Ok((StatusCode::ACCEPTED, Json(TaskOut::of(&replay, BULK_REPLAY))))
}

fn filter(wanted: &BulkIn) -> Result<EventFilter, Refusal> {
    let types = wanted.event_types.clone().unwrap_or_default();
    types.iter().try_for_each(|name| ids::check_name("eventTypes", name))?;
    let mut written = json!({ "types": types });
    if let Some(channel) = &wanted.channel {
        ids::check_name("channel", channel)?;
        let has = format!("has(event.headers.{CHANNELS})");
        written["cel"] = format!("{has} && event.headers.{CHANNELS}.contains(',{channel},')").into();
    }
    serde_json::from_value(written).map_err(|error| Refusal::invalid("eventTypes", error.to_string()))
}

async fn redrive(
    resources: &Resources,
    endpoint: &SvixEndpoint,
    period: &PeriodIn,
    filter: EventFilter,
) -> Result<ReplayRecord, Refusal> {
    let (since, until) = period.bounds()?;
    let request = RedriveRequest {
        from: Some(Start::Time(since)),
        to: until.map(Start::Time),
        filter,
        ..RedriveRequest::default()
    };
    Ok(resources.engine.redrive(&endpoint.tenant, &endpoint.subscription, request).await?)
}

/// The place in the log where a time begins.
async fn resolve(resources: &Resources, time: Timestamp) -> Result<u64, Refusal> {
    let place = eventrelay_delivery::resolve_start(&resources.log, Start::Time(time)).await;
    place.map_err(|error| Refusal::invalid("", error.to_string()))
}

async fn task(State(resources): State<Resources>, Path(id): Path<String>) -> Result<Json<TaskOut>, Refusal> {
    let (subscription, replay) = ids::parse_task(&id).ok_or_else(Refusal::not_found)?;
    let replays = resources.read(move |state| state.replays(subscription)).await?;
    let found = replays.iter().find(|record| record.id == replay).ok_or_else(Refusal::not_found)?;
    let kind = match found.request.kind {
        eventrelay_state::ReplayKind::Redrive => RECOVER,
        eventrelay_state::ReplayKind::Replay => REPLAY,
    };
    Ok(Json(TaskOut::of(found, kind)))
}
