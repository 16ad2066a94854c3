//! What deliveries need to remember: subscriptions, cursors, retries, dead letters and attempts, in SQLite.
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

mod api_keys;
mod delivery_state;
mod error;
mod open;
mod progress;
mod reconcile;
mod records;
mod replays;
mod schema;
mod state;
mod subscription;
mod writer;

pub use api_keys::ApiKeyRecord;
pub use delivery_state::DeliveryState;
pub use error::{OpenError, StateError};
pub use open::{LogIdentity, OpenMode};
pub use progress::{Progress, ProgressError};
pub use reconcile::{ReconcileError, Reconciliation};
pub use records::{
    AttemptOutcome, AttemptRecord, Checkpoint, DeadLetter, Lifecycle, Position, Retrying, SubscriptionId,
    SubscriptionRecord,
};
pub use replays::{NewReplay, ReplayId, ReplayKind, ReplayProgress, ReplayRecord, ReplayState};
pub use state::State;
pub use subscription::{
    BatchSettings, BreakerSettings, InvalidSubscription, Order, Rate, RetryPolicy, SinkSpec, Start,
    Subscription,
};
