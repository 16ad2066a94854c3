//! The trait that every sink implements, and what it is given and answers.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use eventrelay_event::{Purpose, SpanId, StoredEvent, TraceContext};
use tokio::time::Instant;

/// A boxed future, for a trait whose implementations are chosen at run time.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A connector to one target.
pub trait Sink: Send + Sync + 'static {
    /// The kind's name, as in the configuration: `webhook`, `postgres`, …
    fn kind(&self) -> &'static str;

    /// How large a batch it takes at once.
    fn batch_limit(&self) -> BatchLimit;

    /// How long the first event of a batch that is not full waits for others to share its call. Zero, the default: not at
    /// all, as a call costs little.
    fn batch_wait(&self) -> Duration {
        Duration::ZERO
    }

    /// Tries each delivery once. The answer has one attempt for each delivery, in the batch's order.
    /// Safe to drop at any await: what was not answered counts as not delivered.
    fn deliver<'a>(&'a self, batch: &'a [Delivery]) -> BoxFuture<'a, Vec<Attempt>>;

    /// Looks whether the target can be reached, with the rights that deliveries need, and whether all is there that they
    /// need. Changes nothing there but what the settings ask to be created.
    fn check(&self) -> BoxFuture<'_, Result<(), CheckError>> {
        Box::pin(async { Ok(()) })
    }

    /// What a target sees of an event whose delivery was cut short by a crash.
    fn guarantee(&self) -> Guarantee {
        Guarantee::AtLeastOnce
    }

    /// Whether it must be given events one call at a time, in the log's order: `order = "strict"`.
    fn needs_strict_order(&self) -> bool {
        false
    }

    /// Whether no event of a batch is delivered when one before it is to be tried again. A sink for which that is not so
    /// is given events one at a time where the order is strict.
    fn keeps_order_within_batch(&self) -> bool {
        true
    }

    /// Whether it keeps dead letters too: [`Sink::dead_letters`] is called only if it does.
    fn takes_dead_letters(&self) -> bool {
        false
    }

    /// Is given copies of dead letters, once they are durable here; at most once or, after an error, once more. No cursor
    /// waits for it. Safe to drop at any await.
    ///
    /// # Errors
    /// Why the copies are to be given again later, perhaps all of them; for people, no secrets.
    fn dead_letters<'a>(&'a self, _letters: &'a [DeadLetterCopy]) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    /// Whether an event that is in no log may be delivered to it, to show an operator what comes of it.
    fn takes_samples(&self) -> bool {
        false
    }

    /// Moves a consumer group of the target's: those who read there go on at `position`, in the target's own words. The group of
    /// the settings, where none is named.
    fn set_group_position<'a>(
        &'a self,
        _group: Option<&'a str>,
        _position: &'a str,
    ) -> BoxFuture<'a, Result<(), GroupError>> {
        Box::pin(async { Err(GroupError::Unsupported) })
    }

    /// Finishes what is open (files, connections) before the process ends.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// How often a target has an event after a crash, of us or of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarantee {
    /// Once or more: a delivery that was not yet noted is repeated.
    AtLeastOnce,
    /// Once: what was noted is part of the delivery itself.
    ExactlyOnce,
}

impl Guarantee {
    /// Its name in the API: `at_least_once` or `exactly_once`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AtLeastOnce => "at_least_once",
            Self::ExactlyOnce => "exactly_once",
        }
    }
}

/// What a check has found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// Nobody answers there, or not in time.
    #[error("the target cannot be reached: {0}")]
    Unreachable(String),
    /// It answers, and does not let us do what deliveries need.
    #[error("the target does not let us in: {0}")]
    Forbidden(String),
    /// What deliveries go into is not there, and is not to be created.
    #[error("the target lacks what is needed: {0}")]
    Missing(String),
    /// What is there is not what deliveries need.
    #[error("the target does not fit: {0}")]
    Mismatch(String),
}

/// Why a consumer group of the target's was not moved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// The target has no such groups, or it is not said which is meant.
    #[error("there are no consumer groups to be moved")]
    Unsupported,
    /// There is none of that name.
    #[error("there is no consumer group {group:?}")]
    NotFound {
        /// The name asked for.
        group: String,
    },
    /// The target did not do it, or did not answer.
    #[error("the consumer group was not moved: {why}")]
    Failed {
        /// What went wrong, for people; no secrets.
        why: String,
    },
}

/// Whose a sink is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The subscription's tenant.
    pub tenant: String,
    /// The subscription's name.
    pub subscription: String,
    /// The log whose offsets its events have. Zeros where nothing is delivered, as when a configuration is checked.
    pub log_id: [u8; 16],
}

/// How many events a sink takes in one call of [`Sink::deliver`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimit {
    /// At most this many events; at least 1.
    pub events: usize,
    /// At most this many bytes of stored events, but always one event.
    pub bytes: usize,
}

/// One event on its way to one subscription.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The event.
    pub event: StoredEvent,
    /// 1 for the first try.
    pub attempt: u32,
    /// Why it is on its way.
    pub purpose: Purpose,
    /// The attempt's own span in the event's trace; none where it has none.
    pub span: Option<SpanId>,
    /// Whether [`Attempt::exchange`] is wanted also when the attempt succeeds.
    pub keep_exchange: bool,
}

impl Delivery {
    /// The `traceparent` that goes on to the target: the attempt's own span where there is one, so that what the target does
    /// is its child; else the event's, as it came.
    #[must_use]
    pub fn traceparent(&self) -> Option<Cow<'_, str>> {
        let context = TraceContext::of(&self.event)?;
        Some(match self.span {
            Some(span) => Cow::Owned(context.traceparent_of(span)),
            None => Cow::Borrowed(context.traceparent),
        })
    }
}

/// A dead letter, for a target that keeps them as well.
#[derive(Debug, Clone)]
pub struct DeadLetterCopy {
    /// The event.
    pub event: StoredEvent,
    /// How many attempts were made.
    pub attempts: u32,
    /// Why it was given up, for people; no secrets.
    pub reason: String,
    /// When it was given up: microseconds since the Unix epoch.
    pub dead_at_micros: u64,
}

/// One try of a delivery.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// What came of it.
    pub outcome: Outcome,
    /// When it began.
    pub started: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// What the target answered, where it answers in words.
    pub response: Option<Response>,
    /// What was sent, where the sink tells it and somebody may want to look at it.
    pub exchange: Option<Box<Exchange>>,
}

/// A request and the head of its answer, as people may see them: no secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// `POST`, for example.
    pub method: String,
    /// Where to: the origin, for paths and queries may carry tokens.
    pub url: String,
    /// The request's headers, without the values that are secret.
    pub request_headers: Vec<(String, String)>,
    /// The first bytes of the request's body, at most [`Self::BODY_LIMIT_BYTES`].
    pub request_body: Bytes,
    /// Whether the body was longer.
    pub request_truncated: bool,
    /// The answer's headers; empty where none came.
    pub response_headers: Vec<(String, String)>,
}

impl Exchange {
    /// How much of a request's body is kept.
    pub const BODY_LIMIT_BYTES: usize = 4096;
    /// How many bytes of headers are kept in each direction.
    pub const HEADERS_LIMIT_BYTES: usize = 8192;
}

impl Attempt {
    /// The attempts of a call that says of each delivery what came of it.
    pub(crate) async fn of_call(outcomes: impl Future<Output = Vec<Outcome>>) -> Vec<Self> {
        let (started, clock) = (SystemTime::now(), Instant::now());
        let outcomes = outcomes.await;
        let took = clock.elapsed();
        let attempt = |outcome| Self { outcome, started, took, response: None, exchange: None };
        outcomes.into_iter().map(attempt).collect()
    }

    /// The attempts of a batch that succeeds or fails as a whole.
    pub(crate) fn of_batch(
        batch: &[Delivery],
        outcome: &Outcome,
        started: SystemTime,
        took: Duration,
    ) -> Vec<Self> {
        let attempt = |_| Self { outcome: outcome.clone(), started, took, response: None, exchange: None };
        batch.iter().map(attempt).collect()
    }
}

/// What came of a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The target has it, durably where the target can.
    Delivered,
    /// It may succeed later.
    Retry {
        /// What the target asked us to wait (`Retry-After`), already clamped to 24 hours.
        after: Option<Duration>,
        /// What went wrong, for people; no secrets.
        why: String,
    },
    /// It will never succeed.
    Reject {
        /// What went wrong, for people; no secrets.
        why: String,
    },
    /// The target wants nothing more (`410 Gone`): the subscription is to be disabled, the event kept.
    Gone {
        /// What the target said, for people; no secrets.
        why: String,
    },
}

/// What a target answered, cut to a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status, or the target's own code.
    pub status: u16,
    /// The first bytes of the body; they need not be UTF-8.
    pub body: Bytes,
    /// Whether there was more.
    pub truncated: bool,
}
