//! What a Kafka subscription may set, with limits and defaults.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::login::Mechanism;
use crate::setting_files::SecretSource;
use crate::settings::{refused, within};
use crate::{Environment, Secret, SinkError, TlsFiles};

/// The kind's name.
pub const KIND: &str = "kafka";

/// The settings of a Kafka sink.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Some brokers of the cluster, as `host:port`; the others are learned from them. 1 to 32. Port 9092 where none is given.
    pub brokers: Vec<String>,
    /// The topic, or a template that names one for each event: `orders` or `{tenant}.{type}`.
    pub topic: String,
    /// What becomes of an event whose topic is not there. Default `retry`.
    #[serde(default)]
    pub unknown_topic: UnknownTopic,
    /// Let the brokers create a missing topic, where they are set up to. Default false.
    #[serde(default)]
    pub auto_create_topics: bool,
    /// How an event becomes a message. Default `binary`.
    #[serde(default)]
    pub format: Format,
    /// More headers of each message; the values are templates. At most 32, 16 KiB together.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Which partition a key has. Default `murmur2`.
    #[serde(default)]
    pub partitioner: Partitioner,
    /// How batches are compressed. Default `none`.
    #[serde(default)]
    pub compression: Compression,
    /// How long a message may wait for others to share a request with: up to 1,000 ms. Default 1.
    #[serde(default = "default_linger_ms")]
    pub linger_ms: u64,
    /// The most events of one call: 1 to 10,000. Default 1,000.
    #[serde(default = "crate::settings::defaults::batch_events")]
    pub batch_events: usize,
    /// The most bytes of one call: up to 64 MiB. Default 4 MiB.
    #[serde(default = "crate::settings::defaults::batch_bytes")]
    pub batch_bytes: usize,
    /// The largest message, with its headers, and the largest request: 10,000 to 100,000,000 bytes. Default 1,000,000,
    /// which is below what brokers take by default.
    #[serde(default = "default_max_message_bytes")]
    pub max_message_bytes: usize,
    /// About how much memory messages may take until brokers have confirmed them: 1 MiB to 1 GiB. Default 32 MiB.
    #[serde(default = "default_queue_bytes")]
    pub queue_bytes: usize,
    /// How long a call may take: 3,000 to 120,000 ms. What no broker has confirmed shortly before is given up. Default
    /// 15,000.
    #[serde(default = "crate::settings::defaults::timeout_ms")]
    pub timeout_ms: u64,
    /// How long a connection may take, with name look-up, TLS and log-in: 1 to 60,000 ms. Default 5,000.
    #[serde(default = "crate::settings::defaults::connect_timeout_ms")]
    pub connect_timeout_ms: u64,
    /// What we call ourselves in the brokers' logs and quotas. Default `eventrelay`.
    #[serde(default = "default_client_id")]
    pub client_id: String,
    /// Connect by TLS, as this table says. It may be empty: `{}`. Default: no TLS.
    pub tls: Option<TlsFiles>,
    /// Log in. Default: nobody does.
    pub sasl: Option<Sasl>,
}

/// Who logs in, and how.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sasl {
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub mechanism: Mechanism,
    /// The user's name.
    pub user: String,
    /// The password.
    pub password: Option<Secret>,
    /// A file with the password; only in trusted settings.
    pub password_file: Option<PathBuf>,
    /// An environment variable with the password; only in trusted settings.
    pub password_env: Option<String>,
}

/// What becomes of an event whose topic is not there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownTopic {
    /// It is tried again, for somebody may create the topic.
    #[default]
    Retry,
    /// It is a dead letter at once: for topics named by event types that anyone may invent.
    Reject,
}

/// How an event becomes a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// CloudEvents' binary mode: attributes as `ce_` headers, the value is the data.
    #[default]
    Binary,
    /// CloudEvents' structured mode: the value is the whole event as JSON.
    Structured,
}

/// Which partition a key has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Partitioner {
    /// As producers in Java choose it.
    #[default]
    Murmur2,
    /// As producers with librdkafka choose it by default.
    Crc32,
}

/// How batches are compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Compression {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Compression {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

const MAX_BROKERS: usize = 32;
const MAX_BATCH_EVENTS: usize = 10_000;
const MAX_BATCH_BYTES: usize = 64 * 1024 * 1024;
const MAX_CLIENT_ID_BYTES: usize = 128;
/// The most that a user's name may have.
const MAX_USER_BYTES: usize = 256;

impl Settings {
    /// Refuses numbers outside their limits.
    pub(super) fn check(&self) -> Result<(), SinkError> {
        within(KIND, "brokers", &self.brokers.len(), 1..=MAX_BROKERS)?;
        within(KIND, "linger_ms", &self.linger_ms, 0..=1000)?;
        within(KIND, "batch_events", &self.batch_events, 1..=MAX_BATCH_EVENTS)?;
        within(KIND, "batch_bytes", &self.batch_bytes, 1..=MAX_BATCH_BYTES)?;
        within(KIND, "max_message_bytes", &self.max_message_bytes, 10_000..=100_000_000)?;
        within(KIND, "queue_bytes", &self.queue_bytes, 1 << 20..=1 << 30)?;
        within(KIND, "timeout_ms", &self.timeout_ms, 3000..=120_000)?;
        within(KIND, "connect_timeout_ms", &self.connect_timeout_ms, 1..=60_000)?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let client_id = self.client_id.as_bytes();
        if !(1..=MAX_CLIENT_ID_BYTES).contains(&client_id.len()) || !client_id.iter().copied().all(is_plain) {
            let why = format!("must be 1 to {MAX_CLIENT_ID_BYTES} of a-z, A-Z, 0-9, '.', '_' and '-'");
            return Err(refused(KIND, "client_id", why));
        }
        Ok(())
    }
}

impl Sasl {
    /// The password, wherever it is.
    pub(super) fn password(&self, environment: &Environment) -> Result<Secret, SinkError> {
        if !(1..=MAX_USER_BYTES).contains(&self.user.len()) || self.user.contains('\0') {
            return Err(refused(KIND, "sasl.user", format!("must have 1 to {MAX_USER_BYTES} bytes")));
        }
        let source = SecretSource {
            field: "sasl.password",
            value: self.password.as_ref(),
            file: self.password_file.as_deref(),
            env: self.password_env.as_deref(),
        };
        let password = source.read(KIND, environment)?;
        let password = password.ok_or_else(|| {
            refused(KIND, "sasl.password", "one of `password`, `password_file` and `password_env` is needed")
        })?;
        if password.expose().is_empty() || password.expose().contains('\0') {
            return Err(refused(KIND, "sasl.password", "is empty, or has a NUL"));
        }
        Ok(password)
    }
}

fn default_linger_ms() -> u64 {
    1
}

fn default_max_message_bytes() -> usize {
    1_000_000
}

fn default_queue_bytes() -> usize {
    32 * 1024 * 1024
}

fn default_client_id() -> String {
    "eventrelay".to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::settings;

    fn check(extra: &Value) -> Result<Settings, String> {
        let mut value = json!({"brokers": ["broker.example:9092"], "topic": "orders"});
        value.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let settings: Settings = settings::parse(KIND, &value).map_err(|error| error.to_string())?;
        settings.check().map_err(|error| error.to_string())?;
        if let Some(sasl) = &settings.sasl {
            sasl.password(&Environment::default()).map_err(|error| error.to_string())?;
        }
        Ok(settings)
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let settings = check(&json!({})).unwrap();
        assert_eq!(
            (settings.timeout_ms, settings.connect_timeout_ms, settings.linger_ms),
            (15_000, 5_000, 1)
        );
        assert_eq!((settings.batch_events, settings.batch_bytes), (1000, 4 << 20));
        assert_eq!((settings.max_message_bytes, settings.queue_bytes), (1_000_000, 32 << 20));
        assert_eq!((settings.format, settings.compression), (Format::Binary, Compression::None));
        assert_eq!(
            (settings.partitioner, settings.unknown_topic),
            (Partitioner::Murmur2, UnknownTopic::Retry)
        );
        assert!(!settings.auto_create_topics && settings.tls.is_none() && settings.sasl.is_none());
        assert!(check(&json!({"tls": {}})).unwrap().tls.is_some());
    }

    #[test]
    fn an_error_names_the_field_and_shows_no_secret() {
        let sasl = |extra: Value| {
            let mut sasl = json!({"mechanism": "PLAIN", "user": "relay", "password": "canary"});
            sasl.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            json!({ "sasl": sasl })
        };
        for (extra, field) in [
            (json!({"brokers": []}), "brokers"),
            (json!({"brokers": "broker:9092"}), "brokers"),
            (json!({"linger_ms": 1001}), "linger_ms"),
            (json!({"batch_events": 0}), "batch_events"),
            (json!({"batch_bytes": 67_108_865}), "batch_bytes"),
            (json!({"max_message_bytes": 9999}), "max_message_bytes"),
            (json!({"queue_bytes": 1}), "queue_bytes"),
            (json!({"timeout_ms": 2999}), "timeout_ms"),
            (json!({"connect_timeout_ms": 0}), "connect_timeout_ms"),
            (json!({"client_id": "a b"}), "client_id"),
            (json!({"compression": "brotli"}), "compression"),
            (json!({"format": "avro"}), "format"),
            (json!({"acks": 1}), "acks"),
            (json!({"tls": {"ca": "x"}}), "tls.ca"),
            (sasl(json!({"mechanism": "GSSAPI"})), "sasl.mechanism"),
            (sasl(json!({"user": ""})), "sasl.user"),
            (sasl(json!({"password": ""})), "sasl.password"),
            (sasl(json!({"password": 7})), "sasl.password"),
            (sasl(json!({"password_env": "HOME"})), "sasl.password"),
            (sasl(json!({"password": null, "password_file": "/etc/passwd"})), "sasl.password_file"),
            (sasl(json!({"password": null})), "sasl.password"),
        ] {
            let error = check(&extra).unwrap_err();
            assert!(error.contains(&format!("`{field}`")) && !error.contains("canary"), "{extra}: {error}");
        }
        let debug = format!("{:?}", check(&sasl(json!({}))).unwrap());
        assert!(debug.contains("relay") && !debug.contains("canary"), "{debug}");
    }
}
