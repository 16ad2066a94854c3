//! The cookie of a session. Pages cannot read it, and other sites' pages cannot have it sent.

use http::{HeaderMap, HeaderValue};

use super::cookie::Cookie;
use crate::auth::SessionToken;

const SESSION: Cookie =
    Cookie { name: "eventrelay_session", secure_name: "__Host-eventrelay_session", same_site: "Strict" };

/// The token in a request's cookie, if there is one and one only.
pub(crate) fn token(headers: &HeaderMap, is_secure: bool) -> Option<SessionToken> {
    SESSION.value(headers, is_secure).and_then(SessionToken::parse)
}

/// `Set-Cookie` for a session that has begun.
pub(crate) fn set(token: &SessionToken, lifetime_seconds: u64, is_secure: bool) -> Option<HeaderValue> {
    SESSION.set(token.expose(), lifetime_seconds, is_secure)
}

/// `Set-Cookie` for a session that has ended.
pub(crate) fn clear(is_secure: bool) -> Option<HeaderValue> {
    SESSION.set("", 0, is_secure)
}

#[cfg(test)]
mod tests {
    use http::header::COOKIE;

    use super::*;

    const NAME: &str = SESSION.name;
    const SECURE_NAME: &str = SESSION.secure_name;

    const TOKEN: &str = "0123456789012345678901234567890123456789abc";

    fn found(cookies: &[String], is_secure: bool) -> bool {
        let cookies = cookies.iter().map(|text| (COOKIE, HeaderValue::try_from(text).unwrap()));
        token(&cookies.collect(), is_secure).is_some()
    }

    #[test]
    fn the_cookie_of_the_right_name_is_found_among_others() {
        let plain = format!("a=b; {NAME}={TOKEN}; c");
        let secure = format!("{SECURE_NAME}={TOKEN}");
        assert!(found(std::slice::from_ref(&plain), false) && found(std::slice::from_ref(&secure), true));
        assert!(!found(std::slice::from_ref(&plain), true), "in the clear anybody could have set it");
        assert!(!found(std::slice::from_ref(&secure), false));
        assert!(found(&[plain.clone(), secure], false));
        assert!(!found(&[plain.clone(), plain], false), "which of the two?");
        assert!(!found(&[format!("{NAME}=short")], false));
    }

    #[test]
    fn a_cookie_is_out_of_reach_of_pages_and_other_sites() {
        let token = SessionToken::parse(TOKEN).unwrap();
        let secure = set(&token, 60, true).unwrap();
        let expected =
            format!("{SECURE_NAME}={TOKEN}; Path=/; Max-Age=60; HttpOnly; SameSite=Strict; Secure");
        assert_eq!(secure, expected.as_str());
        assert!(secure.is_sensitive());
        assert_eq!(
            clear(false).unwrap(),
            format!("{NAME}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict").as_str()
        );
    }
}
