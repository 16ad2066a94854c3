//! Dead letters: listed, shown, put back into delivery, and thrown away.

use std::num::NonZeroU32;

use axum::extract::State;
use eventrelay_delivery::RedriveRequest;
use eventrelay_event::{EventId, StoredEvent};
use eventrelay_expression::EventFilter;
use eventrelay_state::DeadLetter;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::author::RequestAuthor;
use super::caller::Caller;
use super::json::Json;
use super::page::{Cursor, Listed, PageLimit};
use super::path::Path;
use super::query::Query;
use super::replays::ReplayShown;
use super::resources::Resources;
use super::shown_event::shown;
use super::subscriptions::schema::FilterDeclaration;
use super::time::Time;
use super::{audited, reading, refusals};
use crate::auth::{Access, Author};
use crate::http::problem::Problem;
use crate::http::routes::events::schemas::ShownEvent;

/// Which dead letters.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DeadLetterList {
    /// How many items the page has at most.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 250, default = 50, example = 50)]
    limit: PageLimit,
    /// Where the page begins: the `next` of the one before it.
    #[param(value_type = Option<String>, max_length = 1024)]
    cursor: Option<Cursor<u64>>,
}

/// A delivery that will not be tried again by itself. It has a copy of its event.
#[derive(Serialize, ToSchema)]
struct DeadLetterShown {
    /// The event; null when the log no longer had it.
    #[schema(required = true)]
    event_id: Option<String>,
    /// The event's place in the log, by which a letter without an event is named.
    offset: u64,
    /// The subscription.
    subscription: String,
    /// Why it was given up, for people.
    reason: String,
    /// Attempts made.
    attempts: u32,
    /// When the first attempt failed.
    #[schema(value_type = String, format = DateTime)]
    first_failed_at: Time,
    /// When it was given up.
    #[schema(value_type = String, format = DateTime)]
    dead_at: Time,
    /// The event, as `GET /v1/events/{id}` shows it; null where it is no event, or the log no longer had it.
    #[schema(required = true, value_type = Option<ShownEvent>)]
    event: Option<Box<RawValue>>,
}

/// Which dead letters to put back into delivery, and how fast.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RedriveBody {
    /// Which events; all of them where nothing is said.
    #[serde(default)]
    #[schema(value_type = FilterDeclaration, required = false)]
    filter: EventFilter,
    /// The most events a second, beside the subscription's own limit.
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 4_294_967_295u64)]
    max_events_per_second: Option<NonZeroU32>,
}

/// Which dead letters to throw away: those of a filter, or all of them.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DiscardBody {
    /// Which events. `{}` is all of them.
    #[schema(value_type = FilterDeclaration)]
    filter: EventFilter,
}

/// How many were thrown away.
#[derive(Serialize, ToSchema)]
struct Discarded {
    /// Their number.
    discarded: u64,
}

pub(super) fn routes() -> OpenApiRouter<Resources> {
    OpenApiRouter::new()
        .routes(routes!(list_dead_letters))
        .routes(routes!(get_dead_letter, discard_dead_letter))
        .routes(routes!(redrive_dead_letter))
        .routes(routes!(redrive_dead_letters))
        .routes(routes!(discard_dead_letters))
}

/// List a subscription's dead letters
///
/// The newest events first.
#[utoipa::path(
    get, path = "/v1/subscriptions/{name}/dead-letters", tag = "dead letters", security(("bearer" = ["read"])),
    params(("name" = String, Path, description = "The subscription's name", example = "shipping"), DeadLetterList),
    responses((status = 200, description = "A page of them", body = Listed<DeadLetterShown>))
)]
async fn list_dead_letters(
    State(resources): State<Resources>,
    Caller(access): Caller,
    Path(name): Path<String>,
    Query(list): Query<DeadLetterList>,
) -> Result<Json<Listed<DeadLetterShown>>, Problem> {
    let record = reading::subscription(&resources, &access, &name).await?;
    let before = list.cursor.map_or(u64::MAX, |Cursor(offset)| offset);
    let one_more = list.limit.one_more();
    let read = move |state: &eventrelay_state::State| state.newest_dead_letters(record.id, before, one_more);
    let found = reading::state(&resources, read).await?;
    let listed = Listed::new(found, list.limit, |letter| letter.offset);
    Ok(Json(listed.map(|letter| DeadLetterShown::of(&name, &letter))))
}

/// Show a dead letter
#[utoipa::path(
    get, path = "/v1/subscriptions/{name}/dead-letters/{event_id}", tag = "dead letters", security(("bearer" = ["read"])),
    params(("name" = String, Path, description = "The subscription's name", example = "shipping"),
           ("event_id" = String, Path, description = "The event's id, or its offset", example = "01992b3c-0000-7000-8000-000000000000",
            extensions(("x-example-from" = json!({"operation": "list_dead_letters", "pattern": "[0-9a-f-]{36}"}))))),
    responses((status = 200, description = "The dead letter", body = DeadLetterShown))
)]
async fn get_dead_letter(
    State(resources): State<Resources>,
    Caller(access): Caller,
    Path((name, id)): Path<(String, String)>,
) -> Result<Json<DeadLetterShown>, Problem> {
    let letter = named(&resources, &access, &name, &id).await?;
    Ok(Json(DeadLetterShown::of(&name, &letter)))
}

/// Discard a dead letter
///
/// For good: its event is not delivered to this subscription any more, unless it is replayed from the log.
#[utoipa::path(
    delete, path = "/v1/subscriptions/{name}/dead-letters/{event_id}", tag = "dead letters", security(("bearer" = ["manage"])),
    params(("name" = String, Path, description = "The subscription's name", example = "shipping"),
           ("event_id" = String, Path, description = "The event's id, or its offset", example = "01992b3c-0000-7000-8000-000000000000",
            extensions(("x-example-from" = json!({"operation": "list_dead_letters", "pattern": "[0-9a-f-]{36}"}))))),
    responses((status = 204, description = "It is gone"),
              (status = 409, description = "The subscription does not run"))
)]
async fn discard_dead_letter(
    State(resources): State<Resources>,
    Caller(access): Caller,
    RequestAuthor(author): RequestAuthor,
    Path((name, id)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let letter = named(&resources, &access, &name, &id).await?;
    let after = Some(json!({"offset": letter.offset}));
    let audit = audited::of_subscription(&access, &author, "dead_letter.discard", &name, after);
    audited::note(&resources, audit).await?;
    let everything = EventFilter::default();
    let engine = &resources.engine;
    let discarded = engine.discard(access.tenant().as_str(), &name, Some(letter.offset), &everything).await;
    match discarded.map_err(|error| refusals::of_control(&error))? {
        0 => Err(absent()),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}

/// Redrive a dead letter
///
/// It is delivered again by a redrive of its own, whose progress the answer's `id` leads to.
#[utoipa::path(
    post, path = "/v1/subscriptions/{name}/dead-letters/{event_id}/redrive", tag = "dead letters", security(("bearer" = ["manage"])),
    params(("name" = String, Path, description = "The subscription's name", example = "shipping"),
           ("event_id" = String, Path, description = "The event's id, or its offset", example = "01992b3c-0000-7000-8000-000000000000",
            extensions(("x-example-from" = json!({"operation": "list_dead_letters", "pattern": "[0-9a-f-]{36}"}))))),
    responses((status = 202, description = "The redrive", body = ReplayShown),
              (status = 409, description = "Too many are under way; it does not run; or this `Idempotency-Key` is in use"))
)]
async fn redrive_dead_letter(
    State(resources): State<Resources>,
    Caller(access): Caller,
    RequestAuthor(author): RequestAuthor,
    Path((name, id)): Path<(String, String)>,
) -> Result<(StatusCode, Json<ReplayShown>), Problem> {
    let letter = named(&resources, &access, &name, &id).await?;
    let request = RedriveRequest { offset: Some(letter.offset), ..RedriveRequest::default() };
    begin(&resources, &access, &author, &name, request).await
}

/// Redrive dead letters
///
/// Those of a filter, or all that there are now, in the order of the log. One that is delivered is no dead letter
/// any more; one that is refused again, or waits for a retry, stays one.
#[utoipa::path(
    post, path = "/v1/subscriptions/{name}/dead-letters/redrive", tag = "dead letters", security(("bearer" = ["manage"])),
    params(("name" = String, Path, description = "The subscription's name", example = "shipping")),
    request_body(content = RedriveBody, example = json!({"filter": {"types": ["order.*"]}, "max_events_per_second": 50})),
    responses((status = 202, description = "The redrive", body = ReplayShown),
              (status = 409, description = "Too many are under way; it does not run; or this `Idempotency-Key` is in use"))
)]
async fn redrive_dead_letters(
    State(resources): State<Resources>,
    Caller(access): Caller,
    RequestAuthor(author): RequestAuthor,
    Path(name): Path<String>,
    Json(body): Json<RedriveBody>,
) -> Result<(StatusCode, Json<ReplayShown>), Problem> {
    let RedriveBody { filter, max_events_per_second } = body;
    begin(
        &resources,
        &access,
        &author,
        &name,
        RedriveRequest { filter, max_events_per_second, ..RedriveRequest::default() },
    )
    .await
}

/// Discard dead letters
///
/// Those of a filter, for good.
#[utoipa::path(
    post, path = "/v1/subscriptions/{name}/dead-letters/discard", tag = "dead letters", security(("bearer" = ["manage"])),
    params(("name" = String, Path, description = "The subscription's name", example = "shipping")),
    request_body(content = DiscardBody, example = json!({"filter": {"types": ["order.cancelled"]}})),
    responses((status = 200, description = "How many there were", body = Discarded),
              (status = 409, description = "It does not run; or this `Idempotency-Key` is in use"))
)]
async fn discard_dead_letters(
    State(resources): State<Resources>,
    Caller(access): Caller,
    RequestAuthor(author): RequestAuthor,
    Path(name): Path<String>,
    Json(body): Json<DiscardBody>,
) -> Result<Json<Discarded>, Problem> {
    reading::subscription(&resources, &access, &name).await?;
    let after = Some(json!({"filter": body.filter}));
    let audit = audited::of_subscription(&access, &author, "dead_letter.discard", &name, after);
    audited::note(&resources, audit).await?;
    let discarded = resources.engine.discard(access.tenant().as_str(), &name, None, &body.filter).await;
    Ok(Json(Discarded { discarded: discarded.map_err(|error| refusals::of_control(&error))? }))
}

async fn begin(
    resources: &Resources,
    access: &Access,
    author: &Author,
    name: &str,
    request: RedriveRequest,
) -> Result<(StatusCode, Json<ReplayShown>), Problem> {
    reading::subscription(resources, access, name).await?;
    let after = Some(json!({"offset": request.offset, "filter": request.filter}));
    let audit = audited::of_subscription(access, author, "dead_letter.redrive", name, after);
    audited::note(resources, audit).await?;
    let begun = resources.engine.redrive(access.tenant().as_str(), name, request).await;
    let record = begun.map_err(|error| refusals::of_control(&error))?;
    Ok((StatusCode::ACCEPTED, Json(ReplayShown::of(name, &record))))
}

/// The dead letter at an offset, if there is one.
pub(super) async fn find(
    resources: &Resources,
    access: &Access,
    name: &str,
    offset: u64,
) -> Result<Option<DeadLetter>, Problem> {
    let record = reading::subscription(resources, access, name).await?;
    let read = move |state: &eventrelay_state::State| state.dead_letters(record.id, offset, 1);
    let found = reading::state(resources, read).await?;
    Ok(found.into_iter().next().filter(|letter| letter.offset == offset))
}

/// Whether a dead letter is of the event of this id.
pub(super) fn is_of(letter: &DeadLetter, id: EventId) -> bool {
    letter.append_time_micros.is_some_and(|micros| EventId::new(micros, letter.offset) == id)
}

/// The dead letter of an event's id, or of an offset.
async fn named(resources: &Resources, access: &Access, name: &str, id: &str) -> Result<DeadLetter, Problem> {
    if let Ok(offset) = id.parse::<u64>() {
        let found = find(resources, access, name, offset.min(EventId::OFFSET_LIMIT)).await?;
        return found.ok_or_else(absent);
    }
    // Whether there is such a subscription comes first.
    let parsed = id.parse::<EventId>();
    let offset = parsed.as_ref().map_or(0, |id| id.offset());
    let found = find(resources, access, name, offset).await?;
    found.filter(|letter| parsed.is_ok_and(|id| is_of(letter, id))).ok_or_else(absent)
}

fn absent() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "dead_letter_not_found", "There is no such dead letter")
}

impl DeadLetterShown {
    fn of(subscription: &str, letter: &DeadLetter) -> Self {
        let event = letter.append_time_micros.zip(letter.event.clone()).and_then(|(micros, event)| {
            // What cannot be decoded is why it is here.
            let event = StoredEvent::decode(letter.offset, micros, event).ok()?;
            shown(&event).ok()
        });
        let id = letter.append_time_micros.map(|micros| EventId::new(micros, letter.offset).to_string());
        Self {
            event_id: id,
            offset: letter.offset,
            subscription: subscription.to_owned(),
            reason: letter.reason.clone(),
            attempts: letter.attempts,
            first_failed_at: Time::of_micros(letter.first_failed_at_micros),
            dead_at: Time::of_micros(letter.dead_at_micros),
            event,
        }
    }
}
