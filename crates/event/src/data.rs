//! What an event carries, and how its kind is decided.
//!
//! | it comes as | content type | kind |
//! |---|---|---|
//! | member `data` | absent or JSON | JSON |
//! | member `data`, a string | not JSON | text: what the string spells |
//! | member `data`, anything else | not JSON | JSON |
//! | member `data_base64` | any | binary |
//! | a body | JSON | JSON |
//! | a body that is UTF-8, without U+0000 | textual | text |
//! | any other body | any or none | binary |

use std::borrow::Cow;

use bytes::{Buf, Bytes};

use crate::json::{self, JsonError, Value};
use crate::media_type;

/// An event's data and how it is written in JSON forms. What the kind says of the bytes has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    kind: DataKind,
    bytes: Bytes,
}

/// What an event's data bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataKind {
    /// One JSON value, checked by [`crate::json`].
    Json,
    /// UTF-8 text without U+0000 that is not JSON.
    Text,
    /// Anything else: base64 in JSON forms.
    Binary,
}

impl Data {
    /// One JSON value. It keeps the producer's spelling, but white space around it is dropped.
    ///
    /// # Errors
    /// When the bytes are not JSON that every reader takes; see [`json::validate`].
    pub fn json(mut bytes: Bytes, limits: &json::Limits) -> Result<Self, JsonError> {
        json::validate(&bytes, limits)?;
        let value = json::trimmed_range(&bytes);
        bytes.truncate(value.end);
        bytes.advance(value.start);
        Ok(Self { kind: DataKind::Json, bytes })
    }

    /// UTF-8 text that is not JSON. One that holds U+0000 counts as binary, since JSON forms may not hold that.
    #[must_use]
    pub fn text(text: String) -> Self {
        let kind = if is_writable_text(text.as_bytes()) { DataKind::Text } else { DataKind::Binary };
        Self { kind, bytes: Bytes::from(text) }
    }

    /// Anything else.
    #[must_use]
    pub fn binary(bytes: Bytes) -> Self {
        Self { kind: DataKind::Binary, bytes }
    }

    /// The data of a request whose body is nothing else. An empty body is no data. Where there is no content type, a body
    /// that is JSON counts as JSON, as it does in CloudEvents' JSON format, so that one event is the same in every mode.
    ///
    /// # Errors
    /// When the content type says JSON and the body is not; see [`json::validate`].
    pub fn of_body(
        content_type: Option<&str>,
        body: Bytes,
        limits: &json::Limits,
    ) -> Result<Option<Self>, JsonError> {
        if body.is_empty() {
            return Ok(None);
        }
        let kind = match content_type {
            Some(content_type) if media_type::is_json(content_type) => {
                return Self::json(body, limits).map(Some);
            }
            Some(content_type) if media_type::is_text(content_type) && is_writable_text(&body) => {
                DataKind::Text
            }
            Some(_) => DataKind::Binary,
            None => {
                return Ok(Some(Self::json(body.clone(), limits).unwrap_or_else(|_| Self::binary(body))));
            }
        };
        Ok(Some(Self { kind, bytes: body }))
    }

    /// The data of a member `data`, a slice of the validated `document`.
    pub(crate) fn of_member(content_type: Option<&str>, value: Value<'_>, document: &Bytes) -> Self {
        if content_type.is_some_and(|content_type| !media_type::is_json(content_type))
            && let Some(text) = value.as_string()
        {
            let bytes = match text {
                Cow::Borrowed(text) => document.slice_ref(text.as_bytes()),
                Cow::Owned(text) => Bytes::from(text),
            };
            return Self { kind: DataKind::Text, bytes };
        }
        Self { kind: DataKind::Json, bytes: document.slice_ref(value.text().as_bytes()) }
    }

    /// What the bytes are.
    #[must_use]
    pub fn kind(&self) -> DataKind {
        self.kind
    }

    /// The bytes, exactly as the producer sent them.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// Whether the bytes can be a string in JSON forms.
fn is_writable_text(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok() && !bytes.contains(&0)
}
