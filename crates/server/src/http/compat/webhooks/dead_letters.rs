//! The dead letters of all webhooks: by webhook, and of each the newest events first. One is named `<webhook>.<offset>`, for no
//! webhook's id has a dot.

use std::fmt;
use std::str::FromStr;

use axum::extract::State;
use eventrelay_delivery::RedriveRequest;
use eventrelay_event::{EventId, StoredEvent};
use eventrelay_expression::EventFilter;
use eventrelay_state::{DeadLetter, SubscriptionRecord};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{is_webhook, webhooks_after};
use crate::auth::{Access, Author};
use crate::http::compat::publish::data_payload;
use crate::http::control::author::RequestAuthor;
use crate::http::control::caller::Caller;
use crate::http::control::json::Json;
use crate::http::control::page::{Cursor, Listed, PageLimit};
use crate::http::control::path::Path;
use crate::http::control::query::Query;
use crate::http::control::resources::Resources;
use crate::http::control::time::Time;
use crate::http::control::{audited, reading, refusals};
use crate::http::problem::Problem;

pub(super) fn routes() -> OpenApiRouter<Resources> {
    OpenApiRouter::new()
        .routes(routes!(list_dead_letters))
        .routes(routes!(retry_dead_letter))
        .routes(routes!(discard_dead_letter))
}

/// Names a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LetterId {
    webhook: String,
    offset: u64,
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.webhook, self.offset)
    }
}

impl FromStr for LetterId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (webhook, offset) = text.split_once('.').ok_or(())?;
        Ok(Self { webhook: webhook.to_owned(), offset: offset.parse().map_err(|_| ())? })
    }
}

#[derive(Debug, Deserialize)]
struct LetterList {
    #[serde(default)]
    limit: PageLimit,
    cursor: Option<Cursor<LetterId>>,
}

#[derive(Serialize)]
struct ShownLetter {
    id: String,
    webhook_id: String,
    event_id: Option<String>,
    event_type: Option<String>,
    payload: Option<Box<RawValue>>,
    error: String,
    attempts: u32,
    failed_at: Time,
}

#[utoipa::path(get, path = "/api/dlq", operation_id = "webhooks_list_dead_letters", security(("bearer" = ["read"])),
    responses((status = 200, description = "A page of them")))]
async fn list_dead_letters(
    State(resources): State<Resources>,
    Caller(access): Caller,
    Query(list): Query<LetterList>,
) -> Result<Json<Listed<ShownLetter>>, Problem> {
    let most = list.limit.items() + 1;
    let mut letters: Vec<(LetterId, DeadLetter)> = Vec::new();
    let mut after = String::new();
    if let Some(Cursor(last)) = list.cursor {
        // The rest of the webhook in which the page before ended; it may be gone.
        let known = find_webhook(&resources, &access, &last.webhook).await?;
        if let Some(record) = known {
            add(&resources, &mut letters, record, last.offset, most).await?;
        }
        after = last.webhook;
    }
    while letters.len() < most {
        let Some(record) = webhooks_after(&resources, &access, &after, 1).await?.pop() else { break };
        after.clone_from(&record.spec.name);
        add(&resources, &mut letters, record, u64::MAX, most).await?;
    }
    let listed = Listed::new(letters, list.limit, |(id, _)| id.clone());
    Ok(Json(listed.map(|(id, letter)| shown(&id, &letter))))
}

/// Adds a webhook's letters below an offset, up to so many together.
async fn add(
    resources: &Resources,
    letters: &mut Vec<(LetterId, DeadLetter)>,
    record: SubscriptionRecord,
    before: u64,
    most: usize,
) -> Result<(), Problem> {
    let wanted = u32::try_from(most.saturating_sub(letters.len())).unwrap_or(u32::MAX);
    let id = record.id;
    let read = move |state: &eventrelay_state::State| state.newest_dead_letters(id, before, wanted);
    let found = reading::state(resources, read).await?;
    let named =
        |letter: DeadLetter| (LetterId { webhook: record.spec.name.clone(), offset: letter.offset }, letter);
    letters.extend(found.into_iter().map(named));
    Ok(())
}

#[derive(Serialize)]
struct Retried {
    id: String,
    status: &'static str,
}

#[utoipa::path(post, path = "/api/dlq/{id}/retry", operation_id = "webhooks_retry_dead_letter",
    security(("bearer" = ["manage"])), params(("id" = String, Path)),
    responses((status = 202, description = "It is on its way again")))]
async fn retry_dead_letter(
    State(resources): State<Resources>,
    Caller(access): Caller,
    RequestAuthor(author): RequestAuthor,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<Retried>), Problem> {
    let letter = named(&resources, &access, &id).await?;
    note(&resources, &access, &author, "dead_letter.redrive", &letter).await?;
    let request = RedriveRequest { offset: Some(letter.offset), ..RedriveRequest::default() };
    let begun = resources.engine.redrive(access.tenant().as_str(), &letter.webhook, request).await;
    begun.map_err(|error| refusals::of_control(&error))?;
    Ok((StatusCode::ACCEPTED, Json(Retried { id, status: "retrying" })))
}

#[utoipa::path(delete, path = "/api/dlq/{id}", operation_id = "webhooks_discard_dead_letter",
    security(("bearer" = ["manage"])), params(("id" = String, Path)),
    responses((status = 204, description = "It is gone")))]
async fn discard_dead_letter(
    State(resources): State<Resources>,
    Caller(access): Caller,
    RequestAuthor(author): RequestAuthor,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let letter = named(&resources, &access, &id).await?;
    note(&resources, &access, &author, "dead_letter.discard", &letter).await?;
    let (tenant, everything) = (access.tenant().as_str(), EventFilter::default());
    let discarded = resources.engine.discard(tenant, &letter.webhook, Some(letter.offset), &everything).await;
    match discarded.map_err(|error| refusals::of_control(&error))? {
        0 => Err(absent()),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}

/// The dead letter of an id, if it is there.
async fn note(
    resources: &Resources,
    access: &Access,
    author: &Author,
    action: &'static str,
    letter: &LetterId,
) -> Result<(), Problem> {
    let after = Some(json!({"offset": letter.offset}));
    audited::note(resources, audited::of_subscription(access, author, action, &letter.webhook, after)).await
}

async fn named(resources: &Resources, access: &Access, id: &str) -> Result<LetterId, Problem> {
    let id: LetterId = id.parse().map_err(|()| absent())?;
    let offset = id.offset.min(EventId::OFFSET_LIMIT);
    let record = find_webhook(resources, access, &id.webhook).await?.ok_or_else(absent)?;
    let read = move |state: &eventrelay_state::State| state.dead_letters(record.id, offset, 1);
    let found = reading::state(resources, read).await?;
    if found.iter().any(|letter| letter.offset == id.offset) { Ok(id) } else { Err(absent()) }
}

async fn find_webhook(
    resources: &Resources,
    access: &Access,
    name: &str,
) -> Result<Option<SubscriptionRecord>, Problem> {
    let (tenant, name) = (access.tenant().clone(), name.to_owned());
    let read = move |state: &eventrelay_state::State| state.subscription(tenant.as_str(), &name);
    Ok(reading::state(resources, read).await?.filter(is_webhook))
}

fn absent() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "dead_letter_not_found", "There is no such dead letter")
}

fn shown(id: &LetterId, letter: &DeadLetter) -> ShownLetter {
    // What cannot be decoded is why it is here.
    let event = letter.append_time_micros.zip(letter.event.clone());
    let event = event.and_then(|(micros, event)| StoredEvent::decode(letter.offset, micros, event).ok());
    let event_id = letter.append_time_micros.map(|micros| EventId::new(micros, letter.offset));
    ShownLetter {
        id: id.to_string(),
        webhook_id: id.webhook.clone(),
        event_id: event_id.map(|id| id.to_string()),
        event_type: event.as_ref().map(|event| event.event_type().to_owned()),
        payload: event.as_ref().and_then(|event| data_payload(event).ok()),
        error: letter.reason.clone(),
        attempts: letter.attempts,
        failed_at: Time::of_micros(letter.dead_at_micros),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letters_name_leads_back_to_it() {
        let id = LetterId { webhook: "wh_1-a".to_owned(), offset: 7 };
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in ["", "wh_1", "wh_1.", "wh_1.x", "wh_1.-1"] {
            assert_eq!(wrong.parse::<LetterId>(), Err(()), "{wrong}");
        }
    }
}
