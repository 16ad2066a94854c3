//! The cookie of a login that is under way with a provider; what is in it stands in `auth::oidc`.
//!
//! It must come with the request that the provider sends the browser back by, and that comes from another site: `SameSite=Lax`. Requests
//! that other sites' pages make beside, for images or by forms, do not have it.

use http::{HeaderMap, HeaderValue};

use super::cookie::Cookie;
use crate::auth::PENDING_LIFETIME_SECONDS;

const LOGIN: Cookie =
    Cookie { name: "eventrelay_login", secure_name: "__Host-eventrelay_login", same_site: "Lax" };

/// What a request shows, if there is one and one only.
pub(crate) fn value(headers: &HeaderMap, is_secure: bool) -> Option<&str> {
    LOGIN.value(headers, is_secure)
}

/// `Set-Cookie` for a login that has begun.
pub(crate) fn set(value: &str, is_secure: bool) -> Option<HeaderValue> {
    LOGIN.set(value, PENDING_LIFETIME_SECONDS, is_secure)
}

/// `Set-Cookie` for a login that is over, whatever has become of it.
pub(crate) fn clear(is_secure: bool) -> Option<HeaderValue> {
    LOGIN.set("", 0, is_secure)
}
