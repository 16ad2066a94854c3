//! Receipts as JSON, written by hand: three fields, none of which needs escaping, on the hottest path there is.

use eventrelay_event::EventId;
use eventrelay_ingest::Receipt;

/// The most bytes of one receipt: its names and punctuation, an id, an offset, `false` and a comma.
const RECEIPT_BYTES: usize = 96;

/// One receipt, or a list for a batch.
pub(super) fn render(receipts: &[Receipt], is_batch: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(receipts.len() * RECEIPT_BYTES + 2);
    if is_batch {
        out.push(b'[');
    }
    for (index, receipt) in receipts.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(receipt, &mut out);
    }
    if is_batch {
        out.push(b']');
    }
    out
}

fn write(receipt: &Receipt, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":\"");
    out.extend_from_slice(receipt.id.encode(&mut [0; EventId::CHARS]).as_bytes());
    out.extend_from_slice(b"\",\"offset\":");
    out.extend_from_slice(itoa::Buffer::new().format(receipt.offset).as_bytes());
    out.extend_from_slice(if receipt.duplicate { b",\"duplicate\":true}" } else { b",\"duplicate\":false}" });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_are_json_and_fit_their_estimate() {
        let offset = EventId::OFFSET_LIMIT - 1;
        let receipt = Receipt { id: EventId::new(1, offset), offset, duplicate: false };
        let one = render(std::slice::from_ref(&receipt), false);
        assert!(one.len() <= RECEIPT_BYTES, "{}", one.len());
        let json: serde_json::Value = serde_json::from_slice(&one).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"id": receipt.id.to_string(), "offset": offset, "duplicate": false})
        );
        let second = Receipt { id: EventId::new(1, 2), offset: 2, duplicate: true };
        let list: serde_json::Value = serde_json::from_slice(&render(&[receipt, second], true)).unwrap();
        assert_eq!((list.as_array().unwrap().len(), &list[1]["duplicate"]), (2, &serde_json::json!(true)));
    }
}
