//! Writes the JSON format.

use super::binary::attributes;
use crate::StoredEvent;
use crate::json::ObjectWriter;

/// Appends the event as one structured-mode JSON object on one line, without a line end.
pub fn write_cloudevent_json(event: &StoredEvent, out: &mut Vec<u8>) {
    let mut object = ObjectWriter::begin(out);
    for (name, value) in attributes(event) {
        object.string(name, &value);
    }
    object.optional_string("datacontenttype", event.content_type());
    object.data(event);
    object.end();
}
