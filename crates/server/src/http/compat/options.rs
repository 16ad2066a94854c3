//! Which clients of other systems are served.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The least bytes of a secret that signs tokens: less can be guessed.
const MIN_SECRET_BYTES: usize = 16;
/// The most waits of a schedule, and the longest of them.
const MAX_WAITS: usize = 100;
const MAX_WAIT_MS: u64 = 24 * 60 * 60 * 1000;

/// The `[compat]` section of the configuration. Unknown names are errors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CompatOptions {
    /// Speak to the SDKs of Svix, under `/api/v1`. Default true.
    pub svix: bool,
    /// What signs their tokens; at least 16 bytes. None: only API keys are good.
    pub svix_jwt_secret: Option<JwtSecret>,
    /// A file that holds it.
    pub svix_jwt_secret_file: Option<PathBuf>,
    /// How long a failed delivery to an endpoint of theirs waits, time after time. Default Svix's own: 5 s, 5 m, 30 m, 2 h, 5 h,
    /// 10 h and 10 h.
    pub svix_retry_schedule_ms: Vec<u64>,
    /// Refuse a message of theirs that does not fit the newest schema of its type of events. Default true.
    pub svix_schema_check: bool,
    /// The clients of an idempotent REST ingester: `/events`, `/replay`, `/consumer-groups/set-cursor`. Default true.
    pub ingester: bool,
    /// Whether that ingester's environment (`REDIS_ADDR`, `POSTGRES_DSN`) makes subscriptions. Default true.
    pub ingester_presets: bool,
    /// The clients of a webhook delivery system: `/api/events`, `/api/webhooks`, `/api/dlq`, `/api/metrics`. Default true.
    pub webhooks: bool,
}

/// What signs tokens. Not shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JwtSecret(String);

impl JwtSecret {
    /// A secret of the operator's.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    pub(in crate::http) fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for JwtSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JwtSecret(…)")
    }
}

/// A section that cannot be used: which key, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {why}")]
pub struct CompatOptionsError {
    /// The key.
    pub name: &'static str,
    /// What is wrong.
    pub why: String,
}

impl Default for CompatOptions {
    fn default() -> Self {
        let minute = 60_000;
        let hour = 60 * minute;
        Self {
            svix: true,
            svix_jwt_secret: None,
            svix_jwt_secret_file: None,
            svix_retry_schedule_ms: vec![
                5_000,
                5 * minute,
                30 * minute,
                2 * hour,
                5 * hour,
                10 * hour,
                10 * hour,
            ],
            svix_schema_check: true,
            ingester: true,
            ingester_presets: true,
            webhooks: true,
        }
    }
}

impl CompatOptions {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// The first key that is wrong.
    pub fn validate(&self) -> Result<(), CompatOptionsError> {
        let waits = &self.svix_retry_schedule_ms;
        if !(1..=MAX_WAITS).contains(&waits.len()) || waits.iter().any(|wait| *wait > MAX_WAIT_MS) {
            let why = format!("must be 1 to {MAX_WAITS} waits of at most {MAX_WAIT_MS} (24 hours)");
            return Err(CompatOptionsError { name: "svix_retry_schedule_ms", why });
        }
        self.jwt_secret().map(|_| ())
    }

    /// The secret that signs tokens, if there is one. Blocking: it may read a file.
    ///
    /// # Errors
    /// When both ways to name it are used, the file cannot be read, or it is too short.
    pub fn jwt_secret(&self) -> Result<Option<JwtSecret>, CompatOptionsError> {
        let (name, secret) = match (&self.svix_jwt_secret, &self.svix_jwt_secret_file) {
            (None, None) => return Ok(None),
            (Some(secret), None) => ("svix_jwt_secret", secret.clone()),
            (None, Some(path)) => {
                let name = "svix_jwt_secret_file";
                let text = std::fs::read_to_string(path);
                let text = text.map_err(|error| CompatOptionsError {
                    name,
                    why: format!("{}: {error}", path.display()),
                })?;
                (name, JwtSecret(text.trim().to_owned()))
            }
            (Some(_), Some(_)) => {
                let why = "and svix_jwt_secret say the same: set one of them".to_owned();
                return Err(CompatOptionsError { name: "svix_jwt_secret_file", why });
            }
        };
        if secret.0.len() < MIN_SECRET_BYTES {
            let why = format!("must have at least {MIN_SECRET_BYTES} bytes");
            return Err(CompatOptionsError { name, why });
        }
        Ok(Some(secret))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_named_once_is_long_enough_and_is_not_shown() {
        let options = |secret: Option<&str>, file: Option<&str>| CompatOptions {
            svix_jwt_secret: secret.map(|text| JwtSecret(text.to_owned())),
            svix_jwt_secret_file: file.map(PathBuf::from),
            ..CompatOptions::default()
        };
        assert_eq!(options(None, None).jwt_secret(), Ok(None));
        let good = options(Some("0123456789canary"), None);
        assert!(good.validate().is_ok() && !format!("{good:?}").contains("canary"));
        assert_eq!(options(Some("short"), None).validate().unwrap_err().name, "svix_jwt_secret");
        let twice = options(Some("0123456789abcdef"), Some("/secret"));
        assert_eq!(twice.validate().unwrap_err().name, "svix_jwt_secret_file");
        assert!(options(None, Some("/no/such/file")).validate().unwrap_err().why.contains("/no/such/file"));
    }
}
