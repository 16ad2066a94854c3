//! What a browser holds that is logged in, and what its pages show with every change.
//!
//! ```text
//! session token  43 characters: 256 random bits, base64 for URLs without padding (RFC 4648, section 5)
//! kept here      SHA-256 of the token
//! CSRF token     43 characters: SHA-256 of "eventrelay csrf " and the token, likewise
//! ```
//!
//! The cookie with the session token cannot be read by pages, and comes with requests that another site's page makes, too. The CSRF token
//! is known only to who can read the answers of this server. It says nothing about the session token, and needs no storage.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::constant_time::are_equal;

const CHARS: usize = 43;
const CSRF_LABEL: &[u8] = b"eventrelay csrf ";

/// The token of a session. Nothing shows it but [`SessionToken::expose`], and its memory is wiped when it is dropped.
#[derive(Clone)]
pub struct SessionToken(Zeroizing<String>);

impl SessionToken {
    /// A new one, from the process's generator of secrets.
    #[must_use]
    pub(super) fn generate() -> Self {
        let secret = Zeroizing::new(rand::random::<[u8; 32]>());
        Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(secret)))
    }

    /// Takes a text as a token if it has a token's form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let has_form = text.len() == CHARS && text.bytes().all(legal);
        has_form.then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// The token itself, for the cookie.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// By what the session is known here.
    #[must_use]
    pub(super) fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }

    /// What the pages of the session show.
    #[must_use]
    pub fn csrf_token(&self) -> String {
        let mut hasher = Sha256::new_with_prefix(CSRF_LABEL);
        hasher.update(self.0.as_bytes());
        URL_SAFE_NO_PAD.encode(hasher.finalize())
    }

    /// Whether a text is the CSRF token, in a time that does not depend on where it differs.
    #[must_use]
    pub fn is_csrf_token(&self, shown: &[u8]) -> bool {
        are_equal(shown, self.csrf_token().as_bytes())
    }
}

impl std::fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_and_its_csrf_token_is_its_own() {
        let (one, two) = (SessionToken::generate(), SessionToken::generate());
        assert_eq!(SessionToken::parse(one.expose()).unwrap().hash(), one.hash());
        assert_ne!(one.hash(), two.hash());
        let csrf = one.csrf_token();
        assert!(one.is_csrf_token(csrf.as_bytes()) && !two.is_csrf_token(csrf.as_bytes()));
        assert_ne!(csrf, one.expose());
        for wrong in ["", &csrf[1..], &format!("{csrf}x"), one.expose()] {
            assert!(!one.is_csrf_token(wrong.as_bytes()), "{wrong}");
        }
        assert_eq!(format!("{one:?}"), "[redacted]");
    }

    #[test]
    fn what_has_not_the_form_of_a_token_is_none() {
        let token = SessionToken::generate();
        for wrong in ["", &token.expose()[1..], &format!("{}x", token.expose()), &"=".repeat(43)] {
            assert!(SessionToken::parse(wrong).is_none(), "{wrong}");
        }
    }
}
