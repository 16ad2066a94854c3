//! Delivers events to an HTTP receiver as Standard Webhooks 1.0.
//!
//! An attempt is one `POST` with the headers `webhook-id` (the event's id: the same at every attempt, so the
//! receiver's key against duplicates), `webhook-timestamp` (this attempt's time in Unix seconds) and
//! `webhook-signature` (`signature.rs`).
//!
//! What comes of it:
//!
//! | what happened | outcome |
//! |---|---|
//! | an answer | by its status, see `outcome.rs` |
//! | no answer in time, connection refused or reset, TLS or protocol error, the name does not resolve | retry |
//! | the name resolves to an address that may not be connected to | retry: DNS may be repaired |
//! | the URL holds such an address | the sink is not made; were it made, the event is rejected |
//!
//! All memory and time that a receiver can make an attempt take is bounded: headers and buffers by 64 KiB,
//! the kept body by `response_body_bytes`, the whole by `timeout_ms`.

mod body;
mod headers;
mod outcome;
mod request;
mod settings;
mod signature;
mod trust;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

pub use settings::{BodyFormat, ExpiringSecret, IdFormat, KIND, Settings};
pub use signature::generate_secret;

use self::request::RequestTemplate;
pub use crate::http_client::Http2;
use crate::http_client::{ExchangeLimits, Pool, SendError, Target};
use crate::{
    Attempt, BatchLimit, BoxFuture, Delivery, Environment, Exchange, Outcome, Response, Sink, SinkError,
};

/// The largest stored event that is delivered in one request; there is always one.
const BATCH_BYTES: usize = 16 * 1024 * 1024;

/// A webhook.
pub struct WebhookSink {
    template: RequestTemplate,
    pool: Arc<Pool>,
    timeout: Duration,
    keep_bytes: usize,
}

/// What came of one try.
struct Tried {
    outcome: Outcome,
    response: Option<Response>,
    exchange: Option<Box<Exchange>>,
}

impl WebhookSink {
    /// Makes a webhook. Reads the files that the settings name; connects to nothing yet.
    ///
    /// # Errors
    /// Names the field that is wrong. No error shows a secret or any of the URL but host and port.
    pub fn new(settings: &Settings, environment: &Environment) -> Result<Self, SinkError> {
        settings.check()?;
        if let Some(field) = settings.machine_fields().find(|_| !environment.trusted_settings) {
            let why = "may only be set in the configuration file";
            return Err(crate::settings::refused(KIND, field, why));
        }
        let (target, endpoint) = Target::parse(KIND, "url", settings.url.expose(), environment)?;
        let signer = trust::signer(settings)?;
        let tls = match endpoint.tls_name() {
            Some(_) => Some(trust::client_tls(settings, &endpoint)?),
            None => match settings.tls_fields().next() {
                Some(field) => {
                    let why = "does nothing for an http:// URL, whose deliveries anyone on the way can read";
                    return Err(crate::settings::refused(KIND, field, why));
                }
                None => None,
            },
        };
        let connector =
            environment.connector(endpoint, tls, Duration::from_millis(settings.connect_timeout_ms));
        Ok(Self {
            template: RequestTemplate {
                target,
                signer,
                format: settings.body,
                id_format: settings.id_format,
                svix_headers: settings.svix_headers,
                headers: headers::custom(&settings.headers)?,
            },
            pool: Pool::new(connector, settings.http2, settings.max_idle_connections),
            timeout: Duration::from_millis(settings.timeout_ms),
            keep_bytes: settings.response_body_bytes,
        })
    }

    async fn attempt(&self, delivery: &Delivery) -> Attempt {
        let started = SystemTime::now();
        let clock = Instant::now();
        let Tried { outcome, response, exchange } =
            self.try_once(delivery, started, clock + self.timeout).await;
        Attempt { outcome, started, took: clock.elapsed(), response, exchange }
    }

    async fn try_once(&self, delivery: &Delivery, now: SystemTime, deadline: Instant) -> Tried {
        let prepared = match self.template.prepare(delivery, now) {
            Ok(prepared) => prepared,
            Err(error) => {
                let outcome = Outcome::Reject { why: error.to_string() };
                return Tried { outcome, response: None, exchange: None };
            }
        };
        let limits = ExchangeLimits {
            deadline,
            keep_bytes: self.keep_bytes,
            body_timeout: ExchangeLimits::BODY_TIMEOUT,
        };
        match self.pool.send(&prepared, limits).await {
            Ok(answer) => {
                let outcome = outcome::of_answer(answer.status(), answer.retry_after());
                let wanted = delivery.keep_exchange || outcome != Outcome::Delivered;
                let exchange = wanted.then(|| prepared.exchange(Some(&answer)));
                Tried { outcome, response: Some(answer.into_response()), exchange }
            }
            Err(error) => {
                let exchange = Some(prepared.exchange(None));
                Tried { outcome: self.outcome_of_error(&error), response: None, exchange }
            }
        }
    }

    fn outcome_of_error(&self, error: &SendError) -> Outcome {
        let why = error.describe(self.pool.connector().endpoint(), self.timeout);
        if error.is_final() { Outcome::Reject { why } } else { Outcome::Retry { after: None, why } }
    }
}

impl Sink for WebhookSink {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn batch_limit(&self) -> BatchLimit {
        BatchLimit { events: 1, bytes: BATCH_BYTES }
    }

    fn deliver<'a>(&'a self, batch: &'a [Delivery]) -> BoxFuture<'a, Vec<Attempt>> {
        Box::pin(async move {
            let mut attempts = Vec::with_capacity(batch.len());
            for delivery in batch {
                attempts.push(self.attempt(delivery).await);
            }
            attempts
        })
    }

    fn takes_samples(&self) -> bool {
        true
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.pool.close())
    }
}

/// Shows where it delivers to, as far as that is no secret.
impl std::fmt::Debug for WebhookSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WebhookSink({})", self.pool.connector().endpoint())
    }
}
