//! Signatures of Standard Webhooks 1.0.
//!
//! What is signed: `{webhook-id}.{webhook-timestamp}.{body}`, the body byte for byte as it is sent.
//!
//! | secret | signature |
//! |---|---|
//! | `whsec_` + base64 of 24 to 64 bytes | `v1,` + base64 of HMAC-SHA256 with those bytes |
//! | `whsk_` + base64 of an ed25519 seed (32 bytes) or seed and public key (64 bytes) | `v1a,` + base64 of the ed25519 signature |
//!
//! The header `webhook-signature` holds one signature for each secret, separated by spaces. While a secret is
//! rotated both the old and the new one are configured, and a receiver accepts whichever it knows.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::Secret;

/// `v1,` and 44 characters of base64, or `v1a,` and 88; and a space.
const SIGNATURE_CHARS: usize = 93;

/// Signs with every active secret.
#[derive(Default)]
pub(super) struct Signer {
    /// Each with the Unix second from which on it signs no more, if any.
    keys: Vec<(Key, Option<u64>)>,
}

enum Key {
    /// Already keyed: a signature starts from a copy of this state.
    Hmac(Box<Hmac<Sha256>>),
    Ed25519(Box<SigningKey>),
}

/// A text that is not a signing secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum SecretError {
    #[error("a secret begins with `whsec_` or `whsk_`")]
    Prefix,
    #[error("what follows the prefix is not standard base64")]
    Base64,
    #[error("a `whsec_` secret has 24 to 64 bytes, not {0}")]
    HmacLength(usize),
    #[error("a `whsk_` secret has 32 bytes (seed) or 64 (seed and public key), not {0}")]
    Ed25519Length(usize),
    #[error("the public half of this `whsk_` secret is not that of its seed")]
    Ed25519Pair,
}

impl Signer {
    /// The most secrets that may be active at once.
    pub(super) const MAX_SECRETS: usize = 16;

    /// Takes one more secret, which signs until a time if there is one. The error does not quote it.
    pub(super) fn add(
        &mut self,
        secret: &Secret,
        expires_at_seconds: Option<u64>,
    ) -> Result<(), SecretError> {
        self.keys.push((Key::parse(secret.expose())?, expires_at_seconds));
        Ok(())
    }

    /// The value of `webhook-signature`; none without secrets.
    pub(super) fn sign(&self, id: &str, timestamp_seconds: u64, body: &[u8]) -> Option<String> {
        if self.keys.is_empty() {
            return None;
        }
        let prefix = format!("{id}.{timestamp_seconds}.");
        let mut header = String::with_capacity(self.keys.len() * SIGNATURE_CHARS);
        let is_active = |expires_at: &Option<u64>| expires_at.is_none_or(|end| timestamp_seconds < end);
        for (key, _) in self.keys.iter().filter(|(_, expires_at)| is_active(expires_at)) {
            if !header.is_empty() {
                header.push(' ');
            }
            key.sign(prefix.as_bytes(), body, &mut header);
        }
        Some(header)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({} keys)", self.keys.len())
    }
}

impl Key {
    fn parse(secret: &str) -> Result<Self, SecretError> {
        let decode = |text: &str| STANDARD.decode(text).map(Zeroizing::new).map_err(|_| SecretError::Base64);
        if let Some(text) = secret.strip_prefix("whsec_") {
            let bytes = decode(text)?;
            if !(24..=64).contains(&bytes.len()) {
                return Err(SecretError::HmacLength(bytes.len()));
            }
            let keyed = Hmac::new_from_slice(&bytes).map_err(|_| SecretError::HmacLength(bytes.len()))?;
            return Ok(Self::Hmac(Box::new(keyed)));
        }
        let bytes = decode(secret.strip_prefix("whsk_").ok_or(SecretError::Prefix)?)?;
        let signing_key = if let Ok(seed) = <&[u8; 32]>::try_from(bytes.as_slice()) {
            SigningKey::from_bytes(seed)
        } else if let Ok(pair) = <&[u8; 64]>::try_from(bytes.as_slice()) {
            SigningKey::from_keypair_bytes(pair).map_err(|_| SecretError::Ed25519Pair)?
        } else {
            return Err(SecretError::Ed25519Length(bytes.len()));
        };
        Ok(Self::Ed25519(Box::new(signing_key)))
    }

    fn sign(&self, prefix: &[u8], body: &[u8], header: &mut String) {
        match self {
            Self::Hmac(keyed) => {
                let mut mac = Hmac::clone(keyed);
                mac.update(prefix);
                mac.update(body);
                header.push_str("v1,");
                STANDARD.encode_string(mac.finalize().into_bytes(), header);
            }
            Self::Ed25519(key) => {
                // Pure ed25519 reads the message twice, so it must lie in one piece.
                let message = [prefix, body].concat();
                header.push_str("v1a,");
                STANDARD.encode_string(key.sign(&message).to_bytes(), header);
            }
        }
    }
}

/// Makes a new symmetric secret: `whsec_` and 32 random bytes.
#[must_use]
pub fn generate_secret() -> Secret {
    let bytes = Zeroizing::new(rand::random::<[u8; 32]>());
    let mut text = String::with_capacity(50);
    text.push_str("whsec_");
    STANDARD.encode_string(bytes.as_slice(), &mut text);
    Secret::new(text)
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::Verifier as _;

    use super::*;

    /// The example that the specification's reference libraries are tested with.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const TIMESTAMP: u64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn signer(secrets: &[&str]) -> Result<Signer, SecretError> {
        let mut signer = Signer::default();
        for text in secrets {
            signer.add(&Secret::new((*text).to_owned()), None)?;
        }
        Ok(signer)
    }

    fn sign(secrets: &[&str]) -> String {
        signer(secrets).unwrap().sign(ID, TIMESTAMP, BODY).unwrap()
    }

    #[test]
    fn signs_the_reference_example() {
        assert_eq!(sign(&[SECRET]), SIGNATURE);
    }

    #[test]
    fn an_ed25519_signature_verifies_and_covers_id_time_and_body() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let pair = format!("whsk_{}", STANDARD.encode(key.to_keypair_bytes()));
        let seed = format!("whsk_{}", STANDARD.encode([7; 32]));
        let header = sign(&[&pair]);
        assert_eq!(header, sign(&[&seed]), "both forms of the secret are the same key");

        let bytes = STANDARD.decode(header.strip_prefix("v1a,").unwrap()).unwrap();
        let signature = ed25519_dalek::Signature::from_slice(&bytes).unwrap();
        let message = [ID.as_bytes(), b".1614265330.", BODY].concat();
        key.verifying_key().verify(&message, &signature).unwrap();
        key.verifying_key().verify(&[ID.as_bytes(), b".1614265331.", BODY].concat(), &signature).unwrap_err();
    }

    #[test]
    fn during_rotation_every_secret_signs_in_order() {
        let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let seed = format!("whsk_{}", STANDARD.encode([7; 32]));
        let header = sign(&[other, SECRET, &seed]);
        let parts: Vec<_> = header.split(' ').collect();
        assert_eq!(parts, [sign(&[other]), SIGNATURE.to_owned(), sign(&[&seed])]);
    }

    #[test]
    fn an_expiring_secret_signs_until_its_time() {
        let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let mut rotated = signer(&[SECRET]).unwrap();
        rotated.add(&Secret::new(other.to_owned()), Some(TIMESTAMP + 1)).unwrap();
        assert_eq!(rotated.sign(ID, TIMESTAMP, BODY).unwrap(), sign(&[SECRET, other]));
        let later = signer(&[SECRET]).unwrap().sign(ID, TIMESTAMP + 1, BODY);
        assert_eq!(rotated.sign(ID, TIMESTAMP + 1, BODY), later);
    }

    #[test]
    fn without_secrets_there_is_no_signature() {
        assert_eq!(signer(&[]).unwrap().sign(ID, TIMESTAMP, BODY), None);
    }

    #[test]
    fn a_bad_secret_is_not_quoted() {
        let short = format!("whsec_{}", STANDARD.encode([1; 23]));
        let long = format!("whsec_{}", STANDARD.encode([1; 65]));
        let odd = format!("whsk_{}", STANDARD.encode([1; 33]));
        let pair = format!("whsk_{}", STANDARD.encode([9; 64]));
        for (text, expected) in [
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", SecretError::Prefix),
            ("whsec_canary!canary", SecretError::Base64),
            (&short, SecretError::HmacLength(23)),
            (&long, SecretError::HmacLength(65)),
            (&odd, SecretError::Ed25519Length(33)),
            (&pair, SecretError::Ed25519Pair),
        ] {
            let error = signer(&[text]).unwrap_err();
            assert_eq!(error, expected);
            assert!(!error.to_string().contains("canary"));
        }
    }

    #[test]
    fn a_generated_secret_is_accepted_and_never_the_same() {
        let (one, two) = (generate_secret(), generate_secret());
        assert_ne!(one.expose(), two.expose());
        signer(&[one.expose(), two.expose()]).unwrap();
    }
}
