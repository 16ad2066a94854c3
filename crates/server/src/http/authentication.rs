//! Finds the API key of a request, or the session of its cookie, and what it may do.
//!
//! A key comes as `Authorization: Bearer <key>` or as `x-api-key: <key>`. Two keys that differ are none.

use http::header::{AUTHORIZATION, HeaderName};
use http::request::Parts;
use http::{HeaderMap, StatusCode};

use super::problem::Problem;
use super::route::Route;
use super::service::Shared;
use super::state::ConnectionState;
use super::{same_origin, session_cookie};
use crate::auth::{Access, AuthError, Scope};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What the request may do, if it may do what it asks for. A key counts before a cookie; a change by cookie must come from a page of
/// this server.
///
/// # Errors
/// 401 `unauthenticated`, 403 `missing_scope`, 403 `csrf_token_required`, 403 `forbidden_origin`.
pub(crate) fn authorize(
    shared: &Shared,
    connection: &ConnectionState,
    parts: &Parts,
    scope: Scope,
) -> Result<Access, Problem> {
    let presented = presented(&parts.headers).map_err(|_| refused(AuthError::Unauthenticated))?;
    if presented.is_none()
        && let Some(access) = by_cookie(shared, connection, parts)?
    {
        return if access.allows(scope) { Ok(access) } else { Err(refused(AuthError::MissingScope(scope))) };
    }
    shared.api_keys.authorize(presented, scope).map_err(refused)
}

/// The access of who is logged in. A cookie of a session that is over counts as none: where nothing is asked for, what another
/// server on this host has left in the browser must do no harm.
fn by_cookie(
    shared: &Shared,
    connection: &ConnectionState,
    parts: &Parts,
) -> Result<Option<Access>, Problem> {
    let is_secure = shared.accounts.uses_secure_cookies(connection.is_tls());
    let Some(token) = session_cookie::token(&parts.headers, is_secure) else { return Ok(None) };
    let Some(access) = shared.accounts.sessions.authenticate(&token) else { return Ok(None) };
    if !parts.method.is_safe() {
        same_origin::check_change(parts, &token, connection.is_tls())?;
    }
    Ok(Some(access))
}

/// What a route needs; none: it is for everybody.
pub(crate) fn scope_of(route: Route) -> Option<Scope> {
    match route {
        Route::Publish | Route::PublishStream => Some(Scope::Publish),
        Route::Find | Route::Status | Route::Stream | Route::TestFilter => Some(Scope::Read),
        Route::Pull | Route::AckLeases | Route::NackLeases | Route::ExtendLeases => Some(Scope::Consume),
        // They show what all tenants do.
        Route::Health | Route::Metrics | Route::Noop => Some(Scope::Admin),
        Route::Live | Route::Ready | Route::WrongMethod | Route::Unknown | Route::Refused => None,
    }
}

/// Two keys, or one that is no text.
#[derive(Debug)]
pub(crate) struct Ambiguous;

/// The one key that a request shows, if any.
pub(crate) fn presented(headers: &HeaderMap) -> Result<Option<&str>, Ambiguous> {
    let authorization = headers.get_all(AUTHORIZATION).iter().map(|value| {
        let text = value.to_str().map_err(|_| Ambiguous)?;
        let (scheme, key) = text.split_once(' ').ok_or(Ambiguous)?;
        if scheme.eq_ignore_ascii_case("bearer") { Ok(key.trim()) } else { Err(Ambiguous) }
    });
    let plain = headers.get_all(X_API_KEY).iter().map(|value| value.to_str().map_err(|_| Ambiguous));
    let mut found = None;
    for key in authorization.chain(plain) {
        let key = key?;
        if *found.get_or_insert(key) != key {
            return Err(Ambiguous);
        }
    }
    Ok(found)
}

/// A key that is not good, or not for this.
pub(crate) fn refused(error: AuthError) -> Problem {
    match error {
        AuthError::Unauthenticated => {
            let title = "An API key or a login is needed";
            Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", title)
                .detail("Send one that is good as `Authorization: Bearer <key>` or as `x-api-key: <key>`")
        }
        AuthError::MissingScope(scope) => {
            let title = "The API key, or the user's role, is not for this";
            Problem::new(StatusCode::FORBIDDEN, "missing_scope", title)
                .detail(format!("It lacks the scope `{}`", scope.name()))
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn found(headers: &[(HeaderName, &'static str)]) -> Result<Option<String>, ()> {
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
        presented(&headers).map(|key| key.map(str::to_owned)).map_err(|_| ())
    }

    #[test]
    fn a_key_is_found_in_either_header() {
        assert_eq!(found(&[]), Ok(None));
        for (name, value) in [(AUTHORIZATION, "Bearer k"), (AUTHORIZATION, "bearer  k"), (X_API_KEY, "k")] {
            assert_eq!(found(&[(name, value)]), Ok(Some("k".to_owned())), "{value}");
        }
        assert_eq!(found(&[(AUTHORIZATION, "Bearer k"), (X_API_KEY, "k")]), Ok(Some("k".to_owned())));
    }

    #[test]
    fn what_is_not_clearly_one_key_is_none() {
        for wrong in [
            vec![(AUTHORIZATION, "Bearer k"), (X_API_KEY, "other")],
            vec![(X_API_KEY, "k"), (X_API_KEY, "other")],
            vec![(AUTHORIZATION, "Basic azpw")],
            vec![(AUTHORIZATION, "k")],
        ] {
            assert_eq!(found(&wrong), Err(()), "{wrong:?}");
        }
    }
}
