//! What deliveries need to remember, in SQLite: subscriptions, cursors, retries, dead letters and attempts; and who may use the
//! relay: tenants, API keys, users and their sessions, with a log of who changed what.
//!
//! The log alone says what was accepted; this crate says what became of it. Invariants:
//! - A [`Checkpoint`] is one transaction: a cursor never passes an offset whose outcome is not in the same or an
//!   earlier transaction.
//! - What a call has answered is on the disk (`synchronous=FULL`): it survives a power cut.
//! - A state file belongs to one log, and is never created beside a log that already holds events, unless the caller
//!   says so with [`OpenMode::CreateBesideLog`].
//! - All writes go through one thread that groups them, so that many subscriptions share one sync.
//!
//! [`Subscription`] is the declaration as a person writes it: the configuration file and the store use the same type.

mod answers;
mod api_keys;
mod attempts;
mod audit_log;
mod dead_letters;
mod delivery_state;
mod error;
mod open;
mod progress;
mod reconcile;
mod records;
mod replays;
mod schema;
mod sessions;
mod state;
mod subscription;
mod subscriptions;
mod svix;
mod tenants;
mod users;
mod writer;

pub use answers::{AnswerRecord, RequestName};
pub use api_keys::ApiKeyRecord;
pub use attempts::AttemptQuery;
pub use audit_log::{ActorKind, AuditEntry, AuditQuery, AuditRecord};
pub use delivery_state::{DeliveryState, DeliveryStates, Exception};
pub use error::{OpenError, StateError};
pub use open::{LogIdentity, OpenMode};
pub use progress::{Progress, ProgressError};
pub use reconcile::{ReconcileError, Reconciliation};
pub use records::{
    AttemptId, AttemptOutcome, AttemptRecord, Checkpoint, DeadLetter, Exchange, Lifecycle, Origin, Position,
    Retrying, SubscriptionId, SubscriptionRecord,
};
pub use replays::{NewReplay, ReplayId, ReplayKind, ReplayProgress, ReplayRecord, ReplayState};
pub use sessions::{SessionRecord, SessionStart};
pub use state::State;
pub use subscription::{
    BatchSettings, BreakerSettings, InvalidSubscription, KeepAttempts, Order, Rate, RetryPolicy, SinkSpec,
    Start, Subscription,
};
pub use subscriptions::SubscriptionChangeError;
pub use svix::{NewSvixApplication, SvixApplication, SvixChangeError, SvixEndpoint, SvixEventType, SvixPage};
pub use tenants::{TenantRecord, TenantRemoval};
pub use users::{OidcIdentity, Role, UserChange, UserRecord};
