//! `GET /v1/events`: looking for events.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use axum::extract::State;
use eventrelay_delivery::{DeliverySearch, SearchPage, SearchRequest, StateName};
use eventrelay_event::filter::Filter;
use eventrelay_log::Log;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::Caller;
use super::json::Json;
use super::page::{Cursor, PageLimit};
use super::query::{Query, invalid};
use super::refusals;
use super::resources::Resources;
use super::shown_event::shown;
use super::time::Time;
use crate::deliveries::DeliveryState;
use crate::http::problem::Problem;
use crate::http::routes::events::schemas::ShownEvent;

/// What is looked for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EventSearch {
    /// Only events accepted at or after it.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Time>,
    /// Only events accepted before it.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Time>,
    /// A pattern of the type, such as `order.*`.
    #[serde(rename = "type")]
    #[param(min_length = 1, max_length = 255, pattern = "^[A-Za-z0-9._*/:-]+$", example = "order.*")]
    event_type: Option<String>,
    /// A pattern of the source.
    #[param(min_length = 1, max_length = 255, pattern = "^[A-Za-z0-9._*/:-]+$")]
    source: Option<String>,
    /// A pattern of the subject.
    #[param(min_length = 1, max_length = 255, pattern = "^[A-Za-z0-9._*/:-]+$")]
    subject: Option<String>,
    /// The key.
    #[param(min_length = 1, max_length = 255)]
    key: Option<String>,
    /// Only events that are for this subscription.
    #[param(min_length = 1, max_length = 64, pattern = "^[a-z0-9_-]+$")]
    subscription: Option<String>,
    /// What became of them there: needs `subscription`.
    #[param(inline)]
    status: Option<DeliveryStatus>,
    /// `desc` (the default): the newest first; or `asc`.
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
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum DeliveryStatus {
    Pending,
    Retrying,
    Delivered,
    Dead,
}

impl DeliveryStatus {
    pub(super) fn wanted(self) -> StateName {
        match self {
            Self::Pending => StateName::Pending,
            Self::Retrying => StateName::Retrying,
            Self::Delivered => StateName::Delivered,
            Self::Dead => StateName::Dead,
        }
    }
}

/// Which end comes first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum SearchOrder {
    Asc,
    #[default]
    Desc,
}

/// A part of the log that is left to be looked at, in a cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::http) struct Rest(pub(in crate::http) Range<u64>);

impl fmt::Display for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0.start, self.0.end)
    }
}

impl FromStr for Rest {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (start, end) = text.split_once('-').unwrap_or((text, ""));
        Ok(Self(start.parse()?..end.parse()?))
    }
}

/// A page of what was found.
#[derive(Serialize, ToSchema)]
struct FoundEvents {
    /// The events in our own form; with `delivery` where a subscription is named.
    data: Vec<FoundEvent>,
    /// The cursor of what is left to be looked at; null when there is nothing. A search that ran long gives what it has found so
    /// far, which may be nothing.
    #[schema(required = true)]
    next: Option<String>,
}

/// An event that was found.
#[derive(Serialize, ToSchema)]
struct FoundEvent {
    /// The event, as `GET /v1/events/{id}` shows it.
    #[schema(value_type = ShownEvent)]
    event: Box<RawValue>,
    /// What became of it for the subscription.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<DeliveryState>,
}

pub(super) fn routes() -> OpenApiRouter<Resources> {
    OpenApiRouter::new().routes(routes!(search_events))
}

/// Look for events
///
/// The log is read, so what one request looks at is bounded: follow `next` until it is null.
#[utoipa::path(
    get, path = "/v1/events", tag = "events", security(("bearer" = ["read"])), params(EventSearch),
    responses((status = 200, description = "A page of them", body = FoundEvents),
              (status = 404, description = "There is no such subscription"),
              (status = 409, description = "The subscription does not run"))
)]
async fn search_events(
    State(resources): State<Resources>,
    Caller(access): Caller,
    Query(search): Query<EventSearch>,
) -> Result<Json<FoundEvents>, Problem> {
    if search.status.is_some() && search.subscription.is_none() {
        return Err(invalid("status needs a subscription".to_owned(), Some("status".to_owned())));
    }
    let list = |pattern: Option<String>| pattern.into_iter().collect::<Vec<_>>();
    let filter = Filter::new(list(search.event_type), list(search.source))
        .and_then(|filter| filter.with_subjects(list(search.subject)))
        .map_err(|error| invalid(error.to_string(), None))?;
    let states = search.status.map(DeliveryStatus::wanted).into_iter().collect();
    let delivery = search.subscription.map(|subscription| DeliverySearch::For { subscription, states });
    let (tenant, key, limit) = (access.tenant().as_str().to_owned(), search.key, search.limit.items());
    let newest_first = search.order == SearchOrder::Desc;
    let page = find(&resources, search.from, search.to, search.cursor, move |range| SearchRequest {
        tenant,
        range,
        filter,
        key,
        delivery,
        newest_first,
        limit,
    });
    let page = page.await?;
    let found = |found: &eventrelay_delivery::Found| {
        let delivery = found.state.clone().map(DeliveryState::from);
        Ok(FoundEvent { event: shown(&found.event)?, delivery })
    };
    let data = page.found.iter().map(found).collect::<Result<_, Problem>>()?;
    Ok(Json(FoundEvents { data, next: next(&page) }))
}

/// The cursor of what is left.
pub(in crate::http) fn next(page: &SearchPage) -> Option<String> {
    page.rest.clone().map(|rest| Cursor(Rest(rest)).to_string())
}

/// Looks in the part of the log between two times, or in what an earlier page has left of it.
pub(in crate::http) async fn find(
    resources: &Resources,
    from: Option<Time>,
    to: Option<Time>,
    cursor: Option<Cursor<Rest>>,
    request: impl FnOnce(Range<u64>) -> SearchRequest + Send + 'static,
) -> Result<SearchPage, Problem> {
    let (engine, log) = (resources.engine.clone(), resources.log.clone());
    let search = move || {
        let range = match cursor {
            Some(Cursor(Rest(range))) => range,
            None => between(&log, from, to)?,
        };
        engine.search(&request(range))
    };
    let found = tokio::task::spawn_blocking(search).await.map_err(|_| refusals::ending())?;
    found.map_err(|error| refusals::of_search(&error))
}

fn between(
    log: &Log,
    from: Option<Time>,
    to: Option<Time>,
) -> Result<Range<u64>, eventrelay_delivery::SearchError> {
    let place = |time: Option<Time>| time.map(|Time(time)| log.seek_time(time.0)).transpose();
    Ok(place(from)?.unwrap_or(0)..place(to)?.unwrap_or(u64::MAX))
}
