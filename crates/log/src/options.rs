//! How a log is kept: sizes, delays, limits, and the clock it goes by.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::disk::BLOCK_BYTES;

/// A log's settings.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the segments are. Created when missing.
    pub directory: PathBuf,
    /// Bytes per segment file, a multiple of 4,096. Two such files exist from the start: the active one and a spare.
    pub segment_bytes: u64,
    /// The most bytes of one commit, and so of one group. At most a quarter of a segment.
    pub max_commit_bytes: usize,
    /// How long a commit waits for more events before it is written. Zero: whatever queued up while the disk was busy.
    pub gather_delay: Duration,
    /// How many commits may be on their way to the disk at once. At least 1.
    pub commits_in_flight: usize,
    /// When an append counts as done.
    pub sync: SyncMode,
    /// The most bytes that wait for a commit.
    pub queue_bytes: usize,
    /// The newest frames kept in memory for readers, in bytes.
    pub tail_cache_bytes: usize,
    /// After this long without a commit, a mark frame is written, so that damage to the last one is told from a torn tail.
    pub idle_mark_delay: Duration,
    /// How long a key is remembered after its append.
    pub key_window: Duration,
    /// What lets old segments go.
    pub retention: Retention,
    /// Where append times come from.
    pub clock: Arc<dyn Clock>,
}

impl Options {
    /// The defaults, with the segments in `directory`.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            segment_bytes: 128 << 20,
            max_commit_bytes: 4 << 20,
            gather_delay: Duration::ZERO,
            commits_in_flight: 4,
            sync: SyncMode::Commit,
            queue_bytes: 64 << 20,
            tail_cache_bytes: 16 << 20,
            idle_mark_delay: Duration::from_millis(200),
            key_window: Duration::from_secs(7 * 24 * 3600),
            retention: Retention::default(),
            clock: Arc::new(SystemClock),
        }
    }

    /// Says which setting makes no sense, if one does.
    pub fn check(&self) -> Result<(), OptionsError> {
        let rule = |holds: bool, text: &'static str| if holds { Ok(()) } else { Err(OptionsError(text)) };
        let blocks = BLOCK_BYTES as u64;
        rule(self.segment_bytes.is_multiple_of(blocks), "segment_bytes must be a multiple of 4096")?;
        rule(self.segment_bytes >= 16 * blocks, "segment_bytes must be at least 65536")?;
        rule(self.segment_bytes <= 1 << 40, "segment_bytes must be at most 1 TiB")?;
        rule(self.max_commit_bytes >= BLOCK_BYTES, "max_commit_bytes must be at least 4096")?;
        rule(self.max_commit_bytes <= 256 << 20, "max_commit_bytes must be at most 256 MiB")?;
        rule(
            self.max_commit_bytes as u64 <= self.segment_bytes / 4,
            "max_commit_bytes must be at most a quarter of segment_bytes",
        )?;
        rule((1..=64).contains(&self.commits_in_flight), "commits_in_flight must be 1 to 64")?;
        rule(self.queue_bytes >= self.max_commit_bytes, "queue_bytes must be at least max_commit_bytes")?;
        rule(self.queue_bytes <= u32::MAX as usize, "queue_bytes must be below 4 GiB")?;
        rule(self.gather_delay <= Duration::from_secs(1), "gather_delay must be at most one second")?;
        rule(!self.idle_mark_delay.is_zero(), "idle_mark_delay must not be zero")
    }
}

/// A setting that makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OptionsError(&'static str);

/// When an append counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncMode {
    /// Once it is on the disk. The only mode that keeps the promises.
    Commit,
    /// Once it is written; synced every so often. A power loss takes what came since.
    Interval(Duration),
    /// Once it is written; synced when the kernel likes, at rolls and on closing.
    Never,
}

/// What lets old segments go. A bound that is `None` does not count; with none at all, everything is kept.
#[derive(Debug, Clone, Default)]
pub struct Retention {
    /// Let a segment go when its newest event is older.
    pub max_age: Option<Duration>,
    /// Let the oldest segments go while the log is larger.
    pub max_bytes: Option<u64>,
    /// Let the oldest segments go while there are more.
    pub max_segments: Option<usize>,
    /// A segment that a subscription needs is kept in spite of the bounds above, until the log is larger than this.
    pub hard_limit_bytes: Option<u64>,
}

/// Where append times come from.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Microseconds since the Unix epoch. It may jump; the log never lets append times go backwards.
    fn now_micros(&self) -> u64;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_micros(&self) -> u64 {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX)
    }
}
