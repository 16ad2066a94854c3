//! Passwords: argon2id with OWASP's parameters (19 MiB, 2 passes, 1 lane), off the runtime, a few at a time.
//!
//! A hash takes tens of milliseconds and 19 MiB. So [`AT_ONCE`] are made at the same time, [`MOST_WAITING`] wait for their turn,
//! and whoever comes beyond them is told to come back. A user who is not there costs what a user costs who is.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Verified for users who are not there, or have no password; that it matches none does not matter.
const STAND_IN: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const SALT_BYTES: usize = 16;
const AT_ONCE: usize = 2;
const MOST_WAITING: usize = 64;
/// Fewer are guessed.
const LEAST_CHARS: usize = 12;
/// More would only make work.
const MOST_BYTES: usize = 1024;

/// A password as somebody typed it. Nothing shows it, and its memory is wiped when it is dropped.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

/// A text that is no password to choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a password has at least {LEAST_CHARS} characters and at most {MOST_BYTES} bytes")]
pub struct UnfitPassword;

/// Why a password was neither hashed nor verified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Too many others wait.
    #[error("too many passwords wait to be verified")]
    Busy,
    /// It should not happen.
    #[error("a password could not be hashed: {0}")]
    Failed(String),
}

impl Password {
    /// What somebody typed to log in: whatever it is.
    #[must_use]
    pub fn typed(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// What somebody wants for a password.
    ///
    /// # Errors
    /// When it is too short or too long; the error does not quote it.
    pub fn choose(text: String) -> Result<Self, UnfitPassword> {
        let password = Self::typed(text);
        let fits = password.0.chars().count() >= LEAST_CHARS && password.0.len() <= MOST_BYTES;
        if fits { Ok(password) } else { Err(UnfitPassword) }
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Hashes and verifies.
#[derive(Debug)]
pub(super) struct Passwords {
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

impl Passwords {
    pub(super) fn new() -> Self {
        Self {
            places: Arc::new(Semaphore::new(AT_ONCE + MOST_WAITING)),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// The hash to store, as a PHC string.
    ///
    /// # Errors
    /// When too many wait.
    pub(super) async fn hash(&self, password: Password) -> Result<String, PasswordError> {
        self.in_turn(move || hash_blocking(&password)).await?
    }

    /// Whether a password is the one that was hashed. With no hash it is not, which takes as long.
    ///
    /// # Errors
    /// When too many wait.
    pub(super) async fn verify(
        &self,
        stored: Option<String>,
        password: Password,
    ) -> Result<bool, PasswordError> {
        if password.0.len() > MOST_BYTES {
            return Ok(false);
        }
        let there_is_one = stored.is_some();
        let stored = stored.unwrap_or_else(|| STAND_IN.to_owned());
        let matches = self.in_turn(move || verify_blocking(&stored, &password)).await??;
        Ok(there_is_one && matches)
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PasswordError> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| PasswordError::Busy)?;
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.map_err(|error| PasswordError::Failed(error.to_string()))?;
        // Both are the work's own: it goes on when nobody waits for it any more.
        let work = move || {
            let done = work();
            drop((place, turn));
            done
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|error| PasswordError::Failed(error.to_string()))
    }
}

fn hasher() -> Result<Argon2<'static>, PasswordError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(failed)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash_blocking(password: &Password) -> Result<String, PasswordError> {
    let salt = rand::random::<[u8; SALT_BYTES]>();
    let hash: argon2::password_hash::phc::PasswordHash =
        hasher()?.hash_password_with_salt(password.0.as_bytes(), &salt).map_err(failed)?;
    Ok(hash.to_string())
}

/// With the parameters that the hash was made with.
fn verify_blocking(stored: &str, password: &Password) -> Result<bool, PasswordError> {
    let stored = PasswordHash::new(stored).map_err(failed)?;
    match hasher()?.verify_password(password.0.as_bytes(), &stored) {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

#[allow(clippy::needless_pass_by_value, reason = "it is what map_err hands over")]
fn failed(error: impl ToString) -> PasswordError {
    PasswordError::Failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Password {
        Password::typed(text.to_owned())
    }

    #[tokio::test]
    async fn a_password_is_known_by_its_hash_alone() {
        let passwords = Passwords::new();
        let hash = passwords.hash(typed("correct horse battery")).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$") && !hash.contains("horse"), "{hash}");
        let other = passwords.hash(typed("correct horse battery")).await.unwrap();
        assert_ne!(hash, other, "each has its own salt");
        assert!(passwords.verify(Some(hash.clone()), typed("correct horse battery")).await.unwrap());
        assert!(!passwords.verify(Some(hash.clone()), typed("correct horse batterx")).await.unwrap());
        assert!(!passwords.verify(Some(hash), typed("")).await.unwrap());
        assert!(!passwords.verify(None, typed("correct horse battery")).await.unwrap());
        assert!(passwords.verify(Some("$argon2id$".to_owned()), typed("x")).await.is_err());
    }

    #[tokio::test]
    async fn who_comes_when_too_many_wait_is_sent_away() {
        let passwords = Passwords::new();
        let _all = passwords.places.try_acquire_many(66).unwrap();
        assert_eq!(passwords.verify(None, typed("x")).await, Err(PasswordError::Busy));
    }

    #[test]
    fn what_is_too_short_or_too_long_is_not_chosen() {
        assert!(Password::choose("ä".repeat(12)).is_ok());
        assert_eq!(Password::choose("x".repeat(11)).unwrap_err(), UnfitPassword);
        assert_eq!(Password::choose("x".repeat(1025)).unwrap_err(), UnfitPassword);
        assert_eq!(format!("{:?}", typed("canary")), "[redacted]");
    }
}
