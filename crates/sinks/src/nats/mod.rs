//! Publishes events to NATS JetStream, and waits for the stream's acknowledgement of each.
//!
//! A batch is published as a whole before its first acknowledgement is waited for. Each message carries the event's id in
//! `Nats-Msg-Id`, so a stream drops what it is given again within its duplicate window: a delivery that a crash cut short
//! leaves one message, if it is repeated in time.
//!
//! What comes of an event:
//!
//! | what happened | outcome |
//! |---|---|
//! | the stream acknowledged it, as new or as a repetition | delivered |
//! | it lacks a field of the subject, or its fields make no subject | reject |
//! | it is larger than the server's `max_payload` or the stream's `max_msg_size`, or its headers than 64 KiB | reject |
//! | no stream takes the subject ("no responders") | retry |
//! | the stream is full, sealed, not the one that `stream` names, or has any other error | retry |
//! | we may not publish to the subject | retry |
//! | no connection, a lost one, no answer in time | retry |
//!
//! "No responders" is not final, although it may look so: a clustered stream that has no leader for a moment and a server
//! that is still recovering its streams say the same, and a stream that an operator has forgotten can be made. It is the
//! retry schedule that ends it. The same goes for rights and limits.
//!
//! One batch's events may go to different streams, and one may be refused while those behind it are stored, so a
//! subscription with `order = "strict"` gives them one at a time.
//!
//! The acknowledgement says that the stream has the message as durably as it is configured to: by default JetStream syncs
//! its files every two minutes, and only with `sync_interval: always` (or several replicas) survives the end of the
//! machine's power.

mod check;
mod client;
mod login;
mod message;
mod outcome;
mod publish;
mod settings;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

pub use settings::{KIND, Settings};

use self::client::{Client, Dialler};
use self::login::Login;
use self::message::MessageTemplate;
use self::publish::Published;
use crate::connect_failure::ConnectFailure;
use crate::egress::{Protocols, Scheme, Servers};
use crate::shared_connection::SharedConnection;
use crate::{
    Attempt, BatchLimit, BoxFuture, CheckError, Delivery, Environment, Outcome, Owner, Purpose, Sink,
    SinkError,
};

const SCHEMES: &[Scheme] =
    &[Scheme { name: "nats", port: 4222, tls: false }, Scheme { name: "tls", port: 4222, tls: true }];
/// How long a connection may take to send what it has and close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A stream of NATS JetStream.
pub struct NatsSink {
    template: MessageTemplate,
    dialler: Dialler,
    connection: SharedConnection<Client, ConnectFailure>,
    /// A batch takes all of its permits before it publishes the first: two batches that wait for each other's would wait
    /// forever.
    in_flight: Semaphore,
    limit: BatchLimit,
    timeout: Duration,
    subscription: String,
    warned_of_duplicates: AtomicBool,
}

impl NatsSink {
    /// Makes the sink. Reads the files that the settings name; connects to nothing yet.
    ///
    /// # Errors
    /// Names the field that is wrong. No error shows a secret.
    pub fn new(settings: &Settings, owner: &Owner, environment: &Environment) -> Result<Self, SinkError> {
        settings.check()?;
        Ok(Self {
            template: MessageTemplate::new(settings)?,
            dialler: dialler(settings, owner, environment)?,
            connection: SharedConnection::new(),
            in_flight: Semaphore::new(settings.max_in_flight),
            limit: BatchLimit { events: settings.batch_events, bytes: settings.batch_bytes },
            timeout: Duration::from_millis(settings.timeout_ms),
            subscription: owner.subscription.clone(),
            warned_of_duplicates: AtomicBool::new(false),
        })
    }

    async fn client(&self) -> Result<Arc<Client>, ConnectFailure> {
        self.connection.get(Client::is_usable, async || self.dialler.connect().await).await
    }

    async fn publish(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let deadline = Instant::now() + self.timeout;
        let all = |why: String| vec![outcome::retry(why); batch.len()];
        let client = match timeout_at(deadline, self.client()).await {
            Ok(Ok(client)) => client,
            Ok(Err(failure)) => return all(failure.to_string()),
            Err(_elapsed) => {
                return all(format!("{} could not be connected to in time", self.dialler.target()));
            }
        };
        // A batch that others made larger than the limit goes alone.
        let wanted = u32::try_from(batch.len()).unwrap_or(u32::MAX);
        let permits = timeout_at(deadline, self.in_flight.acquire_many(wanted)).await;
        let Ok(Ok(_permits)) = permits else {
            return all("too many events wait for their acknowledgements".to_owned());
        };
        let messages = batch.iter().map(|delivery| self.template.message(delivery));
        let suspect = self.connection.suspect(&client);
        let Published { outcomes, unanswered, duplicates } =
            publish::publish(&client, messages, deadline).await;
        if !unanswered {
            suspect.acquit();
        }
        self.look_at_duplicates(batch, &duplicates);
        outcomes
    }

    /// What a stream takes for a repetition at the first try is one, after a crash; or it is another subscription's
    /// message of the same event, and then ours is missing.
    fn look_at_duplicates(&self, batch: &[Delivery], duplicates: &[usize]) {
        let unexpected = duplicates.iter().filter_map(|place| batch.get(*place));
        let unexpected = unexpected.filter(|it| it.attempt == 1 && it.purpose == Purpose::Live).count();
        if unexpected > 0 && !self.warned_of_duplicates.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                subscription = self.subscription,
                events = unexpected,
                "the stream had these events already. That is so after a crash; if it is not, another subscription delivers \
                 them into the same stream, and one of the two needs a `message_id` of its own"
            );
        }
    }
}

fn dialler(settings: &Settings, owner: &Owner, environment: &Environment) -> Result<Dialler, SinkError> {
    let servers = Servers::parse(KIND, &settings.servers, SCHEMES, settings.tls_fields(), environment)?;
    let connect_timeout = Duration::from_millis(settings.connect_timeout_ms);
    let target = settings.servers.join(", ");
    let tls = settings.tls.client_tls(KIND, Protocols::None, &target, environment)?;
    Ok(Dialler {
        // Even where the scheme does not ask for it, a server may, and is then checked as well.
        servers: servers.connectors(Some(&tls), connect_timeout, environment)?,
        tls,
        tls_required: servers.tls,
        tls_first: settings.tls_first,
        login: Login::of(settings, environment)?,
        connect_timeout,
        answer_timeout: Duration::from_millis(settings.timeout_ms),
        inbox_prefix: settings.inbox_prefix.clone(),
        domain: settings.domain.clone(),
        max_in_flight: settings.max_in_flight,
        name: format!("eventrelay {}/{}", owner.tenant, owner.subscription),
    })
}

impl Sink for NatsSink {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn batch_limit(&self) -> BatchLimit {
        self.limit
    }

    fn deliver<'a>(&'a self, batch: &'a [Delivery]) -> BoxFuture<'a, Vec<Attempt>> {
        Box::pin(Attempt::of_call(self.publish(batch)))
    }

    fn check(&self) -> BoxFuture<'_, Result<(), CheckError>> {
        Box::pin(async move {
            let client = self.client().await?;
            check::check(&client, self.template.fixed_subject(), self.template.stream(), self.timeout).await
        })
    }

    fn keeps_order_within_batch(&self) -> bool {
        false
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let Some(client) = self.connection.take() else { return };
            if timeout(CLOSE_TIMEOUT, client.close()).await.is_err() {
                tracing::debug!(subscription = self.subscription, "a NATS connection did not close in time");
            }
        })
    }
}

/// Shows where it delivers to, as far as that is no secret.
impl std::fmt::Debug for NatsSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NatsSink({})", self.dialler.target())
    }
}
