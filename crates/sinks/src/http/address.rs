//! Where an event's request goes: a URL whose path and query are made from the event.
//!
//! ```text
//! https://api.example.com/orders/{key}?source={source}
//! └── the same for all ──┘└── made from the event ────┘
//! ```
//!
//! Scheme, host and port are the settings' own: whoever publishes events must not choose who is sent the credentials.
//! A value is percent-encoded but for letters, digits and `-._~`, so it stays within its place; one that would make a
//! path segment of `.` or `..`, which servers take for a way up, is refused.

use eventrelay_event::StoredEvent;

use super::settings::KIND;
use crate::egress::Endpoint;
use crate::http_client::Target;
use crate::template::Template;
use crate::{Environment, SinkError, settings};

/// The longest path and query; servers take little more.
const MAX_PATH_BYTES: usize = 8 * 1024;

/// Where events' requests go. It has no `Debug`, for a URL may carry a token.
pub(super) enum Address {
    /// The same for all.
    Fixed(Target),
    /// Path and query are made from the event.
    Templated { server: Target, path: Template },
}

/// An event that has no address.
#[derive(Debug, thiserror::Error)]
pub(super) enum AddressError {
    #[error(transparent)]
    Field(#[from] crate::template::MissingField),
    #[error("the event's URL has a path segment of dots, which a server would take for a way up")]
    DotSegment,
    #[error("the event's URL has a path of more than {MAX_PATH_BYTES} bytes")]
    Length,
    #[error("the event's URL cannot be written: {0}")]
    Http(#[from] http::Error),
}

impl Address {
    /// Parses and judges the URL of the settings.
    pub(super) fn parse(url: &str, environment: &Environment) -> Result<(Self, Endpoint), SinkError> {
        let refused = |why: String| settings::refused(KIND, "url", why);
        let (server, path) = split(url).unwrap_or((url, ""));
        if server.contains(['{', '}']) {
            return Err(refused("only path and query may be made from the event".into()));
        }
        if path.is_empty() {
            let (target, endpoint) = Target::parse(KIND, "url", url, environment)?;
            return Ok((Self::Fixed(target), endpoint));
        }
        let template =
            Template::parse(path).map_err(|error| refused(format!("the path and query {error}")))?;
        if let Some(fixed) = template.fixed() {
            let (target, endpoint) = Target::parse(KIND, "url", &format!("{server}{fixed}"), environment)?;
            return Ok((Self::Fixed(target), endpoint));
        }
        let (target, endpoint) = Target::parse(KIND, "url", &format!("{server}/"), environment)?;
        if !template.literals().all(is_written_out) {
            return Err(refused("beside fields of the event, path and query must be percent-encoded".into()));
        }
        // With letters in the place of the values, what is left of dots is the settings' own.
        if has_dot_segment(&template.sample("x")) {
            return Err(refused("the path has a segment of dots".into()));
        }
        Ok((Self::Templated { server: target, path: template }, endpoint))
    }

    /// Whether it is the same for every event.
    pub(super) fn is_fixed(&self) -> bool {
        matches!(self, Self::Fixed(_))
    }

    /// Where this event's request goes.
    pub(super) fn of(&self, event: &StoredEvent) -> Result<Target, AddressError> {
        let (server, path) = match self {
            Self::Fixed(target) => return Ok(target.clone()),
            Self::Templated { server, path } => (server, path),
        };
        let mut path = path.render_with(event, percent_encode)?;
        if !path.starts_with('/') {
            path.insert(0, '/');
        }
        if path.len() > MAX_PATH_BYTES {
            return Err(AddressError::Length);
        }
        if has_dot_segment(&path) {
            return Err(AddressError::DotSegment);
        }
        Ok(server.at(&path)?)
    }

    /// The same server, at a path of the settings.
    pub(super) fn at(&self, path: &str) -> Option<Target> {
        let (Self::Fixed(server) | Self::Templated { server, .. }) = self;
        server.at(path).ok().filter(|_| path.starts_with('/'))
    }
}

/// Scheme, host and port; and path and query, without the fragment, which is never sent.
fn split(url: &str) -> Option<(&str, &str)> {
    let authority = url.find("://")? + 3;
    let path = authority + url[authority..].find(['/', '?', '#'])?;
    let rest = &url[path..];
    Some((&url[..path], rest.split_once('#').map_or(rest, |(before, _)| before)))
}

/// Appends a value so that no byte of it means anything in a URL.
fn percent_encode(value: &str, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

/// Whether a text can stand in path and query as it is (RFC 3986).
fn is_written_out(text: &str) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let fits = match byte {
            b'%' => {
                let digits = [bytes.next(), bytes.next()];
                digits.iter().all(|digit| digit.is_some_and(|digit| digit.is_ascii_hexdigit()))
            }
            b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b','
            | b';' | b'=' | b':' | b'@' | b'/' | b'?' => true,
            _ => byte.is_ascii_alphanumeric(),
        };
        if !fits {
            return false;
        }
    }
    true
}

/// Whether a segment of the path is `.` or `..`, in any spelling that servers take for it.
fn has_dot_segment(path_and_query: &str) -> bool {
    let path = path_and_query.split('?').next().unwrap_or_default();
    let longest = "%2e%2e".len();
    path.split('/').filter(|segment| segment.len() <= longest).any(|segment| {
        let plain = segment.replace("%2e", ".").replace("%2E", ".");
        plain == "." || plain == ".."
    })
}

#[cfg(test)]
mod tests {
    use eventrelay_event::Event;
    use http::Version;

    use super::*;
    use crate::testing::{event, stored};

    fn parse(url: &str) -> Result<Address, String> {
        Address::parse(url, &Environment::default())
            .map(|(address, _)| address)
            .map_err(|error| error.to_string())
    }

    fn path(url: &str, key: &str) -> Result<String, String> {
        let event = Event { key: Some(key.to_owned()), ..event(b"1") };
        let target = parse(url).unwrap().of(&stored(7, &event)).map_err(|error| error.to_string())?;
        Ok(target.uri(Version::HTTP_11).to_string())
    }

    #[test]
    fn values_stay_within_their_place() {
        let url = "https://example.com/orders/{key}?source={source}&k={key}#never";
        assert_eq!(path(url, "a").unwrap(), "/orders/a?source=%2Fshop&k=a");
        assert_eq!(
            path(url, "a/../?b=c&d#e %2F ü\r\n").unwrap(),
            "/orders/a%2F..%2F%3Fb%3Dc%26d%23e%20%252F%20%C3%BC%0D%0A?source=%2Fshop&\
             k=a%2F..%2F%3Fb%3Dc%26d%23e%20%252F%20%C3%BC%0D%0A"
        );
        assert_eq!(path("https://example.com?k={key}", "a").unwrap(), "/?k=a");
        assert_eq!(path("https://example.com/a?k=ü", "x").unwrap(), "/a?k=%C3%BC");
        assert_eq!(path("https://example.com/{{a}}", "x").unwrap(), "/%7Ba%7D");
    }

    #[test]
    fn a_value_cannot_lead_up_the_path_nor_be_endless() {
        for key in [".", ".."] {
            assert!(path("https://example.com/a/{key}/b", key).unwrap_err().contains("dots"), "{key}");
        }
        assert!(path("https://example.com/a/.{key}", ".").unwrap_err().contains("dots"));
        assert_eq!(path("https://example.com/a?b={key}", "..").unwrap(), "/a?b=..");
        assert!(path("https://example.com/{key}", &"a".repeat(9000)).unwrap_err().contains("8192"));
    }

    #[test]
    fn only_path_and_query_are_made_from_the_event() {
        for (url, why) in [
            ("https://{key}.example.com/", "only path"),
            ("https://example.com:{key}/", "only path"),
            ("{key}://example.com/", "only path"),
            ("https://example.com/{key}/../up", "dots"),
            ("https://example.com/{key}/%2e%2E/up", "dots"),
            ("https://example.com/{key}/ü", "percent-encoded"),
            ("https://example.com/{key}/%zz", "percent-encoded"),
            ("https://example.com/{canary}", "unknown field"),
            ("https://u:canary@example.com/{key}", "password"),
            ("https://127.0.0.1/{key}", "may not be connected to"),
        ] {
            let Err(error) = parse(url) else { panic!("{url} was taken") };
            assert!(error.contains("`url`") && error.contains(why) && !error.contains("canary"), "{error}");
        }
    }
}
