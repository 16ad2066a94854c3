//! `eventrelay.v1.EventRelay/Consume`: a consumer of a pull subscription, for as long as the stream is open.
//!
//! ```text
//!  client ─▶ start ─▶ join ─┬─▶ pull ─▶ events, while the client may hold more
//!         ─▶ ack, nack, extend ─▶ results, one answer for each message, in their order
//!         the stream ends ─▶ leave: what was not settled goes to others at once
//! ```
//!
//! How many events a client may hold is its `max_in_flight`; the subscription counts them, so a lease that runs out makes
//! room as an ack does. A client that takes no answers for `write_timeout_ms` is cut off.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use eventrelay_delivery::pull::{Consumer, LeaseChange, LeaseResult, LeasedEvent, PullError};
use futures_util::FutureExt;
use futures_util::future::{Fuse, FusedFuture};
use futures_util::{Stream, stream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tonic::{Code, Status, Streaming};

use super::messages;
use super::pipeline::named;
use super::refusals::Refused;
use super::service::{Call, Shared, draining};
use crate::auth::{Access, now_micros};
use crate::proto::v1;
use crate::proto::v1::consume_request::Request;
use crate::proto::v1::consume_response::Response;
use crate::quota::OpenStream;
use crate::shutdown::Stage;

/// Answers that are on their way to the connection.
const ANSWERS_AHEAD: usize = 4;
/// An answer is handed on when its events reach this size, so that it is within every client's limit.
const ANSWER_BYTES: usize = 64 * 1024;
/// How often a stream asks whether its key is still good.
const RECHECK: Duration = Duration::from_millis(500);
/// The longest that a client over its quota is made to wait for its next message.
const LONGEST_HOLD: Duration = Duration::from_secs(1);

type Answer = Result<v1::ConsumeResponse, Status>;
pub(crate) type Answers = Pin<Box<dyn Stream<Item = Answer> + Send>>;

/// Reads how to begin, and begins as one of the connection's tasks.
///
/// # Errors
/// When there is no such pull subscription, the beginning is none, or the tenant has as many streams as it may have.
pub(crate) async fn start(call: &Call, mut input: Streaming<v1::ConsumeRequest>) -> Result<Answers, Status> {
    let access = call.access()?.clone();
    let place = access.quota().open_stream().map_err(|exceeded| Refused::from(exceeded).into_status())?;
    let mut stage = call.shared.stage.clone();
    let patience = Duration::from_millis(call.shared.options.message_timeout_ms);
    let first = tokio::select! {
        first = timeout(patience, input.message()) => first,
        () = draining(&mut stage) => return Err(Refused::shutting_down().into_status()),
    };
    let first = first.map_err(|_| {
        let message = "the first message took too long to come";
        Refused::new(Code::DeadlineExceeded, "message_timeout", message).into_status()
    })?;
    let Some(Request::Start(begin)) = first.map_err(named)?.and_then(|message| message.request) else {
        return Err(invalid("the first message must be a start").into_status());
    };
    let lease = Duration::from_millis(begin.lease_ms);
    let consumer = join(&call.shared, &access, &begin, lease).map_err(Refused::into_status)?;
    let (answers, receiver) = mpsc::channel(ANSWERS_AHEAD);
    let shared = Arc::clone(&call.shared);
    let session = Session { shared, access, input, stage, lease, _place: place };
    call.tasks.spawn(session.run(consumer, answers));
    Ok(Box::pin(stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|answer| (answer, receiver))
    })))
}

fn join(
    shared: &Shared,
    access: &Access,
    begin: &v1::ConsumeStart,
    lease: Duration,
) -> Result<Consumer, Refused> {
    let subscription = shared.consumers.find(access.tenant().as_str(), &begin.subscription)?;
    let max_in_flight = usize::try_from(begin.max_in_flight).unwrap_or(usize::MAX);
    // Found out now, and not with the first event.
    LeaseChange::Extend { lease }.validate()?;
    Ok(subscription.join(max_in_flight)?)
}

/// A stream that is open.
struct Session {
    shared: Arc<Shared>,
    access: Access,
    input: Streaming<v1::ConsumeRequest>,
    stage: watch::Receiver<Stage>,
    lease: Duration,
    /// Its place among its tenant's.
    _place: OpenStream,
}

/// Why a stream ends.
enum End {
    /// Nobody is there to hear why, or nobody asked.
    Silent,
    Told(Status),
}

impl From<Refused> for End {
    fn from(refused: Refused) -> Self {
        Self::Told(refused.into_status())
    }
}

impl From<PullError> for End {
    fn from(error: PullError) -> Self {
        Refused::from(error).into()
    }
}

impl Session {
    async fn run(mut self, consumer: Consumer, answers: mpsc::Sender<Answer>) {
        let Err(end) = self.serve(&consumer, &answers).await;
        consumer.leave().await;
        if let End::Told(status) = end {
            if let Some(code) = Refused::code_of(&status) {
                self.shared.metrics.count_refused(code);
            }
            // An error means that nobody is there to hear of it.
            let _ = timeout(self.patience(), answers.send(Err(status))).await;
        }
    }

    async fn serve(
        &mut self,
        consumer: &Consumer,
        answers: &mpsc::Sender<Answer>,
    ) -> Result<std::convert::Infallible, End> {
        let mut pulling = pin!(Fuse::terminated());
        let mut recheck = interval_at(Instant::now() + RECHECK, RECHECK);
        recheck.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if pulling.is_terminated() {
                pulling.set(consumer.pull(self.lease).fuse());
            }
            tokio::select! {
                biased;
                () = answers.closed() => return Err(End::Silent),
                () = draining(&mut self.stage) => return Err(Refused::shutting_down().into()),
                message = self.input.message() => {
                    let message = message.map_err(|status| End::Told(named(status)))?.ok_or(End::Silent)?;
                    let results = self.change(consumer, message).await?;
                    self.answer(answers, Response::Results(results)).await?;
                }
                pulled = &mut pulling => {
                    let pulled = pulled?;
                    // A stream must not outlive its key; what was pulled goes back.
                    self.check_key()?;
                    for events in messages_of(pulled.hand_over()) {
                        self.answer(answers, Response::Events(events)).await?;
                    }
                }
                _ = recheck.tick(), if self.access.can_end() => self.check_key()?,
            }
        }
    }

    /// Changes the leases of a message.
    async fn change(
        &mut self,
        consumer: &Consumer,
        message: v1::ConsumeRequest,
    ) -> Result<v1::LeaseResults, End> {
        self.check_key()?;
        if let Err(exceeded) = self.access.quota().admit_requests(1) {
            tokio::time::sleep(exceeded.retry_after.min(LONGEST_HOLD)).await;
        }
        let (leases, change) = match message.request {
            Some(Request::Ack(ack)) => (ack.leases, LeaseChange::Ack),
            Some(Request::Nack(nack)) => {
                let delay = nack.delay_ms.map(Duration::from_millis);
                (nack.leases, LeaseChange::Nack { delay, reason: nack.reason })
            }
            Some(Request::Extend(extend)) => {
                (extend.leases, LeaseChange::Extend { lease: Duration::from_millis(extend.lease_ms) })
            }
            Some(Request::Start(_)) => return Err(invalid("a stream starts once").into()),
            None => return Err(invalid("the message asks for nothing").into()),
        };
        let results = consumer.change(&leases, change).await?;
        let results = leases.into_iter().zip(results);
        let results =
            results.map(|(lease, result)| v1::LeaseResult { lease, outcome: outcome(result).into() });
        Ok(v1::LeaseResults { results: results.collect() })
    }

    async fn answer(&self, answers: &mpsc::Sender<Answer>, response: Response) -> Result<(), End> {
        let answer = v1::ConsumeResponse { response: Some(response) };
        // Nobody is there to hear of it any more, or nobody listens.
        let sent = timeout(self.patience(), answers.send(Ok(answer))).await;
        if matches!(sent, Ok(Ok(()))) { Ok(()) } else { Err(End::Silent) }
    }

    fn check_key(&self) -> Result<(), End> {
        if self.access.can_end() && !self.access.is_valid(now_micros()) {
            return Err(Refused::unauthenticated().into());
        }
        Ok(())
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(self.shared.options.write_timeout_ms)
    }
}

/// The events as messages, none of them much larger than [`ANSWER_BYTES`] but for one event.
fn messages_of(leased: Vec<LeasedEvent>) -> Vec<v1::LeasedEvents> {
    let mut messages: Vec<v1::LeasedEvents> = Vec::new();
    let mut bytes = ANSWER_BYTES;
    for event in leased {
        bytes += event.event.encoded().len();
        match messages.last_mut() {
            Some(message) if bytes <= ANSWER_BYTES => message.events.push(leased_event(&event)),
            _ => {
                bytes = event.event.encoded().len();
                messages.push(v1::LeasedEvents { events: vec![leased_event(&event)] });
            }
        }
    }
    messages
}

fn leased_event(leased: &LeasedEvent) -> v1::LeasedEvent {
    v1::LeasedEvent {
        lease: leased.lease.to_string(),
        attempt: leased.attempt,
        purpose: leased.purpose.name().to_owned(),
        expires_at: Some(messages::timestamp(leased.expires_at_micros)),
        traceparent: leased.traceparent.clone(),
        event: Some(messages::stored_event(&leased.event)),
    }
}

fn outcome(result: LeaseResult) -> v1::LeaseOutcome {
    match result {
        LeaseResult::Acked => v1::LeaseOutcome::Acked,
        LeaseResult::Nacked => v1::LeaseOutcome::Nacked,
        LeaseResult::Extended => v1::LeaseOutcome::Extended,
        LeaseResult::Expired => v1::LeaseOutcome::Expired,
        LeaseResult::Unknown => v1::LeaseOutcome::Unknown,
    }
}

fn invalid(message: &str) -> Refused {
    Refused::new(Code::InvalidArgument, "invalid_pull_request", message)
}

impl From<PullError> for Refused {
    fn from(error: PullError) -> Self {
        let message = error.to_string();
        match error {
            PullError::NotFound => Self::new(Code::NotFound, "subscription_not_found", message),
            PullError::NotPull => Self::new(Code::FailedPrecondition, "push_subscription", message),
            PullError::OutOfLimits { field, .. } => invalid(&message).blaming(None, Some(field)),
            PullError::TooManyPulls => Self::new(Code::ResourceExhausted, "too_many_pulls", message)
                .retry_after(Duration::from_secs(1)),
            PullError::Ending => Self::shutting_down(),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use eventrelay_delivery::pull::LeaseToken;
    use eventrelay_event::{Data, Event, Purpose, StoredEvent, Tenant};

    use super::*;

    fn leased(offset: u64, bytes: usize) -> LeasedEvent {
        let mut event = Event::new(Tenant::default(), "t".to_owned(), "/s".to_owned());
        event.data = Some(Data::binary(Bytes::from(vec![0; bytes])));
        let mut record = Vec::new();
        StoredEvent::encode(&event, &mut record);
        LeasedEvent {
            lease: LeaseToken::parse(&"A".repeat(32)).unwrap(),
            attempt: 1,
            purpose: Purpose::Live,
            expires_at_micros: 1,
            traceparent: None,
            event: StoredEvent::decode(offset, 1, record.into()).unwrap(),
        }
    }

    #[test]
    fn messages_stay_small_and_keep_the_order() {
        let events = [10, 10, ANSWER_BYTES * 2, 10, ANSWER_BYTES - 500, 500].into_iter().zip(0..);
        let messages = messages_of(events.map(|(bytes, offset)| leased(offset, bytes)).collect());
        let offsets: Vec<Vec<u64>> = messages
            .iter()
            .map(|message| {
                message.events.iter().map(|leased| leased.event.as_ref().unwrap().offset).collect()
            })
            .collect();
        assert_eq!(offsets, [vec![0, 1], vec![2], vec![3, 4], vec![5]]);
        assert!(messages_of(Vec::new()).is_empty());
    }
}
