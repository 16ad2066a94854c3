//! KSUIDs: ids of 27 characters that sort by time, as Svix writes them.
//!
//! ```text
//! 159               128 127                                             0
//! ┌────────────────────┬────────────────────────────────────────────────┐
//! │ seconds since 2014 │ payload                                        │
//! └────────────────────┴────────────────────────────────────────────────┘
//! ```
//!
//! The 160 bits are one number, written in base 62 with the digits `0-9A-Za-z`, filled with zeros to 27 characters.

use std::fmt;
use std::str::FromStr;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Where its time begins, in Unix seconds.
const EPOCH_SECONDS: u64 = 1_400_000_000;

/// A time and 128 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ksuid {
    seconds: u32,
    payload: u128,
}

/// A text that is not a KSUID.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a KSUID: expected 27 characters of 0-9, A-Z and a-z")]
pub struct KsuidError;

impl Ksuid {
    /// How many characters it has.
    pub const CHARS: usize = 27;

    /// A time, to the second, with a payload. Times before 2014 and after 2150 become these.
    #[must_use]
    pub fn new(unix_micros: u64, payload: u128) -> Self {
        let seconds = (unix_micros / 1_000_000).saturating_sub(EPOCH_SECONDS);
        Self { seconds: u32::try_from(seconds).unwrap_or(u32::MAX), payload }
    }

    /// What it carries beside its time.
    #[must_use]
    pub fn payload(self) -> u128 {
        self.payload
    }

    /// The 32 bits at each place of its number, the most significant first.
    fn words(self) -> [u32; 5] {
        let mut words = [self.seconds, 0, 0, 0, 0];
        for (word, bytes) in words[1..].iter_mut().zip(self.payload.to_be_bytes().as_chunks::<4>().0) {
            *word = u32::from_be_bytes(*bytes);
        }
        words
    }

    fn of_words([seconds, payload @ ..]: [u32; 5]) -> Self {
        let payload = payload.into_iter().fold(0, |number, word| number << 32 | u128::from(word));
        Self { seconds, payload }
    }
}

// What is divided by 62 leaves less than that, and what is shifted right by 32 bits fits 32.
#[allow(clippy::cast_possible_truncation)]
impl fmt::Display for Ksuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = self.words();
        let mut text = [0; Self::CHARS];
        for place in text.iter_mut().rev() {
            let mut rest = 0_u64;
            for word in &mut words {
                let number = rest << 32 | u64::from(*word);
                *word = (number / 62) as u32;
                rest = number % 62;
            }
            *place = DIGITS[rest as usize];
        }
        f.pad(std::str::from_utf8(&text).unwrap_or_default())
    }
}

#[allow(clippy::cast_possible_truncation)]
impl FromStr for Ksuid {
    type Err = KsuidError;

    /// Accepts exactly what `Display` prints.
    fn from_str(text: &str) -> Result<Self, KsuidError> {
        if text.len() != Self::CHARS {
            return Err(KsuidError);
        }
        let mut words = [0_u32; 5];
        for byte in text.bytes() {
            let mut carry = DIGITS.iter().position(|digit| *digit == byte).ok_or(KsuidError)? as u64;
            for word in words.iter_mut().rev() {
                let number = u64::from(*word) * 62 + carry;
                *word = number as u32;
                carry = number >> 32;
            }
            if carry > 0 {
                return Err(KsuidError);
            }
        }
        Ok(Self::of_words(words))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_is_written_as_others_write_it() {
        // From the description of the format.
        let known: Ksuid = "0ujtsYcgvSTl8PAuAdqWYSMnLOv".parse().unwrap();
        assert_eq!(known.seconds, 107_608_047);
        assert_eq!(known.payload, 0xB5A1_CD34_B5F9_9D11_54FB_6853_345C_9735);
        assert_eq!(
            Ksuid { seconds: u32::MAX, payload: u128::MAX }.to_string(),
            "aWgEPTl1tmebfsQzFP4bxwgy80V"
        );
        assert_eq!(Ksuid { seconds: 0, payload: 0 }.to_string(), "0".repeat(27));
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "",
            "aWgEPTl1tmebfsQzFP4bxwgy80W",
            "zzzzzzzzzzzzzzzzzzzzzzzzzzz",
            &"0".repeat(26),
            &"-".repeat(27),
        ] {
            assert_eq!(text.parse::<Ksuid>(), Err(KsuidError), "{text}");
        }
        assert!("é".repeat(13).parse::<Ksuid>().is_err());
    }

    proptest! {
        #[test]
        fn it_reads_back_and_sorts_by_time(seconds: u32, payload: u128, later: u32) {
            let id = Ksuid { seconds, payload };
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            let other = Ksuid { seconds: later, payload };
            prop_assert_eq!(id.to_string() < other.to_string(), seconds < later);
        }
    }
}
