//! Newline-delimited JSON: one event, one line.

use eventrelay_event::native::write_json;

use crate::Delivery;

/// Appends a line for each event, in order. Strings in JSON escape line ends, so a line end is always the end
/// of an event.
pub(crate) fn write_lines(batch: &[Delivery], out: &mut Vec<u8>) {
    for delivery in batch {
        write_json(&delivery.event, out);
        out.push(b'\n');
    }
}
