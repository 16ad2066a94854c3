//! What a provider says of who has logged in there, signed: OpenID Connect Core 1.0, section 3.1.3.7.
//!
//! | claim | is good where |
//! |---|---|
//! | `iss` | it is the issuer |
//! | `aud` | the client is among it |
//! | `azp` | it is the client, or is left out and the client is all of `aud` |
//! | `exp` | it is not over, but for [`LEEWAY_SECONDS`] |
//! | `iat`, `nbf` | it has begun, likewise; `nbf` may be left out |
//! | `nonce` | it is that of the login: the token was made for it |
//! | `sub` | it has 1 to 255 characters |
//!
//! The signature is looked at first; which ones are good stands in [`super::signing_keys`].

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::claims::Claims;
use super::signing_keys::{SigningAlgorithm, SigningKeys};
use crate::auth::constant_time::are_equal;

/// How far clocks may differ.
const LEEWAY_SECONDS: f64 = 60.0;
/// The longest token that is looked at.
const MAX_BYTES: usize = 64 * 1024;
const MAX_SUBJECT_CHARS: usize = 255;

/// A token that is not looked at yet.
pub(super) struct IdToken<'a> {
    signed: &'a str,
    payload: &'a str,
    signature: &'a str,
    pub(super) algorithm: SigningAlgorithm,
    pub(super) key_id: Option<String>,
}

/// What a good token says.
#[derive(Debug)]
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) nonce: &'a str,
    pub(super) now_seconds: u64,
}

/// Why a token is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("it is no signed token")]
    Malformed,
    #[error("it is signed in a way that is not believed")]
    Algorithm,
    #[error("the provider has no such key")]
    UnknownKey,
    #[error("the signature is wrong")]
    Signature,
    #[error("it is of another issuer")]
    Issuer,
    #[error("it is for another client")]
    Audience,
    #[error("its time is over")]
    Expired,
    #[error("its time has not begun")]
    NotYet,
    #[error("it is for another login")]
    Nonce,
    #[error("it names nobody")]
    Subject,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    /// What must be understood, and is not.
    #[serde(default)]
    crit: Option<Value>,
}

#[derive(Deserialize)]
struct OwnClaims {
    iss: String,
    sub: String,
    aud: Audience,
    #[serde(default)]
    azp: Option<String>,
    exp: f64,
    iat: f64,
    #[serde(default)]
    nbf: Option<f64>,
    #[serde(default)]
    nonce: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl<'a> IdToken<'a> {
    /// Takes a token apart, and believes nothing of it.
    ///
    /// # Errors
    /// When it has not the form of one, or is not signed in one of the ways that are believed.
    pub(super) fn parse(token: &'a str) -> Result<Self, TokenError> {
        if token.len() > MAX_BYTES {
            return Err(TokenError::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        let header: Header = decoded(header).ok_or(TokenError::Malformed)?;
        if header.crit.is_some() {
            return Err(TokenError::Algorithm);
        }
        let algorithm = SigningAlgorithm::from_name(&header.alg).ok_or(TokenError::Algorithm)?;
        Ok(Self { signed, payload, signature, algorithm, key_id: header.kid })
    }

    /// Whether there is a key for it.
    pub(super) fn has_key_in(&self, keys: &SigningKeys) -> bool {
        keys.find(self.key_id.as_deref(), self.algorithm).is_some()
    }

    /// What it says of whom: the subject, and all claims.
    ///
    /// # Errors
    /// When it is not good.
    pub(super) fn verify(
        &self,
        keys: &SigningKeys,
        expected: &Expected<'_>,
    ) -> Result<(String, Claims), TokenError> {
        let key = keys.find(self.key_id.as_deref(), self.algorithm).ok_or(TokenError::UnknownKey)?;
        if !key.verifies(self.signed, self.signature, self.algorithm) {
            return Err(TokenError::Signature);
        }
        let claims: Map<String, Value> = decoded(self.payload).ok_or(TokenError::Malformed)?;
        let own = OwnClaims::deserialize(Value::Object(claims.clone())).map_err(|_| TokenError::Malformed)?;
        own.check(expected)?;
        Ok((own.sub, Claims(claims)))
    }
}

impl OwnClaims {
    #[allow(clippy::cast_precision_loss, reason = "a time in seconds")]
    fn check(&self, expected: &Expected<'_>) -> Result<(), TokenError> {
        if self.iss != expected.issuer {
            return Err(TokenError::Issuer);
        }
        let is_client = |name: &String| name == expected.client_id;
        let (is_among, is_only) = match &self.aud {
            Audience::One(one) => (is_client(one), is_client(one)),
            Audience::Many(many) => (many.iter().any(is_client), many.iter().all(is_client)),
        };
        if !is_among || !self.azp.as_ref().map_or(is_only, is_client) {
            return Err(TokenError::Audience);
        }
        let now = expected.now_seconds as f64;
        if now >= self.exp + LEEWAY_SECONDS {
            return Err(TokenError::Expired);
        }
        if self.iat.max(self.nbf.unwrap_or(f64::MIN)) > now + LEEWAY_SECONDS {
            return Err(TokenError::NotYet);
        }
        let nonce = self.nonce.as_deref().unwrap_or_default();
        if !are_equal(nonce.as_bytes(), expected.nonce.as_bytes()) {
            return Err(TokenError::Nonce);
        }
        let length = self.sub.chars().count();
        if !(1..=MAX_SUBJECT_CHARS).contains(&length) || self.sub.contains(char::is_control) {
            return Err(TokenError::Subject);
        }
        Ok(())
    }
}

fn decoded<T: for<'de> Deserialize<'de>>(part: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

#[cfg(test)]
mod tests;
