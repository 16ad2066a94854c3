//! Events with what became of them at all webhooks together: `pending`, `delivered` (everywhere, also where it is for none) or
//! `failed` (a dead letter somewhere, and nothing more to be tried).

use axum::extract::State;
use axum::response::IntoResponse;
use eventrelay_delivery::{DeliverySearch, SearchRequest};
use eventrelay_event::filter::Filter;
use eventrelay_event::{Event, StoredEvent};
use eventrelay_sinks::webhook;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Access;
use crate::deliveries::{Delivery, DeliveryState, EventStatus};
use crate::http::compat::publish::{data_payload, not_empty, payload_data, publish};
use crate::http::compat::request_body::{RequestBody, required};
use crate::http::control::caller::Caller;
use crate::http::control::events::{Rest, find, next};
use crate::http::control::json::Json;
use crate::http::control::page::{Cursor, Listed, PageLimit};
use crate::http::control::path::Path;
use crate::http::control::query::{Query, invalid};
use crate::http::control::refusals;
use crate::http::control::resources::Resources;
use crate::http::control::time::Time;
use crate::http::problem::Problem;
use crate::http::routes::events::{idempotency_key, of_id};

/// The source of events that name none.
const DEFAULT_SOURCE: &str = "/api/events";

pub(super) fn routes() -> OpenApiRouter<Resources> {
    OpenApiRouter::new().routes(routes!(create_event, list_events)).routes(routes!(get_event))
}

#[derive(Deserialize)]
struct NewEvent {
    #[serde(alias = "type", alias = "eventType", alias = "event")]
    event_type: Option<String>,
    #[serde(alias = "data")]
    payload: Option<Box<RawValue>>,
    source: Option<String>,
    #[serde(alias = "idempotencyKey")]
    idempotency_key: Option<String>,
}

#[derive(Serialize)]
struct ShownEvent {
    id: String,
    event_type: String,
    source: String,
    payload: Box<RawValue>,
    status: ShownStatus,
    created_at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    deliveries: Option<Vec<ShownDelivery>>,
}

/// What became of an event, by the names that such a system has for it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ShownStatus {
    Pending,
    Delivered,
    Failed,
}

#[derive(Serialize)]
struct ShownDelivery {
    webhook_id: String,
    #[serde(flatten)]
    state: DeliveryState,
}

#[utoipa::path(post, path = "/api/events", operation_id = "webhooks_create_event", security(("bearer" = ["publish"])),
    request_body(content = Object), responses((status = 201, description = "The event")))]
async fn create_event(
    State(resources): State<Resources>,
    Caller(access): Caller,
    headers: HeaderMap,
    body: RequestBody,
) -> Result<impl IntoResponse, Problem> {
    let key = idempotency_key(&headers)?;
    let new: NewEvent = body.parse()?;
    let event_type = not_empty(required(new.event_type, "event_type")?, "event_type")?;
    let source = new.source.unwrap_or_else(|| DEFAULT_SOURCE.to_owned());
    let payload = required(new.payload, "payload")?;
    let mut event = Event::new(access.tenant().clone(), event_type.clone(), source.clone());
    event.data = Some(payload_data(&resources, &payload)?);
    event.idempotency_key = key.map(str::to_owned).or(new.idempotency_key);
    let receipt = publish(&resources, &access, &headers, event).await?;
    let shown = ShownEvent {
        id: receipt.id.to_string(),
        event_type,
        source,
        payload,
        status: ShownStatus::Pending,
        created_at: Time::of_micros(receipt.id.append_time_micros()),
        deliveries: None,
    };
    Ok((StatusCode::CREATED, Json(shown)))
}

#[derive(Debug, Deserialize)]
struct EventList {
    #[serde(alias = "type")]
    event_type: Option<String>,
    status: Option<ShownStatus>,
    #[serde(default)]
    limit: PageLimit,
    cursor: Option<Cursor<Rest>>,
}

#[utoipa::path(get, path = "/api/events", operation_id = "webhooks_list_events", security(("bearer" = ["read"])),
    responses((status = 200, description = "The newest first")))]
async fn list_events(
    State(resources): State<Resources>,
    Caller(access): Caller,
    Query(list): Query<EventList>,
) -> Result<Json<Listed<ShownEvent>>, Problem> {
    let filter = Filter::new(list.event_type.into_iter().collect(), Vec::new());
    let filter = filter.map_err(|error| invalid(error.to_string(), Some("event_type".to_owned())))?;
    let (tenant, limit) = (access.tenant().as_str().to_owned(), list.limit.items());
    let request = move |range| SearchRequest {
        tenant,
        range,
        filter,
        key: None,
        delivery: list
            .status
            .map(|status| DeliverySearch::Everywhere { status: status.wanted(), sink: Some(webhook::KIND) }),
        newest_first: true,
        limit,
    };
    let page = find(&resources, None, None, list.cursor, request).await?;
    let next = next(&page);
    let events = page.found.into_iter().map(|found| found.event).collect();
    let shown = with_deliveries(&resources, events).await?;
    let data = shown.into_iter().map(|(event, deliveries)| show(&event, &deliveries));
    Ok(Json(Listed { data: data.collect::<Result<_, _>>()?, next }))
}

#[utoipa::path(get, path = "/api/events/{id}", operation_id = "webhooks_get_event", security(("bearer" = ["read"])),
    params(("id" = String, Path)), responses((status = 200, description = "The event, and each delivery")))]
async fn get_event(
    State(resources): State<Resources>,
    Caller(access): Caller,
    Path(id): Path<String>,
) -> Result<Json<ShownEvent>, Problem> {
    let event = stored(&resources, &access, &id).await?;
    let (event, deliveries) = with_deliveries(&resources, vec![event])
        .await?
        .pop()
        .ok_or_else(|| Problem::internal("an event has vanished"))?;
    let mut shown = show(&event, &deliveries)?;
    let each = deliveries.into_iter();
    shown.deliveries =
        Some(each.map(|it| ShownDelivery { webhook_id: it.subscription, state: it.state }).collect());
    Ok(Json(shown))
}

async fn stored(resources: &Resources, access: &Access, id: &str) -> Result<StoredEvent, Problem> {
    of_id(&resources.publisher, access, id).await
}

/// Each event with what became of it at the webhooks, read off the runtime: what else the tenant has is not of this system.
async fn with_deliveries(
    resources: &Resources,
    events: Vec<StoredEvent>,
) -> Result<Vec<(StoredEvent, Vec<Delivery>)>, Problem> {
    let engine = resources.engine.clone();
    let read = move || {
        let one = |event: StoredEvent| {
            let found = engine.deliveries_of(&event)?;
            let deliveries = found
                .into_iter()
                .filter(|it| it.sink == webhook::KIND)
                .map(|it| Delivery { subscription: it.subscription, state: DeliveryState::from(it.state) });
            Ok((event, deliveries.collect()))
        };
        events.into_iter().map(one).collect::<Result<_, eventrelay_state::StateError>>()
    };
    let read = tokio::task::spawn_blocking(read).await.map_err(|_| refusals::ending())?;
    read.map_err(|error| refusals::of_state(&error))
}

impl ShownStatus {
    fn of(deliveries: &[Delivery]) -> Self {
        match EventStatus::of(deliveries) {
            EventStatus::Processing => Self::Pending,
            EventStatus::Done => Self::Delivered,
            EventStatus::Failed => Self::Failed,
        }
    }

    fn wanted(self) -> eventrelay_delivery::EventStatus {
        match self {
            Self::Pending => eventrelay_delivery::EventStatus::Processing,
            Self::Delivered => eventrelay_delivery::EventStatus::Done,
            Self::Failed => eventrelay_delivery::EventStatus::Failed,
        }
    }
}

fn show(event: &StoredEvent, deliveries: &[Delivery]) -> Result<ShownEvent, Problem> {
    Ok(ShownEvent {
        id: event.id().to_string(),
        event_type: event.event_type().to_owned(),
        source: event.source().to_owned(),
        payload: data_payload(event)?,
        status: ShownStatus::of(deliveries),
        created_at: Time::of_micros(event.append_time_micros()),
        deliveries: None,
    })
}
