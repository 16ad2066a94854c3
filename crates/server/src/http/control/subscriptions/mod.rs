//! `/v1/subscriptions`: makes, shows, lists, changes and deletes subscriptions of the caller's tenant.
//!
//! A subscription that the configuration file declares is shown like any other, and changed there: what would change its
//! declaration here answers 409 `declared_in_configuration`. Pausing, resuming and all about its deliveries work for both.

mod declaration;
mod lifecycle;
mod sample;
pub(super) mod schema;
mod secret;
mod shown;
mod stats;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use eventrelay_delivery::ChangeError;
use eventrelay_state::{Lifecycle, Subscription, SubscriptionRecord};
use http::StatusCode;
use http::header::{ETAG, LOCATION};
use serde_json::{Map, Value};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::author::RequestAuthor;
use super::caller::Caller;
use super::json::Json;
use super::page::{Listed, Page};
use super::path::Path;
use super::query::Query;
use super::resources::Resources;
use super::revision::{IfMatch, etag};
use super::{audited, reading, refusals};
use crate::auth::{Access, Author};
use crate::http::problem::Problem;
use schema::{SubscriptionDeclaration, SubscriptionPatch};
use shown::SubscriptionShown;

/// How often a change without `If-Match` is made again when somebody else was faster.
const CHANGE_TRIES: usize = 5;

pub(super) fn routes() -> OpenApiRouter<Resources> {
    OpenApiRouter::new()
        .routes(routes!(create_subscription, list_subscriptions))
        .routes(routes!(get_subscription, replace_subscription, patch_subscription, delete_subscription))
        .merge(lifecycle::routes())
        .merge(sample::routes())
        .merge(secret::routes())
        .merge(stats::routes())
}

/// Make a subscription
///
/// It begins to deliver at once. A webhook that is given no secret, and is not `unsigned`, gets a new one:
/// `GET …/secret` shows it.
#[utoipa::path(
    post, path = "/v1/subscriptions", tag = "subscriptions", security(("bearer" = ["manage"])),
    request_body(content = SubscriptionDeclaration, example = json!({
        "name": "billing", "filter": {"types": ["order.*"]}, "sink": {"kind": "webhook", "url": "https://billing.example.com/hooks"}})),
    responses(
        (status = 201, description = "The subscription", body = SubscriptionShown,
         headers(("etag" = String, description = "Its revision"), ("location" = String, description = "Where it is shown"))),
        (status = 409, description = "There is one of that name, or too many; or this `Idempotency-Key` is in use"),
        (status = 410, description = "Retention has let its start go")
    )
)]
async fn create_subscription(
    State(resources): State<Resources>,
    Caller(access): Caller,
    RequestAuthor(author): RequestAuthor,
    Json(members): Json<Map<String, Value>>,
) -> Result<Response, Problem> {
    let mut spec = declaration::parse(members, access.tenant(), None)?;
    declaration::add_secret(&mut spec);
    let audit = audited::declaration(&author, "subscription.create", None, Some(&spec));
    let created = resources.engine.create(spec, Lifecycle::Enabled, audit).await;
    let record = created.map_err(|error| refusals::of_change(&error))?;
    let location = [(LOCATION, format!("/v1/subscriptions/{}", record.spec.name))];
    Ok((StatusCode::CREATED, location, answer(&resources, &access, &record)).into_response())
}

/// List subscriptions
///
/// By name; those of the configuration file too.
#[utoipa::path(
    get, path = "/v1/subscriptions", tag = "subscriptions", security(("bearer" = ["read"])), params(Page),
    responses((status = 200, description = "A page of them", body = Listed<SubscriptionShown>))
)]
async fn list_subscriptions(
    State(resources): State<Resources>,
    Caller(access): Caller,
    Query(page): Query<Page>,
) -> Result<Json<Listed<SubscriptionShown>>, Problem> {
    let after = page.cursor.map_or_else(String::new, |cursor| cursor.0);
    let (tenant, one_more) = (access.tenant().clone(), page.limit.one_more());
    let read =
        move |state: &eventrelay_state::State| state.subscriptions_of(tenant.as_str(), &after, one_more);
    let found = reading::state(&resources, read).await?;
    let listed = Listed::new(found, page.limit, |record| record.spec.name.clone());
    Ok(Json(listed.map(|record| SubscriptionShown::of(&resources, &access, &record))))
}

/// Show a subscription
#[utoipa::path(
    get, path = "/v1/subscriptions/{name}", tag = "subscriptions", security(("bearer" = ["read"])),
    params(("name" = String, Path, description = "Its name", example = "billing")),
    responses((status = 200, description = "The subscription", body = SubscriptionShown,
               headers(("etag" = String, description = "Its revision"))))
)]
async fn get_subscription(
    State(resources): State<Resources>,
    Caller(access): Caller,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let record = reading::subscription(&resources, &access, &name).await?;
    Ok(answer(&resources, &access, &record).into_response())
}

/// Replace a subscription's declaration
///
/// Its cursor, retries and dead letters stay. A secret that is sent as it is shown stays what it was. What is not delivered yet
/// goes by the new declaration.
#[utoipa::path(
    put, path = "/v1/subscriptions/{name}", tag = "subscriptions", security(("bearer" = ["manage"])),
    params(("name" = String, Path, description = "Its name", example = "billing"),
           ("If-Match" = Option<String>, Header, description = "The `ETag` that the change is meant for")),
    request_body(content = SubscriptionDeclaration, example = json!({
        "name": "billing", "filter": {"types": ["order.*", "invoice.*"]}, "max_in_flight": 16,
        "sink": {"kind": "webhook", "url": "https://billing.example.com/hooks", "secrets": ["[redacted]"]}})),
    responses(
        (status = 200, description = "The subscription", body = SubscriptionShown,
         headers(("etag" = String, description = "Its revision"))),
        (status = 409, description = "The configuration file declares it"),
        (status = 412, description = "It has been changed since")
    )
)]
async fn replace_subscription(
    State(resources): State<Resources>,
    Caller(access): Caller,
    RequestAuthor(author): RequestAuthor,
    Path(name): Path<String>,
    if_match: IfMatch,
    Json(members): Json<Map<String, Value>>,
) -> Result<Response, Problem> {
    let change = |known: &SubscriptionRecord| {
        let mut spec = declaration::parse(members.clone(), access.tenant(), Some(&name))?;
        declaration::restore_secrets(&mut spec, &known.spec);
        Ok(spec)
    };
    let record = changed(&resources, &access, &author, &name, &if_match, change).await?;
    Ok(answer(&resources, &access, &record).into_response())
}

/// Change parts of a subscription's declaration
///
/// A merge patch (RFC 7396): members that are there replace what is stored, `null` takes back to the default.
#[utoipa::path(
    patch, path = "/v1/subscriptions/{name}", tag = "subscriptions", security(("bearer" = ["manage"])),
    params(("name" = String, Path, description = "Its name", example = "billing"),
           ("If-Match" = Option<String>, Header, description = "The `ETag` that the change is meant for")),
    request_body(content = SubscriptionPatch, example = json!({"max_in_flight": 8, "description": "Orders for billing"})),
    responses(
        (status = 200, description = "The subscription", body = SubscriptionShown,
         headers(("etag" = String, description = "Its revision"))),
        (status = 409, description = "The configuration file declares it"),
        (status = 412, description = "It has been changed since")
    )
)]
async fn patch_subscription(
    State(resources): State<Resources>,
    Caller(access): Caller,
    RequestAuthor(author): RequestAuthor,
    Path(name): Path<String>,
    if_match: IfMatch,
    Json(patch): Json<Map<String, Value>>,
) -> Result<Response, Problem> {
    let change = |known: &SubscriptionRecord| {
        let members = declaration::merged(&known.spec, &patch)?;
        let mut spec = declaration::parse(members, access.tenant(), Some(&name))?;
        declaration::restore_secrets(&mut spec, &known.spec);
        Ok(spec)
    };
    let record = changed(&resources, &access, &author, &name, &if_match, change).await?;
    Ok(answer(&resources, &access, &record).into_response())
}

/// Delete a subscription
///
/// With its cursor, retries, dead letters and attempts; calls that are on their way are given a second. Events stay in the log.
#[utoipa::path(
    delete, path = "/v1/subscriptions/{name}", tag = "subscriptions", security(("bearer" = ["manage"])),
    params(("name" = String, Path, description = "Its name", example = "billing"),
           ("If-Match" = Option<String>, Header, description = "The `ETag` that the deletion is meant for")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 409, description = "The configuration file declares it"),
        (status = 412, description = "It has been changed since")
    )
)]
async fn delete_subscription(
    State(resources): State<Resources>,
    Caller(access): Caller,
    RequestAuthor(author): RequestAuthor,
    Path(name): Path<String>,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    let record = reading::subscription(&resources, &access, &name).await?;
    if_match.check(record.revision)?;
    let expected = (if_match != IfMatch::Any).then_some(record.revision);
    let audit = audited::declaration(&author, "subscription.delete", Some(&record.spec), None);
    let deleted = resources.engine.delete(access.tenant().as_str(), &name, expected, audit).await;
    deleted.map_err(|error| refusals::of_change(&error))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Changes a declaration as it is stored now; once more where somebody else was faster, and the caller did not say which revision
/// is meant.
async fn changed(
    resources: &Resources,
    access: &Access,
    author: &Author,
    name: &str,
    if_match: &IfMatch,
    change: impl Fn(&SubscriptionRecord) -> Result<Subscription, Problem>,
) -> Result<SubscriptionRecord, Problem> {
    let mut tries = CHANGE_TRIES;
    loop {
        let known = reading::subscription(resources, access, name).await?;
        if_match.check(known.revision)?;
        let spec = change(&known)?;
        tries -= 1;
        let audit = audited::declaration(author, "subscription.update", Some(&known.spec), Some(&spec));
        match resources.engine.replace(spec, known.revision, audit).await {
            Ok(record) => return Ok(record),
            Err(ChangeError::RevisionChanged { .. }) if *if_match == IfMatch::Any && tries > 0 => {}
            Err(error) => return Err(refusals::of_change(&error)),
        }
    }
}

/// The subscription with its revision.
fn answer(resources: &Resources, access: &Access, record: &SubscriptionRecord) -> impl IntoResponse + use<> {
    ([(ETAG, etag(record.revision))], Json(SubscriptionShown::of(resources, access, record)))
}
