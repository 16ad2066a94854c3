//! What a NATS subscription may set, with limits and defaults.

use std::path::PathBuf;

use serde::Deserialize;

use crate::content_mode::ContentMode;
use crate::setting_files::TlsFiles;
use crate::{Secret, SinkError, settings};

/// The kind's name.
pub const KIND: &str = "nats";

/// The settings of a NATS sink. Nothing in it that may be secret is shown by `Debug`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The servers of one cluster: 1 to 16, as `nats://host:port` or `tls://host:port`; the port is 4222 where none is
    /// given. All of the same scheme; `tls` refuses to speak to a server without TLS.
    pub servers: Vec<String>,
    /// The subject, made from the event: `orders.{type}`.
    pub subject: String,
    /// The stream that must take the messages. Without it, whichever captures the subject.
    pub stream: Option<String>,
    /// What `Nats-Msg-Id` is, by which a stream recognises repetitions; made from the event. Default `{id}`, the event's
    /// id. Two subscriptions that deliver the same events into one stream each need one of their own: `{id}-audit`.
    #[serde(default = "default_message_id")]
    pub message_id: String,
    /// How a message carries an event. Default `binary`.
    #[serde(default)]
    pub content_mode: ContentMode,
    /// The JetStream domain that [`crate::Sink::check`] asks about streams. Default: the server's own.
    pub domain: Option<String>,
    /// What the subjects of answers begin with, for users that may not subscribe to `_INBOX.>`. Default `_INBOX`.
    #[serde(default = "default_inbox_prefix")]
    pub inbox_prefix: String,

    /// The user, with one of the three passwords.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// A file with the password; only in trusted settings.
    pub password_file: Option<PathBuf>,
    /// An environment variable with the password; only in trusted settings.
    pub password_env: Option<String>,
    /// A token, for servers that ask for one.
    pub token: Option<Secret>,
    /// A file with the token; only in trusted settings.
    pub token_file: Option<PathBuf>,
    /// An environment variable with the token; only in trusted settings.
    pub token_env: Option<String>,
    /// The seed of a user's nkey, `SU…`.
    pub nkey_seed: Option<Secret>,
    /// A file with the seed; only in trusted settings.
    pub nkey_seed_file: Option<PathBuf>,
    /// An environment variable with the seed; only in trusted settings.
    pub nkey_seed_env: Option<String>,
    /// The text of a credentials file: a user's JWT and the seed of its nkey.
    pub credentials: Option<Secret>,
    /// A credentials file, as `nsc` writes it; only in trusted settings.
    pub credentials_file: Option<PathBuf>,
    /// An environment variable with the text of one; only in trusted settings.
    pub credentials_env: Option<String>,

    /// Certificates, where the scheme is `tls`.
    #[serde(default)]
    pub tls: TlsFiles,
    /// Shake hands before the server has said anything, for servers with `handshake_first`; needs `tls`.
    #[serde(default)]
    pub tls_first: bool,

    /// How long a batch may take, from name look-up to the last acknowledgement: 1 to 120,000 ms. Default 15,000.
    #[serde(default = "settings::defaults::timeout_ms")]
    pub timeout_ms: u64,
    /// How long look-up, connection, TLS and login may take of that: 1 to 120,000 ms. Default 5,000.
    #[serde(default = "settings::defaults::connect_timeout_ms")]
    pub connect_timeout_ms: u64,
    /// The most events of one batch: 1 to 10,000. Default 1,000.
    #[serde(default = "settings::defaults::batch_events")]
    pub batch_events: usize,
    /// The most bytes of stored events in one batch: 1,024 to 67,108,864. Default 4,194,304.
    #[serde(default = "settings::defaults::batch_bytes")]
    pub batch_bytes: usize,
    /// The most events that wait for their acknowledgement at once, over all batches: `batch_events` to 65,536. Default
    /// 4,096.
    #[serde(default = "default_max_in_flight")]
    pub max_in_flight: usize,
}

pub(super) const MAX_SERVERS: usize = 16;
const MAX_TIMEOUT_MS: u64 = 120_000;
const MAX_BATCH_EVENTS: usize = 10_000;
const BATCH_BYTES: std::ops::RangeInclusive<usize> = 1024..=64 * 1024 * 1024;
const MAX_IN_FLIGHT: usize = 65_536;
const MAX_NAME_BYTES: usize = 255;

impl Settings {
    /// Refuses numbers outside their limits, names that are none, and combinations that mean nothing.
    pub(super) fn check(&self) -> Result<(), SinkError> {
        settings::within(KIND, "timeout_ms", &self.timeout_ms, 1..=MAX_TIMEOUT_MS)?;
        settings::within(KIND, "connect_timeout_ms", &self.connect_timeout_ms, 1..=MAX_TIMEOUT_MS)?;
        settings::within(KIND, "batch_events", &self.batch_events, 1..=MAX_BATCH_EVENTS)?;
        settings::within(KIND, "batch_bytes", &self.batch_bytes, BATCH_BYTES)?;
        settings::within(KIND, "max_in_flight", &self.max_in_flight, self.batch_events..=MAX_IN_FLIGHT)?;
        if !(1..=MAX_SERVERS).contains(&self.servers.len()) {
            return Err(settings::refused(KIND, "servers", format!("must be 1 to {MAX_SERVERS}")));
        }
        if let Some(stream) = &self.stream {
            check_name("stream", stream, &[' ', '.', '*', '>', '/', '\\'])?;
        }
        if let Some(domain) = &self.domain {
            check_name("domain", domain, &[' ', '.', '*', '>'])?;
        }
        check_name("inbox_prefix", &self.inbox_prefix, &[' ', '*', '>'])?;
        if self.inbox_prefix.split('.').any(str::is_empty) {
            return Err(settings::refused(KIND, "inbox_prefix", "has an empty part between its dots"));
        }
        self.check_credentials()
    }

    fn check_credentials(&self) -> Result<(), SinkError> {
        let user = self.user.is_some();
        let password = self.password.is_some() || self.password_file.is_some() || self.password_env.is_some();
        if user != password {
            let (field, why) = if user { ("user", "needs a password") } else { ("password", "needs `user`") };
            return Err(settings::refused(KIND, field, why));
        }
        let token = self.token.is_some() || self.token_file.is_some() || self.token_env.is_some();
        let nkey = self.nkey_seed.is_some() || self.nkey_seed_file.is_some() || self.nkey_seed_env.is_some();
        let credentials =
            self.credentials.is_some() || self.credentials_file.is_some() || self.credentials_env.is_some();
        let ways = [("user", user), ("token", token), ("nkey_seed", nkey), ("credentials", credentials)];
        let mut given = ways.into_iter().filter(|(_, given)| *given).map(|(field, _)| field);
        if let (Some(first), Some(second)) = (given.next(), given.next()) {
            return Err(settings::refused(KIND, second, format!("cannot be set beside `{first}`")));
        }
        Ok(())
    }

    /// The fields in use that mean something over TLS only.
    pub(super) fn tls_fields(&self) -> impl Iterator<Item = &'static str> {
        self.tls.fields().chain(self.tls_first.then_some("tls_first"))
    }
}

fn check_name(field: &'static str, name: &str, without: &[char]) -> Result<(), SinkError> {
    let is_name = (1..=MAX_NAME_BYTES).contains(&name.len())
        && name.chars().all(|character| character.is_ascii_graphic() && !without.contains(&character));
    if is_name {
        return Ok(());
    }
    let without: String = without.iter().filter(|character| **character != ' ').collect();
    Err(settings::refused(
        KIND,
        field,
        format!("must be 1 to {MAX_NAME_BYTES} visible ASCII characters but {without}"),
    ))
}

fn default_message_id() -> String {
    "{id}".to_owned()
}

fn default_inbox_prefix() -> String {
    "_INBOX".to_owned()
}

fn default_max_in_flight() -> usize {
    4096
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(extra: &Value) -> Result<Settings, String> {
        let mut value = json!({"servers": ["nats://broker.example.com"], "subject": "events.{type}"});
        value.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let settings: Settings = settings::parse(KIND, &value).map_err(|error| error.to_string())?;
        settings.check().map_err(|error| error.to_string())?;
        Ok(settings)
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let settings = check(&json!({})).unwrap();
        assert_eq!((settings.timeout_ms, settings.connect_timeout_ms), (15_000, 5_000));
        assert_eq!(
            (settings.batch_events, settings.batch_bytes, settings.max_in_flight),
            (1000, 4_194_304, 4096)
        );
        assert_eq!((settings.message_id.as_str(), settings.inbox_prefix.as_str()), ("{id}", "_INBOX"));
        assert_eq!(settings.content_mode, ContentMode::Binary);
        assert!(settings.stream.is_none() && settings.domain.is_none() && !settings.tls_first);
    }

    #[test]
    fn an_error_names_the_field() {
        for (extra, field) in [
            (json!({"servers": []}), "servers"),
            (json!({"servers": vec!["nats://a"; 17]}), "servers"),
            (json!({"servers": "nats://a"}), "servers"),
            (json!({"timeout_ms": 0}), "timeout_ms"),
            (json!({"connect_timeout_ms": 120_001}), "connect_timeout_ms"),
            (json!({"batch_events": 10_001}), "batch_events"),
            (json!({"batch_bytes": 1023}), "batch_bytes"),
            (json!({"batch_events": 100, "max_in_flight": 99}), "max_in_flight"),
            (json!({"stream": "a.b"}), "stream"),
            (json!({"stream": ""}), "stream"),
            (json!({"domain": "a b"}), "domain"),
            (json!({"inbox_prefix": "a..b"}), "inbox_prefix"),
            (json!({"inbox_prefix": "a.>"}), "inbox_prefix"),
            (json!({"content_mode": "batch"}), "content_mode"),
            (json!({"user": "u"}), "user"),
            (json!({"password": "p"}), "password"),
            (json!({"user": "u", "password": "p", "token": "t"}), "token"),
            (json!({"token": "t", "credentials": "c"}), "credentials"),
            (json!({"tls": {"ca": "x"}}), "tls.ca"),
            (json!({"subjects": []}), "subjects"),
        ] {
            let error = check(&extra).unwrap_err();
            assert!(error.contains(&format!("`{field}`")), "{extra}: {error}");
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        let settings = check(&json!({"user": "relay", "password": "canary"})).unwrap();
        assert!(!format!("{settings:?}").contains("canary"));
        for field in ["token", "nkey_seed", "credentials"] {
            assert!(
                !format!("{:?}", check(&json!({field: "canary"})).unwrap()).contains("canary"),
                "{field}"
            );
        }
        assert!(!check(&json!({"password": ["canary"]})).unwrap_err().contains("canary"));
    }
}
