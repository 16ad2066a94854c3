//! What a request's body holds.
//!
//! | body | one event | as JSON array | as NDJSON |
//! |---|---|---|---|
//! | `event` | `application/json` | `application/json` | `application/x-ndjson` |
//! | `cloudevents` | `application/cloudevents+json` | `application/cloudevents-batch+json` | `application/x-ndjson` |
//! | `cloudevents_binary` | the event's own, attributes as `ce-…` headers | – | – |
//! | `data` | the event's own | `application/json` | `application/x-ndjson` |
//!
//! In a shared body, data must be JSON: an event with other data is refused by itself, and one without data is `null`.

use std::borrow::Cow;

use bytes::Bytes;
use eventrelay_event::cloudevents::{attributes, encode_header_value, write_cloudevent_json};
use eventrelay_event::native::write_json;
use eventrelay_event::{DataKind, StoredEvent};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use super::settings::{Batching, BodyFormat};
use crate::Delivery;

/// How bodies are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyWriter {
    pub(super) format: BodyFormat,
    pub(super) batching: Batching,
}

/// An event that cannot be written as a body.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the event's data is not JSON, as it must be to share a request")]
    NotJson,
    #[error("the event's attribute {0} is not a header's name")]
    AttributeName(String),
    #[error("the event's attribute {0} is more than a header can hold")]
    AttributeValue(String),
}

impl BodyWriter {
    /// Whether an event's body can be written, by itself or with others.
    pub(super) fn check(self, event: &StoredEvent) -> Result<(), BodyError> {
        let shared_data = self.format == BodyFormat::Data && self.batching != Batching::None;
        match event.data() {
            Some((DataKind::Text | DataKind::Binary, _)) if shared_data => Err(BodyError::NotJson),
            _ => Ok(()),
        }
    }

    /// Adds the headers that say what the body is, unless the settings have said so themselves.
    pub(super) fn describe(self, event: &StoredEvent, headers: &mut HeaderMap) -> Result<(), BodyError> {
        if self.format == BodyFormat::CloudeventsBinary {
            write_attributes(event, headers)?;
        }
        if let Some(content_type) = self.content_type(event) {
            headers.entry(CONTENT_TYPE).or_insert(content_type);
        }
        Ok(())
    }

    /// The body of these events' request; they have been checked.
    pub(super) fn body(self, deliveries: &[Delivery]) -> Bytes {
        match self.batching {
            Batching::None => {
                assert!(deliveries.len() == 1, "a request that is not shared is one event's");
                self.single(&deliveries[0].event)
            }
            Batching::JsonArray => self.joined(deliveries, b"[", b",", b"]"),
            Batching::Ndjson => self.joined(deliveries, b"", b"\n", b"\n"),
        }
    }

    fn content_type(self, event: &StoredEvent) -> Option<HeaderValue> {
        let text = match (self.format, self.batching) {
            (BodyFormat::None, _) => return None,
            (_, Batching::Ndjson) => "application/x-ndjson",
            (BodyFormat::Event, _) | (BodyFormat::Data, Batching::JsonArray) => "application/json",
            (BodyFormat::Cloudevents, Batching::None) => "application/cloudevents+json",
            (BodyFormat::Cloudevents, Batching::JsonArray) => "application/cloudevents-batch+json",
            (BodyFormat::Data | BodyFormat::CloudeventsBinary, _) => return own_content_type(event),
        };
        Some(HeaderValue::from_static(text))
    }

    fn single(self, event: &StoredEvent) -> Bytes {
        match self.format {
            BodyFormat::None => Bytes::new(),
            BodyFormat::Data | BodyFormat::CloudeventsBinary => {
                event.data().map(|(_, bytes)| bytes.clone()).unwrap_or_default()
            }
            BodyFormat::Event | BodyFormat::Cloudevents => {
                let mut out = Vec::with_capacity(event.encoded().len() * 2);
                self.write(event, &mut out);
                out.into()
            }
        }
    }

    fn joined(self, deliveries: &[Delivery], before: &[u8], between: &[u8], after: &[u8]) -> Bytes {
        let bytes: usize = deliveries.iter().map(|delivery| delivery.event.encoded().len()).sum();
        let mut out = Vec::with_capacity(bytes * 2);
        out.extend_from_slice(before);
        for (index, delivery) in deliveries.iter().enumerate() {
            if index > 0 {
                out.extend_from_slice(between);
            }
            self.write(&delivery.event, &mut out);
        }
        out.extend_from_slice(after);
        out.into()
    }

    /// Writes an event as JSON on one line.
    fn write(self, event: &StoredEvent, out: &mut Vec<u8>) {
        match self.format {
            BodyFormat::Cloudevents => write_cloudevent_json(event, out),
            BodyFormat::Data => match event.data() {
                // A line break in JSON stands between values only.
                Some((_, json)) => json
                    .split(|byte| matches!(byte, b'\n' | b'\r'))
                    .for_each(|part| out.extend_from_slice(part)),
                None => out.extend_from_slice(b"null"),
            },
            BodyFormat::Event | BodyFormat::CloudeventsBinary | BodyFormat::None => write_json(event, out),
        }
    }
}

/// CloudEvents' HTTP binding, binary mode.
fn write_attributes(event: &StoredEvent, headers: &mut HeaderMap) -> Result<(), BodyError> {
    for (name, value) in attributes(event) {
        let failed = |error: fn(String) -> BodyError| error(name.to_owned());
        let header = HeaderName::from_bytes(format!("ce-{name}").as_bytes())
            .map_err(|_| failed(BodyError::AttributeName))?;
        let value: Cow<'_, str> = encode_header_value(&value);
        let value = HeaderValue::from_str(&value).map_err(|_| failed(BodyError::AttributeValue))?;
        headers.insert(header, value);
    }
    Ok(())
}

/// The event's content type, or what its data is; none without data. One that a header cannot hold is as good as none.
fn own_content_type(event: &StoredEvent) -> Option<HeaderValue> {
    let (kind, _) = event.data()?;
    let own = event.content_type().and_then(|text| HeaderValue::from_str(text).ok());
    let of_kind = match kind {
        DataKind::Json => "application/json",
        DataKind::Text => "text/plain; charset=utf-8",
        DataKind::Binary => "application/octet-stream",
    };
    Some(own.unwrap_or(HeaderValue::from_static(of_kind)))
}
