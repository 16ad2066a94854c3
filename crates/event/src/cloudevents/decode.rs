//! Reads the JSON format: one event (structured mode) or an array of them (batched mode).

use bytes::Bytes;

use super::SPEC_VERSION;
use crate::decode_events::{DecodeEventsError, DecodeEventsErrorKind as Kind, DecodedEvents};
use crate::document::Document;
use crate::json::Value;
use crate::rules::is_header_name;
use crate::{Event, EventLimits, Tenant};

/// Reads the body of a structured-mode request: `application/cloudevents+json`.
///
/// The events have the required attributes and the right JSON types; [`Event::check`] has still to look at what they
/// say. Their data shares the body's memory.
///
/// # Errors
/// The first thing that is wrong.
pub fn decode_structured(
    body: &Bytes,
    tenant: &Tenant,
    limits: &EventLimits,
) -> Result<DecodedEvents, DecodeEventsError> {
    let decoded = Document::new(body)?.events(limits, |document, value| event(document, value, tenant))?;
    if decoded.is_batch { Err(Kind::NotAnObject.into()) } else { Ok(decoded) }
}

/// Reads the body of a batched-mode request: `application/cloudevents-batch+json`. Otherwise as [`decode_structured`].
///
/// # Errors
/// The first thing that is wrong; then none of the events is taken.
pub fn decode_batch(
    body: &Bytes,
    tenant: &Tenant,
    limits: &EventLimits,
) -> Result<DecodedEvents, DecodeEventsError> {
    let decoded = Document::new(body)?.events(limits, |document, value| event(document, value, tenant))?;
    if decoded.is_batch { Ok(decoded) } else { Err(Kind::NotAnArray.into()) }
}

fn event<'a>(document: &Document<'a>, value: Value<'a>, tenant: &Tenant) -> Result<Event, Kind> {
    let mut attributes = Attributes::new(tenant);
    let (mut data, mut data_base64) = (None, None);
    for (name, value) in value.members().ok_or(Kind::NotAnObject)? {
        match &*name {
            "data" => data = Some(value),
            "data_base64" => data_base64 = Some(value).filter(|value| !value.is_null()),
            _ if value.is_null() => {}
            name => attributes.set(name, value_text(name, value)?)?,
        }
    }
    let mut event = attributes.finish()?;
    event.data = document.data(event.content_type.as_deref(), data, data_base64)?;
    Ok(event)
}

/// An attribute's value in the string encoding of its type.
fn value_text(name: &str, value: Value<'_>) -> Result<String, Kind> {
    if let Some(text) = value.as_string() {
        return Ok(text.into_owned());
    }
    if !Attributes::may_be_typed(name) {
        return Err(Kind::invalid_name(name, "must be a string"));
    }
    if let Some(text) = value.as_bool() {
        return Ok(text.to_owned());
    }
    let integer = value.text().parse::<i32>();
    integer.map(|integer| integer.to_string()).map_err(|_| {
        let why = if value.is_number() {
            "must be an integer of 32 bits"
        } else {
            "must be a string, a boolean or an integer"
        };
        Kind::invalid_name(name, why)
    })
}

/// The attributes of an event as they come in, from JSON or from headers.
pub(super) struct Attributes {
    event: Event,
    has_spec_version: bool,
    has_type: bool,
    has_source: bool,
}

impl Attributes {
    pub(super) fn new(tenant: &Tenant) -> Self {
        let event = Event::new(tenant.clone(), String::new(), String::new());
        Self { event, has_spec_version: false, has_type: false, has_source: false }
    }

    /// Whether an attribute may be a boolean or an integer: extensions may.
    fn may_be_typed(name: &str) -> bool {
        !matches!(
            name,
            "specversion" | "id" | "source" | "type" | "subject" | "time" | "datacontenttype" | "dataschema"
        )
    }

    pub(super) fn set(&mut self, name: &str, value: String) -> Result<(), Kind> {
        let event = &mut self.event;
        match name {
            "specversion" if value == SPEC_VERSION => self.has_spec_version = true,
            "specversion" => return Err(Kind::invalid("specversion", "must be '1.0'")),
            "id" => event.id = Some(value),
            "source" => {
                event.source = value;
                self.has_source = true;
            }
            "type" => {
                event.event_type = value;
                self.has_type = true;
            }
            "subject" => event.subject = Some(value),
            "time" => event.time = Some(value),
            "datacontenttype" => event.content_type = Some(value),
            "dataschema" => event.data_schema = Some(value),
            "partitionkey" => event.key = Some(value),
            name if is_header_name(name) => event.headers.push((name.to_owned(), value)),
            name => {
                return Err(Kind::invalid_name(name, "must have a name of 1 to 20 of a-z and 0-9"));
            }
        }
        Ok(())
    }

    pub(super) fn content_type(&mut self, content_type: Option<String>) {
        self.event.content_type = content_type;
    }

    pub(super) fn finish(self) -> Result<Event, Kind> {
        let required = [
            (self.has_spec_version, "specversion"),
            (self.event.id.is_some(), "id"),
            (self.has_source, "source"),
            (self.has_type, "type"),
        ];
        match required.iter().find(|(present, _)| !present) {
            Some((_, missing)) => Err(Kind::MissingField(missing)),
            None => Ok(self.event),
        }
    }
}
