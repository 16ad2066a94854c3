//! `/api/v1/app/{app}/msg`: messages.
//!
//! A message that has an `eventId` is sent once, and another one with that id is refused; without one it is the header
//! `idempotency-key` that tells a repetition, which is answered as the first was. The time for which either is remembered is
//! `publish.idempotency_window_seconds`. A client sends the header's value again when it repeats a request, so it is part of a
//! message with an `eventId`: the same id with another key is another message.

use std::ops::Range;

use axum::extract::{Path, State};
use axum::response::IntoResponse;
use eventrelay_event::{EventId, MessageId};
use eventrelay_sinks::UrlView;
use eventrelay_state::SvixApplication;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::application_routes::{self, ApplicationIn};
use super::caller::Caller;
use super::endpoint::{self, EndpointOut};
use super::idempotency::idempotency_key;
use super::json::Json;
use super::list::{List, Wanted};
use super::message::{self, Labels, Looked, MessageOut};
use super::parameters::Parameters;
use super::refusal::Refusal;
use super::resources::Resources;
use super::routes::Routes;
use super::schema_check;
use crate::auth::{Author, Scope};
use crate::http::control::author::RequestAuthor;
use crate::http::problem::Problem;

/// The header of an event that has the request's idempotency key, where it is not the event's.
const KEY_HEADER: &str = "svixkey";
/// What an iterator begins with that names a place and no message.
const PLACE: &str = "place_";

pub(super) fn routes() -> Routes<Resources> {
    let (all, one) = ("/api/v1/app/{app_id}/msg", "/api/v1/app/{app_id}/msg/{msg_id}");
    Routes::new()
        .post(all, Scope::Publish, create)
        .get(all, Scope::Read, list)
        .get(one, Scope::Read, get)
        .delete("/api/v1/app/{app_id}/msg/{msg_id}/content", Scope::Manage, expunge)
        .post("/api/v1/app/{app_id}/msg/precheck/active", Scope::Read, precheck)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MessageIn {
    event_type: String,
    payload: Box<RawValue>,
    event_id: Option<String>,
    channels: Option<Vec<String>>,
    tags: Option<Vec<String>>,
    application: Option<ApplicationIn>,
    deliver_at: Option<String>,
    transformations_params: Option<Box<RawValue>>,
}

async fn create(
    State(resources): State<Resources>,
    caller: Caller,
    RequestAuthor(author): RequestAuthor,
    Path(app): Path<String>,
    parameters: Parameters,
    headers: HeaderMap,
    Json(wanted): Json<MessageIn>,
) -> Result<impl IntoResponse, Refusal> {
    let with_content = parameters.flag("with_content", true)?;
    if wanted.deliver_at.is_some() {
        return Err(Refusal::invalid("deliverAt", "is not supported: messages are delivered at once"));
    }
    if wanted.transformations_params.is_some() {
        return Err(Refusal::invalid("transformationsParams", "is not supported"));
    }
    let application = existing_or_made(&resources, &caller, &author, app, wanted.application).await?;
    let has_event_id = wanted.event_id.is_some();
    let labels = Labels {
        event_id: wanted.event_id,
        channels: wanted.channels.unwrap_or_default(),
        tags: wanted.tags.unwrap_or_default(),
    };
    let mut event = message::event(&resources, &application, wanted.event_type, &wanted.payload, labels)?;
    schema_check::check(&resources, &event.event_type, &wanted.payload).await?;
    let key = idempotency_key(&headers)?;
    match (&key, has_event_id) {
        (Some(key), true) => event.headers.push((KEY_HEADER.to_owned(), key.clone())),
        (Some(key), false) => event.idempotency_key = Some(key.clone()),
        (None, _) => {}
    }
    let quota = resources.api_keys.quota_of(&application.tenant);
    let admitted = quota.admit_events(1, wanted.payload.get().len());
    let _in_flight = admitted.map_err(|exceeded| Problem::quota(&exceeded))?;
    let receipts = resources.publisher.publish(vec![event]).await?;
    let receipt = receipts.first().ok_or_else(|| Refusal::internal("no receipt"))?;
    if receipt.duplicate && key.is_none() {
        return Err(Refusal::conflict("There is a message with this eventId"));
    }
    let stored = resources.publisher.find(receipt.id, &application.tenant).await?;
    let stored = stored.ok_or_else(|| Refusal::internal("the message cannot be read"))?;
    Ok((StatusCode::ACCEPTED, Json(MessageOut::of(&stored, with_content)?)))
}

/// The application, which is made where it is not there and the message says how.
async fn existing_or_made(
    resources: &Resources,
    caller: &Caller,
    author: &Author,
    name: String,
    wanted: Option<ApplicationIn>,
) -> Result<SvixApplication, Refusal> {
    match (resources.application(caller, name.clone()).await, wanted) {
        (Err(Refusal::Problem(problem)), Some(wanted))
            if problem.code() == "not_found" && caller.reaches_everything() =>
        {
            if wanted.uid.as_ref().is_some_and(|uid| *uid != name) {
                return Err(Refusal::invalid("application.uid", "must be the one in the path"));
            }
            application_routes::make(resources, author, wanted.called(name)).await
        }
        (found, _) => found,
    }
}

async fn list(
    State(resources): State<Resources>,
    caller: Caller,
    Path(app): Path<String>,
    parameters: Parameters,
) -> Result<Json<List<MessageOut>>, Refusal> {
    let application = resources.application(&caller, app).await?;
    let with_content = parameters.flag("with_content", true)?;
    let page = resources.block(move |resources| {
        let looked = looked(&parameters)?;
        listed(resources, &application, looked, &parameters, |found| {
            MessageOut::of(&found.event, with_content)
        })
    });
    Ok(Json(page.await?))
}

/// What the parameters of a list of messages ask for.
pub(super) fn looked(parameters: &Parameters) -> Result<Looked, Refusal> {
    Ok(Looked {
        event_types: parameters.names("event_types")?,
        channel: parameters.text("channel").map(str::to_owned),
        tag: parameters.text("tag").map(str::to_owned),
        newest_first: true,
        ..Looked::default()
    })
}

/// A page of messages, the newest first, each shown by `show`. Blocking.
pub(super) fn listed<T>(
    resources: &Resources,
    application: &SvixApplication,
    looked: Looked,
    parameters: &Parameters,
    show: impl Fn(eventrelay_delivery::Found) -> Result<T, Refusal>,
) -> Result<List<T>, Refusal> {
    let wanted = Wanted::of(parameters)?;
    let range = range(resources, parameters, &wanted)?;
    let looked = Looked { newest_first: !wanted.is_back, ..looked };
    let limit = usize::try_from(wanted.limit).unwrap_or(usize::MAX);
    let (found, rest) = message::search(resources, application, range, &looked, limit + 1)?;
    let is_full = found.len() > limit;
    let page = List::new(found, &wanted, |found| MessageId(found.event.id()).to_string());
    let List { data, mut iterator, prev_iterator, .. } = page;
    // What was not looked at in time is for the next page.
    if let Some(rest) = rest.filter(|_| !is_full && !wanted.is_back) {
        iterator = Some(format!("{PLACE}{}", rest.end));
        let data = data.into_iter().map(show).collect::<Result<_, _>>()?;
        return Ok(List { data, iterator, prev_iterator, done: false });
    }
    let data = data.into_iter().map(show).collect::<Result<_, _>>()?;
    Ok(List { data, iterator, prev_iterator, done: !is_full })
}

/// Which part of the log a page is of.
fn range(resources: &Resources, parameters: &Parameters, wanted: &Wanted) -> Result<Range<u64>, Refusal> {
    let seek = |name| -> Result<Option<u64>, Refusal> {
        let Some(micros) = parameters.time(name)? else { return Ok(None) };
        let found = resources.log.seek_time(micros);
        found.map(Some).map_err(|error| eventrelay_ingest::FindError::Read(error).into())
    };
    let mut range = seek("after")?.unwrap_or(0)..seek("before")?.unwrap_or(u64::MAX);
    if let Some(behind) = &wanted.behind {
        let place = place_of(behind).ok_or_else(|| Refusal::parameter("iterator", "is none of this list"))?;
        match wanted.is_back {
            true => range.start = range.start.max(place.saturating_add(1)),
            false => range.end = range.end.min(place),
        }
    }
    Ok(range)
}

/// The place in the log that an iterator names: a message, or the number itself.
fn place_of(iterator: &str) -> Option<u64> {
    let message = iterator.parse::<MessageId>().ok().map(|MessageId(id)| EventId::offset(id));
    message.or_else(|| iterator.strip_prefix(PLACE)?.parse().ok())
}

async fn get(
    State(resources): State<Resources>,
    caller: Caller,
    Path((app, name)): Path<(String, String)>,
    parameters: Parameters,
) -> Result<Json<MessageOut>, Refusal> {
    let application = resources.application(&caller, app).await?;
    let event = resources.message(&application, &name).await?;
    Ok(Json(MessageOut::of(&event, parameters.flag("with_content", true)?)?))
}

async fn expunge(
    State(resources): State<Resources>,
    caller: Caller,
    Path((app, name)): Path<(String, String)>,
) -> Result<StatusCode, Refusal> {
    let application = resources.application(&caller, app).await?;
    resources.message(&application, &name).await?;
    Err(Refusal::unsupported(
        "The log is never rewritten: a message goes when the log's retention lets it go",
    ))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PrecheckIn {
    event_type: String,
    channels: Option<Vec<String>>,
}

#[derive(Debug, Serialize)]
struct PrecheckOut {
    active: bool,
}

/// Whether any endpoint that is enabled would be sent such a message.
async fn precheck(
    State(resources): State<Resources>,
    caller: Caller,
    Path(app): Path<String>,
    Json(wanted): Json<PrecheckIn>,
) -> Result<Json<PrecheckOut>, Refusal> {
    let application = resources.application(&caller, app).await?;
    let channels = wanted.channels.unwrap_or_default();
    endpoint::check_channels(&channels)?;
    let endpoints = resources.endpoints(&application).await?;
    let channels: Vec<&str> = channels.iter().map(String::as_str).collect();
    let active = endpoints
        .into_iter()
        .any(|found| EndpointOut::of(found, UrlView::Origin).would_take(&wanted.event_type, &channels));
    Ok(Json(PrecheckOut { active }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_iterator_names_a_message_or_a_place() {
        let id = MessageId(EventId::new(1_790_000_000_000_000, 42));
        assert_eq!(place_of(&id.to_string()), Some(42));
        assert_eq!(place_of("place_7"), Some(7));
        assert_eq!(place_of("app_1"), None);
    }
}
