//! Reads the native form.

use bytes::Bytes;

use crate::decode_events::{DecodeEventsError, DecodeEventsErrorKind as Kind, DecodedEvents};
use crate::document::{Document, optional_string};
use crate::json::Value;
use crate::{Event, EventLimits, Tenant};

/// Reads one event, or an array of them, from a JSON body.
///
/// The events have the right fields of the right JSON types; [`Event::check`] has still to look at what they say.
/// Their data shares the body's memory.
///
/// # Errors
/// The first thing that is wrong; then none of the events is taken.
pub fn decode(
    body: &Bytes,
    tenant: &Tenant,
    limits: &EventLimits,
) -> Result<DecodedEvents, DecodeEventsError> {
    Document::new(body)?.events(limits, |document, value| event(document, value, tenant))
}

/// Reads events from a body of one JSON object a line. Empty lines are skipped. Otherwise as [`decode`].
///
/// # Errors
/// The first thing that is wrong; then none of the events is taken.
pub fn decode_lines(
    body: &Bytes,
    tenant: &Tenant,
    limits: &EventLimits,
) -> Result<DecodedEvents, DecodeEventsError> {
    Document::new(body)?.lines(limits, |document, value| event(document, value, tenant))
}

fn event<'a>(document: &Document<'a>, value: Value<'a>, tenant: &Tenant) -> Result<Event, Kind> {
    let mut event = Event::new(tenant.clone(), String::new(), String::new());
    let (mut has_type, mut has_source) = (false, false);
    let (mut data, mut data_base64) = (None, None);
    for (name, value) in value.members().ok_or(Kind::NotAnObject)? {
        match &*name {
            "type" => has_type = required("type", value, &mut event.event_type)?,
            "source" => has_source = required("source", value, &mut event.source)?,
            "data" => data = Some(value),
            "data_base64" => data_base64 = Some(value).filter(|value| !value.is_null()),
            "id" => event.id = optional_string("id", value)?,
            "subject" => event.subject = optional_string("subject", value)?,
            "time" => event.time = optional_string("time", value)?,
            "key" => event.key = optional_string("key", value)?,
            "content_type" => event.content_type = optional_string("content_type", value)?,
            "dataschema" => event.data_schema = optional_string("dataschema", value)?,
            "headers" => event.headers = headers(value)?,
            "idempotency_key" => event.idempotency_key = optional_string("idempotency_key", value)?,
            unknown => return Err(Kind::unknown(unknown)),
        }
    }
    if !has_type {
        return Err(Kind::MissingField("type"));
    }
    if !has_source {
        return Err(Kind::MissingField("source"));
    }
    event.data = document.data(event.content_type.as_deref(), data, data_base64)?;
    Ok(event)
}

/// Sets a required field, and says whether there was a value.
fn required(field: &'static str, value: Value<'_>, to: &mut String) -> Result<bool, Kind> {
    let text = optional_string(field, value)?;
    let found = text.is_some();
    *to = text.unwrap_or_default();
    Ok(found)
}

fn headers(value: Value<'_>) -> Result<Vec<(String, String)>, Kind> {
    if value.is_null() {
        return Ok(Vec::new());
    }
    let members = value.members().ok_or(Kind::invalid("headers", "must be an object of strings"))?;
    members
        .map(|(name, value)| match value.as_string() {
            Some(value) => Ok((name.into_owned(), value.into_owned())),
            None => Err(Kind::invalid_name(&format!("headers.{name}"), "must be a string")),
        })
        .collect()
}
