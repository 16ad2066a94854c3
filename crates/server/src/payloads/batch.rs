//! The payloads that one read has brought, published together, and what became of each.
//!
//! A batch is all or nothing to the publisher, but not to its senders: what is wrong with one payload alone is found before
//! the others are submitted, and where the log finds a reused key the batch is published again one by one.

use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;
use eventrelay_event::{Envelope, Event, Tenant, native};
use eventrelay_ingest::{PublishError, Publisher, Receipt, Submitted};
use eventrelay_telemetry::{Door, PublishSpans};

use super::refusal::Refusal;
use crate::batch_key;
use crate::quota::{Exceeded, InFlight, TenantQuota};
use crate::request_trace::RequestTrace;

/// Payloads on their way into the log, in the order in which they came.
pub(crate) struct Batch<H> {
    /// How many payloads it has.
    payloads: usize,
    /// Those that were refused for their own fault, by their place.
    refused: Vec<(usize, Refusal)>,
    /// All the others.
    rest: Rest,
    /// The spans of those that are part of a trace which is recorded, by their place.
    spans: Vec<(usize, PublishSpans)>,
    began: Instant,
    /// What is kept until its answers are on their way, such as its share of what may be in flight.
    held: H,
}

/// What payloads that are nobody's to look into become.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpaqueForm<'a> {
    pub(crate) envelope: &'a Envelope,
    /// The most bytes of a payload.
    pub(crate) max_bytes: usize,
}

/// What events in our own JSON form get beside what they bring.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JsonForm<'a> {
    /// Where they came in, for their spans.
    pub(crate) door: Door,
    pub(crate) tenant: &'a Tenant,
    /// For events that have no trace of their own.
    pub(crate) trace: Option<&'a RequestTrace>,
    /// For events that have no idempotency key of their own, which get it with their place.
    pub(crate) idempotency_key: Option<&'a str>,
    /// The place of the first event.
    pub(crate) first_place: u64,
}

enum Rest {
    /// With their share of what their tenant may have in flight.
    Submitted(Submitted, InFlight),
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

impl<H> Batch<H> {
    /// Submits opaque payloads at these places of `received`. Waits for room in the log's queue, not for the disk.
    pub(crate) async fn submit_opaque(
        publisher: &Publisher,
        form: OpaqueForm<'_>,
        quota: &TenantQuota,
        received: &[u8],
        places: &[Range<usize>],
        held: H,
    ) -> Self {
        let began = Instant::now();
        let (rest, refused) = match admit(quota, places) {
            Ok(admitted) => submit_opaque(publisher, form, received, places, admitted).await,
            Err(exceeded) => return Self::refused(places.len(), Refusal::of_quota(&exceeded), held),
        };
        Self { payloads: places.len(), refused, rest, spans: Vec::new(), began, held }
    }

    /// Submits events in JSON at these places, which count from `base` bytes before `received`. The events' data shares
    /// the memory. Waits for room in the log's queue, not for the disk.
    pub(crate) async fn submit_json(
        publisher: &Publisher,
        form: JsonForm<'_>,
        quota: &TenantQuota,
        received: &Bytes,
        base: usize,
        places: &[Range<usize>],
        held: H,
    ) -> Self {
        let began = Instant::now();
        let mut spans = Vec::new();
        let payloads = places.iter().map(|place| received.slice(place.start - base..place.end - base));
        let (rest, refused) = match admit(quota, places) {
            Ok(admitted) => submit_json(publisher, form, payloads, admitted, &mut spans).await,
            Err(exceeded) => return Self::refused(places.len(), Refusal::of_quota(&exceeded), held),
        };
        Self { payloads: places.len(), refused, rest, spans, began, held }
    }

    /// Payloads that are all refused, for one reason.
    pub(crate) fn refused(payloads: usize, refusal: Refusal, held: H) -> Self {
        let (refused, spans) = (Vec::new(), Vec::new());
        Self { payloads, refused, rest: Rest::Refused(refusal), spans, began: Instant::now(), held }
    }

    /// Something that is answered in its turn, and has no payloads.
    pub(crate) fn nothing(held: H) -> Self {
        let (refused, spans) = (Vec::new(), Vec::new());
        Self { payloads: 0, refused, rest: Rest::Nothing, spans, began: Instant::now(), held }
    }

    /// Waits for the outcome.
    pub(crate) async fn answered(self, publisher: &Publisher) -> Answered<H> {
        let outcomes = match self.rest {
            Rest::Nothing => Outcomes::Accepted(eventrelay_ingest::Receipts::new()),
            Rest::Refused(refusal) => Outcomes::Refused(refusal),
            Rest::Submitted(submitted, _in_flight) => match publisher.outcome(submitted).await {
                Ok(receipts) => Outcomes::Accepted(receipts),
                // The log has taken nothing of it, for one event's fault. (`Unconfirmed` has an index too, but there
                // the others are stored, and publishing them again could store them twice.)
                Err(batch) if matches!(batch.error, PublishError::IdempotencyKeyReused { .. }) => {
                    Outcomes::OneByOne(publish_one_by_one(publisher, batch.events).await)
                }
                Err(batch) => Outcomes::Refused(Refusal::of_publishing(&batch.error)),
            },
        };
        let answered = Answered {
            payloads: self.payloads,
            refused: self.refused,
            outcomes,
            began: self.began,
            held: self.held,
        };
        if !self.spans.is_empty() {
            answered.end(self.spans);
        }
        answered
    }
}

/// A batch of which everything is known.
pub(crate) struct Answered<H> {
    payloads: usize,
    refused: Vec<(usize, Refusal)>,
    outcomes: Outcomes,
    began: Instant,
    /// Given back with this, once the answers are on their way.
    held: H,
}

impl<H> Answered<H> {
    /// Shows what became of each payload, in their order, with its place in the batch.
    pub(crate) fn each(&self, mut show: impl FnMut(usize, Result<&Receipt, &Refusal>)) {
        let mut refused = self.refused.iter().peekable();
        let mut others = 0;
        for place in 0..self.payloads {
            let outcome = match refused.next_if(|(refused, _)| *refused == place) {
                Some((_, refusal)) => Err(refusal),
                None => {
                    others += 1;
                    self.outcomes.of(others - 1)
                }
            };
            show(place, outcome);
        }
    }

    fn end(&self, spans: Vec<(usize, PublishSpans)>) {
        let mut spans = spans.into_iter().peekable();
        self.each(|place, outcome| match (spans.next_if(|(traced, _)| *traced == place), outcome) {
            (Some((_, spans)), Ok(_)) => spans.accepted(),
            (Some((_, spans)), Err(refusal)) => spans.refused(refusal.code, &refusal.detail),
            (None, _) => {}
        });
    }

    /// What was given with the batch.
    pub(crate) fn held(&self) -> &H {
        &self.held
    }

    /// How long it took from its submission until now.
    pub(crate) fn took(&self) -> Duration {
        self.began.elapsed()
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

/// Whether the tenant may have so much now.
fn admit(quota: &TenantQuota, places: &[Range<usize>]) -> Result<InFlight, Exceeded> {
    quota.admit_requests(places.len())?;
    quota.admit_events(places.len(), places.iter().map(Range::len).sum())
}

async fn submit_opaque(
    publisher: &Publisher,
    form: OpaqueForm<'_>,
    received: &[u8],
    places: &[Range<usize>],
    admitted: InFlight,
) -> (Rest, Vec<(usize, Refusal)>) {
    let most = form.max_bytes;
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
    let rest = match publisher.submit_payloads(form.envelope, payloads).await {
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
    publisher: &Publisher,
    form: JsonForm<'_>,
    payloads: impl ExactSizeIterator<Item = Bytes>,
    admitted: InFlight,
    spans: &mut Vec<(usize, PublishSpans)>,
) -> (Rest, Vec<(usize, Refusal)>) {
    let mut events = Vec::with_capacity(payloads.len());
    let mut refused = Vec::new();
    for (index, payload) in payloads.enumerate() {
        match event(publisher, form, &payload, index) {
            Ok(mut event) => {
                if let Some(trace) = form.trace {
                    trace.apply(std::slice::from_mut(&mut event));
                }
                let mut traced = publisher.spans().publish(form.door, form.tenant);
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
    let rest = match publisher.submit(events).await {
        Ok(submitted) => Rest::Submitted(submitted, admitted),
        Err(error) => Rest::Refused(Refusal::of_publishing(&error)),
    };
    (rest, refused)
}

/// One event in our own JSON form, checked.
fn event(publisher: &Publisher, form: JsonForm<'_>, payload: &Bytes, index: usize) -> Result<Event, Refusal> {
    if payload.is_empty() {
        return Err(Refusal::new("empty_frame", "a frame of no bytes is no event"));
    }
    let limits = &publisher.limits().events;
    let decoded = native::decode(payload, form.tenant, limits);
    let mut decoded = decoded.map_err(|error| Refusal::of_decoding(&error))?;
    let mut event = match decoded.events.pop() {
        Some(event) if !decoded.is_batch => event,
        _ => return Err(Refusal::new("not_an_object", "an event must be a JSON object")),
    };
    if let Some(key) = form.idempotency_key
        && event.idempotency_key.is_none()
    {
        event.idempotency_key = Some(batch_key::of_place(key, form.first_place + index as u64));
    }
    event.check(limits).map_err(|invalid| Refusal::of_event(&invalid))?;
    Ok(event)
}

/// Publishes each event of a refused batch by itself, so that only those are refused that must be.
async fn publish_one_by_one(publisher: &Publisher, events: Vec<Event>) -> Vec<Result<Receipt, Refusal>> {
    let mut outcomes = Vec::with_capacity(events.len());
    for event in events {
        let outcome = match publisher.publish(vec![event]).await {
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
