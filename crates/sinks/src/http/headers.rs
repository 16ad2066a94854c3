//! The headers that the settings add to requests, with values that may be made from the event.

use std::collections::BTreeMap;

use eventrelay_event::StoredEvent;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::settings::KIND;
use crate::http_client::{USER_AGENT, custom_headers, custom_value};
use crate::template::{MissingField, Template};
use crate::{Secret, SinkError, settings};

/// The headers of the settings. It has no `Debug`, for values may be secrets.
pub(super) struct Headers {
    fixed: HeaderMap,
    templated: Vec<(HeaderName, Template)>,
}

/// An event that has no headers.
#[derive(Debug, thiserror::Error)]
pub(super) enum HeaderError {
    #[error(transparent)]
    Field(#[from] MissingField),
    #[error("the event has a value that the header {0} cannot hold")]
    Value(HeaderName),
}

impl Headers {
    /// Takes the headers of the settings, and puts a `user-agent` in where they have none.
    pub(super) fn new(headers: &BTreeMap<String, Secret>) -> Result<Self, SinkError> {
        let mut taken = Self { fixed: HeaderMap::new(), templated: Vec::new() };
        for (name, text) in custom_headers(KIND, headers, |_name| false)? {
            let field = format!("headers.{name}");
            taken.add(name, text).map_err(|why| settings::refused(KIND, field, why))?;
        }
        if !taken.has(&header::USER_AGENT) {
            taken.fixed.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        }
        Ok(taken)
    }

    /// Whether the settings have this header.
    pub(super) fn has(&self, name: &HeaderName) -> bool {
        self.fixed.contains_key(name) || self.templated.iter().any(|(known, _)| known == name)
    }

    /// Whether all are the same for every event.
    pub(super) fn are_fixed(&self) -> bool {
        self.templated.is_empty()
    }

    /// Those that are the same for every event.
    pub(super) fn fixed(&self) -> &HeaderMap {
        &self.fixed
    }

    /// The headers of this event's request.
    pub(super) fn of(&self, event: &StoredEvent) -> Result<HeaderMap, HeaderError> {
        let mut headers = self.fixed.clone();
        for (name, template) in &self.templated {
            let text = template.render(event)?;
            // Other bytes mean something else to each server, and some end the header.
            let is_plain = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
            let value = HeaderValue::try_from(text).ok().filter(|_| is_plain);
            let mut value = value.ok_or_else(|| HeaderError::Value(name.clone()))?;
            value.set_sensitive(true);
            headers.insert(name.clone(), value);
        }
        Ok(headers)
    }

    fn add(&mut self, name: HeaderName, value: &str) -> Result<(), String> {
        let template = match value.contains(['{', '}']) {
            true => Some(Template::parse(value).map_err(|error| format!("the value {error}"))?),
            false => None,
        };
        let literal = match &template {
            None => value,
            Some(template) => match template.fixed() {
                Some(fixed) => fixed,
                None => {
                    // What is wrong for every event is said now.
                    if template.literals().any(|literal| HeaderValue::from_str(literal).is_err()) {
                        return Err("the value holds characters that a header cannot".into());
                    }
                    self.templated.push((name, template.clone()));
                    return Ok(());
                }
            },
        };
        let value = custom_value(literal)?;
        self.fixed.insert(name, value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use eventrelay_event::Event;

    use super::*;
    use crate::testing::{event, stored};

    fn take(headers: &[(&str, &str)]) -> Result<Headers, String> {
        let headers =
            headers.iter().map(|(name, value)| ((*name).to_owned(), Secret::new((*value).to_owned())));
        Headers::new(&headers.collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn values_are_made_from_the_event() {
        let headers = take(&[("X-Type", "t={type}"), ("x-id", "{id}"), ("x-braces", "{{}}")]).unwrap();
        let event = stored(7, &event(b"1"));
        let made = headers.of(&event).unwrap();
        assert_eq!(made["x-type"], "t=order.created");
        assert_eq!(made["x-id"], event.id().to_string());
        assert_eq!(made["x-braces"], "{}");
        assert!(made["user-agent"].to_str().unwrap().starts_with("eventrelay/"));
        assert_eq!(headers.fixed().len(), 2);
        assert!(!format!("{made:?}").contains("order"), "values are sensitive");
    }

    #[test]
    fn a_value_that_a_header_cannot_hold_is_named() {
        let headers = take(&[("x-key", "{key}")]).unwrap();
        for key in ["a\r\nhost: b", "a\nb", "a\u{0}", "ü"] {
            let event = Event { key: Some(key.to_owned()), ..event(b"1") };
            let error = headers.of(&stored(7, &event)).unwrap_err().to_string();
            assert!(error.contains("x-key") && !error.contains('\n'), "{error}");
        }
        assert!(headers.of(&stored(7, &event(b"1"))).unwrap_err().to_string().contains("no key"));
    }

    #[test]
    fn what_is_ours_or_wrong_for_every_event_is_refused() {
        for headers in [
            &[("Host", "canary")][..],
            &[("Transfer-Encoding", "canary")],
            &[("Proxy-Authorization", "canary")],
            &[("x-a", "canary\r\nhost: x")],
            &[("x-a", "{key} canary\n")],
            &[("x-a", "canary{")],
            &[("x-a", "{canary}")],
            &[("x a", "canary")],
            &[("x-a", "canary"), ("X-A", "{key}")],
        ] {
            let Err(error) = take(headers) else { panic!("{headers:?} were taken") };
            assert!(error.contains("`headers.") && !error.contains("canary"), "{error}");
        }
        assert!(take(&[("x-a", &"a".repeat(20_000))]).err().unwrap().contains("bytes together"));
    }
}
