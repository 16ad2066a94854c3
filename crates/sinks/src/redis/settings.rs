//! What a Redis subscription may set, with limits and defaults.

use std::path::PathBuf;

use serde::Deserialize;

use crate::setting_files::TlsFiles;
use crate::{Secret, SinkError, settings};

/// The kind's name.
pub const KIND: &str = "redis";

/// The settings of a Redis sink. Nothing in it that may be secret is shown by `Debug`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where Redis is, all of one scheme: one `redis://host:port`; 1 to 16 nodes of a cluster, `redis+cluster://host:port`; or
    /// 1 to 16 sentinels, `redis+sentinel://host:port/master-name`. `rediss` instead of `redis` is TLS, to every server.
    /// The port is 6379, or 26379 of a sentinel, where none is given.
    pub servers: Vec<String>,
    /// The stream's key, made from the event: `orders.{type}`. Only the layout `eventrail` has a default.
    pub stream: Option<String>,
    /// What the fields of an entry are. Default `cloudevents`.
    #[serde(default)]
    pub layout: Layout,
    /// What the ids of entries are. Default `auto`.
    #[serde(default)]
    pub ids: Ids,
    /// Trim a stream to about this many entries (`MAXLEN ~`), at least 1. Default: never.
    pub max_len: Option<u64>,
    /// A consumer group that is made, to read from the stream's beginning, wherever it is missing.
    pub create_group: Option<String>,
    /// Where copies of dead letters go, made from the event; nowhere when it is empty. Only the layout `eventrail` has a
    /// default.
    pub dead_letter_stream: Option<String>,
    /// Trim the dead letters' stream to about this many entries, at least 1. Default: never.
    pub dead_letter_max_len: Option<u64>,
    /// How many replicas must have a batch before it counts as delivered: 0 to 16. Default 0.
    #[serde(default)]
    pub wait_replicas: u8,

    /// The number of the database: 0 to 65,535; a cluster has only 0. Default 0.
    #[serde(default)]
    pub database: u16,
    /// The ACL user. Default: the server's default user.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// A file with the password, read again for every connection; only in trusted settings.
    pub password_file: Option<PathBuf>,
    /// An environment variable with the password; only in trusted settings.
    pub password_env: Option<String>,
    /// The ACL user of the sentinels.
    pub sentinel_user: Option<String>,
    /// The sentinels' password.
    pub sentinel_password: Option<Secret>,
    /// A file with the sentinels' password, read again for every connection; only in trusted settings.
    pub sentinel_password_file: Option<PathBuf>,
    /// An environment variable with the sentinels' password; only in trusted settings.
    pub sentinel_password_env: Option<String>,
    /// Certificates, where the scheme begins with `rediss`.
    #[serde(default)]
    pub tls: TlsFiles,

    /// How long a batch may take, from name look-up to the last answer: 1 to 120,000 ms. Default 15,000.
    #[serde(default = "settings::defaults::timeout_ms")]
    pub timeout_ms: u64,
    /// How long finding a server, connection, TLS and login may take of that: 1 to 120,000 ms. Default 5,000.
    #[serde(default = "settings::defaults::connect_timeout_ms")]
    pub connect_timeout_ms: u64,
    /// The most events of one batch: 1 to 10,000. Default 1,000.
    #[serde(default = "settings::defaults::batch_events")]
    pub batch_events: usize,
    /// The most bytes of stored events in one batch: 1,024 to 67,108,864. Default 4,194,304.
    #[serde(default = "settings::defaults::batch_bytes")]
    pub batch_bytes: usize,
}

/// What the fields of an entry are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// CloudEvents' attributes and the data.
    #[default]
    CloudEvents,
    /// What workers of the stream `eventrail.events` expect: the event's id, type, source and time, and no data.
    Eventrail,
}

/// What the ids of entries are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ids {
    /// Given by Redis, which has no way to know a repetition: at least once.
    #[default]
    Auto,
    /// Made from the event's offset, on streams that nobody else writes to: exactly once.
    Offset,
}

const MAX_SERVERS: usize = 16;
const MAX_TIMEOUT_MS: u64 = 120_000;
const MAX_BATCH_EVENTS: usize = 10_000;
const BATCH_BYTES: std::ops::RangeInclusive<usize> = 1024..=64 * 1024 * 1024;
const MAX_WAIT_REPLICAS: u8 = 16;
const MAX_GROUP_BYTES: usize = 255;

const EVENTRAIL_STREAM: &str = "eventrail.events";
const EVENTRAIL_GROUP: &str = "eventrail.cg";
const EVENTRAIL_DEAD_LETTERS: &str = "eventrail.events.dlq";

impl Settings {
    /// Refuses numbers outside their limits, names that are none, and combinations that mean nothing.
    pub(super) fn check(&self) -> Result<(), SinkError> {
        let refused = |field: &str, why: &str| Err(settings::refused(KIND, field, why));
        settings::within(KIND, "timeout_ms", &self.timeout_ms, 1..=MAX_TIMEOUT_MS)?;
        settings::within(KIND, "connect_timeout_ms", &self.connect_timeout_ms, 1..=MAX_TIMEOUT_MS)?;
        settings::within(KIND, "batch_events", &self.batch_events, 1..=MAX_BATCH_EVENTS)?;
        settings::within(KIND, "batch_bytes", &self.batch_bytes, BATCH_BYTES)?;
        settings::within(KIND, "wait_replicas", &self.wait_replicas, 0..=MAX_WAIT_REPLICAS)?;
        for (field, length) in [("max_len", self.max_len), ("dead_letter_max_len", self.dead_letter_max_len)]
        {
            // Redis counts in signed numbers.
            settings::within(KIND, field, &length.unwrap_or(1), 1..=i64::MAX.unsigned_abs())?;
        }
        if !(1..=MAX_SERVERS).contains(&self.servers.len()) {
            return Err(settings::refused(KIND, "servers", format!("must be 1 to {MAX_SERVERS}")));
        }
        if let Some(group) = &self.create_group {
            settings::within(KIND, "create_group", &group.len(), 1..=MAX_GROUP_BYTES)?;
        }
        let password = self.password.is_some() || self.password_file.is_some() || self.password_env.is_some();
        if self.user.is_some() && !password {
            return refused("user", "needs a password");
        }
        let sentinel_password = self.sentinel_password.is_some()
            || self.sentinel_password_file.is_some()
            || self.sentinel_password_env.is_some();
        if self.sentinel_user.is_some() && !sentinel_password {
            return refused("sentinel_user", "needs a password");
        }
        Ok(())
    }

    /// The template of the stream's key, if there is one.
    pub(super) fn stream(&self) -> Option<&str> {
        self.stream.as_deref().or(self.preset(EVENTRAIL_STREAM))
    }

    /// The consumer group that is to be there.
    pub(super) fn group(&self) -> Option<&str> {
        self.create_group.as_deref().or(self.preset(EVENTRAIL_GROUP))
    }

    /// The template of the dead letters' stream.
    pub(super) fn dead_letter_stream(&self) -> Option<&str> {
        let stream = self.dead_letter_stream.as_deref().or(self.preset(EVENTRAIL_DEAD_LETTERS));
        stream.filter(|stream| !stream.is_empty())
    }

    fn preset(&self, value: &'static str) -> Option<&'static str> {
        (self.layout == Layout::Eventrail).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(extra: &Value) -> Result<Settings, String> {
        let mut value = json!({"servers": ["redis://redis.example.com"], "stream": "events"});
        value.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let settings: Settings = settings::parse(KIND, &value).map_err(|error| error.to_string())?;
        settings.check().map_err(|error| error.to_string())?;
        Ok(settings)
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let settings = check(&json!({})).unwrap();
        assert_eq!((settings.timeout_ms, settings.connect_timeout_ms), (15_000, 5_000));
        assert_eq!((settings.batch_events, settings.batch_bytes), (1000, 4_194_304));
        assert_eq!((settings.layout, settings.ids), (Layout::CloudEvents, Ids::Auto));
        assert_eq!((settings.max_len, settings.wait_replicas, settings.database), (None, 0, 0));
        assert_eq!((settings.group(), settings.dead_letter_stream()), (None, None));
    }

    #[test]
    fn the_preset_has_names_that_can_be_changed() {
        let preset = json!({"servers": ["redis://a"], "layout": "eventrail"});
        let settings: Settings = serde_json::from_value(preset).unwrap();
        assert_eq!(settings.stream(), Some("eventrail.events"));
        assert_eq!(settings.group(), Some("eventrail.cg"));
        assert_eq!(settings.dead_letter_stream(), Some("eventrail.events.dlq"));
        let changed = check(&json!({"layout": "eventrail", "create_group": "g", "dead_letter_stream": ""}));
        let changed = changed.unwrap();
        assert_eq!((changed.stream(), changed.group()), (Some("events"), Some("g")));
        assert_eq!(changed.dead_letter_stream(), None);
    }

    #[test]
    fn an_error_names_the_field() {
        for (extra, field) in [
            (json!({"servers": []}), "servers"),
            (json!({"servers": vec!["redis://a"; 17]}), "servers"),
            (json!({"timeout_ms": 0}), "timeout_ms"),
            (json!({"connect_timeout_ms": 120_001}), "connect_timeout_ms"),
            (json!({"batch_events": 10_001}), "batch_events"),
            (json!({"batch_bytes": 1023}), "batch_bytes"),
            (json!({"max_len": 0}), "max_len"),
            (json!({"dead_letter_max_len": 0}), "dead_letter_max_len"),
            (json!({"wait_replicas": 17}), "wait_replicas"),
            (json!({"create_group": ""}), "create_group"),
            (json!({"user": "u"}), "user"),
            (json!({"sentinel_user": "u"}), "sentinel_user"),
            (json!({"ids": "uuid"}), "ids"),
            (json!({"layout": "json"}), "layout"),
            (json!({"tls": {"ca": "x"}}), "tls.ca"),
            (json!({"streams": []}), "streams"),
        ] {
            let error = check(&extra).unwrap_err();
            assert!(error.contains(&format!("`{field}`")), "{extra}: {error}");
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        let secrets = json!({"user": "relay", "password": "canary", "sentinel_password": "canary"});
        assert!(!format!("{:?}", check(&secrets).unwrap()).contains("canary"));
        assert!(!check(&json!({"password": ["canary"]})).unwrap_err().contains("canary"));
    }
}
