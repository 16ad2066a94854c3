//! The headers that a subscription adds to its requests.

use std::collections::BTreeMap;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::settings::KIND;
use crate::http_client::{USER_AGENT, custom_headers, custom_value};
use crate::{Secret, SinkError, settings};

/// Takes the headers of the settings, and puts a `user-agent` in where they have none.
pub(super) fn custom(headers: &BTreeMap<String, Secret>) -> Result<HeaderMap, SinkError> {
    // How a message is typed and signed is ours too.
    let is_reserved =
        |name: &HeaderName| *name == header::CONTENT_TYPE || name.as_str().starts_with("webhook-");
    let mut taken = HeaderMap::with_capacity(headers.len() + 1);
    for (name, text) in custom_headers(KIND, headers, is_reserved)? {
        let value =
            custom_value(text).map_err(|why| settings::refused(KIND, format!("headers.{name}"), why))?;
        taken.insert(name, value);
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
        assert!(take(&[("x-a", &"a".repeat(20_000))]).unwrap_err().contains("bytes together"));
    }
}
