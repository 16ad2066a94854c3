//! `/api/v1/auth`: tokens for the users of one application, and their end.

use std::time::Duration;

use axum::extract::{Path, State};
use eventrelay_state::SvixApplication;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::application_routes::{self, ApplicationIn};
use super::caller::Caller;
use super::json::Json;
use super::refusal::Refusal;
use super::resources::Resources;
use super::routes::Routes;
use super::token;
use crate::auth::{Scope, now_micros};
use crate::http::control::author::RequestAuthor;
use crate::http::request_source::RequestSource;

const DEFAULT_LIFETIME_SECONDS: u64 = 7 * 24 * 60 * 60;
const MIN_LIFETIME_SECONDS: u64 = 60 * 60;
const MAX_LIFETIME_SECONDS: u64 = 7 * 24 * 60 * 60;

pub(super) fn routes() -> Routes<Resources> {
    Routes::new()
        .post("/api/v1/auth/app-portal-access/{app_id}", Scope::Admin, portal_access)
        .post("/api/v1/auth/dashboard-access/{app_id}", Scope::Admin, portal_access)
        .post("/api/v1/auth/app/{app_id}/expire-all", Scope::Admin, expire_all)
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AccessIn {
    /// In seconds.
    expiry: Option<u64>,
    read_only: Option<bool>,
    application: Option<ApplicationIn>,
}

#[derive(Debug, Serialize)]
struct AccessOut {
    url: String,
    token: String,
}

/// A token that reaches one application, and where the dashboard is, which takes it.
async fn portal_access(
    State(resources): State<Resources>,
    caller: Caller,
    RequestAuthor(author): RequestAuthor,
    source: RequestSource,
    Path(app): Path<String>,
    Json(wanted): Json<AccessIn>,
) -> Result<Json<AccessOut>, Refusal> {
    let secret = resources.secret.as_ref().ok_or_else(|| {
        Refusal::unsupported("Tokens are signed once compat.svix_jwt_secret or svix_jwt_secret_file is set")
    })?;
    let seconds = wanted.expiry.unwrap_or(DEFAULT_LIFETIME_SECONDS);
    if !(MIN_LIFETIME_SECONDS..=MAX_LIFETIME_SECONDS).contains(&seconds) {
        let why = format!("must be {MIN_LIFETIME_SECONDS} to {MAX_LIFETIME_SECONDS} seconds");
        return Err(Refusal::invalid("expiry", why));
    }
    let application = match (resources.application(&caller, app.clone()).await, wanted.application) {
        (Err(Refusal::Problem(problem)), Some(new)) if problem.code() == "not_found" => {
            application_routes::make(&resources, &author, new.called(app)).await?
        }
        (found, _) => found?,
    };
    let lifetime = Duration::from_secs(seconds);
    let read_only = wanted.read_only.unwrap_or(false);
    let what = json!({"read_only": read_only, "lifetime_seconds": seconds});
    resources.note(&author, "application.token", &application.tenant, &application.id, Some(what)).await?;
    let token = token::application_token(secret, &application.id, lifetime, read_only);
    let server = resources.public_url.as_ref().map_or_else(
        || format!("{}://{}", if source.is_tls { "https" } else { "http" }, caller.host()),
        |url| url.as_str().to_owned(),
    );
    Ok(Json(AccessOut { url: format!("{server}/#token={token}"), token }))
}

/// Ends all tokens of an application that have been made so far.
async fn expire_all(
    State(resources): State<Resources>,
    caller: Caller,
    RequestAuthor(author): RequestAuthor,
    Path(app): Path<String>,
) -> Result<StatusCode, Refusal> {
    let application = resources.application(&caller, app).await?;
    let ended = SvixApplication { tokens_after_micros: now_micros(), ..application };
    application_routes::update(&resources, &author, ended).await?;
    Ok(StatusCode::NO_CONTENT)
}
