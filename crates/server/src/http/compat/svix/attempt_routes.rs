//! Attempts, what became of messages at endpoints, and another try.
//!
//! Of each endpoint the newest thousand attempts are kept. One whose message the log has let go is not shown.

use axum::extract::{Path, State};
use eventrelay_delivery::{DeliverySearch, StateName};
use eventrelay_event::StoredEvent;
use eventrelay_state::{AttemptId, AttemptQuery, SvixApplication};
use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use super::attempt::{AttemptOut, Kept, Status};
use super::caller::Caller;
use super::endpoint::EndpointOut;
use super::ids;
use super::json::Json;
use super::list::{List, Wanted};
use super::message::{self, Looked, MessageOut};
use super::message_routes;
use super::parameters::Parameters;
use super::refusal::Refusal;
use super::resources::{Found, Resources};
use super::routes::Routes;
use crate::auth::Scope;
use crate::http::control::author::RequestAuthor;

/// How many attempts are read together, and how often for one page.
const READ_ATTEMPTS: u32 = 250;
const MAX_READS: usize = 8;

pub(super) fn routes() -> Routes<Resources> {
    Routes::new()
        .get("/api/v1/app/{app_id}/attempt/endpoint/{endpoint_id}", Scope::Read, of_endpoint)
        .get("/api/v1/app/{app_id}/attempt/msg/{msg_id}", Scope::Read, of_message)
        .get("/api/v1/app/{app_id}/endpoint/{endpoint_id}/msg", Scope::Read, messages_of_endpoint)
        .get("/api/v1/app/{app_id}/msg/{msg_id}/endpoint", Scope::Read, endpoints_of_message)
        .get("/api/v1/app/{app_id}/msg/{msg_id}/attempt/{attempt_id}", Scope::Read, get)
        .delete("/api/v1/app/{app_id}/msg/{msg_id}/attempt/{attempt_id}/content", Scope::Manage, expunge)
        .post("/api/v1/app/{app_id}/msg/{msg_id}/endpoint/{endpoint_id}/resend", Scope::Manage, resend)
}

/// Which attempts are looked for, beside those of a message or endpoint.
#[derive(Debug, Clone)]
struct Looking {
    query: AttemptQuery,
    status: Option<Status>,
    /// The hundreds of the answer's status; 0: no answer came.
    status_class: Option<u16>,
    messages: Looked,
    with_content: bool,
    with_message: bool,
}

impl Looking {
    fn of(parameters: &Parameters) -> Result<Self, Refusal> {
        let status = parameters.number("status")?.map(|number| {
            Status::of_number(number).ok_or_else(|| Refusal::parameter("status", "must be 0, 1, 2 or 3"))
        });
        let before = parameters.text("iterator").filter(|iterator| !iterator.is_empty()).map(|iterator| {
            let parsed = ids::parse_attempt(iterator).map(|(_, attempt)| attempt);
            parsed.ok_or_else(|| Refusal::parameter("iterator", "is none of this list"))
        });
        let query = AttemptQuery {
            offset: None,
            outcome: None,
            from_micros: parameters.time("after")?,
            to_micros: parameters.time("before")?,
            before: before.transpose()?,
        };
        Ok(Self {
            query,
            status: status.transpose()?,
            status_class: parameters.number("status_code_class")?,
            messages: message_routes::looked(parameters)?,
            with_content: parameters.flag("with_content", true)?,
            with_message: parameters.flag("with_msg", false)?,
        })
    }

    fn wants(&self, kept: &Kept) -> bool {
        let class = kept.record.response_status.map_or(0, |status| status / 100 * 100);
        self.status.is_none_or(|status| status == Status::of_attempt(kept.record.outcome))
            && self.status_class.is_none_or(|wanted| wanted == class)
    }

    fn wants_message(&self, event: &StoredEvent) -> bool {
        let Looked { event_types, channel, tag, .. } = &self.messages;
        (event_types.is_empty() || event_types.iter().any(|name| name == event.event_type()))
            && message::has_label(event, channel.as_deref(), tag.as_deref())
    }
}

/// The event at a place of the log, if it is a message of the application. Blocking.
fn message_at(
    resources: &Resources,
    application: &SvixApplication,
    offset: u64,
) -> Result<Option<StoredEvent>, Refusal> {
    let (found, _) = message::search(resources, application, offset..offset + 1, &Looked::default(), 1)?;
    Ok(found.into_iter().next().map(|found| found.event))
}

async fn of_endpoint(
    State(resources): State<Resources>,
    caller: Caller,
    Path((app, name)): Path<(String, String)>,
    parameters: Parameters,
) -> Result<Json<List<AttemptOut>>, Refusal> {
    let application = resources.application(&caller, app).await?;
    let endpoint = resources.endpoint(&application, name).await?;
    let (mut looking, wanted) = (Looking::of(&parameters)?, Wanted::of(&parameters)?);
    let urls = caller.urls();
    let page = resources.block(move |resources| {
        let most = usize::try_from(wanted.limit).unwrap_or(usize::MAX) + 1;
        let mut shown = Vec::new();
        for _ in 0..MAX_READS {
            let attempts = resources.state().attempts(endpoint.1.id, &looking.query, READ_ATTEMPTS)?;
            let is_last = attempts.len() < READ_ATTEMPTS as usize;
            for (id, record) in attempts {
                looking.query.before = Some(id);
                let kept = Kept { id, record };
                if !looking.wants(&kept) {
                    continue;
                }
                let Some(event) = message_at(resources, &application, kept.record.offset)? else { continue };
                if looking.wants_message(&event) {
                    shown.push(AttemptOut::of(
                        &kept,
                        &endpoint,
                        &event,
                        urls,
                        looking.with_content,
                        looking.with_message,
                    )?);
                }
                if shown.len() >= most {
                    return Ok(List::new(shown, &wanted, |attempt| attempt.id.clone()).one_way());
                }
            }
            if is_last {
                break;
            }
        }
        Ok(List::new(shown, &wanted, |attempt| attempt.id.clone()).one_way())
    });
    Ok(Json(page.await?))
}

async fn of_message(
    State(resources): State<Resources>,
    caller: Caller,
    Path((app, name)): Path<(String, String)>,
    parameters: Parameters,
) -> Result<Json<List<AttemptOut>>, Refusal> {
    let application = resources.application(&caller, app).await?;
    let event = resources.message(&application, &name).await?;
    let mut endpoints = resources.endpoints(&application).await?;
    if let Some(wanted) = parameters.text("endpoint_id") {
        endpoints.retain(|(endpoint, _)| endpoint.id == wanted || endpoint.uid.as_deref() == Some(wanted));
    }
    let (mut looking, wanted) = (Looking::of(&parameters)?, Wanted::of(&parameters)?);
    let urls = caller.urls();
    looking.query.offset = Some(event.offset());
    let page = resources.block(move |resources| {
        let mut found: Vec<(AttemptId, AttemptOut)> = Vec::new();
        for endpoint in &endpoints {
            for (id, record) in resources.state().attempts(endpoint.1.id, &looking.query, READ_ATTEMPTS)? {
                let kept = Kept { id, record };
                if looking.wants(&kept) {
                    found.push((
                        id,
                        AttemptOut::of(&kept, endpoint, &event, urls, looking.with_content, false)?,
                    ));
                }
            }
        }
        // Numbers grow with time, whatever the subscription.
        found.sort_unstable_by_key(|(id, _)| std::cmp::Reverse(id.0));
        let shown = found.into_iter().map(|(_, attempt)| attempt).collect();
        Ok(List::new(shown, &wanted, |attempt: &AttemptOut| attempt.id.clone()).one_way())
    });
    Ok(Json(page.await?))
}

/// A message with what became of it at an endpoint.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct EndpointMessageOut {
    #[serde(flatten)]
    message: MessageOut,
    #[serde(flatten)]
    outcome: Outcome,
}

/// An endpoint with what became of a message there.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MessageEndpointOut {
    #[serde(flatten)]
    endpoint: EndpointOut,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    status: u16,
    status_text: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt: Option<String>,
}

impl Outcome {
    fn of(state: &eventrelay_state::DeliveryState) -> Self {
        let (status, next_attempt) = Status::of_delivery(state);
        Self { status: status.number(), status_text: status.text(), next_attempt }
    }
}

async fn messages_of_endpoint(
    State(resources): State<Resources>,
    caller: Caller,
    Path((app, name)): Path<(String, String)>,
    parameters: Parameters,
) -> Result<Json<List<EndpointMessageOut>>, Refusal> {
    let application = resources.application(&caller, app).await?;
    let (endpoint, _) = resources.endpoint(&application, name).await?;
    let states = match parameters.number("status")?.map(Status::of_number) {
        None => Vec::new(),
        Some(Some(Status::Success)) => vec![StateName::Delivered],
        // What is on its way is not told from what waits.
        Some(Some(Status::Pending | Status::Sending)) => vec![StateName::Pending, StateName::Retrying],
        Some(Some(Status::Fail)) => vec![StateName::Dead],
        Some(None) => return Err(Refusal::parameter("status", "must be 0, 1, 2 or 3")),
    };
    let with_content = parameters.flag("with_content", true)?;
    let page = resources.block(move |resources| {
        let delivery = Some(DeliverySearch::For { subscription: endpoint.subscription, states });
        let looked = Looked { delivery, ..message_routes::looked(&parameters)? };
        message_routes::listed(resources, &application, looked, &parameters, |found| {
            let state = found.state.as_ref().ok_or_else(|| Refusal::internal("a message without a state"))?;
            let message = MessageOut::of(&found.event, with_content)?;
            Ok(EndpointMessageOut { message, outcome: Outcome::of(state) })
        })
    });
    Ok(Json(page.await?))
}

async fn endpoints_of_message(
    State(resources): State<Resources>,
    caller: Caller,
    Path((app, name)): Path<(String, String)>,
    parameters: Parameters,
) -> Result<Json<List<MessageEndpointOut>>, Refusal> {
    let wanted = Wanted::of(&parameters)?;
    let application = resources.application(&caller, app).await?;
    let event = resources.message(&application, &name).await?;
    let endpoints = resources.endpoints(&application).await?;
    let deliveries = resources.block(move |resources| Ok(resources.engine.deliveries_of(&event)?)).await?;
    let shown = endpoints.into_iter().filter_map(|found| {
        let delivery = deliveries.iter().find(|delivery| delivery.subscription == found.0.subscription)?;
        Some(MessageEndpointOut {
            outcome: Outcome::of(&delivery.state),
            endpoint: EndpointOut::of(found, caller.urls()),
        })
    });
    let is_behind = |one: &MessageEndpointOut| match &wanted.behind {
        Some(behind) if wanted.is_back => one.endpoint.id < *behind,
        Some(behind) => one.endpoint.id > *behind,
        None => true,
    };
    let mut shown: Vec<_> = shown.filter(is_behind).collect();
    if wanted.is_back {
        shown.reverse();
    }
    Ok(Json(List::new(shown, &wanted, |one| one.endpoint.id.clone())))
}

async fn get(
    State(resources): State<Resources>,
    caller: Caller,
    Path((app, message, attempt)): Path<(String, String, String)>,
) -> Result<Json<AttemptOut>, Refusal> {
    let (kept, endpoint, event) = find(&resources, &caller, app, &message, &attempt).await?;
    Ok(Json(AttemptOut::of(&kept, &endpoint, &event, caller.urls(), true, false)?))
}

async fn find(
    resources: &Resources,
    caller: &Caller,
    app: String,
    message: &str,
    attempt: &str,
) -> Result<(Kept, Found, StoredEvent), Refusal> {
    let application = resources.application(caller, app).await?;
    let event = resources.message(&application, message).await?;
    let (subscription, id) = ids::parse_attempt(attempt).ok_or_else(Refusal::not_found)?;
    let endpoints = resources.endpoints(&application).await?;
    let endpoint = endpoints.into_iter().find(|(_, record)| record.id == subscription);
    let endpoint = endpoint.ok_or_else(Refusal::not_found)?;
    let record = resources.read(move |state| state.attempt(subscription, id)).await?;
    let record = record.filter(|record| record.offset == event.offset()).ok_or_else(Refusal::not_found)?;
    Ok((Kept { id, record }, endpoint, event))
}

async fn expunge(
    State(resources): State<Resources>,
    caller: Caller,
    Path((app, message, attempt)): Path<(String, String, String)>,
) -> Result<StatusCode, Refusal> {
    find(&resources, &caller, app, &message, &attempt).await?;
    Err(Refusal::unsupported(
        "What an endpoint answered goes with the attempt, when newer ones take its place",
    ))
}

async fn resend(
    State(resources): State<Resources>,
    caller: Caller,
    RequestAuthor(author): RequestAuthor,
    Path((app, message, name)): Path<(String, String, String)>,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    let application = resources.application(&caller, app).await?;
    let event = resources.message(&application, &message).await?;
    let (endpoint, _) = resources.endpoint(&application, name).await?;
    let named = Some(json!({ "event_id": event.id().to_string() }));
    let (tenant, name) = (&application.tenant, &endpoint.subscription);
    resources.note(&author, "delivery.retry", tenant, name, named).await?;
    resources.engine.retry_now(&endpoint.tenant, &endpoint.subscription, event.offset()).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({}))))
}
