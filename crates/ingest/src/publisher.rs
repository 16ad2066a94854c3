//! Check, append, answer.

use std::time::Duration;

use eventrelay_event::rules::EventLimits;
use eventrelay_event::{Event, EventId, InvalidEvent, StoredEvent};
use eventrelay_log::{AppendError, AppendedGroup, Group, Log, RecordOutcome, Refusal, Ticket};
use smallvec::SmallVec;

use crate::PublishError;
use crate::key::KeyHasher;
use crate::lookup::Lookup;
use crate::metrics::PublisherMetrics;

/// What the log adds to an event at most: a record's header with its key.
const RECORD_HEADER_BYTES: usize = 32;

/// What a publish may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishLimits {
    /// What an event and a batch may be. The bytes of a batch are bounded by what one commit of the log takes.
    pub events: EventLimits,
    /// How long a publish waits for room in the commit queue. Default 1 s.
    pub queue_wait: Duration,
}

impl Default for PublishLimits {
    fn default() -> Self {
        Self { events: EventLimits::default(), queue_wait: Duration::from_secs(1) }
    }
}

/// Where an event is, for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The event's name.
    pub id: EventId,
    /// The event's position in the log.
    pub offset: u64,
    /// Whether it was there before this publish, under the same idempotency key.
    pub duplicate: bool,
}

/// One receipt for each event, in the order of the publish.
pub type Receipts = SmallVec<[Receipt; 1]>;

/// Events that have their place in the log, and are on their way to the disk.
#[derive(Debug)]
#[must_use = "what became of the events is told by `Publisher::settle`"]
pub struct Queued {
    events: Vec<Event>,
    ticket: Ticket,
}

/// Takes events in, exactly once each. Shared by all front doors.
#[derive(Debug)]
pub struct Publisher {
    pub(crate) log: Log,
    pub(crate) lookup: Lookup,
    limits: PublishLimits,
    keys: KeyHasher,
    metrics: PublisherMetrics,
}

impl Publisher {
    /// A publisher into `log`. An event that would not fit a commit of it is refused, whatever the limits say.
    #[must_use]
    pub fn new(log: Log, mut limits: PublishLimits, metrics: PublisherMetrics) -> Self {
        let fits_commit = log.max_group_bytes().saturating_sub(RECORD_HEADER_BYTES);
        limits.events.event_bytes = limits.events.event_bytes.min(fits_commit);
        Self { lookup: Lookup::new(log.clone()), keys: KeyHasher::new(log.id()), log, limits, metrics }
    }

    /// The limits that are in force.
    #[must_use]
    pub fn limits(&self) -> &PublishLimits {
        &self.limits
    }

    /// The counters, for front doors to count what they refuse themselves.
    #[must_use]
    pub fn metrics(&self) -> &PublisherMetrics {
        &self.metrics
    }

    /// Stores the events, all or none, and answers once they are on the disk.
    ///
    /// An event whose idempotency key (or id, when it has none) is known from its tenant and source is not stored again:
    /// its receipt is that of the first. Of two such events in one batch the second is the duplicate.
    ///
    /// Dropping the future before the events are queued takes nothing; after that they are stored without an answer.
    ///
    /// # Errors
    /// See [`PublishError`]. Nothing is stored, unless it is [`PublishError::OutcomeUnknown`], where that is not known, or
    /// [`PublishError::Unconfirmed`].
    pub async fn publish(&self, events: Vec<Event>) -> Result<Receipts, PublishError> {
        let queued = self.queue(events).await?;
        self.settle(queued).await
    }

    /// The first half of [`Publisher::publish`]: when it is done, the events have their place in the log, behind all that were
    /// queued before. So a caller that queues one batch after the other keeps their order, with many of them in flight.
    ///
    /// # Errors
    /// As [`Publisher::publish`]; nothing is stored.
    pub async fn queue(&self, events: Vec<Event>) -> Result<Queued, PublishError> {
        match self.append(&events).await {
            Ok(ticket) => Ok(Queued { events, ticket }),
            Err(error) => {
                self.metrics.refused(error.code());
                Err(error)
            }
        }
    }

    /// The second half of [`Publisher::publish`]: waits until the events are on the disk. They are stored without it, too.
    ///
    /// # Errors
    /// As [`Publisher::publish`].
    pub async fn settle(&self, queued: Queued) -> Result<Receipts, PublishError> {
        let Queued { events, ticket } = queued;
        let settled = match ticket.await {
            Ok(appended) => self.confirm_repetitions(&events, &appended).await.map(|()| receipts(&appended)),
            Err(error) => Err(refused(error)),
        };
        match &settled {
            Ok(receipts) => self.metrics.observe(&events, receipts),
            Err(error) => self.metrics.refused(error.code()),
        }
        settled
    }

    async fn append(&self, events: &[Event]) -> Result<Ticket, PublishError> {
        let group = self.encode(events)?;
        let bytes = group.bytes();
        let limit = self.log.max_group_bytes();
        if bytes > limit {
            return Err(PublishError::BatchTooLarge { size: bytes, limit, unit: "bytes" });
        }
        let Ok(reservation) = tokio::time::timeout(self.limits.queue_wait, self.log.reserve(bytes)).await
        else {
            return Err(PublishError::Overloaded { retry_after: self.limits.queue_wait });
        };
        let reservation = reservation.map_err(refused)?;
        Ok(self.log.append(reservation, group))
    }

    /// Checks the events and writes their records.
    fn encode(&self, events: &[Event]) -> Result<Group, PublishError> {
        let limits = &self.limits.events;
        if events.is_empty() {
            return Err(PublishError::EmptyBatch);
        }
        if events.len() > limits.batch_events {
            let (size, limit) = (events.len(), limits.batch_events);
            return Err(PublishError::BatchTooLarge { size, limit, unit: "events" });
        }
        let mut bytes = 0;
        for (index, event) in events.iter().enumerate() {
            event.check(limits).map_err(|invalid| invalid_event(index, invalid))?;
            bytes += StoredEvent::encoded_bytes(event) + RECORD_HEADER_BYTES;
        }
        let mut group = Group::with_capacity(bytes);
        for event in events {
            group.push(self.keys.key(event), |out| StoredEvent::encode(event, out));
        }
        Ok(group)
    }
}

fn receipts(appended: &AppendedGroup) -> Receipts {
    let receipt = |outcome: &RecordOutcome| {
        let (offset, append_time_micros, duplicate) = match *outcome {
            RecordOutcome::Appended { offset, append_time_micros } => (offset, append_time_micros, false),
            RecordOutcome::Exists { offset, append_time_micros } => (offset, append_time_micros, true),
        };
        Receipt { id: EventId::new(append_time_micros, offset), offset, duplicate }
    };
    appended.records.iter().map(receipt).collect()
}

fn invalid_event(index: usize, invalid: InvalidEvent) -> PublishError {
    match invalid {
        InvalidEvent::Field { field, why } => PublishError::InvalidEvent { index, field, why },
        InvalidEvent::TooLarge { bytes, limit } => PublishError::EventTooLarge { index, bytes, limit },
    }
}

fn refused(error: AppendError) -> PublishError {
    match error {
        AppendError::KeyConflict { index, .. } => PublishError::IdempotencyKeyReused { index },
        AppendError::Unknown { why } => PublishError::OutcomeUnknown { why },
        AppendError::Refused(refusal) => match refusal {
            Refusal::DiskFull => PublishError::DiskFull,
            Refusal::Poisoned { why } => PublishError::LogPoisoned { why },
            Refusal::Closed => PublishError::ShuttingDown,
            Refusal::TooLarge { bytes, limit } => {
                PublishError::BatchTooLarge { size: bytes, limit, unit: "bytes" }
            }
            other => PublishError::Unavailable { why: other.to_string().into() },
        },
    }
}
