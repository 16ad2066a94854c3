//! Deliveries: of a subscription, by state and time; of an event, over all subscriptions; and one that is to be tried now.

use axum::extract::State;
use eventrelay_delivery::{DeliverySearch, RetryNow, SearchRequest};
use eventrelay_event::filter::Filter;
use eventrelay_event::{EventId, StoredEvent};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::author::RequestAuthor;
use super::caller::Caller;
use super::events::{DeliveryStatus, Rest, SearchOrder, find, next};
use super::json::Json;
use super::page::{Cursor, PageLimit};
use super::path::Path;
use super::query::Query;
use super::resources::Resources;
use super::time::Time;
use super::{audited, reading, refusals};
use crate::auth::Access;
use crate::deliveries::DeliveryState;
use crate::http::problem::Problem;
use crate::http::routes::events::of_id;

/// Which deliveries.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DeliveryList {
    /// Only those in this state.
    #[param(inline)]
    state: Option<DeliveryStatus>,
    /// Only of events accepted at or after it.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Time>,
    /// Only of events accepted before it.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Time>,
    /// `desc` (the default): the newest events first; or `asc`.
    #[serde(default)]
    #[param(inline)]
    order: SearchOrder,
    /// How many items the page has at most.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 250, default = 50, example = 50)]
    limit: PageLimit,
    /// Where the page begins: the `next` of the one before it.
    #[param(value_type = Option<String>, max_length = 1024)]
    cursor: Option<Cursor<Rest>>,
}

/// What became of an event for a subscription.
#[derive(Serialize, ToSchema)]
pub(super) struct DeliveryShown {
    /// The event.
    event_id: String,
    /// Its type.
    event_type: String,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    accepted_at: Time,
    /// The subscription.
    subscription: String,
    #[serde(flatten)]
    #[schema(inline)]
    state: DeliveryState,
}

/// A page of deliveries.
#[derive(Serialize, ToSchema)]
struct DeliveryPage {
    /// The deliveries.
    data: Vec<DeliveryShown>,
    /// The cursor of what is left to be looked at; null when there is nothing.
    #[schema(required = true)]
    next: Option<String>,
}

/// What a retry that was asked for has become.
#[derive(Serialize, ToSchema)]
struct RetryAnswer {
    /// `due` (it waited, and is due now), `pending` (its turn has not come yet), `redrive` (it was a dead letter) or `replay` (it
    /// was delivered, and is delivered once more).
    outcome: &'static str,
    /// The redrive or replay that delivers it.
    #[schema(required = true)]
    replay_id: Option<i64>,
}

pub(super) fn routes() -> OpenApiRouter<Resources> {
    OpenApiRouter::new()
        .routes(routes!(list_deliveries))
        .routes(routes!(list_event_deliveries))
        .routes(routes!(retry_delivery))
}

/// List a subscription's deliveries
///
/// By event, as far as their outcome is saved. What one request looks at is bounded: follow `next` until it is null.
#[utoipa::path(
    get, path = "/v1/subscriptions/{name}/deliveries", tag = "deliveries", security(("bearer" = ["read"])),
    params(("name" = String, Path, description = "The subscription's name", example = "billing"), DeliveryList),
    responses((status = 200, description = "A page of them", body = DeliveryPage),
              (status = 409, description = "It does not run"))
)]
async fn list_deliveries(
    State(resources): State<Resources>,
    Caller(access): Caller,
    Path(name): Path<String>,
    Query(list): Query<DeliveryList>,
) -> Result<Json<DeliveryPage>, Problem> {
    let (tenant, subscription) = (access.tenant().as_str().to_owned(), name.clone());
    let states = list.state.map(DeliveryStatus::wanted).into_iter().collect();
    let page = find(&resources, list.from, list.to, list.cursor, move |range| SearchRequest {
        tenant,
        range,
        filter: Filter::default(),
        key: None,
        delivery: Some(DeliverySearch::For { subscription, states }),
        newest_first: list.order == SearchOrder::Desc,
        limit: list.limit.items(),
    });
    let page = page.await?;
    let data = page.found.iter().filter_map(|found| {
        let state = DeliveryState::from(found.state.clone()?);
        Some(DeliveryShown::of(&found.event, name.clone(), state))
    });
    Ok(Json(DeliveryPage { data: data.collect(), next: next(&page) }))
}

/// List an event's deliveries
///
/// One for each subscription that it is for.
#[utoipa::path(
    get, path = "/v1/events/{id}/deliveries", tag = "deliveries", security(("bearer" = ["read"])),
    params(("id" = String, Path, description = "The event's id", example = "01992b3c-0000-7000-8000-000000000000",
            extensions(("x-example-from" = json!({"operation": "publish_events", "pattern": "[0-9a-f-]{36}"}))))),
    responses((status = 200, description = "All of them", body = DeliveryPage))
)]
async fn list_event_deliveries(
    State(resources): State<Resources>,
    Caller(access): Caller,
    Path(id): Path<String>,
) -> Result<Json<DeliveryPage>, Problem> {
    let event = of_id(&resources.publisher, &access, &id).await?;
    let (engine, wanted) = (resources.engine.clone(), event.clone());
    let found = tokio::task::spawn_blocking(move || engine.deliveries_of(&wanted)).await;
    let found = found.map_err(|_| refusals::ending())?.map_err(|error| refusals::of_state(&error))?;
    let shown =
        found.into_iter().map(|found| DeliveryShown::of(&event, found.subscription, found.state.into()));
    Ok(Json(DeliveryPage { data: shown.collect(), next: None }))
}

/// Deliver an event to a subscription now
///
/// Whatever became of it: one that waits for a retry is due at once, a dead letter is redriven, and one that was delivered is
/// delivered once more. Order, rate, pauses and the breaker hold.
#[utoipa::path(
    post, path = "/v1/subscriptions/{name}/deliveries/{event_id}/retry", tag = "deliveries", security(("bearer" = ["manage"])),
    params(("name" = String, Path, description = "The subscription's name", example = "billing"),
           ("event_id" = String, Path, description = "The event's id", example = "01992b3c-0000-7000-8000-000000000000",
            extensions(("x-example-from" = json!({"operation": "publish_events", "pattern": "[0-9a-f-]{36}"}))))),
    responses((status = 202, description = "What becomes of it", body = RetryAnswer),
              (status = 409, description = "Too many replays are under way; it does not run; or this `Idempotency-Key` is in use"))
)]
async fn retry_delivery(
    State(resources): State<Resources>,
    Caller(access): Caller,
    RequestAuthor(author): RequestAuthor,
    Path((name, id)): Path<(String, String)>,
) -> Result<(StatusCode, Json<RetryAnswer>), Problem> {
    reading::subscription(&resources, &access, &name).await?;
    let offset = match of_id(&resources.publisher, &access, &id).await {
        Ok(event) => event.offset(),
        // The log may have let it go, and the dead letter not.
        Err(absent) => dead_offset(&resources, &access, &name, &id).await?.ok_or(absent)?,
    };
    let after = Some(json!({"event_id": id}));
    let audit = audited::of_subscription(&access, &author, "delivery.retry", &name, after);
    audited::note(&resources, audit).await?;
    let retried = resources.engine.retry_now(access.tenant().as_str(), &name, offset).await;
    let (outcome, replay_id) = match retried.map_err(|error| refusals::of_control(&error))? {
        RetryNow::Due => ("due", None),
        RetryNow::Pending => ("pending", None),
        RetryNow::Redriven(record) => ("redrive", Some(record.id.0)),
        RetryNow::Replayed(record) => ("replay", Some(record.id.0)),
    };
    Ok((StatusCode::ACCEPTED, Json(RetryAnswer { outcome, replay_id })))
}

async fn dead_offset(
    resources: &Resources,
    access: &Access,
    name: &str,
    id: &str,
) -> Result<Option<u64>, Problem> {
    let Ok(id) = id.parse::<EventId>() else { return Ok(None) };
    let letter = super::dead_letters::find(resources, access, name, id.offset()).await?;
    Ok(letter.filter(|letter| super::dead_letters::is_of(letter, id)).map(|letter| letter.offset))
}

impl DeliveryShown {
    fn of(event: &StoredEvent, subscription: String, state: DeliveryState) -> Self {
        Self {
            event_id: event.id().to_string(),
            event_type: event.event_type().to_owned(),
            accepted_at: Time::of_micros(event.append_time_micros()),
            subscription,
            state,
        }
    }
}
