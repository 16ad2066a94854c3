//! Writes the native form.

use crate::json::ObjectWriter;
use crate::{StoredEvent, Timestamp};

/// Appends the event as one JSON object on one line, without a line end.
pub fn write_json(event: &StoredEvent, out: &mut Vec<u8>) {
    let mut buffer = [0; Timestamp::CHARS];
    let received_at = Timestamp(event.append_time_micros()).encode(&mut buffer);
    let mut object = ObjectWriter::begin(out);
    object.string("id", event.id().encode(&mut [0; 36]));
    object.number("offset", event.offset());
    object.string("tenant", event.tenant());
    object.string("type", event.event_type());
    object.string("source", event.source());
    object.optional_string("subject", event.subject());
    object.string("time", event.time().unwrap_or(received_at));
    object.string("received_at", received_at);
    object.optional_string("key", event.key());
    object.optional_string("content_type", event.content_type());
    object.optional_string("dataschema", event.data_schema());
    object.optional_string("client_id", event.client_id());
    object.optional_string("idempotency_key", event.idempotency_key());
    let mut headers = event.headers().peekable();
    if headers.peek().is_some() {
        let mut inner = ObjectWriter::begin(object.member("headers"));
        for (name, value) in headers {
            inner.string(name, value);
        }
        inner.end();
    }
    object.data(event);
    object.end();
}
