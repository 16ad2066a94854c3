//! `[auth.login]`: how users log in, and how long that lasts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::lockout::LockoutPolicy;
use super::sessions::SessionTimes;
use crate::limits::{LimitCheck, OptionsError};

/// How users log in, and how long that lasts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoginOptions {
    /// How long a session lasts without a request.
    pub session_idle_timeout_seconds: u64,
    /// How long a session lasts however much it is used.
    pub session_lifetime_seconds: u64,
    /// Whether the session's cookie asks for TLS also where HTTP is spoken in the clear: for a proxy that speaks TLS.
    pub always_secure_cookie: bool,
    /// The failed login of a user after which the next has to wait.
    pub failures_before_lockout: u32,
    /// The failed login from an address after which the next has to wait.
    pub address_failures_before_lockout: u32,
    /// How long the first wait is; each further failure doubles it.
    pub first_lockout_ms: u64,
    /// The longest wait.
    pub longest_lockout_ms: u64,
}

impl Default for LoginOptions {
    fn default() -> Self {
        Self {
            session_idle_timeout_seconds: 3600,
            session_lifetime_seconds: 12 * 3600,
            always_secure_cookie: false,
            failures_before_lockout: 5,
            address_failures_before_lockout: 20,
            first_lockout_ms: 1_000,
            longest_lockout_ms: 15 * 60 * 1_000,
        }
    }
}

/// A month.
const LONGEST_SESSION_SECONDS: u64 = 31 * 24 * 3600;
/// As long as failures are remembered.
const LONGEST_LOCKOUT_MS: u64 = 3600 * 1_000;

impl LoginOptions {
    /// Checks that the limits are possible and fit each other.
    ///
    /// # Errors
    /// The first limit that does not.
    pub fn validate(&self) -> Result<(), OptionsError> {
        let check = LimitCheck { section: "auth.login" };
        check.none_zero([
            ("session_idle_timeout_seconds", self.session_idle_timeout_seconds),
            ("session_lifetime_seconds", self.session_lifetime_seconds),
            ("failures_before_lockout", u64::from(self.failures_before_lockout)),
            ("address_failures_before_lockout", u64::from(self.address_failures_before_lockout)),
            ("first_lockout_ms", self.first_lockout_ms),
        ])?;
        let lifetime = self.session_lifetime_seconds;
        if lifetime > LONGEST_SESSION_SECONDS {
            return Err(check.error("session_lifetime_seconds", &lifetime, "at most 31 days"));
        }
        if self.session_idle_timeout_seconds > lifetime {
            let idle = self.session_idle_timeout_seconds;
            let expected = "at most session_lifetime_seconds";
            return Err(check.error("session_idle_timeout_seconds", &idle, expected));
        }
        let longest = self.longest_lockout_ms;
        if !(self.first_lockout_ms..=LONGEST_LOCKOUT_MS).contains(&longest) {
            let expected = "first_lockout_ms to one hour";
            return Err(check.error("longest_lockout_ms", &longest, expected));
        }
        Ok(())
    }

    pub(super) fn session_times(&self) -> SessionTimes {
        SessionTimes {
            idle: Duration::from_secs(self.session_idle_timeout_seconds),
            lifetime: Duration::from_secs(self.session_lifetime_seconds),
        }
    }

    pub(super) fn lockout_of_users(&self) -> LockoutPolicy {
        LockoutPolicy {
            free: self.failures_before_lockout,
            first_micros: self.first_lockout_ms.saturating_mul(1_000),
            longest_micros: self.longest_lockout_ms.saturating_mul(1_000),
        }
    }

    pub(super) fn lockout_of_addresses(&self) -> LockoutPolicy {
        LockoutPolicy { free: self.address_failures_before_lockout, ..self.lockout_of_users() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_cannot_be_are_refused_by_name() {
        let refused = |options: LoginOptions| options.validate().err().map(|error| error.name);
        let default = LoginOptions::default;
        assert_eq!(refused(default()), None);
        assert_eq!(
            refused(LoginOptions { session_idle_timeout_seconds: 50_000, ..default() }),
            Some("session_idle_timeout_seconds")
        );
        let ages = LoginOptions { session_lifetime_seconds: u64::MAX, ..default() };
        assert_eq!(refused(ages), Some("session_lifetime_seconds"));
        let never = LoginOptions { failures_before_lockout: 0, ..default() };
        assert_eq!(refused(never), Some("failures_before_lockout"));
        assert_eq!(refused(LoginOptions { longest_lockout_ms: 1, ..default() }), Some("longest_lockout_ms"));
    }
}
