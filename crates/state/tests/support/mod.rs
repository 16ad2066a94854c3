//! What several tests need: a state beside a log that exists in name only.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "test support; each test binary uses a part of it"
)]

use std::convert::Infallible;
use std::path::{Path, PathBuf};

use eventrelay_state::{
    Checkpoint, LogIdentity, OpenError, OpenMode, Progress, Start, State, Subscription, SubscriptionId,
    SubscriptionRecord,
};

pub const EMPTY_LOG: LogIdentity = LogIdentity { log_id: [7; 16], oldest_offset: 0, end_offset: 0 };

pub fn log_up_to(end_offset: u64) -> LogIdentity {
    LogIdentity { end_offset, ..EMPTY_LOG }
}

pub struct Home {
    directory: tempfile::TempDir,
}

impl Home {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("state.db")
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn open(&self, log: LogIdentity) -> Result<State, OpenError> {
        State::open(&self.path(), log, OpenMode::Normal)
    }
}

pub fn spec(name: &str) -> Subscription {
    serde_json::from_value(serde_json::json!({ "name": name, "sink": { "kind": "stdout" } })).unwrap()
}

/// Declares these subscriptions, each to start at `start`.
pub async fn declare(state: &State, specs: Vec<Subscription>, start: u64) -> Vec<SubscriptionRecord> {
    state.reconcile(specs, async |_: Start| Ok::<_, Infallible>(start)).await.unwrap().declared
}

pub fn checkpoint(subscription: SubscriptionId, cursor: u64) -> Checkpoint {
    Checkpoint {
        subscription,
        progress: Progress::new(cursor),
        retrying: Vec::new(),
        no_longer_retrying: Vec::new(),
        dead_letters: Vec::new(),
        no_longer_dead: Vec::new(),
        replays: Vec::new(),
        lifecycle: None,
        attempts: Vec::new(),
    }
}
