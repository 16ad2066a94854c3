//! A login that is under way: from the way to the provider until the way back, for ten minutes at most.
//!
//! Nothing of it is kept here, since anybody may begin one. It is in a cookie of the browser that began it:
//!
//! ```text
//! cookie    <secret>.<ends at>.<return to>.<seal>      base64 for URLs, but for the time, in seconds
//! seal      HMAC-SHA256 of what stands before it, with a key that each start draws
//! state     SHA-256 of "eventrelay oidc state " and the secret
//! nonce     SHA-256 of "eventrelay oidc nonce " and the secret
//! verifier  SHA-256 of "eventrelay oidc verifier " and the secret; the challenge is its SHA-256 (PKCE, S256)
//! ```
//!
//! The provider's answer is taken from the browser alone whose cookie has its `state`: nobody can log another one in as himself. None of the
//! three says anything about the others. A restart ends the logins that are under way; they are begun again.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::return_to::ReturnTo;
use crate::auth::constant_time::are_equal;

/// How long somebody may take at the provider.
pub(crate) const LIFETIME_SECONDS: u64 = 600;
/// Longer than any that is made here.
const MAX_COOKIE_BYTES: usize = 2048;

/// Seals cookies, and knows its own.
pub(super) struct PendingLogins {
    key: Zeroizing<[u8; 32]>,
}

/// A login that is under way.
pub(super) struct PendingLogin {
    secret: Zeroizing<[u8; 32]>,
    ends_at_seconds: u64,
    pub(super) return_to: ReturnTo,
}

impl PendingLogins {
    pub(super) fn new() -> Self {
        Self { key: Zeroizing::new(rand::random()) }
    }

    pub(super) fn begin(return_to: ReturnTo, now_seconds: u64) -> PendingLogin {
        let ends_at_seconds = now_seconds.saturating_add(LIFETIME_SECONDS);
        PendingLogin { secret: Zeroizing::new(rand::random()), ends_at_seconds, return_to }
    }

    /// What the browser keeps.
    pub(super) fn seal(&self, login: &PendingLogin) -> Option<String> {
        let (secret, path) = (encoded(&*login.secret), encoded(login.return_to.as_str().as_bytes()));
        let sealed = format!("{secret}.{}.{path}", login.ends_at_seconds);
        let seal = self.keyed(&sealed)?.finalize().into_bytes();
        Some(format!("{sealed}.{}", encoded(&seal)))
    }

    /// What a browser shows; none where it was not sealed here, or is too old.
    pub(super) fn open(&self, cookie: &str, now_seconds: u64) -> Option<PendingLogin> {
        if cookie.len() > MAX_COOKIE_BYTES {
            return None;
        }
        let (sealed, seal) = cookie.rsplit_once('.')?;
        self.keyed(sealed)?.verify_slice(&decoded(seal)?).ok()?;
        let mut parts = sealed.split('.');
        let secret = Zeroizing::new(<[u8; 32]>::try_from(decoded(parts.next()?)?).ok()?);
        let ends_at_seconds = parts.next()?.parse().ok()?;
        let return_to = ReturnTo::parse(&String::from_utf8(decoded(parts.next()?)?).ok()?).ok()?;
        let is_whole = parts.next().is_none() && now_seconds < ends_at_seconds;
        is_whole.then_some(PendingLogin { secret, ends_at_seconds, return_to })
    }

    /// None never: every length of key is good.
    fn keyed(&self, text: &str) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&*self.key).ok()?;
        mac.update(text.as_bytes());
        Some(mac)
    }
}

impl PendingLogin {
    pub(super) fn state(&self) -> String {
        self.derived(b"eventrelay oidc state ")
    }

    pub(super) fn is_state(&self, shown: &str) -> bool {
        are_equal(shown.as_bytes(), self.state().as_bytes())
    }

    pub(super) fn nonce(&self) -> String {
        self.derived(b"eventrelay oidc nonce ")
    }

    pub(super) fn verifier(&self) -> String {
        self.derived(b"eventrelay oidc verifier ")
    }

    pub(super) fn challenge(&self) -> String {
        encoded(&Sha256::digest(self.verifier()))
    }

    fn derived(&self, label: &[u8]) -> String {
        let mut hasher = Sha256::new_with_prefix(label);
        hasher.update(self.secret.as_slice());
        encoded(&hasher.finalize())
    }
}

impl std::fmt::Debug for PendingLogins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PendingLogins")
    }
}

fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun() -> PendingLogin {
        PendingLogins::begin(ReturnTo::parse("/subscriptions?a=b").unwrap(), 1_000)
    }

    #[test]
    fn a_login_is_what_its_cookie_says_until_it_is_too_old() {
        let (logins, login) = (PendingLogins::new(), begun());
        let cookie = logins.seal(&login).unwrap();
        let opened = logins.open(&cookie, 1_599).unwrap();
        assert_eq!((opened.return_to.as_str(), opened.nonce()), ("/subscriptions?a=b", login.nonce()));
        assert!(opened.is_state(&login.state()) && opened.verifier() == login.verifier());
        assert!(logins.open(&cookie, 1_600).is_none(), "it is too old");
        assert!(PendingLogins::new().open(&cookie, 1_001).is_none(), "another start sealed it");
    }

    #[test]
    fn a_state_is_good_for_its_own_login_alone() {
        let (one, other) = (begun(), begun());
        let state = one.state();
        assert!(one.is_state(&state) && !other.is_state(&state));
        for wrong in ["", &state[1..], &format!("{state}x"), &one.nonce(), &one.verifier()] {
            assert!(!one.is_state(wrong), "{wrong}");
        }
        // What PKCE and the provider ask of a verifier.
        assert!(
            one.verifier().len() == 43 && one.challenge().len() == 43 && one.challenge() != one.verifier()
        );
    }

    #[test]
    fn what_was_changed_by_a_single_character_is_no_cookie_of_ours() {
        let logins = PendingLogins::new();
        let cookie = logins.seal(&begun()).unwrap();
        for place in 0..cookie.len() {
            let mut changed = cookie.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            // The last character of some of the parts has bits that say nothing; those must be as they were made.
            assert!(logins.open(&changed, 1_000).is_none(), "{place}");
        }
        let (sealed, seal) = cookie.rsplit_once('.').unwrap();
        for wrong in ["", ".", "...", sealed, seal, &format!("{cookie}.x"), &format!("{sealed}.")] {
            assert!(logins.open(wrong, 1_000).is_none(), "{wrong}");
        }
    }
}
