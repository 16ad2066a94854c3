//! Writes batches of events as objects: to Amazon S3 and what speaks its protocol, Google Cloud Storage, Azure Blob Storage,
//! or a directory.
//!
//! ```text
//! type=order.created/date=2026-01-31/hour=12/00000000000000001200-7f3a09c1d2e4.ndjson.zst
//! └── the folder: `partition.rs` ──────────┘ └── the name: `name.rs`, what is in it: `content.rs`
//! ```
//!
//! Each folder's events of a batch become one object, so there are as many as the batch has folders; an object is there as a
//! whole or not at all, and events of different folders do not wait for each other.
//!
//! **What is promised.** A batch is not the same after a crash: the cursor is a little behind, and how many events come
//! together depends on what is at hand. Named after the batch, objects would overlap.
//!
//! - `exactly_once = true` (the default, with `order = "strict"`): each event is in one object. How is told in
//!   `chain.rs`: names follow from where the last object ends, objects are created only where there is none, and what is
//!   there already is read instead of written again. In the long run that costs nothing: one request an object. After
//!   a start, a failure or in a new folder, one listing and at most a few reads of a folder come first.
//! - `exactly_once = false`, with any order: an object is named after exactly the events in it, so the same batch again
//!   replaces itself; but after a crash or a failure, other batches of the same events may stand beside it.
//!
//! What comes of a delivery:
//!
//! | what happened | outcome |
//! |---|---|
//! | the object is written, or the event is found in one | delivered; a directory's file and folders are fsynced then |
//! | a field of `path` is missing, or makes no folder | reject, by itself |
//! | CloudEvents with an attribute `eventrelayoffset` of the event's own | reject, by itself |
//! | anything about the store, see `failure.rs` | retry, for that folder's events |
//! | the store has no conditional writes, under `exactly_once` | retry, with the reason |
//!
//! HTTP goes through the egress guard, see `guarded_http.rs`. An object is sent as one request, and nothing is left
//! unfinished in the store; in a directory, a crash may leave a file `….ndjson.zst#1` that is not an object.

mod chain;
mod check;
mod content;
mod failure;
mod guarded_http;
mod name;
mod ndjson;
mod parquet_offsets;
#[cfg(feature = "parquet")]
mod parquet_rows;
mod partition;
mod reading;
mod s3_keys;
mod settings;
mod store;
mod tails;
mod target;
mod thrift;

use std::collections::HashMap;
use std::time::Duration;

use eventrelay_event::StoredEvent;
use futures_util::{StreamExt as _, stream};

pub use content::{Compression, Content, Format};
pub use settings::{Azure, Gcs, KIND, Local, S3, Settings};

use self::chain::{Chains, Group, Writer};
use self::failure::{FailureKind, StoreFailure};
use self::name::Names;
use self::partition::Partitioning;
use self::store::Store;
use self::target::Target;
use crate::{
    Attempt, BatchLimit, BoxFuture, CheckError, Delivery, Environment, Guarantee, Outcome, Owner, Sink,
    SinkError,
};

/// Objects that are written at once.
const CONCURRENT_OBJECTS: usize = 8;

/// Objects in a store.
pub struct ObjectStoreSink {
    writer: Writer,
    partitioning: Partitioning,
    /// None where an event may be in more than one object.
    chains: Option<Chains>,
    limit: BatchLimit,
    batch_wait: Duration,
}

/// What is written of a batch.
#[derive(Default)]
struct Batch {
    groups: Vec<Group>,
    /// For each delivery its group, or why it has none.
    places: Vec<Result<usize, String>>,
}

impl ObjectStoreSink {
    /// Makes the sink. Reads the files that the settings name; connects to nothing and writes nothing yet.
    ///
    /// # Errors
    /// Names the field that is wrong. No error shows a secret.
    pub fn new(settings: &Settings, owner: &Owner, environment: &Environment) -> Result<Self, SinkError> {
        settings.check(environment)?;
        let partitioning = Partitioning::parse(&settings.path)?;
        let target = Target::open(settings, environment)?;
        let encoding = settings.encoding();
        Ok(Self {
            writer: Writer {
                store: Store::new(target, Duration::from_millis(settings.timeout_ms)),
                names: Names::new(owner, encoding.kind()),
                encoding,
            },
            partitioning,
            chains: settings.exactly_once.then(Chains::new),
            limit: BatchLimit { events: settings.batch_events, bytes: settings.batch_bytes },
            batch_wait: Duration::from_millis(settings.batch_wait_ms),
        })
    }

    async fn deliver_all(&self, deliveries: &[Delivery]) -> Vec<Outcome> {
        let batch = self.sorted(deliveries);
        let results = match &self.chains {
            Some(chains) => chains.write(&self.writer, &batch.groups).await,
            None => self.write_all(&batch.groups).await,
        };
        let outcome = |(delivery, place): (&Delivery, &Result<usize, String>)| match place {
            Err(why) => Outcome::Reject { why: why.clone() },
            Ok(group) => {
                let (settled, failure) = &results[*group];
                let offset = delivery.event.offset();
                let index = batch.groups[*group].events.binary_search_by_key(&offset, StoredEvent::offset);
                match (index.is_ok_and(|index| settled[index]), failure) {
                    (true, _) => Outcome::Delivered,
                    (false, Some(failure)) => failure.outcome(),
                    (false, None) => unanswered(),
                }
            }
        };
        deliveries.iter().zip(&batch.places).map(outcome).collect()
    }

    /// Sorts a batch by folder, and each folder's events by their offsets.
    fn sorted(&self, deliveries: &[Delivery]) -> Batch {
        let mut batch = Batch::default();
        let mut known: HashMap<String, usize> = HashMap::new();
        for delivery in deliveries {
            let event = &delivery.event;
            let folder = (self.writer.encoding.check(event))
                .map_err(str::to_owned)
                .and_then(|()| self.partitioning.of(event).map_err(|error| error.to_string()));
            let place = folder.map(|folder| {
                let group = *known.entry(folder).or_insert_with_key(|folder| {
                    batch.groups.push(Group { folder: folder.clone(), events: Vec::new() });
                    batch.groups.len() - 1
                });
                batch.groups[group].events.push(event.clone());
                group
            });
            batch.places.push(place);
        }
        for group in &mut batch.groups {
            group.events.sort_by_key(StoredEvent::offset);
            group.events.dedup_by_key(|event| event.offset());
        }
        batch
    }

    /// Writes each group as an object that is named after exactly its events.
    async fn write_all(&self, groups: &[Group]) -> Vec<(Vec<bool>, Option<StoreFailure>)> {
        let mut writes = Vec::with_capacity(groups.len());
        for group in groups {
            writes.push(self.write_one(group));
        }
        stream::iter(writes).buffered(CONCURRENT_OBJECTS).collect().await
    }

    async fn write_one(&self, group: &Group) -> (Vec<bool>, Option<StoreFailure>) {
        let Group { folder, events } = group;
        let name = self.writer.names.of_events(events);
        let result = match self.writer.object(events.clone()).await {
            Ok(object) => self.writer.store.replace(folder, &name, &object).await,
            Err(failure) => Err(failure),
        };
        (vec![result.is_ok(); events.len()], result.err())
    }
}

impl Sink for ObjectStoreSink {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn batch_limit(&self) -> BatchLimit {
        self.limit
    }

    fn batch_wait(&self) -> Duration {
        self.batch_wait
    }

    fn deliver<'a>(&'a self, batch: &'a [Delivery]) -> BoxFuture<'a, Vec<Attempt>> {
        Box::pin(Attempt::of_call(self.deliver_all(batch)))
    }

    fn check(&self) -> BoxFuture<'_, Result<(), CheckError>> {
        Box::pin(check::check(self))
    }

    fn guarantee(&self) -> Guarantee {
        if self.chains.is_some() { Guarantee::ExactlyOnce } else { Guarantee::AtLeastOnce }
    }

    fn needs_strict_order(&self) -> bool {
        self.chains.is_some()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.writer.store.close())
    }
}

/// Shows where it delivers to.
impl std::fmt::Debug for ObjectStoreSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ObjectStoreSink({})", self.writer.store.shown())
    }
}

fn unanswered() -> Outcome {
    StoreFailure::new(FailureKind::Other, "nothing came of the write").outcome()
}
