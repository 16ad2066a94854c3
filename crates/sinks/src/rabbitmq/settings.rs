//! What a RabbitMQ subscription may set, with limits and defaults.

use std::path::PathBuf;

use serde::Deserialize;

use crate::content_mode::ContentMode;
use crate::setting_files::{SecretSource, TlsFiles};
use crate::{Environment, Secret, SinkError, settings};

/// The kind's name.
pub const KIND: &str = "rabbitmq";

/// The settings of a RabbitMQ sink. Nothing in it that may be secret is shown by `Debug`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The brokers of one cluster: 1 to 16, as `amqp://host:port` (port 5672 where none is given) or `amqps://host:port`
    /// (5671). All of the same scheme; they are tried in this order.
    pub servers: Vec<String>,
    /// The virtual host. Default `/`.
    #[serde(default = "default_vhost")]
    pub vhost: String,
    /// The exchange, made from the event. Default empty: the default exchange, whose routing keys are the names of queues.
    #[serde(default)]
    pub exchange: String,
    /// The routing key, made from the event: `{type}`.
    pub routing_key: String,
    /// Whether an event that is routed to no queue is refused. Without it, the broker drops such an event and calls that a
    /// success. Default true.
    #[serde(default = "default_true")]
    pub mandatory: bool,
    /// How a message carries an event. Default `binary`.
    #[serde(default)]
    pub content_mode: ContentMode,
    /// What the headers of a binary message begin with. Default `cloudEvents_`.
    #[serde(default)]
    pub attribute_prefix: AttributePrefix,

    /// The user. Default `guest`.
    #[serde(default = "default_user")]
    pub user: String,
    /// The user's password.
    pub password: Option<Secret>,
    /// A file with the password; only in trusted settings.
    pub password_file: Option<PathBuf>,
    /// An environment variable with the password; only in trusted settings.
    pub password_env: Option<String>,
    /// Certificates, where the scheme is `amqps`.
    #[serde(default)]
    pub tls: TlsFiles,

    /// How often a quiet connection shows that it is alive: 1 to 600 s; the broker may ask for more often. A connection is
    /// dead after twice that without a word. Default 20.
    #[serde(default = "default_heartbeat_seconds")]
    pub heartbeat_seconds: u16,
    /// How long a batch may take, from name look-up to the last confirm: 1 to 120,000 ms. Default 15,000.
    #[serde(default = "settings::defaults::timeout_ms")]
    pub timeout_ms: u64,
    /// How long look-up, connection, TLS and login may take of that: 1 to 120,000 ms. Default 5,000.
    #[serde(default = "settings::defaults::connect_timeout_ms")]
    pub connect_timeout_ms: u64,
    /// The most events of one batch: 1 to 10,000. Default 500.
    #[serde(default = "default_batch_events")]
    pub batch_events: usize,
    /// The most bytes of stored events in one batch: 1,024 to 67,108,864. Default 4,194,304.
    #[serde(default = "settings::defaults::batch_bytes")]
    pub batch_bytes: usize,
    /// The most batches at once, each on a channel of its own: 1 to 256. Others wait. Default 16.
    #[serde(default = "default_max_channels")]
    pub max_channels: u16,
}

/// What the headers of a binary message begin with. The specification has both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum AttributePrefix {
    /// `cloudEvents_id`: preferred, since JMS clients can read it.
    #[default]
    #[serde(rename = "cloudEvents_")]
    Underscore,
    /// `cloudEvents:id`: what the binding had first, and older receivers know.
    #[serde(rename = "cloudEvents:")]
    Colon,
}

impl AttributePrefix {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Underscore => "cloudEvents_",
            Self::Colon => "cloudEvents:",
        }
    }
}

const MAX_SERVERS: usize = 16;
const MAX_TIMEOUT_MS: u64 = 120_000;
const MAX_BATCH_EVENTS: usize = 10_000;
const BATCH_BYTES: std::ops::RangeInclusive<usize> = 1024..=64 * 1024 * 1024;
const MAX_CHANNELS: u16 = 256;
const MAX_HEARTBEAT_SECONDS: u16 = 600;
/// AMQP's short strings.
pub(super) const MAX_NAME_BYTES: usize = 255;

impl Settings {
    /// Refuses numbers and names outside their limits.
    pub(super) fn check(&self) -> Result<(), SinkError> {
        settings::within(KIND, "timeout_ms", &self.timeout_ms, 1..=MAX_TIMEOUT_MS)?;
        settings::within(KIND, "connect_timeout_ms", &self.connect_timeout_ms, 1..=MAX_TIMEOUT_MS)?;
        settings::within(KIND, "batch_events", &self.batch_events, 1..=MAX_BATCH_EVENTS)?;
        settings::within(KIND, "batch_bytes", &self.batch_bytes, BATCH_BYTES)?;
        settings::within(KIND, "max_channels", &self.max_channels, 1..=MAX_CHANNELS)?;
        settings::within(KIND, "heartbeat_seconds", &self.heartbeat_seconds, 1..=MAX_HEARTBEAT_SECONDS)?;
        if !(1..=MAX_SERVERS).contains(&self.servers.len()) {
            return Err(settings::refused(KIND, "servers", format!("must be 1 to {MAX_SERVERS}")));
        }
        for (field, name) in [("vhost", &self.vhost), ("user", &self.user)] {
            settings::within(KIND, field, &name.len(), 1..=MAX_NAME_BYTES)?;
        }
        Ok(())
    }

    /// The password, wherever it is kept.
    pub(super) fn read_password(&self, environment: &Environment) -> Result<Secret, SinkError> {
        let source = SecretSource {
            field: "password",
            value: self.password.as_ref(),
            file: self.password_file.as_deref(),
            env: self.password_env.as_deref(),
        };
        let password = source.read(KIND, environment)?;
        password.ok_or_else(|| {
            settings::refused(KIND, "password", "is missing, and so are password_file and password_env")
        })
    }
}

fn default_vhost() -> String {
    "/".to_owned()
}

fn default_user() -> String {
    "guest".to_owned()
}

fn default_true() -> bool {
    true
}

fn default_heartbeat_seconds() -> u16 {
    20
}

fn default_batch_events() -> usize {
    500
}

fn default_max_channels() -> u16 {
    16
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(extra: &Value) -> Result<Settings, String> {
        let mut value =
            json!({"servers": ["amqp://broker.example.com"], "routing_key": "{type}", "password": "guest"});
        value.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let settings: Settings = settings::parse(KIND, &value).map_err(|error| error.to_string())?;
        settings.check().map_err(|error| error.to_string())?;
        settings.read_password(&Environment::default()).map_err(|error| error.to_string())?;
        Ok(settings)
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let settings = check(&json!({})).unwrap();
        assert_eq!((settings.timeout_ms, settings.connect_timeout_ms), (15_000, 5_000));
        assert_eq!(
            (settings.batch_events, settings.batch_bytes, settings.max_channels),
            (500, 4_194_304, 16)
        );
        assert_eq!(
            (settings.vhost.as_str(), settings.exchange.as_str(), settings.user.as_str()),
            ("/", "", "guest")
        );
        assert_eq!((settings.mandatory, settings.heartbeat_seconds), (true, 20));
        assert_eq!(
            (settings.content_mode, settings.attribute_prefix),
            (ContentMode::Binary, AttributePrefix::Underscore)
        );
    }

    #[test]
    fn an_error_names_the_field() {
        for (extra, field) in [
            (json!({"servers": []}), "servers"),
            (json!({"timeout_ms": 0}), "timeout_ms"),
            (json!({"connect_timeout_ms": 120_001}), "connect_timeout_ms"),
            (json!({"batch_events": 0}), "batch_events"),
            (json!({"batch_bytes": 1}), "batch_bytes"),
            (json!({"max_channels": 257}), "max_channels"),
            (json!({"heartbeat_seconds": 0}), "heartbeat_seconds"),
            (json!({"vhost": ""}), "vhost"),
            (json!({"user": "u".repeat(256)}), "user"),
            (json!({"attribute_prefix": "ce-"}), "attribute_prefix"),
            (json!({"password": null}), "password"),
            (json!({"password_env": "P"}), "password"),
            (json!({"password": null, "password_file": "/etc/passwd"}), "password_file"),
            (json!({"queue": "q"}), "queue"),
        ] {
            let error = check(&extra).unwrap_err();
            assert!(error.contains(&format!("`{field}`")), "{extra}: {error}");
        }
        assert_eq!(
            check(&json!({"attribute_prefix": "cloudEvents:"})).unwrap().attribute_prefix.text(),
            "cloudEvents:"
        );
    }

    #[test]
    fn nothing_secret_is_shown() {
        assert!(!format!("{:?}", check(&json!({"password": "canary"})).unwrap()).contains("canary"));
        assert!(!check(&json!({"password": ["canary"]})).unwrap_err().contains("canary"));
    }
}
