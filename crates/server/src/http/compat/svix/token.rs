//! Tokens: JWTs signed with HMAC-SHA256, as Svix makes them.
//!
//! | `sub` | reaches |
//! |---|---|
//! | `org_…` | everything |
//! | `app_…` | one application: its endpoints can be changed and its messages read, but none sent |
//!
//! Tokens that a Svix server has signed with the same secret are good here, but for those of applications, which have other ids.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::super::options::JwtSecret;
use super::ids;
use crate::auth::now_micros;

/// The organization of tokens that are made here: there is one only.
const ORGANIZATION: &str = "org_000000000000000000000000000";
const ISSUER: &str = "eventrelay";
/// The longest token that is looked at.
const MAX_CHARS: usize = 4096;
/// How far clocks may differ.
const LEEWAY_SECONDS: f64 = 60.0;

/// Whom a token reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    /// Everything.
    Organization {
        /// Its id, which tells nothing: there is one only.
        id: String,
    },
    /// One application.
    Application {
        /// Its id.
        id: String,
        /// When the token was made.
        issued_at_micros: u64,
        /// Whether it changes nothing.
        is_read_only: bool,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    typ: Option<String>,
}

/// Times are Unix seconds, and may have fractions.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    sub: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    organization: Option<String>,
    #[serde(default)]
    iat: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exp: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iss: Option<String>,
    #[serde(default, rename = "readOnly")]
    read_only: bool,
}

/// A token that reaches everything.
#[derive(Clone)]
pub struct OrganizationToken(String);

impl OrganizationToken {
    /// What the SDKs are given.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for OrganizationToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OrganizationToken(…)")
    }
}

/// Signs a token that reaches everything.
#[must_use]
pub fn organization_token(secret: &JwtSecret, lifetime: Option<Duration>) -> OrganizationToken {
    OrganizationToken(sign(secret, &claims(ORGANIZATION, lifetime)))
}

/// Signs a token that reaches one application.
pub(super) fn application_token(secret: &JwtSecret, id: &str, lifetime: Duration, read_only: bool) -> String {
    let organization = Some(ORGANIZATION.to_owned());
    sign(secret, &Claims { organization, read_only, ..claims(id, Some(lifetime)) })
}

/// Whether a text has the form of a token, which no API key has.
pub(super) fn is_one(text: &str) -> bool {
    text.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// Whom a token reaches; none: it is not good.
pub(super) fn verify(secret: &JwtSecret, token: &str) -> Option<Subject> {
    if token.len() > MAX_CHARS {
        return None;
    }
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    if header.alg != "HS256" {
        return None;
    }
    let mut mac = keyed(secret);
    mac.update(signed.as_bytes());
    // In a time that tells nothing.
    mac.verify_slice(&URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
    let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    let now = seconds(now_micros());
    let is_over = claims.exp.is_some_and(|end| now >= end);
    let is_early = claims.nbf.is_some_and(|begin| now + LEEWAY_SECONDS < begin);
    if is_over || is_early {
        return None;
    }
    subject(claims)
}

fn subject(claims: Claims) -> Option<Subject> {
    if claims.sub.starts_with("org_") {
        return Some(Subject::Organization { id: claims.sub });
    }
    let is_application = claims.sub.starts_with(ids::APPLICATION) && claims.organization.is_some();
    is_application.then_some(Subject::Application {
        id: claims.sub,
        issued_at_micros: micros(claims.iat),
        is_read_only: claims.read_only,
    })
}

fn claims(sub: &str, lifetime: Option<Duration>) -> Claims {
    let now = seconds(now_micros());
    Claims {
        sub: sub.to_owned(),
        organization: None,
        iat: now,
        nbf: None,
        exp: lifetime.map(|lifetime| now + lifetime.as_secs_f64()),
        iss: Some(ISSUER.to_owned()),
        read_only: false,
    }
}

fn sign(secret: &JwtSecret, claims: &Claims) -> String {
    let header = Header { alg: "HS256".to_owned(), typ: Some("JWT".to_owned()) };
    // Structs of texts and finite numbers always serialise.
    let part = |json: serde_json::Result<Vec<u8>>| URL_SAFE_NO_PAD.encode(json.unwrap_or_default());
    let signed = format!("{}.{}", part(serde_json::to_vec(&header)), part(serde_json::to_vec(claims)));
    let mut mac = keyed(secret);
    mac.update(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

fn keyed(secret: &JwtSecret) -> Hmac<Sha256> {
    let bytes = secret.bytes();
    // HMAC takes keys of any length: one that is longer than a block is hashed first.
    Hmac::new_from_slice(bytes).unwrap_or_else(|_| Hmac::new(&hmac::digest::Key::<Hmac<Sha256>>::default()))
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1_000_000.0
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast saturates")]
fn micros(seconds: f64) -> u64 {
    (seconds * 1_000_000.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> JwtSecret {
        JwtSecret::new(text.to_owned())
    }

    #[test]
    fn a_token_is_good_with_its_own_secret_and_for_its_time() {
        let ours = secret("0123456789abcdef");
        let token = organization_token(&ours, None);
        assert!(matches!(verify(&ours, token.expose()), Some(Subject::Organization { .. })));
        assert_eq!(verify(&secret("0123456789abcdeg"), token.expose()), None);
        let over = organization_token(&ours, Some(Duration::ZERO));
        assert_eq!(verify(&ours, over.expose()), None);
        let before = now_micros();
        let token = application_token(&ours, "app_1", Duration::from_secs(60), true);
        let Some(Subject::Application { id, issued_at_micros, is_read_only }) = verify(&ours, &token) else {
            panic!("not good")
        };
        assert!(id == "app_1" && is_read_only && issued_at_micros + 2 >= before);
    }

    #[test]
    fn a_token_of_another_library_is_good() {
        // Its claims are those of Svix's server; signed with Python's hmac.
        let token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpYXQiOjE3MDAwMDAwMDAsIm5iZiI6MTcwMDAwMDAwMCwiaXNzIjoic3ZpeC1zZXJ2ZXIiLCJzdWIiOiJvcmdfMjNyYjhZZEdxTVQwcUl6cGdHd2RYZkhpck11In0.7R71Bmm3OBXdooohKw-fAVEAPYFS2qVXtGy8ruvwmGw";
        assert!(matches!(verify(&secret("secret-of-svix-16"), token), Some(Subject::Organization { .. })));
    }

    #[test]
    fn what_is_not_signed_as_it_must_be_is_not_good() {
        let ours = secret("0123456789abcdef");
        let good = organization_token(&ours, None);
        let (_, rest) = good.expose().split_once('.').unwrap();
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        let (body, _) = rest.split_once('.').unwrap();
        for token in
            [format!("{none}.{rest}"), format!("{none}.{body}."), "a.b.c".to_owned(), "..".to_owned()]
        {
            assert_eq!(verify(&ours, &token), None, "{token}");
        }
        let stranger = sign(&ours, &claims("user_1", None));
        let homeless = sign(&ours, &claims("app_1", None));
        assert_eq!((verify(&ours, &stranger), verify(&ours, &homeless)), (None, None));
    }
}
