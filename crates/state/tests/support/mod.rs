//! What several tests need: a state beside a log that exists in name only.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "test support; each test binary uses a part of it"
)]

use std::convert::Infallible;
use std::path::{Path, PathBuf};

use eventrelay_event::Tenant;
use eventrelay_state::{
    ActorKind, AuditEntry, AuditQuery, Checkpoint, LogIdentity, OpenError, OpenMode, Progress, Start, State,
    Subscription, SubscriptionId, SubscriptionRecord,
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

/// What the audit log says of a change.
pub fn audit(action: &str) -> AuditEntry {
    AuditEntry {
        at_micros: 1,
        tenant: Tenant::default(),
        actor_kind: ActorKind::ApiKey,
        actor_id: "key_1".to_owned(),
        actor_name: "the operator".to_owned(),
        action: action.to_owned(),
        resource_kind: action.split('.').next().unwrap().to_owned(),
        resource_name: "it".to_owned(),
        before: None,
        after: Some("{}".to_owned()),
        request_id: Some("r-1".to_owned()),
        client_address: Some("127.0.0.1".to_owned()),
    }
}

/// The actions in the audit log, newest first.
pub fn audited(state: &State) -> Vec<String> {
    let all = AuditQuery { limit: 1_000, ..AuditQuery::default() };
    state.audit_log(&all).unwrap().into_iter().map(|record| record.entry.action).collect()
}
