//! Replays and redrives: what was asked for, and how far each has come.
//!
//! A finished one stays for people to look at; of each subscription the newest [`KEPT_PER_SUBSCRIPTION`] are kept.

use std::num::NonZeroU32;

use eventrelay_expression::EventFilter;
use rusqlite::{Connection, Row};

use crate::state::{now_micros, unreadable};
use crate::{State, StateError, SubscriptionId};

/// How many of a subscription's replays are kept.
const KEPT_PER_SUBSCRIPTION: u32 = 100;

/// A replay's number; never used again for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReplayId(pub i64);

/// What is delivered again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayKind {
    /// A range of the log.
    Replay,
    /// Dead letters of a range of offsets.
    Redrive,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewReplay {
    /// Whose.
    pub subscription: SubscriptionId,
    /// Of the log, or dead letters.
    pub kind: ReplayKind,
    /// Which events, beside the subscription's own filter.
    pub filter: EventFilter,
    /// The most events a second, beside the subscription's own limit.
    pub max_events_per_second: Option<NonZeroU32>,
    /// From this offset on.
    pub start_offset: u64,
    /// To this offset, exclusive.
    pub end_offset: u64,
}

/// A stored replay. Times are microseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayRecord {
    /// Its number.
    pub id: ReplayId,
    /// What was asked for.
    pub request: NewReplay,
    /// How far it has come.
    pub progress: ReplayProgress,
    /// When it was asked for.
    pub created_at_micros: u64,
}

/// How far a replay has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayProgress {
    /// Every offset below it is settled.
    pub next_offset: u64,
    /// Whether it goes on.
    pub state: ReplayState,
    /// Delivered at the first try.
    pub delivered: u64,
    /// Handed to the subscription's retries, which try them again.
    pub deferred: u64,
    /// Refused for good: dead letters.
    pub refused: u64,
    /// No longer in the log.
    pub lost: u64,
    /// When it ended.
    pub finished_at_micros: Option<u64>,
}

/// Whether a replay goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplayState {
    /// It does.
    Running,
    /// All of it is settled.
    Done,
    /// Somebody stopped it.
    Cancelled,
    /// It cannot go on.
    Failed {
        /// Why, for people.
        reason: String,
    },
}

impl ReplayKind {
    /// The stable name: `replay` or `redrive`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Redrive => "redrive",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Replay, Self::Redrive].into_iter().find(|kind| kind.name() == name)
    }
}

impl ReplayState {
    /// The stable name: `running`, `done`, `cancelled` or `failed`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Failed { .. } => "failed",
        }
    }

    fn reason(&self) -> Option<&str> {
        match self {
            Self::Failed { reason } => Some(reason),
            Self::Running | Self::Done | Self::Cancelled => None,
        }
    }

    fn from_columns(name: &str, reason: Option<String>) -> Option<Self> {
        match name {
            "running" => Some(Self::Running),
            "done" => Some(Self::Done),
            "cancelled" => Some(Self::Cancelled),
            "failed" => Some(Self::Failed { reason: reason.unwrap_or_default() }),
            _ => None,
        }
    }
}

impl ReplayRecord {
    /// One that has just been asked for.
    #[must_use]
    pub fn begin(id: ReplayId, request: NewReplay, created_at_micros: u64) -> Self {
        let progress = ReplayProgress {
            next_offset: request.start_offset,
            state: ReplayState::Running,
            delivered: 0,
            deferred: 0,
            refused: 0,
            lost: 0,
            finished_at_micros: None,
        };
        Self { id, request, progress, created_at_micros }
    }
}

impl State {
    /// Stores a new replay; durable once this returns Ok.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub async fn create_replay(&self, request: NewReplay) -> Result<ReplayRecord, StateError> {
        self.writer.write(move |tx| insert(tx, request)).await
    }

    /// A subscription's replays, newest first. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn replays(&self, subscription: SubscriptionId) -> Result<Vec<ReplayRecord>, StateError> {
        let reader = self.reader();
        let mut statement = reader.prepare_cached(
            "SELECT id, kind, filter, max_events_per_second, start_offset, next_offset, end_offset, state, state_reason,
                    delivered, deferred, refused, lost, created_at_micros, finished_at_micros
             FROM replays WHERE subscription_id = ?1 ORDER BY id DESC",
        )?;
        let mut rows = statement.query([subscription.0])?;
        let mut replays = Vec::new();
        while let Some(row) = rows.next()? {
            replays.push(read(subscription, row)?);
        }
        Ok(replays)
    }
}

fn insert(connection: &Connection, request: NewReplay) -> Result<ReplayRecord, StateError> {
    let now = now_micros();
    let filter = serde_json::to_string(&request.filter).map_err(unreadable)?;
    connection
        .prepare_cached(
            "INSERT INTO replays (subscription_id, kind, filter, max_events_per_second, start_offset, next_offset,
                                  end_offset, state, delivered, deferred, refused, lost, created_at_micros)
             VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, 'running', 0, 0, 0, 0, ?7)",
        )?
        .execute((
            request.subscription.0,
            request.kind.name(),
            filter,
            request.max_events_per_second.map(NonZeroU32::get),
            request.start_offset,
            request.end_offset,
            now,
        ))?;
    let id = ReplayId(connection.last_insert_rowid());
    connection
        .prepare_cached(
            "DELETE FROM replays WHERE subscription_id = ?1 AND state <> 'running' AND id NOT IN
                 (SELECT id FROM replays WHERE subscription_id = ?1 ORDER BY id DESC LIMIT ?2)",
        )?
        .execute((request.subscription.0, KEPT_PER_SUBSCRIPTION))?;
    Ok(ReplayRecord::begin(id, request, now))
}

/// Saves how far a replay has come.
pub(crate) fn save_progress(
    connection: &Connection,
    id: ReplayId,
    progress: &ReplayProgress,
) -> Result<(), StateError> {
    connection
        .prepare_cached(
            "UPDATE replays SET next_offset = ?2, state = ?3, state_reason = ?4, delivered = ?5, deferred = ?6,
                                refused = ?7, lost = ?8, finished_at_micros = ?9
             WHERE id = ?1",
        )?
        .execute((
            id.0,
            progress.next_offset,
            progress.state.name(),
            progress.state.reason(),
            progress.delivered,
            progress.deferred,
            progress.refused,
            progress.lost,
            progress.finished_at_micros,
        ))?;
    Ok(())
}

fn read(subscription: SubscriptionId, row: &Row<'_>) -> Result<ReplayRecord, StateError> {
    let id = ReplayId(row.get(0)?);
    let (kind, filter, state): (String, String, String) = (row.get(1)?, row.get(2)?, row.get(7)?);
    let bad = |what: &str| unreadable(format_args!("replay {}: {what}", id.0));
    let request = NewReplay {
        subscription,
        kind: ReplayKind::from_name(&kind).ok_or_else(|| bad(&kind))?,
        filter: serde_json::from_str(&filter).map_err(|error| bad(&error.to_string()))?,
        max_events_per_second: row.get::<_, Option<u32>>(3)?.and_then(NonZeroU32::new),
        start_offset: row.get(4)?,
        end_offset: row.get(6)?,
    };
    let progress = ReplayProgress {
        next_offset: row.get(5)?,
        state: ReplayState::from_columns(&state, row.get(8)?).ok_or_else(|| bad(&state))?,
        delivered: row.get(9)?,
        deferred: row.get(10)?,
        refused: row.get(11)?,
        lost: row.get(12)?,
        finished_at_micros: row.get(14)?,
    };
    Ok(ReplayRecord { id, request, progress, created_at_micros: row.get(13)? })
}
