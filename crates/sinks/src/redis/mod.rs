//! Appends events to Redis Streams (`XADD`).
//!
//! - `entry.rs` says what an event becomes, `publish.rs` how a batch is appended, `owned/` how exactly once, `reply.rs` what Redis's
//!   errors mean, `nodes.rs` where to write, `group.rs` how a consumer group is moved, `check.rs` what is looked at beforehand.
//! - A batch is one transaction, or one for each slot on a cluster. Redis answers it when it is as durable as `appendonly`,
//!   `appendfsync` and, with `wait_replicas`, its replicas make it.
//! - Redis gives ids and knows no repetitions, so an answer that is lost leaves events twice: at least once. With
//!   `ids = "offset"` a repetition is refused.
//!
//! What comes of an event:
//!
//! | what happened | outcome |
//! |---|---|
//! | it has an entry | delivered |
//! | it lacks a field of its stream's key, or that key is empty or longer than 1,024 bytes | reject |
//! | its stream's key is something else than a stream | reject |
//! | its data is larger than the server's `proto-max-bulk-len` | reject |
//! | the user may not append to its stream | retry, and its neighbours are delivered |
//! | a wrong or missing password, a revoked right | retry, since they may be put right |
//! | out of memory, loading, a replica or a cluster without a master | retry |
//! | no connection, a lost one, no answer in time, too few replicas | retry |
//! | with `ids = "offset"`: the stream is somebody else's | retry |
//!
//! Nothing is remembered that a Redis which comes back empty would lack: streams, groups and owners are made again by the
//! transaction that needs them.

mod address;
mod check;
mod connection;
mod entry;
mod exchange;
mod group;
mod login;
mod nodes;
mod owned;
mod publish;
mod reply;
mod reply_limit;
mod settings;
mod slot;
mod transaction;

use std::time::Duration;

use tokio::time::Instant;

pub use settings::{Ids, KIND, Layout, Settings};

use self::entry::EntryTemplate;
use self::nodes::Nodes;
use self::owned::{Ledger, OwnedStreams};
use self::publish::{Prepared, Publisher};
use crate::{
    Attempt, BatchLimit, BoxFuture, CheckError, DeadLetterCopy, Delivery, Environment, GroupError, Guarantee,
    Outcome, Owner, Sink, SinkError,
};

/// Streams of Redis.
pub struct RedisSink {
    publisher: Publisher,
    /// None where Redis chooses the ids.
    owned: Option<Box<OwnedStreams>>,
    limit: BatchLimit,
    timeout: Duration,
}

impl RedisSink {
    /// Makes the sink. Reads the files that the settings name; connects to nothing yet.
    ///
    /// # Errors
    /// Names the field that is wrong. No error shows a secret.
    pub fn new(settings: &Settings, owner: &Owner, environment: &Environment) -> Result<Self, SinkError> {
        settings.check()?;
        let publisher = Publisher {
            template: EntryTemplate::new(settings)?,
            group: settings.group().map(str::to_owned),
            nodes: Nodes::new(settings, owner, environment)?,
            replicas: settings.wait_replicas,
        };
        let owned = match settings.ids {
            Ids::Auto => None,
            Ids::Offset => Some(Box::new(OwnedStreams::new(Ledger::new(owner)))),
        };
        Ok(Self {
            publisher,
            owned,
            limit: BatchLimit { events: settings.batch_events, bytes: settings.batch_bytes },
            timeout: Duration::from_millis(settings.timeout_ms),
        })
    }

    async fn append(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let deadline = Instant::now() + self.timeout;
        let Prepared { items, rejected, settled } = self.publisher.prepare(batch, deadline).await;
        let appended = match &self.owned {
            None => self.publisher.append(items, deadline).await,
            Some(owned) => owned.append(&self.publisher, items, &rejected, deadline).await,
        };
        let mut outcomes: Vec<Option<Outcome>> = vec![None; batch.len()];
        for (place, outcome) in settled.into_iter().chain(appended) {
            if let Some(slot) = outcomes.get_mut(place) {
                *slot = Some(outcome);
            }
        }
        let unanswered = || publish::retry("Redis gave no answer for the event".to_owned());
        outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(unanswered)).collect()
    }
}

impl Sink for RedisSink {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn batch_limit(&self) -> BatchLimit {
        self.limit
    }

    fn deliver<'a>(&'a self, batch: &'a [Delivery]) -> BoxFuture<'a, Vec<Attempt>> {
        Box::pin(Attempt::of_call(self.append(batch)))
    }

    fn check(&self) -> BoxFuture<'_, Result<(), CheckError>> {
        Box::pin(check::check(&self.publisher, self.owned.as_deref(), Instant::now() + self.timeout))
    }

    fn guarantee(&self) -> Guarantee {
        match self.owned {
            Some(_) => Guarantee::ExactlyOnce,
            None => Guarantee::AtLeastOnce,
        }
    }

    fn needs_strict_order(&self) -> bool {
        self.owned.is_some()
    }

    /// To one stream, a transaction appends all events or none, but for those that are rejected.
    fn keeps_order_within_batch(&self) -> bool {
        self.publisher.template.fixed_stream().is_some()
    }

    fn takes_dead_letters(&self) -> bool {
        self.publisher.template.takes_dead_letters()
    }

    fn dead_letters<'a>(&'a self, letters: &'a [DeadLetterCopy]) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(self.publisher.append_dead_letters(letters, Instant::now() + self.timeout))
    }

    fn set_group_position<'a>(
        &'a self,
        group: Option<&'a str>,
        position: &'a str,
    ) -> BoxFuture<'a, Result<(), GroupError>> {
        let deadline = Instant::now() + self.timeout;
        Box::pin(group::set_position(&self.publisher, group, position, deadline))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async { self.publisher.nodes.close() })
    }
}

/// Shows where it delivers to, as far as that is no secret.
impl std::fmt::Debug for RedisSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RedisSink({})", self.publisher.nodes.target())
    }
}
