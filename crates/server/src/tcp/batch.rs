//! The payloads that one read has brought, published together, and what became of each.
//!
//! A batch is all or nothing to the publisher, but not to its senders: what is wrong with one payload alone is found before
//! the others are submitted, and where the log finds a reused key the batch is published again one by one.

use std::ops::Range;
use std::time::Instant;

use bytes::Bytes;
use eventrelay_event::{Event, Tenant, native};
use eventrelay_ingest::{PublishError, Receipt, Submitted};
use eventrelay_telemetry::{Door, PublishSpans};
use tokio::sync::SemaphorePermit;

use super::framing::Framing;
use super::options::Decode;
use super::refusal::Refusal;
use super::service::Shared;
use super::session::Session;
use crate::quota::{Exceeded, InFlight};

/// Payloads on their way into the log, in the order in which they came.
pub(crate) struct Batch<'a> {
    /// How many payloads it has.
    payloads: usize,
    /// Those that were refused for their own fault, by their place.
    refused: Vec<(usize, Refusal)>,
    /// All the others.
    rest: Rest,
    /// The spans of those that are part of a trace which is recorded, by their place.
    spans: Vec<(usize, PublishSpans)>,
    began: Instant,
    /// Its share of what may be in flight on the connection.
    in_flight: Option<SemaphorePermit<'a>>,
}

enum Rest {
    /// With their share of what their tenant may have in flight.
    Submitted(Submitted, InFlight),
    /// The one payload was a good login.
    LoggedIn(Tenant),
    Refused(Refusal),
    Nothing,
}

/// What became of the payloads of a batch, but for those that were refused for their own fault.
enum Outcomes {
    /// All are durable.
    Accepted(eventrelay_ingest::Receipts),
    /// None is.
    Refused(Refusal),
    /// Each by itself.
    OneByOne(Vec<Result<Receipt, Refusal>>),
}

impl<'a> Batch<'a> {
    /// Submits the payloads at these places of `received`. Waits for room in the log's queue, not for the disk.
    pub(crate) async fn submit(
        shared: &Shared,
        session: &Session,
        framing: Framing,
        received: &[u8],
        places: &[Range<usize>],
        in_flight: SemaphorePermit<'a>,
    ) -> Self {
        let began = Instant::now();
        let mut spans = Vec::new();
        let (rest, refused) = match (admit(session, places), framing, shared.options.decode) {
            (Err(exceeded), _, _) => (Rest::Refused(Refusal::of_quota(&exceeded)), Vec::new()),
            (Ok(admitted), Framing::Frames, Decode::Opaque) => {
                submit_opaque(shared, session, received, places, admitted).await
            }
            (Ok(admitted), Framing::Frames, Decode::Json) | (Ok(admitted), Framing::Lines, _) => {
                submit_json(shared, session, received, places, admitted, &mut spans).await
            }
        };
        Self { payloads: places.len(), refused, rest, spans, began, in_flight: Some(in_flight) }
    }

    /// One payload that is refused, and not even read to its end.
    pub(crate) fn refusal(refusal: Refusal) -> Self {
        Self {
            payloads: 1,
            refused: vec![(0, refusal)],
            rest: Rest::Nothing,
            spans: Vec::new(),
            began: Instant::now(),
            in_flight: None,
        }
    }

    /// A payload that was a good login.
    pub(crate) fn login(tenant: Tenant) -> Self {
        Self {
            payloads: 1,
            refused: Vec::new(),
            rest: Rest::LoggedIn(tenant),
            spans: Vec::new(),
            began: Instant::now(),
            in_flight: None,
        }
    }

    /// Waits for the outcome.
    pub(crate) async fn answered(self, shared: &Shared) -> Answered<'a> {
        let outcomes = match self.rest {
            Rest::LoggedIn(tenant) => return Answered::LoggedIn(tenant),
            Rest::Nothing => Outcomes::Accepted(eventrelay_ingest::Receipts::new()),
            Rest::Refused(refusal) => Outcomes::Refused(refusal),
            Rest::Submitted(submitted, _in_flight) => match shared.publisher.outcome(submitted).await {
                Ok(receipts) => Outcomes::Accepted(receipts),
                // The log has taken nothing of it, for one event's fault. (`Unconfirmed` has an index too, but there
                // the others are stored, and publishing them again could store them twice.)
                Err(batch) if matches!(batch.error, PublishError::IdempotencyKeyReused { .. }) => {
                    Outcomes::OneByOne(publish_one_by_one(shared, batch.events).await)
                }
                Err(batch) => Outcomes::Refused(Refusal::of_publishing(&batch.error)),
            },
        };
        let answered = AnsweredPayloads {
            payloads: self.payloads,
            refused: self.refused,
            outcomes,
            began: self.began,
            _in_flight: self.in_flight,
        };
        if !self.spans.is_empty() {
            answered.end(self.spans);
        }
        Answered::Payloads(answered)
    }
}

/// A batch of which everything is known.
pub(crate) enum Answered<'a> {
    /// It was a good login.
    LoggedIn(Tenant),
    /// It was to be published.
    Payloads(AnsweredPayloads<'a>),
}

/// What became of payloads.
pub(crate) struct AnsweredPayloads<'a> {
    payloads: usize,
    refused: Vec<(usize, Refusal)>,
    outcomes: Outcomes,
    began: Instant,
    /// Given back with this, once the answers are on their way.
    _in_flight: Option<SemaphorePermit<'a>>,
}

impl Answered<'_> {
    /// Appends one answer for each payload, in their order, and counts them.
    pub(crate) fn write(&self, shared: &Shared, framing: Framing, out: &mut Vec<u8>) {
        match self {
            Self::LoggedIn(tenant) => framing.write_logged_in(tenant, out),
            Self::Payloads(payloads) => payloads.write(shared, framing, out),
        }
    }
}

impl AnsweredPayloads<'_> {
    /// What became of each payload, in their order.
    fn outcomes(&self) -> impl Iterator<Item = Result<&Receipt, &Refusal>> {
        let mut refused = self.refused.iter().peekable();
        let mut others = 0;
        (0..self.payloads).map(move |place| match refused.next_if(|(refused, _)| *refused == place) {
            Some((_, refusal)) => Err(refusal),
            None => {
                others += 1;
                self.outcomes.of(others - 1)
            }
        })
    }

    fn end(&self, spans: Vec<(usize, PublishSpans)>) {
        let mut spans = spans.into_iter().peekable();
        for (place, outcome) in self.outcomes().enumerate() {
            match (spans.next_if(|(traced, _)| *traced == place), outcome) {
                (Some((_, spans)), Ok(_)) => spans.accepted(),
                (Some((_, spans)), Err(refusal)) => spans.refused(refusal.code, &refusal.detail),
                (None, _) => {}
            }
        }
    }

    fn write(&self, shared: &Shared, framing: Framing, out: &mut Vec<u8>) {
        let mut accepted = 0;
        for outcome in self.outcomes() {
            accepted += usize::from(outcome.is_ok());
            if let Err(refusal) = outcome {
                shared.metrics.count_refused(refusal.code, 1);
            }
            framing.write_answer(outcome, out);
        }
        shared.metrics.count_batch(framing, accepted, self.began.elapsed());
    }
}

impl Outcomes {
    fn of(&self, index: usize) -> Result<&Receipt, &Refusal> {
        match self {
            Self::Accepted(receipts) => Ok(&receipts[index]),
            Self::Refused(refusal) => Err(refusal),
            Self::OneByOne(outcomes) => outcomes[index].as_ref(),
        }
    }
}

/// Whether the tenant may have so much.
fn admit(session: &Session, places: &[Range<usize>]) -> Result<InFlight, Exceeded> {
    let quota = session.access.quota();
    quota.admit_requests(places.len())?;
    quota.admit_events(places.len(), places.iter().map(Range::len).sum())
}

async fn submit_opaque(
    shared: &Shared,
    session: &Session,
    received: &[u8],
    places: &[Range<usize>],
    admitted: InFlight,
) -> (Rest, Vec<(usize, Refusal)>) {
    let most = session.max_opaque_bytes;
    let is_good = |place: &Range<usize>| !place.is_empty() && place.len() <= most;
    let refused: Vec<_> = places
        .iter()
        .enumerate()
        .filter(|(_, place)| !is_good(place))
        .map(|(index, place)| (index, refusal_of_opaque(place.len(), most)))
        .collect();
    if refused.len() == places.len() {
        return (Rest::Nothing, refused);
    }
    let payloads = places.iter().filter(|place| is_good(place)).map(|place| &received[place.clone()]);
    let rest = match shared.publisher.submit_payloads(&session.envelope, payloads).await {
        Ok(submitted) => Rest::Submitted(submitted, admitted),
        Err(error) => Rest::Refused(Refusal::of_publishing(&error)),
    };
    (rest, refused)
}

fn refusal_of_opaque(bytes: usize, most: usize) -> Refusal {
    if bytes == 0 {
        Refusal::new("empty_frame", "a frame of no bytes is no event")
    } else {
        Refusal::new("event_too_large", format!("the payload has {bytes} bytes; the limit is {most}"))
    }
}

async fn submit_json(
    shared: &Shared,
    session: &Session,
    received: &[u8],
    places: &[Range<usize>],
    admitted: InFlight,
    spans: &mut Vec<(usize, PublishSpans)>,
) -> (Rest, Vec<(usize, Refusal)>) {
    // The events' data shares this copy, so that the buffer is free for the next read.
    let first = places.first().map_or(0, |place| place.start);
    let end = places.last().map_or(first, |place| place.end);
    let copy = Bytes::copy_from_slice(&received[first..end]);
    let mut events = Vec::with_capacity(places.len());
    let mut refused = Vec::new();
    for (index, place) in places.iter().enumerate() {
        match event(shared, session.tenant(), &copy.slice(place.start - first..place.end - first)) {
            Ok(event) => {
                let mut traced = shared.publisher.spans().publish(Door::Tcp, session.tenant());
                traced.events(std::slice::from_ref(&event));
                if traced.is_traced() {
                    spans.push((index, traced));
                }
                events.push(event);
            }
            Err(refusal) => refused.push((index, refusal)),
        }
    }
    if events.is_empty() {
        return (Rest::Nothing, refused);
    }
    let rest = match shared.publisher.submit(events).await {
        Ok(submitted) => Rest::Submitted(submitted, admitted),
        Err(error) => Rest::Refused(Refusal::of_publishing(&error)),
    };
    (rest, refused)
}

/// One event in our own JSON form, checked.
fn event(shared: &Shared, tenant: &Tenant, payload: &Bytes) -> Result<Event, Refusal> {
    if payload.is_empty() {
        return Err(Refusal::new("empty_frame", "a frame of no bytes is no event"));
    }
    let limits = &shared.publisher.limits().events;
    let decoded = native::decode(payload, tenant, limits);
    let mut decoded = decoded.map_err(|error| Refusal::of_decoding(&error))?;
    let event = match decoded.events.pop() {
        Some(event) if !decoded.is_batch => event,
        _ => return Err(Refusal::new("not_an_object", "an event must be a JSON object")),
    };
    event.check(limits).map_err(|invalid| Refusal::of_event(&invalid))?;
    Ok(event)
}

/// Publishes each event of a refused batch by itself, so that only those are refused that must be.
async fn publish_one_by_one(shared: &Shared, events: Vec<Event>) -> Vec<Result<Receipt, Refusal>> {
    let mut outcomes = Vec::with_capacity(events.len());
    for event in events {
        let outcome = match shared.publisher.publish(vec![event]).await {
            Ok(receipts) => receipts
                .first()
                .copied()
                .ok_or_else(|| Refusal::new("outcome_unknown", "the publisher gave no receipt")),
            Err(error) => Err(Refusal::of_publishing(&error)),
        };
        outcomes.push(outcome);
    }
    outcomes
}
