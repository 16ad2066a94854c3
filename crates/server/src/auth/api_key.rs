//! The form of an API key.
//!
//! ```text
//! er_<43 characters: 256 random bits><6 characters: the first 32 bits of the SHA-256 of what comes before>
//! ```
//!
//! Both parts are base64 for URLs without padding (RFC 4648, section 5). The prefix lets scanners find a key that was
//! committed or logged by mistake, and the checksum tells a mistyped key from a wrong one without a look at any store.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

const PREFIX: &str = "er_";
const SECRET_CHARS: usize = 43;
const CHECKSUM_CHARS: usize = 6;
const CHECKSUM_BYTES: usize = 4;

/// An API key. Nothing shows it but [`ApiKey::expose`], and its memory is wiped when it is dropped.
#[derive(Clone)]
pub struct ApiKey(Zeroizing<String>);

/// A text that is no API key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no API key: one begins with er_ and has {} characters", PREFIX.len() + SECRET_CHARS + CHECKSUM_CHARS)]
pub struct NotAnApiKey;

impl ApiKey {
    /// A new one, from the process's generator of secrets.
    #[must_use]
    pub fn generate() -> Self {
        let secret = Zeroizing::new(rand::random::<[u8; 32]>());
        let mut key = Zeroizing::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(secret)));
        let checksum = checksum(&key);
        key.push_str(&checksum);
        Self(key)
    }

    /// Takes a text as a key if it has a key's form.
    ///
    /// # Errors
    /// When it has not; the error does not quote it.
    pub fn parse(text: &str) -> Result<Self, NotAnApiKey> {
        let has_form = text.starts_with(PREFIX)
            && text.len() == PREFIX.len() + SECRET_CHARS + CHECKSUM_CHARS
            && text.is_ascii();
        let (body, found) =
            text.split_at_checked(text.len().saturating_sub(CHECKSUM_CHARS)).ok_or(NotAnApiKey)?;
        if has_form && checksum(body) == found {
            Ok(Self(Zeroizing::new(text.to_owned())))
        } else {
            Err(NotAnApiKey)
        }
    }

    /// The key itself, for its owner.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// By what the key is known here. A key has 256 random bits, so a plain hash cannot be turned back.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }
}

fn checksum(body: &str) -> String {
    URL_SAFE_NO_PAD.encode(&Sha256::digest(body.as_bytes())[..CHECKSUM_BYTES])
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_key_is_one_and_no_two_are_the_same() {
        let (one, two) = (ApiKey::generate(), ApiKey::generate());
        assert_eq!(one.expose().len(), 52);
        assert_eq!(ApiKey::parse(one.expose()).unwrap().hash(), one.hash());
        assert_ne!(one.hash(), two.hash());
        assert_eq!(format!("{one:?}"), "[redacted]");
    }

    #[test]
    fn a_text_that_differs_anywhere_is_none() {
        let key = ApiKey::generate();
        for at in 0..key.expose().len() {
            let mut changed = key.expose().as_bytes().to_vec();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(ApiKey::parse(&changed).is_err(), "{at}");
        }
        for wrong in ["", "er_", &key.expose()[1..], &format!("{}x", key.expose()), &"ä".repeat(26)] {
            assert!(ApiKey::parse(wrong).is_err(), "{wrong}");
        }
    }
}
