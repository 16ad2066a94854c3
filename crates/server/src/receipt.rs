//! A receipt as JSON, written by hand: three fields, none of which needs escaping, on the hottest path there is.
//!
//! ```json
//! {"id":"019a…","offset":7,"duplicate":false}
//! ```

use eventrelay_event::EventId;
use eventrelay_ingest::Receipt;

/// The most bytes of one receipt: its names and punctuation, an id, an offset and `false`, with a comma behind.
pub(crate) const RECEIPT_BYTES: usize = 96;

/// Appends one receipt.
pub(crate) fn write(receipt: &Receipt, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":\"");
    out.extend_from_slice(receipt.id.encode(&mut [0; EventId::CHARS]).as_bytes());
    out.extend_from_slice(b"\",\"offset\":");
    out.extend_from_slice(itoa::Buffer::new().format(receipt.offset).as_bytes());
    out.extend_from_slice(if receipt.duplicate { b",\"duplicate\":true}" } else { b",\"duplicate\":false}" });
}
