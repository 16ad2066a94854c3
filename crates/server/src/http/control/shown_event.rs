//! An event within another answer.

use eventrelay_event::{StoredEvent, native};
use serde_json::value::RawValue;

use crate::http::problem::Problem;

/// The event in our own form, as `GET /v1/events/{id}` shows it.
pub(crate) fn shown(event: &StoredEvent) -> Result<Box<RawValue>, Problem> {
    let mut text = Vec::with_capacity(event.encoded().len() + 256);
    native::write_json(event, &mut text);
    // It writes JSON, so this is one check of it.
    let text = String::from_utf8(text).map_err(|error| Problem::internal(error.to_string()))?;
    RawValue::from_string(text).map_err(|error| Problem::internal(error.to_string()))
}
