//! Delivers events by HTTP requests of any shape: to an API, a function, an ingestion endpoint, another relay. (A receiver
//! that should be able to tell who sent an event is better served by the webhook, which signs.)
//!
//! - `address.rs`, `headers.rs` and `body.rs` make a request from an event, or from several that share one;
//!   `authorization.rs` and `token.rs` say who we are; `statuses.rs` judges the answer.
//! - Events of a batch share a request as long as it is the same request for them but for the body: neighbours with the
//!   same path and headers. Requests of a batch are made one after another, in the order of the events.
//!
//! What comes of it:
//!
//! | what happened | outcome |
//! |---|---|
//! | an answer | by its status, see `statuses.rs` |
//! | a shared request is rejected | it is halved until what is rejected is one event (`bisect.rs`); its neighbours are delivered |
//! | a request is to be tried again | so are the events behind it in the batch, which must not overtake it |
//! | no answer in time, connection refused or reset, TLS or protocol error, the name does not resolve | retry |
//! | no token can be fetched | retry |
//! | 401, with a fetched token | once more with a new one; then retry |
//! | the name resolves to an address that may not be connected to | retry: DNS may be repaired |
//! | the event lacks a field of the URL or of a header, or has a value that cannot stand there | reject, by itself |
//! | data that is not JSON, where `data` shares a request | reject, by itself |
//!
//! A server that fails (5xx) because of one event fails all that share its request; so from its fourth attempt on an
//! event has a request of its own.
//!
//! Delivery is at least once: a request whose answer was lost is repeated. A header such as `idempotency-key = "{id}"` lets
//! the target recognise that.

mod address;
mod authorization;
mod body;
mod check;
mod headers;
mod kept_response;
mod settings;
mod statuses;
mod token;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use eventrelay_event::{TRACEPARENT, TRACESTATE, TraceContext};
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use tokio::time::Instant;

pub use settings::{Basic, Batching, BodyFormat, ClientAuthentication, KIND, OAuth2, Settings};
pub use statuses::StatusList;

use self::address::Address;
use self::authorization::Authorization;
use self::body::BodyWriter;
use self::headers::Headers;
use self::statuses::{Statuses, Verdict};
use crate::bisect::{BatchFailure, Bisection};
pub use crate::http_client::Http2;
use crate::http_client::{Answer, ExchangeLimits, OutgoingRequest, Pool, Target, exchange};
use crate::{
    Attempt, BatchLimit, BoxFuture, CheckError, Delivery, Environment, Exchange, Outcome, Response, Sink,
    SinkError,
};

/// The largest stored event that is delivered in a request of its own.
const SINGLE_BYTES: usize = 16 * 1024 * 1024;
/// From this attempt on an event has a request of its own.
const ALONE_FROM_ATTEMPT: u32 = 4;

/// An HTTP sink.
pub struct HttpSink {
    address: Address,
    method: Method,
    headers: Headers,
    body: BodyWriter,
    authorization: Authorization,
    statuses: Statuses,
    pool: Arc<Pool>,
    limit: BatchLimit,
    timeout: Duration,
    response_bytes: usize,
    check_target: Option<Target>,
}

/// All of a request but its body and who it is from.
#[derive(PartialEq, Eq)]
struct Destination {
    target: Target,
    headers: HeaderMap,
}

/// What came of a request, with what the target answered.
struct Exchanged {
    result: Result<(), BatchFailure>,
    response: Option<Response>,
    exchange: Option<Box<Exchange>>,
}

impl HttpSink {
    /// Makes the sink. Reads the files that the settings name; connects to nothing yet.
    ///
    /// # Errors
    /// Names the field that is wrong. No error shows a secret or any of the URL but host and port.
    pub fn new(settings: &Settings, environment: &Environment) -> Result<Self, SinkError> {
        settings.check()?;
        let (address, endpoint) = Address::parse(settings.url.expose(), environment)?;
        let tls = match endpoint.tls_name() {
            Some(_) => {
                let protocols = settings.http2.protocols();
                Some(settings.tls.client_tls(KIND, protocols, &endpoint, environment)?)
            }
            None => match settings.tls.fields().next().filter(|_| settings.oauth2.is_none()) {
                Some(field) => {
                    let why = "does nothing for an http:// URL, whose requests anyone on the way can read";
                    return Err(crate::settings::refused(KIND, field, why));
                }
                None => None,
            },
        };
        let connector =
            environment.connector(endpoint, tls, Duration::from_millis(settings.connect_timeout_ms));
        let headers = Headers::new(&settings.headers)?;
        let limit = match settings.batch {
            Batching::None => BatchLimit { events: 1, bytes: SINGLE_BYTES },
            _ => BatchLimit { events: settings.batch_events, bytes: settings.batch_bytes },
        };
        Ok(Self {
            check_target: check::target(settings, &address)?,
            address,
            method: settings.method()?,
            authorization: Authorization::new(settings, &headers, environment)?,
            headers,
            body: BodyWriter { format: settings.body_format()?, batching: settings.batch },
            statuses: Statuses::new(settings)?,
            pool: Pool::new(connector, settings.http2, settings.max_idle_connections),
            limit,
            timeout: Duration::from_millis(settings.timeout_ms),
            response_bytes: settings.response_bytes,
        })
    }

    async fn deliver_all(&self, batch: &[Delivery]) -> Vec<Attempt> {
        let mut attempts: Vec<Attempt> = Vec::with_capacity(batch.len());
        while attempts.len() < batch.len() {
            let rest = &batch[attempts.len()..];
            match self.destination(&rest[0]) {
                Err(why) => {
                    attempts.push(attempt(Outcome::Reject { why }, SystemTime::now(), Instant::now()));
                }
                Ok(destination) => {
                    let group = self.group(&destination, rest);
                    attempts.extend(self.deliver_group(&destination, group).await);
                }
            }
            if let Some(Outcome::Retry { after, why }) = attempts.last().map(|last| &last.outcome) {
                let outcome = Outcome::Retry { after: *after, why: why.clone() };
                let untried = batch.len() - attempts.len();
                let waiting = attempt(outcome, SystemTime::now(), Instant::now());
                attempts.extend(std::iter::repeat_n(waiting, untried));
            }
        }
        attempts
    }

    /// The first of these deliveries, with those behind it that can share its request.
    fn group<'a>(&self, destination: &Destination, deliveries: &'a [Delivery]) -> &'a [Delivery] {
        if self.body.batching == Batching::None || deliveries[0].attempt >= ALONE_FROM_ATTEMPT {
            return &deliveries[..1];
        }
        let uniform = self.address.is_fixed() && self.headers.are_fixed();
        let same = |delivery: &Delivery| match uniform {
            true => self.body.check(&delivery.event).is_ok(),
            false => self.destination(delivery).is_ok_and(|other| other == *destination),
        };
        let fits = |delivery: &&Delivery| delivery.attempt < ALONE_FROM_ATTEMPT && same(delivery);
        let more = deliveries[1..].iter().take_while(fits).count();
        &deliveries[..=more]
    }

    /// Delivers events that share a request, by as many requests as it takes to leave out what is rejected.
    async fn deliver_group(&self, destination: &Destination, group: &[Delivery]) -> Vec<Attempt> {
        let mut attempts: Vec<Attempt> = Vec::with_capacity(group.len());
        let mut bisection = Bisection::new(group);
        while let Some(part) = bisection.next() {
            let (started, clock) = (SystemTime::now(), Instant::now());
            let body = self.body.body(part);
            let keep = part.iter().any(|delivery| delivery.keep_exchange);
            let Exchanged { result, response, exchange } = self.send(destination, body, keep).await;
            let settled = match &result {
                Err(BatchFailure::Refused { .. }) if part.len() > 1 => 0,
                _ => part.len(),
            };
            let made = Attempt { response, exchange, ..attempt(Outcome::Delivered, started, clock) };
            attempts.extend(std::iter::repeat_n(made, settled));
            bisection.answer(result);
        }
        let outcomes = bisection.into_outcomes();
        // What was not tried, behind what is to be tried again.
        let waiting = attempt(Outcome::Delivered, SystemTime::now(), Instant::now());
        attempts.resize(outcomes.len(), waiting);
        for (attempt, outcome) in attempts.iter_mut().zip(outcomes) {
            attempt.outcome = outcome;
        }
        attempts
    }

    /// Makes a request, and once more where a new token may help.
    async fn send(&self, destination: &Destination, body: Bytes, keep_exchange: bool) -> Exchanged {
        let deadline = Instant::now() + self.timeout;
        let (target, headers) = (destination.target.clone(), destination.headers.clone());
        let mut request = OutgoingRequest { method: self.method.clone(), target, headers, body };
        let mut repeated = false;
        loop {
            let credential = match self.authorization.credential(deadline).await {
                Ok(credential) => credential,
                Err(error) => {
                    let failure = BatchFailure::Unavailable { after: error.after, why: error.to_string() };
                    return Exchanged { result: Err(failure), response: None, exchange: None };
                }
            };
            if let Some(header) = &credential.header {
                request.headers.insert(AUTHORIZATION, header.clone());
            }
            match self.pool.send(&request, self.limits(deadline)).await {
                Ok(answer) => {
                    let unauthorized = answer.status() == StatusCode::UNAUTHORIZED;
                    if unauthorized && self.authorization.refused(&credential) && !repeated {
                        repeated = true;
                        continue;
                    }
                    let (result, response) = self.judge(&answer);
                    let wanted = keep_exchange || result.is_err();
                    let exchange =
                        wanted.then(|| exchange(&request, &request.target, &request.body, Some(&answer)));
                    return Exchanged { result, response: Some(response), exchange };
                }
                Err(error) => {
                    let why = error.describe(self.pool.connector().endpoint(), self.timeout);
                    let failure = BatchFailure::Unavailable { after: None, why };
                    let exchange = Some(exchange(&request, &request.target, &request.body, None));
                    return Exchanged { result: Err(failure), response: None, exchange };
                }
            }
        }
    }

    fn judge(&self, answer: &Answer) -> (Result<(), BatchFailure>, Response) {
        let (status, after) = (answer.status(), answer.retry_after());
        let why = || match status.is_redirection() {
            true => format!("the target answered {status}; redirects are not followed"),
            false => format!("the target answered {status}"),
        };
        let result = match self.statuses.judge(status) {
            Verdict::Success => Ok(()),
            Verdict::Retry => Err(BatchFailure::Unavailable { after, why: why() }),
            Verdict::Reject => Err(BatchFailure::Refused { why: why() }),
        };
        (result, kept_response::of(answer, self.response_bytes))
    }

    /// All of this event's request but its body and who it is from.
    fn destination(&self, delivery: &Delivery) -> Result<Destination, String> {
        let event = &delivery.event;
        self.body.check(event).map_err(|error| error.to_string())?;
        let target = self.address.of(event).map_err(|error| error.to_string())?;
        let mut headers = self.headers.of(event).map_err(|error| error.to_string())?;
        self.body.describe(event, &mut headers).map_err(|error| error.to_string())?;
        if self.body.batching == Batching::None {
            add_trace(delivery, &mut headers);
        }
        Ok(Destination { target, headers })
    }

    fn limits(&self, deadline: Instant) -> ExchangeLimits {
        let body_timeout = ExchangeLimits::BODY_TIMEOUT;
        ExchangeLimits { deadline, keep_bytes: self.response_bytes, body_timeout }
    }
}

impl Sink for HttpSink {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn batch_limit(&self) -> BatchLimit {
        self.limit
    }

    fn deliver<'a>(&'a self, batch: &'a [Delivery]) -> BoxFuture<'a, Vec<Attempt>> {
        Box::pin(self.deliver_all(batch))
    }

    fn check(&self) -> BoxFuture<'_, Result<(), CheckError>> {
        Box::pin(check::check(self))
    }

    fn takes_samples(&self) -> bool {
        true
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.authorization.close().await;
            self.pool.close().await;
        })
    }
}

/// Shows where it delivers to, as far as that is no secret.
impl std::fmt::Debug for HttpSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HttpSink({})", self.pool.connector().endpoint())
    }
}

fn attempt(outcome: Outcome, started: SystemTime, clock: Instant) -> Attempt {
    Attempt { outcome, started, took: clock.elapsed(), response: None, exchange: None }
}

/// The trace goes on with the target, unless the settings say otherwise.
fn add_trace(delivery: &Delivery, headers: &mut HeaderMap) {
    let (Some(trace), Some(traceparent)) = (TraceContext::of(&delivery.event), delivery.traceparent()) else {
        return;
    };
    let mut add = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.entry(HeaderName::from_static(name)).or_insert(value);
        }
    };
    add(TRACEPARENT, &traceparent);
    if let Some(tracestate) = trace.tracestate {
        add(TRACESTATE, tracestate);
    }
}
