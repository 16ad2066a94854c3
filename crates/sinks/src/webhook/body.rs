//! What a request's body holds.
//!
//! | format | content type | body |
//! |---|---|---|
//! | `standard` | `application/json` | `{"type": …, "timestamp": …, "data": …}` as Standard Webhooks has it |
//! | `cloudevents` | `application/cloudevents+json` | the event in CloudEvents' structured mode |
//! | `data` | the event's own | the event's data, byte for byte; empty when it has none |
//!
//! In `standard`, `timestamp` is when the event happened: its `time`, else when it was accepted. JSON data is
//! written as it came, text as a string, and other data as `data_base64` instead of `data`; an event without
//! data has `"data":null`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use eventrelay_event::cloudevents::write_cloudevent_json;
use eventrelay_event::{DataKind, StoredEvent, Timestamp};
use http::HeaderValue;

use super::settings::BodyFormat;

/// What the braces, names and timestamp of the `standard` form take.
const STANDARD_FRAME_BYTES: usize = 96;

/// Encodes an event: the content type and the body.
pub(super) fn encode(format: BodyFormat, event: &StoredEvent) -> serde_json::Result<(HeaderValue, Bytes)> {
    match format {
        BodyFormat::Standard => Ok((HeaderValue::from_static("application/json"), standard(event)?.into())),
        BodyFormat::Cloudevents => {
            let mut body = Vec::with_capacity(event.encoded().len() * 2);
            write_cloudevent_json(event, &mut body);
            Ok((HeaderValue::from_static("application/cloudevents+json"), body.into()))
        }
        BodyFormat::Data => {
            let body = event.data().map(|(_, bytes)| bytes.clone()).unwrap_or_default();
            Ok((content_type(event), body))
        }
    }
}

fn standard(event: &StoredEvent) -> serde_json::Result<Vec<u8>> {
    let data_bytes = event.data().map_or(0, |(_, bytes)| bytes.len());
    let mut out = Vec::with_capacity(STANDARD_FRAME_BYTES + event.event_type().len() + data_bytes);
    out.extend_from_slice(b"{\"type\":");
    serde_json::to_writer(&mut out, event.event_type())?;
    out.extend_from_slice(b",\"timestamp\":");
    let mut buffer = [0; Timestamp::CHARS];
    let time = event.time().unwrap_or_else(|| Timestamp(event.append_time_micros()).encode(&mut buffer));
    serde_json::to_writer(&mut out, time)?;
    match event.data() {
        None => out.extend_from_slice(b",\"data\":null"),
        Some((DataKind::Json, json)) => {
            out.extend_from_slice(b",\"data\":");
            out.extend_from_slice(json);
        }
        Some((DataKind::Text, text)) => {
            out.extend_from_slice(b",\"data\":");
            serde_json::to_writer(&mut out, &String::from_utf8_lossy(text))?;
        }
        Some((DataKind::Binary, bytes)) => {
            out.extend_from_slice(b",\"data_base64\":\"");
            out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
            out.push(b'"');
        }
    }
    out.push(b'}');
    Ok(out)
}

/// The event's content type, or what its data is. One that a header cannot hold is as good as none.
fn content_type(event: &StoredEvent) -> HeaderValue {
    let own = event.content_type().and_then(|text| HeaderValue::from_str(text).ok());
    own.unwrap_or_else(|| {
        HeaderValue::from_static(match event.data() {
            Some((DataKind::Json, _)) => "application/json",
            Some((DataKind::Text, _)) => "text/plain; charset=utf-8",
            Some((DataKind::Binary, _)) | None => "application/octet-stream",
        })
    })
}
