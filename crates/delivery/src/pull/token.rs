//! The opaque name of a lease: 24 bytes in base64url, without padding.
//!
//! ```text
//! ┌─────────────┬──────────────┬────────────┐
//! │ table   u64 │ number   u64 │ secret u64 │
//! └─────────────┴──────────────┴────────────┘
//! ```
//!
//! `table` is drawn anew at every start of every subscription's dispatcher, so a lease of another subscription, or of before
//! a restart, names nothing here. `secret` is drawn for each lease: a name that was not handed out settles nothing.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const BYTES: usize = 24;
const CHARS: usize = BYTES / 3 * 4;

/// Names one lease of one subscription.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LeaseToken {
    pub(super) table: u64,
    pub(super) number: u64,
    pub(super) secret: u64,
}

impl LeaseToken {
    /// Reads what a consumer shows; none when it can be no lease.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; BYTES];
        if text.len() != CHARS || URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()? != BYTES {
            return None;
        }
        let [table, number, secret] = [0, 8, 16].map(|start| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[start..start + 8]);
            u64::from_be_bytes(word)
        });
        Some(Self { table, number, secret })
    }
}

impl fmt::Display for LeaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; BYTES];
        for (place, word) in bytes.chunks_exact_mut(8).zip([self.table, self.number, self.secret]) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        let mut text = [0; CHARS];
        // The lengths agree, so there is always room, and base64 is always text.
        let written = URL_SAFE_NO_PAD.encode_slice(bytes, &mut text).unwrap_or_default();
        f.write_str(std::str::from_utf8(&text[..written]).unwrap_or_default())
    }
}

/// Who sees it may settle the lease, so it is not for logs.
impl fmt::Debug for LeaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseToken").field("number", &self.number).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_as_it_was_shown_and_nothing_else_is_one() {
        for token in [
            LeaseToken { table: 0, number: 0, secret: 0 },
            LeaseToken { table: u64::MAX, number: 1 << 40, secret: 0x0123_4567_89ab_cdef },
        ] {
            let text = token.to_string();
            assert_eq!((text.len(), LeaseToken::parse(&text)), (CHARS, Some(token)));
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{text}");
        }
        let good = LeaseToken { table: 1, number: 2, secret: 3 }.to_string();
        for wrong in
            ["", "a", &good[1..], &format!("{good}A"), &good.replace('A', "+"), &good.replace('A', "=")]
        {
            assert_eq!(LeaseToken::parse(wrong), None, "{wrong}");
        }
    }
}
