//! What a file subscription may set, with limits and defaults.

use std::path::{Component, PathBuf};

use serde::Deserialize;

use crate::{Environment, SinkError, settings};

/// The kind's name.
pub const KIND: &str = "file";

const MAX_PREFIX_CHARS: usize = 64;
const MIN_FILE_BYTES: u64 = 1024;
const MAX_FILE_BYTES: u64 = 1 << 40;
const MAX_AGE_SECONDS: u64 = 366 * 86_400;
const MAX_BATCH_EVENTS: usize = 100_000;
const MAX_BATCH_BYTES: usize = 64 * 1024 * 1024;

/// The settings of a file sink.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The folder; made when it is missing. A relative one begins in the operator's folder for files, and
    /// only trusted settings may leave that.
    pub directory: PathBuf,
    /// What the files' names begin with: 1 to 64 of letters, digits, `-`, `_` and `.`, the first no `.`.
    /// Default `events`.
    #[serde(default = "default_prefix")]
    pub prefix: String,
    /// A file's size in bytes, which only a single batch may pass: 1 KiB to 1 TiB. Default 128 MiB.
    #[serde(default = "default_max_bytes")]
    pub max_bytes: u64,
    /// A file's age in seconds, after which the next batch begins a new one: 1 to 366 days. Default one hour.
    #[serde(default = "default_max_age_seconds")]
    pub max_age_seconds: u64,
    /// How many files are kept, at least 1; older ones are removed. By default all are.
    pub keep_files: Option<usize>,
    /// How many events are written and fsynced together: 1 to 100,000. Default 1,000.
    #[serde(default = "settings::defaults::batch_events")]
    pub batch_events: usize,
    /// How many bytes of stored events at most: 1 to 64 MiB. Default 4 MiB.
    #[serde(default = "default_batch_bytes")]
    pub batch_bytes: usize,
}

impl Settings {
    /// Refuses what is outside its limits or outside the operator's folder.
    pub(super) fn check(&self, environment: &Environment) -> Result<(), SinkError> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let length = 1..=MAX_PREFIX_CHARS;
        if !length.contains(&self.prefix.len())
            || !self.prefix.bytes().all(legal)
            || self.prefix.starts_with('.')
        {
            let why = "1 to 64 letters, digits, '-', '_' and '.', the first no '.'";
            return Err(settings::refused(KIND, "prefix", why));
        }
        settings::within(KIND, "max_bytes", &self.max_bytes, MIN_FILE_BYTES..=MAX_FILE_BYTES)?;
        settings::within(KIND, "max_age_seconds", &self.max_age_seconds, 1..=MAX_AGE_SECONDS)?;
        settings::within(KIND, "keep_files", &self.keep_files.unwrap_or(usize::MAX), 1..=usize::MAX)?;
        settings::within(KIND, "batch_events", &self.batch_events, 1..=MAX_BATCH_EVENTS)?;
        settings::within(KIND, "batch_bytes", &self.batch_bytes, 1..=MAX_BATCH_BYTES)?;
        let inside =
            self.directory.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !inside && !environment.trusted_settings {
            let why = "only the configuration file may name a folder outside the operator's folder for files";
            return Err(settings::refused(KIND, "directory", why));
        }
        Ok(())
    }
}

fn default_prefix() -> String {
    "events".to_owned()
}

fn default_max_bytes() -> u64 {
    128 * 1024 * 1024
}

fn default_max_age_seconds() -> u64 {
    3600
}

fn default_batch_bytes() -> usize {
    4 * 1024 * 1024
}
