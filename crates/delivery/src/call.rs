//! One call of a sink, from the log's records to an answer, whatever the sink does.

use std::any::Any;
use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use eventrelay_event::StoredEvent;
use eventrelay_log::{ReadError, Record};
use eventrelay_sinks::{Attempt, Delivery, Purpose, Sink};
use eventrelay_state::ReplayId;
use eventrelay_telemetry::DeliveryTracer;

use crate::call_spans::CallSpans;
use crate::event_log::EventLog;
use crate::pull::PullId;
use crate::transformer::{Refused, Transformer};

/// What a call is to do.
pub(crate) struct Call {
    pub(crate) work: Work,
    /// Whether none of its events may overtake another.
    pub(crate) in_order: bool,
    /// Whether its outcome decides about the circuit breaker.
    pub(crate) probe: bool,
    /// Whether it takes one of the calls that retries may have.
    pub(crate) retry: bool,
    /// The replay that its events belong to, if any.
    pub(crate) replay: Option<ReplayId>,
}

/// An event that is still in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) offset: u64,
    /// The number of the attempt that is to be made.
    pub(crate) attempt: u32,
    pub(crate) purpose: Purpose,
}

pub(crate) enum Work {
    /// Events at hand.
    Deliver(Vec<Delivery>),
    /// Events that are still in the log.
    LoadAndDeliver(Vec<Waiting>),
}

/// What came of a call.
pub(crate) struct Finished {
    pub(crate) deliveries: Vec<Delivery>,
    /// What a pull gives for each of `deliveries`, where that is not the event as it is.
    pub(crate) outgoing: Option<Vec<Delivery>>,
    /// About `deliveries`; none when there were none.
    pub(crate) answer: Option<Answer>,
    /// Events that could not be loaded.
    pub(crate) unloaded: Vec<(Waiting, LoadError)>,
    /// Events that have no form to deliver; they are not among `deliveries`.
    pub(crate) refused: Vec<Refused>,
    pub(crate) probe: bool,
    pub(crate) retry: bool,
    pub(crate) replay: Option<ReplayId>,
    /// The pull that the events are for, where there is no sink to call.
    pub(crate) pull: Option<PullId>,
}

pub(crate) enum Answer {
    /// The sink's, one attempt for each delivery it got to.
    Attempts(Vec<Attempt>),
    TimedOut,
    Panicked(String),
}

impl Answer {
    /// How long the call took, if it was answered.
    pub(crate) fn took(&self) -> Option<Duration> {
        match self {
            Self::Attempts(attempts) => attempts.first().map(|first| first.took),
            Self::TimedOut | Self::Panicked(_) => None,
        }
    }
}

/// Why an event could not be loaded.
pub(crate) enum LoadError {
    Read(ReadError),
    /// The record is whole, but not an event.
    Undecodable {
        record: Record,
        why: String,
    },
    /// It was lost to damage, and given up by an operator's repair.
    Lost,
    /// The read was cut short.
    CutShort,
}

impl Call {
    pub(crate) async fn run(
        self,
        sink: Arc<dyn Sink>,
        log: Arc<dyn EventLog>,
        timeout: Duration,
        transformer: Option<Arc<Transformer>>,
        tracer: DeliveryTracer,
        keep_exchanges: bool,
    ) -> Finished {
        let Ready { mut deliveries, mut outgoing, unloaded, refused } =
            Ready::get(self.work, self.in_order, &log, transformer.as_deref()).await;
        let answer = if deliveries.is_empty() {
            None
        } else {
            let given = outgoing.as_mut().unwrap_or(&mut deliveries);
            for delivery in given.iter_mut() {
                delivery.keep_exchange = keep_exchanges || delivery.attempt > 1;
            }
            let spans = CallSpans::begin(&tracer, given);
            let answer = deliver(sink, given, timeout).await;
            spans.end(&answer);
            Some(answer)
        };
        let Self { probe, retry, replay, .. } = self;
        Finished { deliveries, outgoing: None, answer, unloaded, refused, probe, retry, replay, pull: None }
    }

    /// Only gets the events ready, for a pull.
    pub(crate) async fn load(
        self,
        log: Arc<dyn EventLog>,
        transformer: Option<Arc<Transformer>>,
        pull: PullId,
    ) -> Finished {
        let Ready { deliveries, outgoing, unloaded, refused } =
            Ready::get(self.work, self.in_order, &log, transformer.as_deref()).await;
        let Self { probe, retry, replay, .. } = self;
        let pull = Some(pull);
        Finished { deliveries, outgoing, answer: None, unloaded, refused, probe, retry, replay, pull }
    }

    /// How many events it carries.
    pub(crate) fn events(&self) -> usize {
        match &self.work {
            Work::Deliver(deliveries) => deliveries.len(),
            Work::LoadAndDeliver(places) => places.len(),
        }
    }
}

/// The events of a call, ready to be given away.
struct Ready {
    deliveries: Vec<Delivery>,
    /// What is given for each of `deliveries`, where that is not the event as it is in the log, by which all is settled.
    outgoing: Option<Vec<Delivery>>,
    unloaded: Vec<(Waiting, LoadError)>,
    refused: Vec<Refused>,
}

impl Ready {
    async fn get(
        work: Work,
        in_order: bool,
        log: &Arc<dyn EventLog>,
        transformer: Option<&Transformer>,
    ) -> Self {
        let (mut deliveries, unloaded) = match work {
            Work::Deliver(deliveries) => (deliveries, Vec::new()),
            Work::LoadAndDeliver(places) => load_all(log, places, in_order).await,
        };
        let mut refused = Vec::new();
        let outgoing = match transformer {
            None => None,
            Some(transformer) => Some(transformer.apply(&mut deliveries, &mut refused).await),
        };
        Self { deliveries, outgoing, unloaded, refused }
    }
}

async fn deliver(sink: Arc<dyn Sink>, deliveries: &[Delivery], timeout: Duration) -> Answer {
    let call = catch_panic(async { sink.deliver(deliveries).await });
    match tokio::time::timeout(timeout, call).await {
        Ok(Ok(attempts)) => Answer::Attempts(attempts),
        Ok(Err(panic)) => Answer::Panicked(panic),
        Err(_elapsed) => Answer::TimedOut,
    }
}

async fn load_all(
    log: &Arc<dyn EventLog>,
    places: Vec<Waiting>,
    in_order: bool,
) -> (Vec<Delivery>, Vec<(Waiting, LoadError)>) {
    let mut deliveries = Vec::with_capacity(places.len());
    let mut unloaded: Vec<(Waiting, LoadError)> = Vec::new();
    for waiting in places {
        // What comes behind one that is to be read again must not overtake it.
        let overtakes = |error: &LoadError| matches!(error, LoadError::Read(_) | LoadError::CutShort);
        if in_order && unloaded.last().is_some_and(|(_, error)| overtakes(error)) {
            unloaded.push((waiting, LoadError::CutShort));
            continue;
        }
        let Waiting { offset, attempt, purpose } = waiting;
        match load(log, offset).await {
            Ok(event) => {
                deliveries.push(Delivery { event, attempt, purpose, span: None, keep_exchange: false });
            }
            Err(error) => unloaded.push((waiting, error)),
        }
    }
    (deliveries, unloaded)
}

/// The event at `offset`, in memory of its own: a delivery that waits must not pin all that was written with it.
async fn load(log: &Arc<dyn EventLog>, offset: u64) -> Result<StoredEvent, LoadError> {
    let run = match log.read_cached(offset) {
        Some(run) => Some(run),
        None => {
            let log = Arc::clone(log);
            let read = tokio::task::spawn_blocking(move || log.read(offset)).await;
            read.map_err(|_| LoadError::CutShort)?.map_err(LoadError::Read)?
        }
    };
    let mut found = VecDeque::with_capacity(1);
    run.ok_or(LoadError::CutShort)?.copy_records(offset, 1, &mut found);
    let mut record = found.pop_front().ok_or(LoadError::Lost)?;
    record.payload = Bytes::copy_from_slice(&record.payload);
    decode(&record).map_err(|why| LoadError::Undecodable { record, why })
}

/// The event in a record, or why there is none.
pub(crate) fn decode(record: &Record) -> Result<StoredEvent, String> {
    StoredEvent::decode(record.offset, record.append_time_micros, record.payload.clone())
        .map_err(|error| error.to_string())
}

/// Resolves with the text of a future's panic instead of passing it on.
pub(crate) async fn catch_panic<T>(future: impl Future<Output = T>) -> Result<T, String> {
    CatchPanic { future: Box::pin(future) }.await.map_err(|panic| panic_text(&*panic))
}

/// Resolves with the panic of a future instead of passing it on.
struct CatchPanic<F> {
    future: Pin<Box<F>>,
}

impl<F: Future> Future for CatchPanic<F> {
    type Output = Result<F::Output, Box<dyn Any + Send>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // Nothing of the future is used again after a panic, so nothing half-changed is seen.
        match catch_unwind(AssertUnwindSafe(|| self.future.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::model::MemoryLog;

    #[tokio::test]
    async fn in_order_nothing_overtakes_what_could_not_be_read() {
        let log = Arc::new(MemoryLog::new());
        log.append_many(2, &[]);
        log.cached.store(false, Ordering::Relaxed);
        log.damaged_at.store(1, Ordering::Relaxed);
        let log: Arc<dyn EventLog> = Arc::new(log);
        for (in_order, expected) in [(true, vec![0]), (false, vec![0, 0])] {
            let place = |offset| Waiting { offset, attempt: 1, purpose: Purpose::Live };
            // One that can be read, for what comes behind.
            let (loaded, unloaded) = load_all(&log, [0, 1, 0].map(place).to_vec(), in_order).await;
            let loaded: Vec<u64> = loaded.iter().map(|delivery| delivery.event.offset()).collect();
            assert_eq!(unloaded.len(), 3 - expected.len());
            assert_eq!(loaded, expected);
        }
    }
}
