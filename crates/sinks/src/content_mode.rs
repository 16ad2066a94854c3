//! How a broker's message carries an event: CloudEvents' two content modes.

use bytes::Bytes;
use eventrelay_event::StoredEvent;
use eventrelay_event::cloudevents::write_cloudevent_json;
use serde::Deserialize;

/// What `content-type` says of a message in structured mode.
pub(crate) const STRUCTURED_CONTENT_TYPE: &str = "application/cloudevents+json";

/// How a message carries an event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContentMode {
    /// The payload is the event's data, as it came; the attributes are headers.
    #[default]
    Binary,
    /// The payload is the whole event as CloudEvents JSON.
    Structured,
}

/// The data of an event, which a binary message has for its payload. Shares the log's memory.
pub(crate) fn binary_payload(event: &StoredEvent) -> Bytes {
    event.data().map(|(_, bytes)| bytes.clone()).unwrap_or_default()
}

/// The whole event, which a structured message has for its payload.
pub(crate) fn structured_payload(event: &StoredEvent) -> Vec<u8> {
    let mut payload = Vec::with_capacity(event.encoded().len() * 2);
    write_cloudevent_json(event, &mut payload);
    payload
}
