//! `/v1/session`: log in with a password, see who one is, log out.

use std::time::Duration;

use axum::extract::{FromRequestParts, State};
use axum::response::IntoResponse;
use eventrelay_event::{Tenant, Timestamp};
use http::header::{CACHE_CONTROL, SET_COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::author::{LoginFrom, RequestAuthor};
use super::caller::Caller;
use super::json::Json;
use super::refusals::of_state;
use super::resources::Resources;
use crate::auth::{Credentials, LoginError, Password, PasswordError, Session, SessionToken};
use crate::http::problem::Problem;
use crate::http::request_source::RequestSource;
use crate::http::{same_origin, session_cookie};

/// What somebody shows to log in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Login {
    /// Where the user has a role; `default` where nothing is said.
    #[schema(min_length = 1, max_length = 64, pattern = "^[a-z0-9_-]+$")]
    tenant: Option<String>,
    /// In any case of letters.
    #[schema(max_length = 254)]
    email: String,
    /// The user's password.
    #[schema(format = Password, max_length = 1024)]
    password: String,
}

/// Who is logged in.
#[derive(Serialize, ToSchema)]
struct SessionUser {
    /// Names the user.
    #[schema(examples("user_0123456789abcdef"))]
    id: String,
    /// Where the user has a role.
    tenant: String,
    /// What the user logs in with.
    email: String,
    /// What people call the user.
    name: String,
    /// What the user may do.
    #[schema(value_type = super::users::RoleName)]
    role: &'static str,
}

/// A login, and what pages need to make changes with it.
#[derive(Serialize, ToSchema)]
struct LoggedIn {
    /// Who it is.
    user: SessionUser,
    /// What every change shows as the header `x-csrf-token`.
    csrf_token: String,
    /// When the session ends, however much it is used.
    #[schema(format = DateTime)]
    expires_at: String,
}

/// Who asks, and what that may do.
#[derive(Serialize, ToSchema)]
struct CurrentSession {
    /// `user`, `api_key`, or `anonymous` where nothing is asked for.
    actor_kind: &'static str,
    /// Whose things it sees.
    tenant: String,
    /// What it may do.
    scopes: Vec<&'static str>,
    /// Who is logged in; null for a key.
    #[schema(required = true)]
    user: Option<SessionUser>,
    /// What every change shows as the header `x-csrf-token`; null for a key.
    #[schema(required = true)]
    csrf_token: Option<String>,
    /// When the session ends, however much it is used; null for a key.
    #[schema(required = true, format = DateTime)]
    expires_at: Option<String>,
}

impl SessionUser {
    fn of(session: &Session) -> Self {
        let user = session.user();
        Self {
            id: user.id.clone(),
            tenant: user.tenant.to_string(),
            email: user.email.clone(),
            name: user.name.clone(),
            role: user.role.name(),
        }
    }
}

pub(super) fn routes() -> OpenApiRouter<Resources> {
    OpenApiRouter::new().routes(routes!(create_session, get_session, delete_session))
}

/// A page of this server, or a program: another site's page must not log its visitor in as somebody else.
struct SameOrigin;

impl<S: Sync> FromRequestParts<S> for SameOrigin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let source = RequestSource::from_request_parts(parts, state).await?;
        same_origin::check_origin(parts, source.is_tls).map(|()| Self)
    }
}

/// The session's token, as the browser shows it.
struct ShownToken(Option<SessionToken>);

impl FromRequestParts<Resources> for ShownToken {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, resources: &Resources) -> Result<Self, Problem> {
        let source = RequestSource::from_request_parts(parts, resources).await?;
        let is_secure = resources.accounts.uses_secure_cookies(source.is_tls);
        Ok(Self(session_cookie::token(&parts.headers, is_secure)))
    }
}

/// Log in
///
/// Sets the session's cookie. Every login begins a session of its own; a user has ten at most. After some failures the next
/// login has to wait.
#[utoipa::path(
    post, path = "/v1/session", tag = "session", security(()),
    request_body(content = Login, example = json!({"email": "bob@example.com", "password": "correct horse battery"})),
    responses((status = 200, description = "The session", body = LoggedIn,
               headers(("set-cookie" = String, description = "The session's cookie"))),
              (status = 401, description = "The tenant, the email address or the password is wrong"),
              (status = 429, description = "Too many logins have failed: see `Retry-After`"))
)]
async fn create_session(
    State(resources): State<Resources>,
    SameOrigin: SameOrigin,
    LoginFrom(source): LoginFrom,
    connection: RequestSource,
    Json(login): Json<Login>,
) -> Result<impl IntoResponse, Problem> {
    let accounts = &resources.accounts;
    // A name that no tenant can have is as wrong as one that none has.
    let tenant = login.tenant.as_deref().map_or(Ok(Tenant::default()), Tenant::parse);
    let password = Password::typed(login.password);
    let tenant = tenant.map_err(|_| not_let_in(LoginError::Refused))?;
    let credentials = Credentials { tenant, email: login.email, password };
    let (token, session) = accounts.logins.log_in(credentials, &source).await.map_err(not_let_in)?;
    tracing::info!(user = session.user().id, tenant = %session.user().tenant, "a user has logged in");
    let is_secure = accounts.uses_secure_cookies(connection.is_tls);
    let lifetime_seconds = accounts.options.session_lifetime_seconds;
    let cookie = session_cookie::set(&token, lifetime_seconds, is_secure);
    let logged_in = LoggedIn {
        user: SessionUser::of(&session),
        csrf_token: token.csrf_token(),
        expires_at: session.expires_at().to_string(),
    };
    Ok((StatusCode::OK, with_cookie(cookie)?, Json(logged_in)))
}

/// Show who one is
///
/// For a session also the token that changes need, since a page that is loaded anew has forgotten it.
#[utoipa::path(
    get, path = "/v1/session", tag = "session", security(("bearer" = ["read"])),
    responses((status = 200, description = "Who asks", body = CurrentSession))
)]
async fn get_session(Caller(access): Caller, ShownToken(token): ShownToken) -> Json<CurrentSession> {
    let session = access.session();
    Json(CurrentSession {
        actor_kind: access.actor().kind.name(),
        tenant: access.tenant().to_string(),
        scopes: access.scopes().allowed_names().collect(),
        user: session.map(|session| SessionUser::of(session)),
        csrf_token: session.and(token).map(|token| token.csrf_token()),
        expires_at: session.map(|session| session.expires_at().to_string()),
    })
}

/// Log out
#[utoipa::path(
    delete, path = "/v1/session", tag = "session", security(("bearer" = ["read"])),
    responses((status = 204, description = "The session, if there was one, is over"))
)]
async fn delete_session(
    State(resources): State<Resources>,
    Caller(access): Caller,
    RequestAuthor(author): RequestAuthor,
    connection: RequestSource,
) -> Result<impl IntoResponse, Problem> {
    let accounts = &resources.accounts;
    if let Some(session) = access.session() {
        accounts.sessions.end(session, &author).await.map_err(|error| of_state(&error))?;
    }
    let is_secure = accounts.uses_secure_cookies(connection.is_tls);
    Ok((StatusCode::NO_CONTENT, with_cookie(session_cookie::clear(is_secure))?))
}

fn with_cookie(cookie: Option<HeaderValue>) -> Result<HeaderMap, Problem> {
    let cookie = cookie.ok_or_else(|| Problem::internal("a cookie is no header"))?;
    Ok(HeaderMap::from_iter([(SET_COOKIE, cookie), (CACHE_CONTROL, HeaderValue::from_static("no-store"))]))
}

/// Somebody who is not let in.
pub(super) fn not_let_in(error: LoginError) -> Problem {
    match error {
        LoginError::Refused => {
            Problem::new(StatusCode::UNAUTHORIZED, "invalid_credentials", "The login is refused")
                .detail("The tenant, the email address or the password is wrong")
        }
        LoginError::Locked { retry_after } => too_many_failed_logins(retry_after),
        LoginError::Password(error) => password_unavailable(&error),
        LoginError::State(error) => of_state(&error),
    }
}

/// A password that could not be hashed.
pub(super) fn password_unavailable(error: &PasswordError) -> Problem {
    match error {
        PasswordError::Busy => too_many_logins(),
        PasswordError::Failed(why) => Problem::internal(why.clone()),
    }
}

/// A login that comes too early.
pub(super) fn too_many_failed_logins(retry_after: Duration) -> Problem {
    let again_at = Timestamp(crate::auth::now_micros().saturating_add(micros(retry_after)));
    let title = "Too many logins have failed";
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_failed_logins", title)
        .detail(format!("Try again at {again_at}"))
        .retry_after(retry_after)
}

/// A login that there is no room for.
pub(super) fn too_many_logins() -> Problem {
    let title = "Too many logins are under way";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_logins", title)
        .retry_after(Duration::from_secs(1))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
