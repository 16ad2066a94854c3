//! Why a publish or a look-up fails, in words and in codes that stay the same over releases.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use eventrelay_event::DecodeError;
use eventrelay_log::ReadError;

/// Why events were not stored.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PublishError {
    /// An event breaks a rule.
    #[error("event {index}: {field}: {why}")]
    InvalidEvent {
        /// Which event, counted from 0.
        index: usize,
        /// Which of its fields.
        field: Cow<'static, str>,
        /// What the field must be.
        why: &'static str,
    },
    /// An event is larger than the limit.
    #[error("event {index} has {bytes} bytes; the limit is {limit}")]
    EventTooLarge {
        /// Which event, counted from 0.
        index: usize,
        /// Its bytes, all fields and data.
        bytes: usize,
        /// The most that it may have.
        limit: usize,
    },
    /// There is nothing to store.
    #[error("the batch has no events")]
    EmptyBatch,
    /// The events are too many or too large to be stored together.
    #[error("the batch has {size} {unit}; the limit is {limit}")]
    BatchTooLarge {
        /// How large it is.
        size: usize,
        /// How large it may be.
        limit: usize,
        /// Of what: `events` or `bytes`.
        unit: &'static str,
    },
    /// Another event of the same tenant and source has the idempotency key.
    #[error("event {index}: its idempotency key belongs to another event of the same source")]
    IdempotencyKeyReused {
        /// Which event, counted from 0.
        index: usize,
    },
    /// The commit queue stayed full.
    #[error("more events are waiting than can be stored in time")]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// A write or sync failed under way. Publishing again with the same idempotency key after a restart tells.
    #[error("whether the events were stored is not known: {why}")]
    OutcomeUnknown {
        /// What failed.
        why: Arc<str>,
    },
    /// The disk has no room. The log takes events again by itself when there is.
    #[error("the disk is full")]
    DiskFull,
    /// An earlier write or sync failed; nothing is stored until a restart.
    #[error("the log takes no events until a restart: {why}")]
    LogPoisoned {
        /// What failed.
        why: Arc<str>,
    },
    /// Something that storing needs failed, and may work again.
    #[error("events cannot be stored now: {why}")]
    Unavailable {
        /// What failed.
        why: Arc<str>,
    },
    /// An event is a repetition by its key and its content's hash, but the one that is stored cannot be read to compare.
    /// The other events of the batch are stored.
    #[error("event {index} repeats one that cannot be read: {why}")]
    Unconfirmed {
        /// Which event, counted from 0.
        index: usize,
        /// Why not.
        why: FindError,
    },
    /// The server is stopping.
    #[error("the server is shutting down")]
    ShuttingDown,
}

impl PublishError {
    /// A name that stays the same over releases.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidEvent { .. } => "invalid_event",
            Self::EventTooLarge { .. } => "event_too_large",
            Self::EmptyBatch => "empty_batch",
            Self::BatchTooLarge { .. } => "batch_too_large",
            Self::IdempotencyKeyReused { .. } => "idempotency_key_reused",
            Self::Overloaded { .. } => "overloaded",
            Self::OutcomeUnknown { .. } => "outcome_unknown",
            Self::DiskFull => "disk_full",
            Self::LogPoisoned { .. } => "log_poisoned",
            Self::Unavailable { .. } => "unavailable",
            Self::Unconfirmed { .. } => "unconfirmed",
            Self::ShuttingDown => "shutting_down",
        }
    }

    /// Which event of the batch is to blame, counted from 0.
    #[must_use]
    pub fn index(&self) -> Option<usize> {
        match *self {
            Self::InvalidEvent { index, .. }
            | Self::EventTooLarge { index, .. }
            | Self::IdempotencyKeyReused { index }
            | Self::Unconfirmed { index, .. } => Some(index),
            _ => None,
        }
    }

    /// Which field of that event is to blame.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::InvalidEvent { field, .. } => Some(field),
            Self::IdempotencyKeyReused { .. } => Some("idempotency_key"),
            _ => None,
        }
    }

    /// When to try again, where waiting helps and how long is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match *self {
            Self::Overloaded { retry_after } => Some(retry_after),
            _ => None,
        }
    }
}

/// Why a stored event cannot be looked at.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FindError {
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What the log has is not an event.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The server is stopping.
    #[error("the read was interrupted by the shutdown")]
    Interrupted,
}
