//! The sections of the configuration. Field names are the keys.

use std::path::PathBuf;

use eventrelay_server::auth::{LoginOptions, OidcOptions};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// `[log]`: the durable log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Bytes per segment file, a multiple of 4096.
    pub segment_bytes: u64,
    /// When an event counts as safe.
    pub sync: LogSync,
    /// The time between syncs when `sync` is `interval`.
    pub sync_interval_ms: u64,
    /// How commits reach the disk.
    pub write_mode: LogWriteMode,
    /// The most bytes of one commit, at most a quarter of a segment. No batch can be larger.
    pub max_commit_bytes: usize,
    /// How long a commit waits for more events before it is written.
    pub gather_delay_micros: u64,
    /// How many commits may be on their way to the disk at once.
    pub commits_in_flight: usize,
    /// The most bytes that wait for a commit; publishers wait when it is full.
    pub queue_bytes: usize,
    /// The newest events kept in memory, for all subscriptions together.
    pub tail_cache_bytes: usize,
    /// After this long without a commit the durable end of the log is marked on the disk.
    pub idle_mark_delay_ms: u64,
    /// Segments whose newest event is older than this are let go. None: kept.
    pub retention_max_age_seconds: Option<u64>,
    /// The oldest segments are let go while the log is larger than this. None: kept.
    pub retention_max_bytes: Option<u64>,
    /// The oldest segments are let go while there are more than this. None: kept.
    pub retention_max_segments: Option<usize>,
    /// What a subscription still needs is kept all the same, until the log is this large. None: for ever.
    pub retention_hard_limit_bytes: Option<u64>,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            segment_bytes: 128 << 20,
            sync: LogSync::Commit,
            sync_interval_ms: 100,
            write_mode: LogWriteMode::Direct,
            max_commit_bytes: 4 << 20,
            gather_delay_micros: 0,
            commits_in_flight: 4,
            queue_bytes: 64 << 20,
            tail_cache_bytes: 16 << 20,
            idle_mark_delay_ms: 200,
            retention_max_age_seconds: None,
            retention_max_bytes: None,
            retention_max_segments: None,
            retention_hard_limit_bytes: None,
        }
    }
}

/// `log.sync`: when an event counts as safe and its publisher is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogSync {
    /// Once it is on the disk. The only mode that keeps the promises.
    Commit,
    /// At once; a crash loses what came since the last sync.
    Interval,
    /// At once; the kernel syncs when it likes.
    Never,
}

/// `log.write_mode`: how commits reach the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogWriteMode {
    /// Past the page cache, several commits in flight; `buffered` where the file system has no direct I/O.
    Direct,
    /// Through the page cache, then a sync, one commit at a time.
    Buffered,
}

/// `[publish]`: what may be published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Publish {
    /// The largest event, as stored. One that does not fit a commit is refused, whatever this says.
    pub max_event_bytes: usize,
    /// The most events of one batch.
    pub max_batch_events: usize,
    /// The deepest nesting of JSON data.
    pub max_json_depth: usize,
    /// How long a publisher waits for room in the commit queue before it hears `overloaded`.
    pub queue_wait_ms: u64,
    /// How long an idempotency key is remembered.
    pub idempotency_window_seconds: u64,
}

impl Default for Publish {
    fn default() -> Self {
        Self {
            max_event_bytes: 1 << 20,
            max_batch_events: 1_000,
            max_json_depth: 64,
            queue_wait_ms: 1_000,
            idempotency_window_seconds: 7 * 24 * 60 * 60,
        }
    }
}

/// `[auth]`: who may use the front doors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Whether everybody has to show an API key. Off, the front doors listen on loopback only, and who comes without a key
    /// speaks for the default tenant and may do everything.
    pub required: bool,
    /// A file that holds an API key which may do everything, to make the others with. None: there is no such key.
    pub bootstrap_key_file: Option<PathBuf>,
    /// How users log in, and how long that lasts.
    pub login: LoginOptions,
    /// The OpenID Connect provider that users log in with, beside passwords.
    pub oidc: OidcOptions,
}

/// `[delivery]`: the dispatchers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Delivery {
    /// The least time between two saves of a subscription's cursor: what a crash may deliver again.
    pub checkpoint_interval_ms: u64,
    /// How long a shutdown waits for the deliveries in flight, once the requests in flight are finished.
    pub shutdown_timeout_ms: u64,
    /// The most memory of events' data that is kept as trees for filters and transforms.
    pub expression_cache_bytes: usize,
}

impl Default for Delivery {
    fn default() -> Self {
        Self { checkpoint_interval_ms: 200, shutdown_timeout_ms: 20_000, expression_cache_bytes: 16 << 20 }
    }
}

/// `[egress]`: what sinks may connect to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Egress {
    /// Whether sinks may connect to addresses that are not public: loopback and private ones.
    pub allow_private_addresses: bool,
    /// Networks that are allowed whatever they are (`10.1.0.0/16`), but for cloud metadata services in them.
    pub allowed_networks: Vec<IpNet>,
    /// The ports that sinks may connect to. Empty: any.
    pub allowed_ports: Vec<u16>,
}

/// `[logging]`: the process's own log lines. They go to stderr.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Logging {
    /// `error`, `warn`, `info`, `debug` or `trace`, then levels for what a module name begins with: `info,eventrelay_delivery=debug`.
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
    /// Also write JSON lines to files in this directory. None: stderr only.
    pub file_directory: Option<PathBuf>,
    /// When a new file begins.
    pub file_rotation: LogRotation,
    /// How many files are kept.
    pub file_keep: usize,
}

impl Default for Logging {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Auto,
            file_directory: None,
            file_rotation: LogRotation::Daily,
            file_keep: 7,
        }
    }
}

/// `logging.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// `human` when stderr is a terminal, else `json`.
    Auto,
    /// One line of text for people.
    Human,
    /// One JSON object per line.
    Json,
}

/// `logging.file_rotation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogRotation {
    /// Every hour.
    Hourly,
    /// Every day.
    Daily,
    /// Never: one file that grows.
    Never,
}

/// `[operational_events]`: what the relay tells of itself, as events of the types `eventrelay.*`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OperationalEvents {
    /// With less free bytes than this under the data directory, `eventrelay.disk.low` is told.
    pub disk_low_bytes: u64,
    /// How often disk and retention are looked at.
    pub check_interval_ms: u64,
}

impl Default for OperationalEvents {
    fn default() -> Self {
        Self { disk_low_bytes: 1 << 30, check_interval_ms: 10_000 }
    }
}
