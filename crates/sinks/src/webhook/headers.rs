//! The headers that a subscription adds to its requests.

use std::collections::BTreeMap;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::settings::KIND;
use crate::http_client::USER_AGENT;
use crate::{Secret, SinkError, settings};

const MAX_HEADERS: usize = 32;
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// Headers that say how the message is framed, routed, signed or typed: these are ours.
const RESERVED: [HeaderName; 11] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::EXPECT,
    header::ACCEPT_ENCODING,
];
const RESERVED_PREFIXES: [&str; 3] = ["webhook-", "proxy-", "keep-alive"];

/// Takes the headers of the settings, and puts a `user-agent` in where they have none.
pub(super) fn custom(headers: &BTreeMap<String, Secret>) -> Result<HeaderMap, SinkError> {
    let refused = |name: &str, why: &str| settings::refused(KIND, format!("headers.{name}"), why);
    settings::within(KIND, "headers", &headers.len(), 0..=MAX_HEADERS)?;
    let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.expose().len()).sum();
    if bytes > MAX_HEADER_BYTES {
        let why = format!("{bytes} bytes together, more than {MAX_HEADER_BYTES}");
        return Err(settings::refused(KIND, "headers", why));
    }
    let mut taken = HeaderMap::with_capacity(headers.len() + 1);
    for (text, value) in headers {
        let name = HeaderName::from_bytes(text.as_bytes()).map_err(|_| refused(text, "not a header name"))?;
        if RESERVED.contains(&name)
            || RESERVED_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix))
        {
            return Err(refused(text, "this header cannot be set"));
        }
        let mut value = HeaderValue::from_str(value.expose())
            .map_err(|_| refused(text, "the value holds characters that a header cannot"))?;
        // Kept out of `Debug` and out of HTTP/2's compression state.
        value.set_sensitive(true);
        if taken.insert(name, value).is_some() {
            return Err(refused(text, "given twice"));
        }
    }
    taken.entry(header::USER_AGENT).or_insert(HeaderValue::from_static(USER_AGENT));
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(headers: &[(&str, &str)]) -> Result<HeaderMap, String> {
        let headers =
            headers.iter().map(|(name, value)| ((*name).to_owned(), Secret::new((*value).to_owned())));
        custom(&headers.collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn values_are_kept_and_not_shown() {
        let headers = take(&[("Authorization", "Bearer canary"), ("x-team", "canary")]).unwrap();
        assert_eq!(headers["authorization"], "Bearer canary");
        assert!(headers["user-agent"].to_str().unwrap().starts_with("eventrelay/"));
        assert!(!format!("{headers:?}").contains("canary"));
        assert_eq!(take(&[("User-Agent", "mine")]).unwrap()["user-agent"], "mine");
    }

    #[test]
    fn headers_that_are_ours_are_refused() {
        for name in [
            "webhook-id",
            "Webhook-Signature",
            "webhook-anything",
            "Host",
            "Content-Length",
            "content-type",
            "Transfer-Encoding",
            "connection",
            "Keep-Alive",
            "Proxy-Authorization",
            "TE",
            "Upgrade",
            "Expect",
        ] {
            let error = take(&[(name, "canary")]).unwrap_err();
            assert!(error.contains(&format!("`headers.{name}`")) && !error.contains("canary"), "{error}");
        }
    }

    #[test]
    fn what_would_split_or_repeat_a_header_is_refused() {
        for headers in [
            &[("x-a", "canary\r\nhost: x")][..],
            &[("x-a\r\nhost", "canary")],
            &[("x a", "canary")],
            &[("x-a", "canary"), ("X-A", "canary")],
            &[("x-a", "canary\u{0}")],
        ] {
            assert!(!take(headers).unwrap_err().contains("canary"));
        }
        assert!(take(&[("x-a", &"a".repeat(MAX_HEADER_BYTES))]).unwrap_err().contains("bytes together"));
    }
}
