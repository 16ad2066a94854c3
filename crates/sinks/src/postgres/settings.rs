//! What a PostgreSQL subscription may set, with limits and defaults.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use crate::{Secret, SinkError, TlsFiles, settings};

/// The kind's name.
pub const KIND: &str = "postgres";

/// The settings of a table that events are appended to. Nothing in it that may be secret is shown by `Debug`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The server: a name or an IP address.
    pub host: String,
    /// Its port. Default 5432.
    #[serde(default = "default_port")]
    pub port: u16,
    /// The database.
    pub database: String,
    /// The role to log in as.
    pub user: String,
    /// Its password.
    pub password: Option<Secret>,
    /// A file with the password. Read when the sink is made; only in trusted settings.
    pub password_file: Option<PathBuf>,
    /// An environment variable with the password; only in trusted settings.
    pub password_env: Option<String>,
    /// Connect without TLS. Without it a server that has none is refused. Default false.
    #[serde(default)]
    pub plaintext: bool,
    /// Whom to believe, and who we are, over TLS.
    #[serde(default)]
    pub tls: Option<TlsFiles>,
    /// The table, with its schema or without: `events`, `audit.events`. Spelled as in the catalog, and never folded.
    pub table: String,
    /// Whether the table is created when it is missing. Default false.
    #[serde(default)]
    pub create_table: bool,
    /// What each column is filled from: `{ payload = "data" }`. Default: the columns in `columns.rs`. At most 64.
    #[serde(default)]
    pub columns: BTreeMap<String, String>,
    /// The columns of a unique key: a row whose key is there already updates that one's other columns. Default: none,
    /// every event is a row. At most 16.
    #[serde(default)]
    pub on_conflict: Vec<String>,
    /// Keep the subscription's cursor in the database, in the transaction that inserts the rows. Needs
    /// `order = "strict"`. Default false.
    #[serde(default)]
    pub exactly_once: bool,
    /// The most events of one statement: 1 to 10,000. Default 1,000.
    #[serde(default = "settings::defaults::batch_events")]
    pub batch_events: usize,
    /// The most bytes of stored events of one statement: 1 to 67,108,864. Default 4,194,304.
    #[serde(default = "settings::defaults::batch_bytes")]
    pub batch_bytes: usize,
    /// The most connections at once: 1 to 64. Default 4; `exactly_once` has one.
    #[serde(default = "default_max_connections")]
    pub max_connections: usize,
    /// How long a call may take, the connection included: 1 to 120,000 ms. Default 15,000.
    #[serde(default = "settings::defaults::timeout_ms")]
    pub timeout_ms: u64,
    /// How long name look-up, connection, TLS handshake and login may take of that: 1 to 120,000 ms. Default 5,000.
    #[serde(default = "settings::defaults::connect_timeout_ms")]
    pub connect_timeout_ms: u64,
}

const MAX_BATCH_EVENTS: usize = 10_000;
const MAX_BATCH_BYTES: usize = 64 * 1024 * 1024;
const MAX_CONNECTIONS: usize = 64;
const MAX_TIMEOUT_MS: u64 = 120_000;
const MAX_COLUMNS: usize = 64;
const MAX_KEY_COLUMNS: usize = 16;

impl Settings {
    /// Refuses numbers outside their limits and combinations that mean nothing.
    pub(super) fn check(&self) -> Result<(), SinkError> {
        settings::within(KIND, "batch_events", &self.batch_events, 1..=MAX_BATCH_EVENTS)?;
        settings::within(KIND, "batch_bytes", &self.batch_bytes, 1..=MAX_BATCH_BYTES)?;
        settings::within(KIND, "max_connections", &self.max_connections, 1..=MAX_CONNECTIONS)?;
        settings::within(KIND, "timeout_ms", &self.timeout_ms, 1..=MAX_TIMEOUT_MS)?;
        settings::within(KIND, "connect_timeout_ms", &self.connect_timeout_ms, 1..=MAX_TIMEOUT_MS)?;
        for (field, text) in [("database", &self.database), ("user", &self.user)] {
            if text.is_empty() || text.len() > 63 || text.contains('\0') {
                return Err(settings::refused(KIND, field, "must have 1 to 63 bytes, none of them zero"));
            }
        }
        if self.columns.len() > MAX_COLUMNS {
            return Err(settings::refused(KIND, "columns", format!("more than {MAX_COLUMNS} columns")));
        }
        if self.on_conflict.len() > MAX_KEY_COLUMNS {
            return Err(settings::refused(
                KIND,
                "on_conflict",
                format!("more than {MAX_KEY_COLUMNS} columns"),
            ));
        }
        if self.plaintext && self.tls.is_some() {
            return Err(settings::refused(KIND, "tls", "does nothing beside `plaintext = true`"));
        }
        Ok(())
    }
}

fn default_port() -> u16 {
    5432
}

fn default_max_connections() -> usize {
    4
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(extra: &Value) -> Result<Settings, String> {
        let mut value = json!({"host": "db.example.com", "database": "d", "user": "u", "table": "events"});
        value.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let settings: Settings = settings::parse(KIND, &value).map_err(|error| error.to_string())?;
        settings.check().map_err(|error| error.to_string())?;
        Ok(settings)
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let settings = check(&json!({})).unwrap();
        assert_eq!((settings.port, settings.batch_events, settings.batch_bytes), (5432, 1000, 4_194_304));
        assert_eq!(
            (settings.max_connections, settings.timeout_ms, settings.connect_timeout_ms),
            (4, 15_000, 5_000)
        );
        assert!(!settings.plaintext && !settings.create_table && !settings.exactly_once);
        assert!(settings.columns.is_empty() && settings.on_conflict.is_empty());
    }

    #[test]
    fn an_error_names_the_field() {
        for (extra, field) in [
            (json!({"port": 65_536}), "port"),
            (json!({"batch_events": 10_001}), "batch_events"),
            (json!({"batch_bytes": 0}), "batch_bytes"),
            (json!({"max_connections": 65}), "max_connections"),
            (json!({"timeout_ms": 0}), "timeout_ms"),
            (json!({"connect_timeout_ms": 120_001}), "connect_timeout_ms"),
            (json!({"user": ""}), "user"),
            (json!({"database": "d\u{0}"}), "database"),
            (json!({"columns": {"a": 1}}), "columns.a"),
            (json!({"on_conflict": "id"}), "on_conflict"),
            (json!({"plaintext": true, "tls": {}}), "tls"),
            (json!({"sslmode": "off"}), "sslmode"),
        ] {
            let error = check(&extra).unwrap_err();
            assert!(error.contains(&format!("`{field}`")), "{extra}: {error}");
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        let settings = check(&json!({"password": "canary"})).unwrap();
        assert!(!format!("{settings:?}").contains("canary"));
    }
}
