//! Pausing and resuming.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer;
use super::shown::SubscriptionShown;
use crate::auth::{Access, Author};
use crate::http::control::author::RequestAuthor;
use crate::http::control::caller::Caller;
use crate::http::control::path::Path;
use crate::http::control::resources::Resources;
use crate::http::control::{audited, reading, refusals};
use crate::http::problem::Problem;

pub(super) fn routes() -> OpenApiRouter<Resources> {
    OpenApiRouter::new()
        .routes(routes!(pause_subscription))
        .routes(routes!(resume_subscription))
        .routes(routes!(enable_subscription))
}

/// Pause a subscription
///
/// Nothing more is delivered; what is on its way ends by itself. The log keeps what waits. It stays paused over restarts.
#[utoipa::path(
    post, path = "/v1/subscriptions/{name}/pause", tag = "subscriptions", security(("bearer" = ["manage"])),
    params(("name" = String, Path, description = "Its name", example = "billing")),
    responses((status = 200, description = "The subscription", body = SubscriptionShown,
               headers(("etag" = String, description = "Its revision"))),
              (status = 409, description = "It does not run; or this `Idempotency-Key` is in use"))
)]
async fn pause_subscription(
    State(resources): State<Resources>,
    Caller(access): Caller,
    RequestAuthor(author): RequestAuthor,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let audit = audited::of_subscription(&access, &author, "subscription.pause", &name, None);
    let paused = resources.engine.pause(access.tenant().as_str(), &name, Some(audit)).await;
    paused.map_err(|error| refusals::of_control(&error))?;
    shown(&resources, &access, &name).await
}

/// Resume a subscription
///
/// Lets one that is paused deliver again; also one that is disabled, or has stopped at damage or at its filter.
#[utoipa::path(
    post, path = "/v1/subscriptions/{name}/resume", tag = "subscriptions", security(("bearer" = ["manage"])),
    params(("name" = String, Path, description = "Its name", example = "billing")),
    responses((status = 200, description = "The subscription", body = SubscriptionShown,
               headers(("etag" = String, description = "Its revision"))),
              (status = 409, description = "It does not run; or this `Idempotency-Key` is in use"))
)]
async fn resume_subscription(
    State(resources): State<Resources>,
    Caller(access): Caller,
    RequestAuthor(author): RequestAuthor,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    resume(&resources, &access, &author, &name).await
}

/// Enable a subscription
///
/// The same as to resume it, under the name that goes with `disabled`.
#[utoipa::path(
    post, path = "/v1/subscriptions/{name}/enable", tag = "subscriptions", security(("bearer" = ["manage"])),
    params(("name" = String, Path, description = "Its name", example = "billing")),
    responses((status = 200, description = "The subscription", body = SubscriptionShown,
               headers(("etag" = String, description = "Its revision"))),
              (status = 409, description = "It does not run; or this `Idempotency-Key` is in use"))
)]
async fn enable_subscription(
    State(resources): State<Resources>,
    Caller(access): Caller,
    RequestAuthor(author): RequestAuthor,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    resume(&resources, &access, &author, &name).await
}

async fn resume(
    resources: &Resources,
    access: &Access,
    author: &Author,
    name: &str,
) -> Result<Response, Problem> {
    let audit = audited::of_subscription(access, author, "subscription.resume", name, None);
    let resumed = resources.engine.resume(access.tenant().as_str(), name, Some(audit)).await;
    resumed.map_err(|error| refusals::of_control(&error))?;
    shown(resources, access, name).await
}

async fn shown(resources: &Resources, access: &Access, name: &str) -> Result<Response, Problem> {
    let record = reading::subscription(resources, access, name).await?;
    Ok(answer(resources, access, &record).into_response())
}
