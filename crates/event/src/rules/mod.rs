//! The rules that every published event keeps, whichever door it came through.
//!
//! | field | bytes | rule |
//! |---|---|---|
//! | type, id, key, idempotency key | 1–256 | text |
//! | source | 1–2,048 | a URI reference |
//! | subject | 1–1,024 | text |
//! | time | ≤ 64 | RFC 3339 |
//! | content type | ≤ 256 | a media type |
//! | data schema | 1–2,048 | a URI |
//! | header name | 1–20 | `a-z` and `0-9`, not the name of an attribute, each once: what CloudEvents calls an extension |
//! | header value | ≤ 4,096 | text |
//! | headers | ≤ 64 of them | |
//! | data that is text | | needs a content type that is not JSON, or its JSON forms could not be told from JSON data |
//! | the whole, encoded | [`EventLimits::event_bytes`] | |
//!
//! Text is any Unicode but control characters and noncharacters, as CloudEvents has it.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::uri::{self, UriReference};
use crate::{DataKind, Event, StoredEvent, json, media_type};

/// The most bytes of a type, id, key or idempotency key.
pub const MAX_NAME_BYTES: usize = 256;
/// The most bytes of a source or data schema.
pub const MAX_URI_BYTES: usize = 2048;
/// The most bytes of a subject.
pub const MAX_SUBJECT_BYTES: usize = 1024;
/// The most bytes of a time.
pub const MAX_TIME_BYTES: usize = 64;
/// The most bytes of a content type.
pub const MAX_CONTENT_TYPE_BYTES: usize = 256;
/// The most headers of an event.
pub const MAX_HEADERS: usize = 64;
/// The most characters of a header's name.
pub const MAX_HEADER_NAME_CHARS: usize = 20;
/// The most bytes of a header's value.
pub const MAX_HEADER_VALUE_BYTES: usize = 4096;

/// What a configuration may set of the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventLimits {
    /// The most bytes of one event, all fields and data, as the log stores it. Default 1 MiB.
    pub event_bytes: usize,
    /// The most events that are published together. Default 1,000.
    pub batch_events: usize,
    /// What data that is JSON may be.
    pub json: json::Limits,
}

impl Default for EventLimits {
    fn default() -> Self {
        Self { event_bytes: 1 << 20, batch_events: 1000, json: json::Limits::default() }
    }
}

/// A rule that an event breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEvent {
    /// A field is not what it must be.
    #[error("{field}: {why}")]
    Field {
        /// The field's name in JSON forms; a header's is `headers.<name>`.
        field: Cow<'static, str>,
        /// What it must be.
        why: &'static str,
    },
    /// The event is larger than the limit.
    #[error("the event has {bytes} bytes; the limit is {limit}")]
    TooLarge {
        /// Its bytes, all fields and data.
        bytes: usize,
        /// The most that it may have.
        limit: usize,
    },
}

impl Event {
    /// Checks every rule of [`crate::rules`].
    ///
    /// # Errors
    /// The first rule that the event breaks.
    pub fn check(&self, limits: &EventLimits) -> Result<(), InvalidEvent> {
        let bytes = StoredEvent::encoded_bytes(self);
        if bytes > limits.event_bytes {
            return Err(InvalidEvent::TooLarge { bytes, limit: limits.event_bytes });
        }
        check_name("type", Some(&self.event_type))?;
        check_source(&self.source)?;
        check_name("id", self.id.as_deref())?;
        check_name("key", self.key.as_deref())?;
        check_name("idempotency_key", self.idempotency_key.as_deref())?;
        if let Some(subject) = &self.subject {
            check_text("subject", subject, 1, MAX_SUBJECT_BYTES)?;
        }
        if let Some(time) = &self.time {
            check_time(time)?;
        }
        if let Some(content_type) = &self.content_type {
            check_content_type(content_type)?;
        }
        if let Some(schema) = &self.data_schema {
            check_text("dataschema", schema, 1, MAX_URI_BYTES)?;
            if uri::parse(schema) != Some(UriReference::Uri) {
                return Err(invalid("dataschema", "must be a URI with a scheme"));
            }
        }
        check_headers(&self.headers)?;
        self.check_data()
    }

    fn check_data(&self) -> Result<(), InvalidEvent> {
        let is_text = self.data.as_ref().is_some_and(|data| data.kind() == DataKind::Text);
        if is_text && self.content_type.as_deref().is_none_or(media_type::is_json) {
            return Err(invalid("content_type", "text data needs a content type that is not JSON"));
        }
        Ok(())
    }
}

fn invalid(field: &'static str, why: &'static str) -> InvalidEvent {
    InvalidEvent::Field { field: Cow::Borrowed(field), why }
}

fn check_name(field: &'static str, name: Option<&str>) -> Result<(), InvalidEvent> {
    name.map_or(Ok(()), |name| check_text(field, name, 1, MAX_NAME_BYTES))
}

fn check_source(source: &str) -> Result<(), InvalidEvent> {
    check_text("source", source, 1, MAX_URI_BYTES)?;
    if uri::parse(source).is_none() {
        return Err(invalid(
            "source",
            "must be a URI reference; percent-encode spaces and all that is not ASCII",
        ));
    }
    Ok(())
}

fn check_time(time: &str) -> Result<(), InvalidEvent> {
    if time.len() > MAX_TIME_BYTES || OffsetDateTime::parse(time, &Rfc3339).is_err() {
        return Err(invalid("time", "must be an RFC 3339 time, such as 2026-01-31T12:00:00Z"));
    }
    Ok(())
}

fn check_content_type(content_type: &str) -> Result<(), InvalidEvent> {
    if content_type.len() > MAX_CONTENT_TYPE_BYTES || !media_type::is_valid(content_type) {
        return Err(invalid(
            "content_type",
            "must be a media type of at most 256 bytes, such as application/json",
        ));
    }
    Ok(())
}

fn check_headers(headers: &[(String, String)]) -> Result<(), InvalidEvent> {
    if headers.len() > MAX_HEADERS {
        return Err(invalid("headers", "must be 64 at most"));
    }
    for (index, (name, value)) in headers.iter().enumerate() {
        let fault = if !is_header_name(name) {
            Some("its name must be 1 to 20 of a-z and 0-9")
        } else if is_attribute(name) {
            Some("its name is that of an attribute")
        } else if headers[..index].iter().any(|(earlier, _)| earlier == name) {
            Some("is given twice")
        } else {
            text_fault(value, 0, MAX_HEADER_VALUE_BYTES)
        };
        if let Some(why) = fault {
            let shown: String = name.chars().take(MAX_HEADER_NAME_CHARS).collect();
            return Err(InvalidEvent::Field { field: Cow::Owned(format!("headers.{shown}")), why });
        }
    }
    Ok(())
}

/// Whether a text may be the name of a header: of a CloudEvents attribute, in other words.
pub(crate) fn is_header_name(name: &str) -> bool {
    (1..=MAX_HEADER_NAME_CHARS).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// Whether a name stands for something that an event has a field for, so that a header may not have it.
fn is_attribute(name: &str) -> bool {
    const ATTRIBUTES: [&str; 10] = [
        "specversion",
        "id",
        "source",
        "type",
        "subject",
        "time",
        "datacontenttype",
        "dataschema",
        "partitionkey",
        "data",
    ];
    ATTRIBUTES.contains(&name)
}

fn check_text(field: &'static str, text: &str, min: usize, max: usize) -> Result<(), InvalidEvent> {
    text_fault(text, min, max).map_or(Ok(()), |why| Err(invalid(field, why)))
}

fn text_fault(text: &str, min: usize, max: usize) -> Option<&'static str> {
    if text.len() < min {
        return Some("must not be empty");
    }
    if text.len() > max {
        return Some(match max {
            MAX_NAME_BYTES => "must have at most 256 bytes",
            MAX_SUBJECT_BYTES => "must have at most 1,024 bytes",
            MAX_URI_BYTES => "must have at most 2,048 bytes",
            _ => "must have at most 4,096 bytes",
        });
    }
    let plain_ascii = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if plain_ascii || text.chars().all(is_allowed) {
        None
    } else {
        Some("must not have control characters or noncharacters")
    }
}

/// What CloudEvents allows in a string.
fn is_allowed(character: char) -> bool {
    let code = u32::from(character);
    !character.is_control() && !(0xfdd0..=0xfdef).contains(&code) && code & 0xfffe != 0xfffe
}
