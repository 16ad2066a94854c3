//! Whether a change that a browser asks for was asked for by a page of this server.
//!
//! A cookie comes along whichever page makes the request. `SameSite=Strict` keeps other sites' pages out, in browsers that know it, but
//! not pages of another port or a sister domain. So a change by cookie must show the session's CSRF token, which only who reads this
//! server's answers knows; and what the browser says of the page's origin must not contradict.

use http::header::{HeaderName, ORIGIN};
use http::request::Parts;
use http::{HeaderValue, StatusCode};

use super::guard::{authority, is_this_server};
use super::problem::Problem;
use crate::auth::SessionToken;

/// Carries the token.
pub(crate) const X_CSRF_TOKEN: HeaderName = HeaderName::from_static("x-csrf-token");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Checks a change by cookie.
///
/// # Errors
/// 403 `forbidden_origin`, 403 `csrf_token_required`.
pub(crate) fn check_change(parts: &Parts, session: &SessionToken, is_tls: bool) -> Result<(), Problem> {
    check_origin(parts, is_tls)?;
    let mut shown = parts.headers.get_all(X_CSRF_TOKEN).iter();
    let is_good = shown.next().is_some_and(|token| session.is_csrf_token(token.as_bytes()));
    if is_good && shown.next().is_none() {
        return Ok(());
    }
    let title = "The session's CSRF token is needed";
    Err(Problem::new(StatusCode::FORBIDDEN, "csrf_token_required", title)
        .detail("Send `csrf_token` of GET /v1/session as the header x-csrf-token"))
}

/// Checks what the browser says of the page. Programs say nothing.
///
/// # Errors
/// 403 `forbidden_origin`.
pub(crate) fn check_origin(parts: &Parts, is_tls: bool) -> Result<(), Problem> {
    let authority = authority(parts)?;
    let is_own = |origin: &HeaderValue| is_this_server(origin.as_bytes(), authority, is_tls);
    let is_same_site = |site: &HeaderValue| matches!(site.as_bytes(), b"same-origin" | b"none");
    let headers = &parts.headers;
    if headers.get_all(ORIGIN).iter().all(is_own) && headers.get_all(SEC_FETCH_SITE).iter().all(is_same_site)
    {
        return Ok(());
    }
    let title = "Web pages of other origins are not served";
    Err(Problem::new(StatusCode::FORBIDDEN, "forbidden_origin", title)
        .detail("Origin, and Sec-Fetch-Site, must name this server itself"))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const TOKEN: &str = "0123456789012345678901234567890123456789abc";

    fn check(headers: &[(&str, &str)]) -> Result<(), &'static str> {
        let mut request = Request::post("/v1/users").header("host", "relay.example:8080");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        let session = SessionToken::parse(TOKEN).unwrap();
        check_change(&parts, &session, false).map_err(|problem| problem.code())
    }

    #[test]
    fn a_change_shows_the_token_and_comes_from_this_server() {
        let csrf = SessionToken::parse(TOKEN).unwrap().csrf_token();
        let good = ("x-csrf-token", csrf.as_str());
        let (own, fetch) = (("origin", "http://relay.example:8080"), ("sec-fetch-site", "same-origin"));
        assert_eq!(check(&[good]), Ok(()));
        assert_eq!(check(&[good, own, fetch]), Ok(()));
        assert_eq!(check(&[own, fetch]), Err("csrf_token_required"));
        assert_eq!(check(&[good, good]), Err("csrf_token_required"));
        assert_eq!(check(&[("x-csrf-token", TOKEN), own]), Err("csrf_token_required"));
        for foreign in [
            ("origin", "http://evil.example"),
            ("origin", "http://relay.example:3000"),
            ("origin", "null"),
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-site", "cross-site"),
        ] {
            assert_eq!(check(&[good, foreign]), Err("forbidden_origin"), "{foreign:?}");
        }
    }
}
