//! Receipts as the body of an answer.

use eventrelay_ingest::Receipt;

use crate::receipt::{self, RECEIPT_BYTES};

/// One receipt, or a list for a batch.
pub(super) fn render(receipts: &[Receipt], is_batch: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(receipts.len() * RECEIPT_BYTES + 2);
    if is_batch {
        out.push(b'[');
    }
    for (index, one) in receipts.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        receipt::write(one, &mut out);
    }
    if is_batch {
        out.push(b']');
    }
    out
}

#[cfg(test)]
mod tests {
    use eventrelay_event::EventId;

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
