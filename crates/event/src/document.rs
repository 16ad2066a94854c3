//! A request's body as JSON: checked whole once, then read as slices.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::decode_events::{DecodeEventsError, DecodeEventsErrorKind as Kind, DecodedEvents};
use crate::json::{JsonError, JsonErrorKind, Value, validate_text};
use crate::{Data, Event, EventLimits};

/// A body that is UTF-8. The slices that are read of it share its memory.
pub(crate) struct Document<'a> {
    bytes: &'a Bytes,
    text: &'a str,
}

impl<'a> Document<'a> {
    pub(crate) fn new(bytes: &'a Bytes) -> Result<Self, Kind> {
        let text = std::str::from_utf8(bytes)
            .map_err(|error| JsonError { position: error.valid_up_to(), kind: JsonErrorKind::InvalidUtf8 })?;
        Ok(Self { bytes, text })
    }

    /// The body as one object or an array of them, each read by `event`.
    pub(crate) fn events(
        &self,
        limits: &EventLimits,
        event: impl Fn(&Self, Value<'a>) -> Result<Event, Kind>,
    ) -> Result<DecodedEvents, DecodeEventsError> {
        let is_batch = Value::of_document(self.text).text().starts_with('[');
        // Data may be as deep as the limit says, wherever it stands: the object and the array around it come on top.
        validate_text(self.text, &limits.json.inside(if is_batch { 2 } else { 1 })).map_err(Kind::from)?;
        let value = Value::of_document(self.text);
        let Some(elements) = value.elements() else {
            return Ok(DecodedEvents::one(event(self, value)?));
        };
        let mut events = Vec::new();
        for (index, element) in elements.enumerate() {
            if index == limits.batch_events {
                return Err(Kind::BatchTooLarge { limit: limits.batch_events }.into());
            }
            events.push(event(self, element).map_err(|kind| DecodeEventsError::at(index, kind))?);
        }
        if events.is_empty() { Err(Kind::EmptyBatch.into()) } else { Ok(DecodedEvents { events, is_batch }) }
    }

    /// The body as one object a line. Empty lines are skipped.
    pub(crate) fn lines(
        &self,
        limits: &EventLimits,
        event: impl Fn(&Self, Value<'a>) -> Result<Event, Kind>,
    ) -> Result<DecodedEvents, DecodeEventsError> {
        let mut events = Vec::new();
        let mut start = 0;
        for line in self.text.split('\n') {
            let line_start = start;
            start += line.len() + 1;
            let value = Value::of_document(line);
            if value.text().is_empty() {
                continue;
            }
            let index = events.len();
            if index == limits.batch_events {
                return Err(Kind::BatchTooLarge { limit: limits.batch_events }.into());
            }
            let at = |kind| DecodeEventsError::at(index, kind);
            validate_text(line, &limits.json.inside(1))
                .map_err(|error| at(JsonError { position: line_start + error.position, ..error }.into()))?;
            events.push(event(self, value).map_err(at)?);
        }
        if events.is_empty() {
            Err(Kind::EmptyBatch.into())
        } else {
            Ok(DecodedEvents { events, is_batch: true })
        }
    }

    /// The data of the members `data` and `data_base64`.
    pub(crate) fn data(
        &self,
        content_type: Option<&str>,
        data: Option<Value<'a>>,
        data_base64: Option<Value<'a>>,
    ) -> Result<Option<Data>, Kind> {
        match (data, data_base64) {
            (Some(_), Some(_)) => Err(Kind::invalid("data_base64", "cannot be given beside 'data'")),
            (Some(data), None) => Ok(Some(Data::of_member(content_type, data, self.bytes))),
            (None, Some(encoded)) => {
                let why = "must be a string of padded base64";
                let encoded = encoded.as_string().ok_or(Kind::invalid("data_base64", why))?;
                let bytes =
                    STANDARD.decode(encoded.as_bytes()).map_err(|_| Kind::invalid("data_base64", why))?;
                Ok(Some(Data::binary(bytes.into())))
            }
            (None, None) => Ok(None),
        }
    }
}

/// The text of a string member; `null` stands for none.
pub(crate) fn optional_string(field: &'static str, value: Value<'_>) -> Result<Option<String>, Kind> {
    if value.is_null() {
        return Ok(None);
    }
    let text = value.as_string().ok_or(Kind::invalid(field, "must be a string"))?;
    Ok(Some(Cow::into_owned(text)))
}
