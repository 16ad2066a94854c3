//! Check, append, answer.

use std::time::Duration;

use eventrelay_event::rules::EventLimits;
use eventrelay_event::{Envelope, Event, EventId, InvalidEvent, StoredEvent};
use eventrelay_log::{AppendError, AppendedGroup, Group, Log, RecordOutcome, Refusal, Ticket};
use eventrelay_telemetry::Spans;
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

/// Events in the commit queue. Dropping it does not take them back.
#[derive(Debug)]
pub struct Submitted {
    ticket: Ticket,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// Kept to be compared with those that they may repeat.
    Events(Vec<Event>),
    /// Payloads without keys, which repeat nothing.
    Payloads {
        /// Of their events, as stored.
        bytes: usize,
    },
}

/// A batch that was not stored, or of which that is not known.
#[derive(Debug)]
pub struct RefusedBatch {
    /// Why.
    pub error: PublishError,
    /// The events that were submitted; none where they were payloads.
    pub events: Vec<Event>,
}

/// Takes events in, exactly once each. Shared by all front doors.
#[derive(Debug)]
pub struct Publisher {
    pub(crate) log: Log,
    pub(crate) lookup: Lookup,
    limits: PublishLimits,
    keys: KeyHasher,
    metrics: PublisherMetrics,
    spans: Spans,
}

impl Publisher {
    /// A publisher into `log`. An event that would not fit a commit of it is refused, whatever the limits say.
    #[must_use]
    pub fn new(log: Log, mut limits: PublishLimits, metrics: PublisherMetrics) -> Self {
        let fits_commit = log.max_group_bytes().saturating_sub(RECORD_HEADER_BYTES);
        limits.events.event_bytes = limits.events.event_bytes.min(fits_commit);
        Self {
            lookup: Lookup::new(log.clone()),
            keys: KeyHasher::new(log.id()),
            log,
            limits,
            metrics,
            spans: Spans::default(),
        }
    }

    /// The same with a place for the spans of publishes to go.
    #[must_use]
    pub fn with_spans(self, spans: Spans) -> Self {
        Self { spans, ..self }
    }

    /// The limits that are in force.
    #[must_use]
    pub fn limits(&self) -> &PublishLimits {
        &self.limits
    }

    /// The most bytes that the records of one batch may have: what one commit of the log takes.
    #[must_use]
    pub fn max_batch_bytes(&self) -> usize {
        self.log.max_group_bytes()
    }

    /// The counters, for front doors to count what they refuse themselves.
    #[must_use]
    pub fn metrics(&self) -> &PublisherMetrics {
        &self.metrics
    }

    /// Where the spans of publishes go, for front doors, which know when a request begins and what becomes of it.
    #[must_use]
    pub fn spans(&self) -> &Spans {
        &self.spans
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
        let submitted = self.submit(events).await?;
        self.outcome(submitted).await.map_err(|refused| refused.error)
    }

    /// Queues the events for the log. Those of one caller are stored in the order of its calls, without waiting for one to
    /// be durable before the next; [`Publisher::outcome`] waits for that.
    ///
    /// # Errors
    /// See [`PublishError`]. Nothing is stored.
    pub async fn submit(&self, events: Vec<Event>) -> Result<Submitted, PublishError> {
        let submitted = async {
            let group = self.encode(&events)?;
            self.enqueue(group).await
        };
        match submitted.await {
            Ok(ticket) => Ok(Submitted { ticket, content: Content::Events(events) }),
            Err(error) => Err(self.count_refused(error)),
        }
    }

    /// Queues one event for each payload, as [`Publisher::submit`] does. They have no idempotency keys.
    ///
    /// # Errors
    /// See [`PublishError`]. Nothing is stored.
    pub async fn submit_payloads<'a>(
        &self,
        envelope: &Envelope,
        payloads: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Result<Submitted, PublishError> {
        let submitted = async {
            let (group, bytes) = self.encode_payloads(envelope, payloads)?;
            Ok((bytes, self.enqueue(group).await?))
        };
        match submitted.await {
            Ok((bytes, ticket)) => Ok(Submitted { ticket, content: Content::Payloads { bytes } }),
            Err(error) => Err(self.count_refused(error)),
        }
    }

    /// Waits until what was submitted is on the disk, or will not be.
    ///
    /// # Errors
    /// Why it is not, as [`Publisher::publish`] has it, with the events.
    pub async fn outcome(&self, submitted: Submitted) -> Result<Receipts, RefusedBatch> {
        let Submitted { ticket, content } = submitted;
        let outcome = match ticket.await.map_err(refused) {
            Ok(appended) => match &content {
                Content::Events(events) => {
                    self.confirm_repetitions(events, &appended).await.map(|()| receipts(&appended))
                }
                Content::Payloads { .. } => Ok(receipts(&appended)),
            },
            Err(error) => Err(error),
        };
        match (outcome, content) {
            (Ok(receipts), Content::Events(events)) => {
                self.metrics.observe(&events, &receipts);
                Ok(receipts)
            }
            (Ok(receipts), Content::Payloads { bytes }) => {
                self.metrics.observe_stored(receipts.len(), bytes);
                Ok(receipts)
            }
            (Err(error), content) => {
                let events = match content {
                    Content::Events(events) => events,
                    Content::Payloads { .. } => Vec::new(),
                };
                Err(RefusedBatch { error: self.count_refused(error), events })
            }
        }
    }

    fn count_refused(&self, error: PublishError) -> PublishError {
        self.metrics.refused(error.code());
        error
    }

    /// Waits for room in the commit queue, and takes it.
    async fn enqueue(&self, group: Group) -> Result<Ticket, PublishError> {
        let bytes = group.bytes();
        let limit = self.log.max_group_bytes();
        if bytes > limit {
            return Err(PublishError::BatchTooLarge { size: bytes, limit, unit: "bytes" });
        }
        let Ok(reservation) = tokio::time::timeout(self.limits.queue_wait, self.log.reserve(bytes)).await
        else {
            return Err(PublishError::Overloaded { retry_after: self.limits.queue_wait });
        };
        Ok(self.log.append(reservation.map_err(refused)?, group))
    }

    /// Writes the payloads' records, and tells how many bytes their events have.
    fn encode_payloads<'a>(
        &self,
        envelope: &Envelope,
        payloads: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Result<(Group, usize), PublishError> {
        let limit = self.limits.events.event_bytes;
        let (mut count, mut event_bytes) = (0, 0);
        for (index, payload) in payloads.clone().enumerate() {
            let bytes = envelope.event_bytes(payload.len());
            if bytes > limit {
                return Err(PublishError::EventTooLarge { index, bytes, limit });
            }
            (count, event_bytes) = (count + 1, event_bytes + bytes);
        }
        if count == 0 {
            return Err(PublishError::EmptyBatch);
        }
        let mut group = Group::with_capacity(event_bytes + count * RECORD_HEADER_BYTES);
        for payload in payloads {
            group.push(None, |out| envelope.encode(payload, out));
        }
        Ok((group, event_bytes))
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
