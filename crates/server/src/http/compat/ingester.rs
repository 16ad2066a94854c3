//! An idempotent REST ingester: its clients publish with a key, read events back, and have them delivered again to the Redis
//! stream `eventrail.events`, whose consumer groups they move.
//!
//! | | |
//! |---|---|
//! | `POST /events` with `Idempotency-Key` | 201 `{"id"}`; on a repeat the same id; 400 on a missing field or key; 422 where another event of the source has the key |
//! | `GET /events/{id}` | `{id, event_type, source, payload, created_at}` |
//! | `POST /replay {from, to, source?, event_type?, limit?}` | `{"published": n}` |
//! | `POST /consumer-groups/set-cursor {group?, start_id}` | 204 |
//!
//! Its `GET /health` is ours. The stream is that of the tenant's subscription with a sink of the kind `redis` and the layout
//! `eventrail`: the one that `REDIS_ADDR` makes, or any other.

use std::ops::Range;
use std::time::Duration;

use axum::extract::State;
use axum::response::IntoResponse;
use eventrelay_delivery::{
    ControlError, DeliverySearch, GroupError, ReplayRequest, SearchError, SearchRequest,
};
use eventrelay_event::filter::Filter;
use eventrelay_event::{Event, Timestamp};
use eventrelay_expression::EventFilter;
use eventrelay_state::{ReplayId, ReplayState, Start, Subscription};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::publish::{data_payload, not_empty, payload_data, publish};
use super::request_body::{RequestBody, invalid, required};
use crate::http::control::author::RequestAuthor;
use crate::http::control::caller::Caller;
use crate::http::control::json::Json;
use crate::http::control::path::Path;
use crate::http::control::resources::Resources;
use crate::http::control::{audited, reading, refusals};
use crate::http::problem::Problem;
use crate::http::routes::events::{idempotency_key, of_id};

/// Where its workers read.
const STREAM: &str = "eventrail.events";
const DEFAULT_REPLAY_LIMIT: usize = 1000;
const MAX_REPLAY_LIMIT: usize = 5000;
/// How long a replay looks for its events before it says that the range is too long.
const MAX_SEARCH_TIME: Duration = Duration::from_secs(20);
/// How many searches go on at once, of all tenants: each keeps a thread.
static SEARCHES: Semaphore = Semaphore::const_new(8);
/// How long a replay is waited for: that of events which are still on their way, and then its own. It goes on without.
const REPLAY_PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked at meanwhile.
const REPLAY_POLL: Duration = Duration::from_millis(20);
/// How many subscriptions are looked through together for the one of the stream.
const PAGE_SUBSCRIPTIONS: u32 = 250;
const MAX_GROUP_BYTES: usize = 255;

pub(super) fn routes() -> OpenApiRouter<Resources> {
    OpenApiRouter::new()
        .routes(routes!(create_event))
        .routes(routes!(get_event))
        .routes(routes!(replay))
        .routes(routes!(set_cursor))
}

#[derive(Deserialize)]
struct NewEvent {
    event_type: Option<String>,
    source: Option<String>,
    payload: Option<Box<RawValue>>,
}

#[derive(Serialize)]
struct Created {
    id: String,
}

#[utoipa::path(post, path = "/events", operation_id = "ingester_create_event", security(("bearer" = ["publish"])),
    request_body(content = Object), responses((status = 201, description = "Its id")))]
async fn create_event(
    State(resources): State<Resources>,
    Caller(access): Caller,
    headers: HeaderMap,
    body: RequestBody,
) -> Result<impl IntoResponse, Problem> {
    let key = idempotency_key(&headers)?.ok_or_else(|| {
        let title = "The header Idempotency-Key is missing";
        Problem::new(StatusCode::BAD_REQUEST, "missing_idempotency_key", title)
            .field(Some("Idempotency-Key".to_owned()))
    })?;
    let new: NewEvent = body.parse()?;
    let event_type = not_empty(required(new.event_type, "event_type")?, "event_type")?;
    let source = not_empty(required(new.source, "source")?, "source")?;
    let mut event = Event::new(access.tenant().clone(), event_type, source);
    event.data = Some(payload_data(&resources, &required(new.payload, "payload")?)?);
    event.idempotency_key = Some(key.to_owned());
    let receipt = publish(&resources, &access, &headers, event).await?;
    Ok((StatusCode::CREATED, Json(Created { id: receipt.id.to_string() })))
}

#[derive(Serialize)]
struct ShownEvent {
    id: String,
    event_type: String,
    source: String,
    payload: Box<RawValue>,
    created_at: String,
}

#[utoipa::path(get, path = "/events/{id}", operation_id = "ingester_get_event", security(("bearer" = ["read"])),
    params(("id" = String, Path)), responses((status = 200, description = "The event")))]
async fn get_event(
    State(resources): State<Resources>,
    Caller(access): Caller,
    Path(id): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let event = of_id(&resources.publisher, &access, &id).await?;
    Ok(Json(ShownEvent {
        id: event.id().to_string(),
        event_type: event.event_type().to_owned(),
        source: event.source().to_owned(),
        payload: data_payload(&event)?,
        created_at: Timestamp(event.append_time_micros()).to_string(),
    }))
}

#[derive(Deserialize)]
struct WantedReplay {
    from: Option<String>,
    to: Option<String>,
    source: Option<String>,
    event_type: Option<String>,
    limit: Option<u64>,
}

/// What is to be delivered again.
struct Wanted {
    /// Microseconds, the end exclusive.
    micros: Range<u64>,
    filter: Filter,
    limit: usize,
}

impl Wanted {
    fn of(wanted: WantedReplay) -> Result<Self, Problem> {
        let from = micros_of(&required(wanted.from, "from")?, "from")?;
        let to = micros_of(&required(wanted.to, "to")?, "to")?;
        if to < from {
            return Err(invalid("to", "must not be before `from`"));
        }
        let given = |text: Option<String>| text.filter(|text| !text.is_empty()).into_iter().collect();
        let filter = Filter::new(given(wanted.event_type), given(wanted.source))
            .map_err(|error| invalid("event_type", format!("or `source` cannot be looked for: {error}")))?;
        let limit = match wanted.limit {
            None | Some(0) => DEFAULT_REPLAY_LIMIT,
            Some(limit) => usize::try_from(limit).unwrap_or(usize::MAX).min(MAX_REPLAY_LIMIT),
        };
        // An event of the very microsecond `to` is meant too.
        Ok(Self { micros: from..to.saturating_add(1), filter, limit })
    }
}

fn micros_of(text: &str, field: &'static str) -> Result<u64, Problem> {
    let time = OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| invalid(field, "must be an RFC 3339 time, such as 2026-01-31T12:00:00Z"))?;
    // Nothing is older than 1970.
    Ok(u64::try_from(time.unix_timestamp_nanos() / 1000).unwrap_or(0))
}

#[derive(Serialize)]
struct Published {
    published: usize,
}

#[utoipa::path(post, path = "/replay", operation_id = "ingester_replay", security(("bearer" = ["manage"])),
    request_body(content = Object), responses((status = 200, description = "How many events")))]
async fn replay(
    State(resources): State<Resources>,
    Caller(access): Caller,
    RequestAuthor(author): RequestAuthor,
    body: RequestBody,
) -> Result<Json<Published>, Problem> {
    let wanted = Wanted::of(body.parse()?)?;
    let tenant = access.tenant().as_str();
    let name = stream_subscription(&resources, tenant).await?;
    let (filter, offsets) = (wanted.filter.clone(), matching(&resources, tenant, &name, wanted).await?);
    if let (Some(first), Some(last)) = (offsets.first(), offsets.last()) {
        let after = Some(json!({"from": first, "to": last + 1, "filter": filter}));
        let audit = audited::of_subscription(&access, &author, "replay.create", &name, after);
        audited::note(&resources, audit).await?;
        redeliver(&resources, tenant, &name, *first..last + 1, filter).await?;
    }
    Ok(Json(Published { published: offsets.len() }))
}

/// The offsets of the events that are wanted, the oldest first, and no more than are.
async fn matching(
    resources: &Resources,
    tenant: &str,
    name: &str,
    wanted: Wanted,
) -> Result<Vec<u64>, Problem> {
    let (engine, log) = (resources.engine.clone(), resources.log.clone());
    let (tenant, name) = (tenant.to_owned(), name.to_owned());
    let place = SEARCHES.try_acquire().map_err(|_| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Too many replays are being looked for")
            .retry_after(Duration::from_secs(5))
    })?;
    let look = move || {
        // It is the search's own, which goes on when its client has left.
        let _place = place;
        let deadline = std::time::Instant::now() + MAX_SEARCH_TIME;
        let start = log.seek_time(wanted.micros.start).map_err(SearchError::from)?;
        let end = log.seek_time(wanted.micros.end).map_err(SearchError::from)?;
        let (mut rest, mut offsets) = (Some(start..end), Vec::new());
        while let Some(range) = rest.filter(|_| offsets.len() < wanted.limit) {
            if std::time::Instant::now() >= deadline {
                return Ok(None);
            }
            let page = engine.search(&SearchRequest {
                tenant: tenant.clone(),
                range,
                filter: wanted.filter.clone(),
                key: None,
                delivery: Some(DeliverySearch::For { subscription: name.clone(), states: Vec::new() }),
                newest_first: false,
                limit: wanted.limit - offsets.len(),
            })?;
            offsets.extend(page.found.iter().map(|found| found.event.offset()));
            rest = page.rest;
        }
        Ok(Some(offsets))
    };
    let found: Result<Option<Vec<u64>>, SearchError> =
        tokio::task::spawn_blocking(look).await.map_err(|_| refusals::ending())?;
    found.map_err(|error| refusals::of_search(&error))?.ok_or_else(|| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "search_timeout",
            "The range is too long to look through",
        )
        .detail("Nothing was replayed: ask for a shorter range")
    })
}

/// Delivers the matching events of a range once more, and waits for it as long as a caller may be held up.
async fn redeliver(
    resources: &Resources,
    tenant: &str,
    name: &str,
    range: Range<u64>,
    filter: Filter,
) -> Result<(), Problem> {
    let engine = &resources.engine;
    // What the cursor has not come to is delivered for the first time, and is no replay.
    let arrived = Instant::now() + REPLAY_PATIENCE;
    while engine.subscription(tenant, name).is_some_and(|status| status.cursor < range.end)
        && Instant::now() < arrived
    {
        sleep_until(Instant::now() + REPLAY_POLL).await;
    }
    let filter = EventFilter::new(filter, None).map_err(|error| invalid("event_type", error.to_string()))?;
    let request = ReplayRequest {
        from: Start::Offset(range.start),
        to: Some(Start::Offset(range.end)),
        filter,
        max_events_per_second: None,
    };
    let begun = engine.replay(tenant, name, request).await.map_err(|error| refused(&error))?;
    let done = Instant::now() + REPLAY_PATIENCE;
    while is_running(resources, tenant, name, begun.id).await? && Instant::now() < done {
        sleep_until(Instant::now() + REPLAY_POLL).await;
    }
    Ok(())
}

async fn is_running(resources: &Resources, tenant: &str, name: &str, id: ReplayId) -> Result<bool, Problem> {
    let engine = resources.engine.clone();
    let (tenant, name) = (tenant.to_owned(), name.to_owned());
    let read = tokio::task::spawn_blocking(move || engine.replays(&tenant, &name)).await;
    let replays = read.map_err(|_| refusals::ending())?.map_err(|error| refused(&error))?;
    Ok(replays.iter().any(|replay| replay.id == id && replay.progress.state == ReplayState::Running))
}

#[derive(Deserialize)]
struct NewCursor {
    group: Option<String>,
    start_id: Option<String>,
}

#[utoipa::path(post, path = "/consumer-groups/set-cursor", operation_id = "ingester_set_cursor",
    security(("bearer" = ["manage"])), request_body(content = Object),
    responses((status = 204, description = "The group has been moved")))]
async fn set_cursor(
    State(resources): State<Resources>,
    Caller(access): Caller,
    RequestAuthor(author): RequestAuthor,
    body: RequestBody,
) -> Result<StatusCode, Problem> {
    let wanted: NewCursor = body.parse()?;
    let start_id = required(wanted.start_id, "start_id")?;
    if !is_entry_id(&start_id) {
        return Err(invalid("start_id", "must be `0`, `$` or the id of an entry, such as 1700000000000-0"));
    }
    let group = wanted.group.filter(|group| !group.is_empty());
    if group.as_ref().is_some_and(|group| group.len() > MAX_GROUP_BYTES) {
        return Err(invalid("group", format!("must have at most {MAX_GROUP_BYTES} bytes")));
    }
    let tenant = access.tenant().as_str();
    let name = stream_subscription(&resources, tenant).await?;
    let after = Some(json!({"group": group, "start_id": start_id}));
    let audit = audited::of_subscription(&access, &author, "consumer_group.seek", &name, after);
    audited::note(&resources, audit).await?;
    let moved = resources.engine.set_group_position(tenant, &name, group.as_deref(), &start_id).await;
    moved.map_err(|error| match error {
        GroupError::NotFound { .. } => {
            Problem::new(StatusCode::NOT_FOUND, "consumer_group_not_found", "There is no such consumer group")
                .detail(error.to_string())
                .field(Some("group".to_owned()))
        }
        GroupError::Unsupported | GroupError::NoSubscription => no_stream(),
        GroupError::Failed { .. } => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "redis_unavailable", "Redis did not move the group")
                .detail(error.to_string())
                .retry_after(REPLAY_PATIENCE)
        }
    })?;
    Ok(StatusCode::NO_CONTENT)
}

/// `0`, `$`, or milliseconds and perhaps a number behind them.
fn is_entry_id(text: &str) -> bool {
    let is_number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u64>().is_ok();
    text == "$" || text.split_once('-').map_or_else(|| is_number(text), |(a, b)| is_number(a) && is_number(b))
}

/// The first of the tenant's subscriptions, by name, that delivers to the stream.
async fn stream_subscription(resources: &Resources, tenant: &str) -> Result<String, Problem> {
    let tenant = tenant.to_owned();
    let look = move |state: &eventrelay_state::State| {
        let mut after = String::new();
        loop {
            let page = state.subscriptions_of(&tenant, &after, PAGE_SUBSCRIPTIONS)?;
            let Some(last) = page.last() else { return Ok(None) };
            after.clone_from(&last.spec.name);
            if let Some(found) = page.into_iter().find(|record| delivers_to_stream(&record.spec)) {
                return Ok(Some(found.spec.name));
            }
        }
    };
    reading::state(resources, look).await?.ok_or_else(no_stream)
}

fn delivers_to_stream(spec: &Subscription) -> bool {
    let Some(sink) = spec.sink.as_ref().filter(|sink| sink.kind == "redis") else { return false };
    let stream = sink.settings.get("stream").map_or(Some(STREAM), serde_json::Value::as_str);
    sink.settings.get("layout").is_some_and(|layout| layout == "eventrail") && stream == Some(STREAM)
}

fn no_stream() -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "no_stream",
        "No subscription delivers to the Redis stream eventrail.events",
    )
    .detail(
        "Start with REDIS_ADDR, or declare one with a sink of the kind `redis` and the layout `eventrail`",
    )
}

fn refused(error: &ControlError) -> Problem {
    match error {
        ControlError::NotFound { .. } => no_stream(),
        _ => refusals::of_control(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_ids_are_what_redis_takes() {
        for good in ["0", "$", "0-0", "1700000000000-12", "7"] {
            assert!(is_entry_id(good), "{good}");
        }
        for bad in ["", "-", "1-", "-1", "+", ">", "1-2-3", "18446744073709551616", "1 "] {
            assert!(!is_entry_id(bad), "{bad}");
        }
    }

    fn wanted(body: serde_json::Value) -> Result<Wanted, (&'static str, u16)> {
        let wanted = Wanted::of(serde_json::from_value(body).unwrap());
        wanted.map_err(|problem| (problem.code(), problem.status().as_u16()))
    }

    #[test]
    fn a_replay_has_a_thousand_events_and_never_more_than_five() {
        let range = |limit| json!({"from": "2026-01-31T12:00:00Z", "to": "2026-01-31T13:00:00+01:00", "limit": limit});
        for (limit, most) in [(None, 1000), (Some(0), 1000), (Some(7), 7), (Some(9000), 5000)] {
            let wanted = wanted(range(limit)).unwrap();
            assert_eq!((wanted.limit, wanted.micros.end - wanted.micros.start), (most, 1), "{limit:?}");
        }
        for (body, code) in [
            (json!({"to": "2026-01-31T12:00:00Z"}), "missing_field"),
            (json!({"from": "2026-01-31T12:00:00Z"}), "missing_field"),
            (json!({"from": "yesterday", "to": "2026-01-31T12:00:00Z"}), "invalid_field"),
            (json!({"from": "2026-01-31T12:00:00Z", "to": "2026-01-31T11:59:59Z"}), "invalid_field"),
        ] {
            assert_eq!(wanted(body.clone()).err(), Some((code, 400)), "{body}");
        }
    }

    #[test]
    fn the_stream_is_that_of_a_sink_with_its_layout() {
        let spec = |sink: serde_json::Value| -> Subscription {
            serde_json::from_value(json!({"name": "a", "sink": sink})).unwrap()
        };
        assert!(delivers_to_stream(&spec(json!({"kind": "redis", "layout": "eventrail"}))));
        let named = json!({"kind": "redis", "layout": "eventrail", "stream": STREAM});
        assert!(delivers_to_stream(&spec(named)));
        for other in [
            json!({"kind": "redis", "stream": STREAM}),
            json!({"kind": "redis", "layout": "eventrail", "stream": "orders"}),
            json!({"kind": "stdout", "layout": "eventrail"}),
        ] {
            assert!(!delivers_to_stream(&spec(other)));
        }
    }
}
