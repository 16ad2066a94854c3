//! How a request's body carries events, by its headers alone.

use crate::cloudevents::is_attribute_header;
use crate::media_type::{charset_is_utf8, essence};

/// How a request's body carries events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentKind {
    /// Our own form, one object or an array: `application/json`. See [`crate::native::decode`].
    Native,
    /// Our own form, one object a line: `application/x-ndjson`, `application/ndjson`, `application/jsonl`. See
    /// [`crate::native::decode_lines`].
    NativeLines,
    /// One CloudEvent: `application/cloudevents+json`. See [`crate::cloudevents::decode_structured`].
    CloudEventsStructured,
    /// An array of CloudEvents: `application/cloudevents-batch+json`. See [`crate::cloudevents::decode_batch`].
    CloudEventsBatch,
    /// A CloudEvent whose attributes are `ce-*` headers. See [`crate::cloudevents::decode_binary`].
    CloudEventsBinary,
    /// None that we know.
    Unsupported,
}

impl ContentKind {
    /// Decides as CloudEvents' HTTP binding does: a CloudEvents media type first, then `ce-*` headers, then ours.
    pub fn of<'a>(content_type: Option<&str>, mut header_names: impl Iterator<Item = &'a str>) -> Self {
        let media_type = essence(content_type.unwrap_or_default()).to_ascii_lowercase();
        let kind = if media_type.starts_with("application/cloudevents-batch") {
            // Before the next, which its prefix would match too.
            if media_type == "application/cloudevents-batch+json" {
                Self::CloudEventsBatch
            } else {
                Self::Unsupported
            }
        } else if media_type.starts_with("application/cloudevents") {
            let is_json = matches!(&*media_type, "application/cloudevents" | "application/cloudevents+json");
            if is_json { Self::CloudEventsStructured } else { Self::Unsupported }
        } else if header_names.any(is_attribute_header) {
            return Self::CloudEventsBinary;
        } else {
            match &*media_type {
                "application/json" => Self::Native,
                "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Self::NativeLines,
                _ => Self::Unsupported,
            }
        };
        if content_type.is_some_and(|content_type| !charset_is_utf8(content_type)) {
            Self::Unsupported
        } else {
            kind
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_media_type_comes_before_the_headers() {
        let none: [&str; 1] = ["accept"];
        let ce = ["accept", "Ce-Id"];
        let cases = [
            (Some("application/json"), &none[..], ContentKind::Native),
            (Some("Application/JSON; charset=UTF-8"), &none, ContentKind::Native),
            (Some("application/json; charset=utf-16"), &none, ContentKind::Unsupported),
            (Some("application/x-ndjson"), &none, ContentKind::NativeLines),
            (Some("application/cloudevents+json; charset=utf-8"), &ce, ContentKind::CloudEventsStructured),
            (Some("APPLICATION/CLOUDEVENTS-BATCH+JSON"), &ce, ContentKind::CloudEventsBatch),
            (Some("application/cloudevents+avro"), &ce, ContentKind::Unsupported),
            (Some("application/cloudevents-batch+xml"), &none, ContentKind::Unsupported),
            (Some("application/json"), &ce, ContentKind::CloudEventsBinary),
            (Some("text/plain; charset=latin1"), &ce, ContentKind::CloudEventsBinary),
            (None, &ce, ContentKind::CloudEventsBinary),
            (None, &none, ContentKind::Unsupported),
            (Some("application/x-www-form-urlencoded"), &none, ContentKind::Unsupported),
            (Some("application/jsonx"), &none, ContentKind::Unsupported),
        ];
        for (content_type, headers, expected) in cases {
            assert_eq!(
                ContentKind::of(content_type, headers.iter().copied()),
                expected,
                "{content_type:?} {headers:?}"
            );
        }
    }
}
