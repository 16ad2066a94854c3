//! `/v1/oidc/login` and `/v1/oidc/callback`: log in with the OpenID Connect provider. Both are for browsers: the first sends one to
//! the provider, the second is where the provider sends it back to.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, LOCATION, REFERRER_POLICY, SET_COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::author::LoginFrom;
use super::refusals::of_state;
use super::resources::Resources;
use super::session::{too_many_failed_logins, too_many_logins};
use super::{login_page, query};
use crate::auth::{LoginSource, OidcError, OidcLogins, ReturnTo, Returned};
use crate::http::problem::Problem;
use crate::http::request_source::RequestSource;
use crate::http::{login_cookie, session_cookie};

/// Where a login goes on to.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct BeginQuery {
    /// A path of this server; `/` where nothing is said.
    #[param(max_length = 1024, pattern = "^/")]
    return_to: Option<String>,
}

/// What the provider sends the browser back with. Providers add parameters of their own, which say nothing here.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct CallbackQuery {
    /// What the browser was sent to the provider with.
    state: Option<String>,
    /// What the provider gives for the login.
    code: Option<String>,
    /// Or why it gives nothing.
    error: Option<String>,
    /// The provider's name for itself (RFC 9207).
    iss: Option<String>,
}

pub(super) fn routes() -> OpenApiRouter<Resources> {
    OpenApiRouter::new().routes(routes!(begin_oidc_login)).routes(routes!(finish_oidc_login))
}

/// Log in with the OpenID Connect provider
///
/// For browsers: sends one to the provider, and sets a cookie that knows it when it comes back, for ten minutes.
#[utoipa::path(
    get, path = "/v1/oidc/login", tag = "session", security(()), params(BeginQuery),
    extensions(("x-browser" = json!(true))),
    responses((status = 303, description = "To the provider",
               headers(("location" = String, description = "The provider's page"),
                       ("set-cookie" = String, description = "The cookie of the login that is under way"))),
              (status = 404, description = "There is no provider: `oidc_not_configured`"))
)]
async fn begin_oidc_login(
    State(resources): State<Resources>,
    connection: RequestSource,
    parts: Parts,
) -> Response {
    let begun = begin(&resources, &connection, &parts).await;
    begun.unwrap_or_else(|problem| login_page::of_problem(problem, &parts.headers))
}

async fn begin(
    resources: &Resources,
    connection: &RequestSource,
    parts: &Parts,
) -> Result<Response, Problem> {
    let oidc = provider_of(resources)?;
    let BeginQuery { return_to } = query::parse(parts.uri.query().unwrap_or_default())?;
    let return_to = return_to.as_deref().map(ReturnTo::parse).transpose();
    let return_to =
        return_to.map_err(|error| query::invalid(error.to_string(), Some("return_to".to_owned())))?;
    let begun = oidc.begin(return_to.unwrap_or_default()).await.map_err(|error| not_let_in(&error))?;
    let is_secure = resources.accounts.uses_secure_cookies(connection.is_tls);
    let location = HeaderValue::try_from(begun.url.as_str());
    let headers = HeaderMap::from_iter([
        (LOCATION, location.map_err(|error| Problem::internal(error.to_string()))?),
        (SET_COOKIE, header(login_cookie::set(&begun.cookie, is_secure))?),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ]);
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}

/// Come back from the OpenID Connect provider
///
/// For browsers: sets the session's cookie, as `POST /v1/session` does, and goes on to where the login was begun for.
#[utoipa::path(
    get, path = "/v1/oidc/callback", tag = "session", security(()), params(CallbackQuery),
    extensions(("x-browser" = json!(true))),
    responses((status = 200, description = "A page that goes on", body = String, content_type = "text/html; charset=utf-8",
               headers(("set-cookie" = String, description = "The session's cookie"))),
              (status = 401, description = "The provider logs nobody in, or what it gives proves nothing: `oidc_login_failed`"),
              (status = 404, description = "There is no provider: `oidc_not_configured`"),
              (status = 429, description = "Too many logins have failed: see `Retry-After`"))
)]
async fn finish_oidc_login(
    State(resources): State<Resources>,
    LoginFrom(source): LoginFrom,
    connection: RequestSource,
    parts: Parts,
) -> Response {
    let finished = finish(&resources, &source, &connection, &parts).await;
    let mut response = finished.unwrap_or_else(|problem| login_page::of_problem(problem, &parts.headers));
    let is_secure = resources.accounts.uses_secure_cookies(connection.is_tls);
    if let Some(cleared) = login_cookie::clear(is_secure).filter(|_| resources.accounts.oidc.is_some()) {
        response.headers_mut().append(SET_COOKIE, cleared);
    }
    response
}

async fn finish(
    resources: &Resources,
    source: &LoginSource,
    connection: &RequestSource,
    parts: &Parts,
) -> Result<Response, Problem> {
    let oidc = provider_of(resources)?;
    let query: CallbackQuery = query::parse(parts.uri.query().unwrap_or_default())?;
    let returned = Returned { state: query.state, code: query.code, error: query.error, issuer: query.iss };
    let accounts = &resources.accounts;
    let is_secure = accounts.uses_secure_cookies(connection.is_tls);
    let cookie = login_cookie::value(&parts.headers, is_secure);
    let finished = oidc.finish(cookie, &returned, source).await.map_err(|error| not_let_in(&error))?;
    let user = finished.session.user();
    tracing::info!(user = user.id, tenant = %user.tenant, "a user has logged in with the OpenID Connect provider");
    let lifetime_seconds = accounts.options.session_lifetime_seconds;
    let cookie = header(session_cookie::set(&finished.token, lifetime_seconds, is_secure))?;
    let mut response = login_page::goes_on_to(&finished.return_to);
    response.headers_mut().append(SET_COOKIE, cookie);
    Ok(response)
}

fn provider_of(resources: &Resources) -> Result<&OidcLogins, Problem> {
    let title = "There is no OpenID Connect provider";
    resources.accounts.oidc.as_ref().ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, "oidc_not_configured", title)
            .detail("Users log in with a password: POST /v1/session. A provider is named in [auth.oidc]")
    })
}

fn header(cookie: Option<HeaderValue>) -> Result<HeaderValue, Problem> {
    cookie.ok_or_else(|| Problem::internal("a cookie is no header"))
}

fn not_let_in(error: &OidcError) -> Problem {
    let problem = |status, code, title| Problem::new(status, code, title).detail(error.to_string());
    match error {
        OidcError::NotBegun => {
            problem(StatusCode::BAD_REQUEST, "oidc_state_mismatch", "There is no such login under way")
        }
        OidcError::Denied(_) | OidcError::Unproven => {
            problem(StatusCode::UNAUTHORIZED, "oidc_login_failed", "The login has failed")
        }
        OidcError::Refused(_) => {
            problem(StatusCode::FORBIDDEN, "oidc_user_refused", "This user is not let in")
        }
        OidcError::Unavailable => problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "oidc_provider_unavailable",
            "The OpenID Connect provider cannot be asked",
        )
        .retry_after(Duration::from_secs(5)),
        OidcError::Locked { retry_after } => too_many_failed_logins(*retry_after),
        OidcError::Busy => too_many_logins(),
        OidcError::State(error) => of_state(error),
    }
}
