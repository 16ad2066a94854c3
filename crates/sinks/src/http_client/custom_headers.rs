//! The headers that settings add to requests.

use std::collections::{BTreeMap, HashSet};

use http::header::{self, HeaderName, HeaderValue};

use crate::{Secret, SinkError, settings};

const MAX_HEADERS: usize = 32;
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// Headers that say how the message is framed or routed: these are ours. So is all that begins with `proxy-`.
const RESERVED: [HeaderName; 11] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::EXPECT,
    header::ACCEPT_ENCODING,
    HeaderName::from_static("keep-alive"),
];

/// The names and values of the field `headers`. `is_reserved` says which more are not to be set.
///
/// # Errors
/// Names the header that cannot be set, is given twice or is none, and the limits of all; quotes no value.
pub(crate) fn custom_headers<'a>(
    kind: &'static str,
    headers: &'a BTreeMap<String, Secret>,
    is_reserved: impl Fn(&HeaderName) -> bool,
) -> Result<Vec<(HeaderName, &'a str)>, SinkError> {
    let refused = |name: &str, why: &str| settings::refused(kind, format!("headers.{name}"), why);
    settings::within(kind, "headers", &headers.len(), 0..=MAX_HEADERS)?;
    let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.expose().len()).sum();
    if bytes > MAX_HEADER_BYTES {
        let why = format!("{bytes} bytes together, more than {MAX_HEADER_BYTES}");
        return Err(settings::refused(kind, "headers", why));
    }
    let mut known = HashSet::with_capacity(headers.len());
    let mut taken = Vec::with_capacity(headers.len());
    for (text, value) in headers {
        let name = HeaderName::from_bytes(text.as_bytes()).map_err(|_| refused(text, "not a header name"))?;
        if RESERVED.contains(&name) || name.as_str().starts_with("proxy-") || is_reserved(&name) {
            return Err(refused(text, "this header cannot be set"));
        }
        // Names that differ in case alone are one header.
        if !known.insert(name.clone()) {
            return Err(refused(text, "given twice"));
        }
        taken.push((name, value.expose()));
    }
    Ok(taken)
}

/// A header's value, kept out of `Debug` and out of HTTP/2's compression state.
///
/// # Errors
/// When it holds what no header can; the error does not quote it.
pub(crate) fn custom_value(text: &str) -> Result<HeaderValue, &'static str> {
    let mut value =
        HeaderValue::from_str(text).map_err(|_| "the value holds characters that a header cannot")?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(headers: &[(&str, &str)]) -> Result<usize, String> {
        let headers =
            headers.iter().map(|(name, value)| ((*name).to_owned(), Secret::new((*value).to_owned())));
        let headers = headers.collect();
        let taken = custom_headers("test", &headers, |name| name == "x-ours");
        taken.map(|taken| taken.len()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_frames_or_routes_a_message_is_refused_and_so_is_what_the_kind_reserves() {
        for name in ["Host", "Content-Length", "TE", "keep-alive", "Proxy-Authorization", "X-Ours", "x y"] {
            let error = take(&[(name, "canary")]).unwrap_err();
            assert!(error.contains(&format!("`headers.{name}`")) && !error.contains("canary"), "{error}");
        }
        assert_eq!(take(&[("x-mine", "1"), ("accept", "2")]), Ok(2));
    }

    #[test]
    fn there_is_a_limit_to_all_of_them() {
        let long = "a".repeat(MAX_HEADER_BYTES);
        assert!(take(&[("x-a", &long)]).unwrap_err().contains("bytes together"));
        let names: Vec<String> = (0..=MAX_HEADERS).map(|number| format!("x-{number}")).collect();
        let many: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
        assert!(take(&many).unwrap_err().contains("33 is not from 0 to 32"));
        assert!(take(&[("x-a", "1"), ("X-A", "2")]).unwrap_err().contains("given twice"));
    }
}
