//! What a client reads: for each frame a byte, for each line a line.

use eventrelay_ingest::Receipt;

use crate::payloads::framing::Framing;
use crate::payloads::refusal::{ACCEPTED, Refusal};
use crate::receipt;

impl Framing {
    /// Appends the answer to one payload.
    pub(crate) fn write_answer(self, outcome: Result<&Receipt, &Refusal>, out: &mut Vec<u8>) {
        match (self, outcome) {
            (Self::Frames, Ok(_)) => out.push(ACCEPTED),
            (Self::Frames, Err(refusal)) => out.push(refusal.byte()),
            (Self::Lines, Ok(receipt)) => {
                receipt::write(receipt, out);
                out.push(b'\n');
            }
            (Self::Lines, Err(refusal)) => refusal.write_line(out),
        }
    }
}
