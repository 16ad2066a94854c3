//! Attempts that are kept: of a subscription, and of an event over all subscriptions; each with what was sent and answered.

use axum::extract::State;
use eventrelay_event::{EventId, Timestamp};
use eventrelay_state::{AttemptId, AttemptOutcome, AttemptQuery, AttemptRecord};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::Caller;
use super::exchange::ExchangeShown;
use super::json::Json;
use super::page::{Cursor, Listed, PageLimit};
use super::path::Path;
use super::query::{Query, invalid};
use super::reading;
use super::resources::Resources;
use super::time::Time;
use crate::http::problem::Problem;
use crate::http::routes::events::of_id;

/// How many attempts of one event are shown for each subscription.
const OF_ONE_EVENT: u32 = 100;

/// Which attempts.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AttemptList {
    /// Only those of this event.
    #[param(max_length = 64)]
    event_id: Option<String>,
    /// Only those that ended so.
    #[param(inline)]
    outcome: Option<OutcomeName>,
    /// Only those that began at or after it.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Time>,
    /// Only those that began before it.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Time>,
    /// How many items the page has at most.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 250, default = 50, example = 50)]
    limit: PageLimit,
    /// Where the page begins: the `next` of the one before it.
    #[param(value_type = Option<String>, max_length = 1024)]
    cursor: Option<Cursor<i64>>,
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum OutcomeName {
    Delivered,
    Retry,
    Reject,
    Gone,
}

impl From<OutcomeName> for AttemptOutcome {
    fn from(name: OutcomeName) -> Self {
        match name {
            OutcomeName::Delivered => Self::Delivered,
            OutcomeName::Retry => Self::Retry,
            OutcomeName::Reject => Self::Reject,
            OutcomeName::Gone => Self::Gone,
        }
    }
}

/// One try of a delivery.
#[derive(Serialize, ToSchema)]
struct AttemptShown {
    /// Its number, which is never used again for another.
    id: i64,
    /// The subscription.
    subscription: String,
    /// The event's place in the log.
    offset: u64,
    /// 1 for the first try.
    attempt: u32,
    /// `delivered`, `retry` (it is made again), `reject` (refused for good) or `gone` (the target wants nothing more).
    outcome: &'static str,
    /// What went wrong, for people; empty when delivered.
    reason: String,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    started_at: Time,
    /// How long it took.
    took_ms: f64,
    /// The target's status code, where it has one.
    #[schema(required = true)]
    response_status: Option<u16>,
    /// What was sent and what came back; in the answer for one attempt only.
    #[serde(skip_serializing_if = "Option::is_none")]
    exchange: Option<ExchangeShown>,
}

pub(super) fn routes() -> OpenApiRouter<Resources> {
    OpenApiRouter::new()
        .routes(routes!(list_attempts))
        .routes(routes!(get_attempt))
        .routes(routes!(list_event_attempts))
}

/// List a subscription's attempts
///
/// The newest first, of the thousand that are kept. Which ones are kept is the subscription's `keep_attempts`: by default those
/// that failed, and those that succeeded after a failure.
#[utoipa::path(
    get, path = "/v1/subscriptions/{name}/attempts", tag = "deliveries", security(("bearer" = ["read"])),
    params(("name" = String, Path, description = "The subscription's name", example = "shipping"), AttemptList),
    responses((status = 200, description = "A page of them", body = Listed<AttemptShown>))
)]
async fn list_attempts(
    State(resources): State<Resources>,
    Caller(access): Caller,
    Path(name): Path<String>,
    Query(list): Query<AttemptList>,
) -> Result<Json<Listed<AttemptShown>>, Problem> {
    let record = reading::subscription(&resources, &access, &name).await?;
    let not_an_id = |_| invalid("This is no event's id".to_owned(), Some("event_id".to_owned()));
    let event_id = list.event_id.map(|id| id.parse::<EventId>()).transpose().map_err(not_an_id)?;
    let micros = |time: Option<Time>| time.map(|Time(Timestamp(micros))| micros);
    let query = AttemptQuery {
        offset: event_id.map(EventId::offset),
        outcome: list.outcome.map(AttemptOutcome::from),
        from_micros: micros(list.from),
        to_micros: micros(list.to),
        before: list.cursor.map(|Cursor(id)| AttemptId(id)),
    };
    let one_more = list.limit.one_more();
    let found = reading::state(&resources, move |state| state.attempts(record.id, &query, one_more)).await?;
    let listed = Listed::new(found, list.limit, |(id, _)| id.0);
    Ok(Json(listed.map(|(id, attempt)| AttemptShown::of(id, &name, &attempt))))
}

/// Show an attempt
///
/// With what was sent and what came back.
#[utoipa::path(
    get, path = "/v1/subscriptions/{name}/attempts/{attempt_id}", tag = "deliveries", security(("bearer" = ["read"])),
    params(("name" = String, Path, description = "The subscription's name", example = "shipping"),
           ("attempt_id" = i64, Path, description = "The attempt's number", example = 1,
            extensions(("x-example-from" = json!({"operation": "list_attempts", "pattern": "[0-9]+"}))))),
    responses((status = 200, description = "The attempt", body = AttemptShown))
)]
async fn get_attempt(
    State(resources): State<Resources>,
    Caller(access): Caller,
    Path((name, id)): Path<(String, i64)>,
) -> Result<Json<AttemptShown>, Problem> {
    let record = reading::subscription(&resources, &access, &name).await?;
    let found = reading::state(&resources, move |state| state.attempt(record.id, AttemptId(id))).await?;
    let attempt = found.ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "attempt_not_found",
            "There is no such attempt, or it is kept no longer",
        )
    })?;
    let exchange = ExchangeShown::of_record(&attempt);
    Ok(Json(AttemptShown { exchange, ..AttemptShown::of(AttemptId(id), &name, &attempt) }))
}

/// List an event's attempts
///
/// Over all subscriptions; of each the newest hundred, the newest first.
#[utoipa::path(
    get, path = "/v1/events/{id}/attempts", tag = "deliveries", security(("bearer" = ["read"])),
    params(("id" = String, Path, description = "The event's id", example = "01992b3c-0000-7000-8000-000000000000",
            extensions(("x-example-from" = json!({"operation": "publish_events", "pattern": "[0-9a-f-]{36}"}))))),
    responses((status = 200, description = "All of them", body = Listed<AttemptShown>))
)]
async fn list_event_attempts(
    State(resources): State<Resources>,
    Caller(access): Caller,
    Path(id): Path<String>,
) -> Result<Json<Listed<AttemptShown>>, Problem> {
    let event = of_id(&resources.publisher, &access, &id).await?;
    let (tenant, offset) = (access.tenant().clone(), event.offset());
    let read = move |state: &eventrelay_state::State| {
        let (mut shown, mut after) = (Vec::new(), String::new());
        loop {
            let page = state.subscriptions_of(tenant.as_str(), &after, 250)?;
            let Some(last) = page.last() else { return Ok(shown) };
            after.clone_from(&last.spec.name);
            for record in page {
                let query = AttemptQuery { offset: Some(offset), ..AttemptQuery::default() };
                let found = state.attempts(record.id, &query, OF_ONE_EVENT)?;
                shown.extend(
                    found.iter().map(|(id, attempt)| AttemptShown::of(*id, &record.spec.name, attempt)),
                );
            }
        }
    };
    Ok(Json(Listed { data: reading::state(&resources, read).await?, next: None }))
}

impl AttemptShown {
    fn of(id: AttemptId, subscription: &str, attempt: &AttemptRecord) -> Self {
        Self {
            id: id.0,
            subscription: subscription.to_owned(),
            offset: attempt.offset,
            attempt: attempt.attempt,
            outcome: attempt.outcome.name(),
            reason: attempt.reason.clone(),
            started_at: Time::of_micros(attempt.started_at_micros),
            took_ms: attempt.took_micros as f64 / 1000.0,
            response_status: attempt.response_status,
            exchange: None,
        }
    }
}
