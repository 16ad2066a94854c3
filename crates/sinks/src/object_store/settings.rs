//! What an object storage subscription may set, with limits and defaults.

use std::path::{Component, PathBuf};

use serde::Deserialize;

use super::content::{Compression, Content, Encoding, Format};
use crate::{Environment, Secret, SinkError, TlsFiles, settings};

/// The kind's name.
pub const KIND: &str = "object_store";

const MAX_TIMEOUT_MS: u64 = 600_000;
const MAX_BATCH_EVENTS: usize = 100_000;
const MAX_BATCH_BYTES: usize = 64 * 1024 * 1024;
const MAX_BATCH_WAIT_MS: u64 = 3_600_000;

/// The settings of an object storage sink. Nothing in it that may be secret is shown by `Debug`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Amazon S3, and what speaks its protocol. Exactly one of the four stores is set.
    pub s3: Option<S3>,
    /// Google Cloud Storage.
    pub gcs: Option<Gcs>,
    /// Azure Blob Storage.
    pub azure: Option<Azure>,
    /// A directory of this machine.
    pub local: Option<Local>,
    /// The folder of an event's object, with fields of the event in braces (see the template module). Default
    /// `type={type}/date={date}/hour={hour}`.
    #[serde(default = "default_path")]
    pub path: String,
    /// Whether an event is in one object, whatever is repeated after a crash. Needs `order = "strict"`. Default true.
    #[serde(default = "default_exactly_once")]
    pub exactly_once: bool,
    /// What objects are. Default `ndjson`.
    #[serde(default)]
    pub content: Content,
    /// What a line of JSON holds. Default `event`. Parquet has its own columns.
    pub format: Option<Format>,
    /// How objects are compressed. Default `zstd`.
    #[serde(default)]
    pub compression: Compression,
    /// How many events a batch has: 1 to 100,000. Default 10,000.
    #[serde(default = "default_batch_events")]
    pub batch_events: usize,
    /// How many bytes of stored events: 1 to 64 MiB. Default 16 MiB.
    #[serde(default = "default_batch_bytes")]
    pub batch_bytes: usize,
    /// How long the first event of a batch that is not full waits for more: up to one hour. Default 10,000 ms.
    #[serde(default = "default_batch_wait_ms")]
    pub batch_wait_ms: u64,
    /// How long a request to the store may take: 1 to 600,000 ms. Default 20,000.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
    /// How long name look-up, connection and TLS handshake may take of that: 1 to 600,000 ms. Default 5,000.
    #[serde(default = "settings::defaults::connect_timeout_ms")]
    pub connect_timeout_ms: u64,
    /// Whom to believe and who we are, over TLS.
    #[serde(default)]
    pub tls: TlsFiles,
}

/// Amazon S3, and what speaks its protocol.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3 {
    /// The bucket.
    pub bucket: String,
    /// The region. Default `us-east-1`.
    #[serde(default = "default_region")]
    pub region: String,
    /// Where the store is, where that is not Amazon: `http` or `https`, without the bucket.
    pub endpoint: Option<String>,
    /// Whether the bucket is in the path (`https://host/bucket/…`) or in the host's name. Default: in the path where an
    /// endpoint is set.
    pub path_style: Option<bool>,
    /// The key's name.
    pub access_key_id: Option<Secret>,
    /// A file with it; only in trusted settings.
    pub access_key_id_file: Option<PathBuf>,
    /// An environment variable with it; only in trusted settings.
    pub access_key_id_env: Option<String>,
    /// The key.
    pub secret_access_key: Option<Secret>,
    /// A file with it; only in trusted settings.
    pub secret_access_key_file: Option<PathBuf>,
    /// An environment variable with it; only in trusted settings.
    pub secret_access_key_env: Option<String>,
    /// The token of a key that is lent for a while.
    pub session_token: Option<Secret>,
    /// A file with it; only in trusted settings.
    pub session_token_file: Option<PathBuf>,
    /// An environment variable with it; only in trusted settings.
    pub session_token_env: Option<String>,
}

/// Google Cloud Storage.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gcs {
    /// The bucket.
    pub bucket: String,
    /// Where the store is, where that is not Google.
    pub endpoint: Option<String>,
    /// A service account's key, as JSON.
    pub service_account_key: Option<Secret>,
    /// A file with it; only in trusted settings.
    pub service_account_key_file: Option<PathBuf>,
    /// An environment variable with it; only in trusted settings.
    pub service_account_key_env: Option<String>,
}

/// Azure Blob Storage.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Azure {
    /// The storage account.
    pub account: String,
    /// The container.
    pub container: String,
    /// Where the store is, where that is not Microsoft.
    pub endpoint: Option<String>,
    /// The account's key.
    pub access_key: Option<Secret>,
    /// A file with it; only in trusted settings.
    pub access_key_file: Option<PathBuf>,
    /// An environment variable with it; only in trusted settings.
    pub access_key_env: Option<String>,
    /// A shared access signature, `sv=…&sig=…`, instead of a key.
    pub sas_token: Option<Secret>,
    /// A file with it; only in trusted settings.
    pub sas_token_file: Option<PathBuf>,
    /// An environment variable with it; only in trusted settings.
    pub sas_token_env: Option<String>,
}

/// A directory of this machine.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Local {
    /// The folder; made when it is missing. A relative one begins in the operator's folder for files, and only trusted
    /// settings may leave that.
    pub directory: PathBuf,
}

impl Settings {
    /// Refuses numbers outside their limits and combinations that mean nothing.
    pub(super) fn check(&self, environment: &Environment) -> Result<(), SinkError> {
        settings::within(KIND, "batch_events", &self.batch_events, 1..=MAX_BATCH_EVENTS)?;
        settings::within(KIND, "batch_bytes", &self.batch_bytes, 1..=MAX_BATCH_BYTES)?;
        settings::within(KIND, "batch_wait_ms", &self.batch_wait_ms, 0..=MAX_BATCH_WAIT_MS)?;
        settings::within(KIND, "timeout_ms", &self.timeout_ms, 1..=MAX_TIMEOUT_MS)?;
        settings::within(KIND, "connect_timeout_ms", &self.connect_timeout_ms, 1..=MAX_TIMEOUT_MS)?;
        let given = [self.s3.is_some(), self.gcs.is_some(), self.azure.is_some(), self.local.is_some()];
        if given.into_iter().filter(|given| *given).count() != 1 {
            let why = "exactly one of `s3`, `gcs`, `azure` and `local` must be set";
            return Err(settings::refused(KIND, ".", why));
        }
        self.check_content()?;
        match &self.local {
            Some(local) => local.check(environment),
            None => Ok(()),
        }
    }

    fn check_content(&self) -> Result<(), SinkError> {
        if self.content == Content::Ndjson {
            return Ok(());
        }
        if !cfg!(feature = "parquet") {
            let why = "this build writes no Parquet: that takes the feature `parquet` of cargo";
            return Err(settings::refused(KIND, "content", why));
        }
        if self.format.is_some() {
            let why = "is about lines of JSON, and Parquet has none";
            return Err(settings::refused(KIND, "format", why));
        }
        Ok(())
    }

    /// How objects are made.
    pub(super) fn encoding(&self) -> Encoding {
        let format = self.format.unwrap_or_default();
        Encoding { content: self.content, format, compression: self.compression }
    }
}

impl Local {
    fn check(&self, environment: &Environment) -> Result<(), SinkError> {
        let inside =
            self.directory.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !inside && !environment.trusted_settings {
            let why = "only the configuration file may name a folder outside the operator's folder for files";
            return Err(settings::refused(KIND, "local.directory", why));
        }
        Ok(())
    }
}

fn default_path() -> String {
    "type={type}/date={date}/hour={hour}".to_owned()
}

fn default_exactly_once() -> bool {
    true
}

fn default_region() -> String {
    "us-east-1".to_owned()
}

fn default_batch_events() -> usize {
    10_000
}

fn default_batch_bytes() -> usize {
    16 * 1024 * 1024
}

fn default_batch_wait_ms() -> u64 {
    10_000
}

fn default_timeout_ms() -> u64 {
    20_000
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(settings: &Value) -> Result<Settings, String> {
        let settings: Settings = settings::parse(KIND, settings).map_err(|error| error.to_string())?;
        settings.check(&Environment::default()).map_err(|error| error.to_string())?;
        Ok(settings)
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let settings = check(&json!({"local": {"directory": "archive"}})).unwrap();
        assert_eq!(settings.path, "type={type}/date={date}/hour={hour}");
        let encoding = settings.encoding();
        assert_eq!((encoding.content, encoding.format), (Content::Ndjson, Format::Event));
        assert_eq!(encoding.compression, Compression::Zstd);
        assert_eq!((settings.batch_events, settings.batch_bytes), (10_000, 16 * 1024 * 1024));
        assert_eq!((settings.batch_wait_ms, settings.exactly_once), (10_000, true));
        assert_eq!((settings.timeout_ms, settings.connect_timeout_ms), (20_000, 5_000));
        let s3 = check(&json!({"s3": {"bucket": "b"}})).unwrap().s3.unwrap();
        assert_eq!((s3.region.as_str(), s3.path_style), ("us-east-1", None));
    }

    #[test]
    fn an_error_names_the_field() {
        let with = |field: &str, value: Value| json!({"local": {"directory": "a"}, field: value});
        for (settings, field) in [
            (with("batch_events", json!(0)), "batch_events"),
            (with("batch_bytes", json!(64 * 1024 * 1024 + 1)), "batch_bytes"),
            (with("batch_wait_ms", json!(3_600_001)), "batch_wait_ms"),
            (with("timeout_ms", json!(0)), "timeout_ms"),
            (with("connect_timeout_ms", json!("5s")), "connect_timeout_ms"),
            (with("format", json!("parquet")), "format"),
            (with("compression", json!("lz4")), "compression"),
            (with("content", json!("csv")), "content"),
            (with("s3", json!({"bucket": "b"})), "."),
            (json!({}), "."),
            (json!({"s3": {"region": "r"}}), "s3"),
            (json!({"s3": {"bucket": "b", "secret": "s"}}), "s3.secret"),
            (json!({"local": {"directory": "../up"}}), "local.directory"),
            (json!({"local": {"directory": "/etc"}}), "local.directory"),
        ] {
            let error = check(&settings).unwrap_err();
            assert!(error.contains(&format!("`{field}`")), "{settings}: {error}");
        }
    }

    #[test]
    fn parquet_is_refused_where_it_is_not_built_in_and_with_a_format_of_lines() {
        let mut settings = json!({"local": {"directory": "a"}, "content": "parquet"});
        if cfg!(feature = "parquet") {
            assert_eq!(check(&settings).unwrap().encoding().content, Content::Parquet);
            settings["format"] = json!("event");
            assert!(check(&settings).unwrap_err().contains("`format`"));
        } else {
            let error = check(&settings).unwrap_err();
            assert!(error.contains("`content`") && error.contains("the feature `parquet`"), "{error}");
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        for settings in [
            json!({"s3": {"bucket": "b", "access_key_id": "canary", "secret_access_key": "canary",
                "session_token": "canary"}}),
            json!({"gcs": {"bucket": "b", "service_account_key": "canary"}}),
            json!({"azure": {"account": "a", "container": "b", "access_key": "canary", "sas_token": "canary"}}),
        ] {
            let shown = format!("{:?}", check(&settings).unwrap());
            assert!(shown.contains("redacted") && !shown.contains("canary"), "{shown}");
        }
    }
}
