//! A connection to the servers, and what it tells besides acknowledgements.
//!
//! The client library dials by itself, so every server's name is resolved and judged here, and the library is given
//! addresses only. It ignores the addresses that servers announce of each other: those were not judged. Certificates are
//! checked against the names of the settings (`egress::AddressNames`).
//!
//! The library reconnects by itself, which suits no delivery: what was unacknowledged stays so, silently. So it may try
//! each address once, with nobody waiting for it: as soon as a connection breaks, all that wait for acknowledgements hear
//! of it, and the next call makes a connection of its own, to addresses judged anew.
//!
//! A server refuses a publish without rights by an error that belongs to no message; [`Signals`] finds the message.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::{Context, ContextBuilder};
use async_nats::{ConnectErrorKind, Event, ServerAddr, ServerError};
use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::timeout;

use super::login::Login;
use crate::connect_failure::ConnectFailure;
use crate::egress::{AddressNames, ClientTls, Connector};
use crate::error::chain;

/// Of each server's addresses.
const ADDRESSES_TRIED: usize = 4;
/// What the library queues for its connection; deliveries wait while it is full.
const QUEUED_COMMANDS: usize = 1024;
/// How often a quiet connection is asked whether it is alive. It counts as dead when three answers are missing.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// How long an acknowledgement is remembered that nobody waits for any more.
const FORGOTTEN_ACK_TIMEOUT: Duration = Duration::from_secs(1);
/// Subjects that are remembered as refused. More at once would be told as a missing acknowledgement.
const DENIALS_KEPT: usize = 16_384;

/// Makes connections.
pub(super) struct Dialler {
    /// One for each server.
    pub(super) servers: Vec<Connector>,
    pub(super) tls: ClientTls,
    /// Whether to speak to no server without TLS.
    pub(super) tls_required: bool,
    pub(super) tls_first: bool,
    pub(super) login: Login,
    pub(super) connect_timeout: Duration,
    pub(super) answer_timeout: Duration,
    pub(super) inbox_prefix: String,
    pub(super) domain: Option<String>,
    /// How many acknowledgements may be outstanding.
    pub(super) max_in_flight: usize,
    /// What the server calls the connection.
    pub(super) name: String,
}

/// A connection. Dropping the last reference to it ends it.
pub(super) struct Client {
    pub(super) jetstream: Context,
    signals: watch::Receiver<Signals>,
}

/// What a server has said that is no acknowledgement.
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// Why nothing more will be acknowledged.
    lost: Option<String>,
    /// Whether the server is about to close the connection.
    leaving: bool,
    /// The subjects that we may not publish to, each with the number of the error that said so last.
    denied: HashMap<String, u64>,
    errors: u64,
    last_error: Option<String>,
}

/// What a signal says of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// We may not publish to its subject.
    Denied,
    /// Nobody will ever know.
    Lost(String),
}

impl Dialler {
    /// All servers, for people.
    pub(super) fn target(&self) -> String {
        let names: Vec<_> = self.servers.iter().map(|server| server.endpoint().to_string()).collect();
        names.join(", ")
    }

    /// Connects to the first server that takes us. Safe to drop at any await.
    pub(super) async fn connect(&self) -> Result<Client, ConnectFailure> {
        let limit = self.connect_timeout;
        timeout(limit, self.connect_to_any()).await.unwrap_or_else(|_elapsed| {
            Err(ConnectFailure::Unreachable(format!(
                "{} took longer than {} ms to connect",
                self.target(),
                limit.as_millis()
            )))
        })
    }

    async fn connect_to_any(&self) -> Result<Client, ConnectFailure> {
        let (addresses, names) = self.vetted_addresses().await.map_err(ConnectFailure::Unreachable)?;
        let (sender, signals) = watch::channel(Signals::default());
        let sender = Arc::new(sender);
        let options = self
            .login
            .options()
            .map_err(ConnectFailure::Refused)?
            .name(&self.name)
            .connection_timeout(self.connect_timeout / u32::try_from(addresses.len()).unwrap_or(u32::MAX))
            .request_timeout(Some(self.answer_timeout))
            .ping_interval(PING_INTERVAL)
            .client_capacity(QUEUED_COMMANDS)
            .custom_inbox_prefix(&self.inbox_prefix)
            .ignore_discovered_servers()
            .max_reconnects(addresses.len())
            .require_tls(self.tls_required)
            .tls_client_config(self.tls.config_for_addresses(names))
            .event_callback(move |event| {
                sender.send_modify(|signals| signals.note(event));
                std::future::ready(())
            });
        let options = if self.tls_first { options.tls_first() } else { options };
        let client = options.connect(addresses).await.map_err(|error| self.failure(&error))?;
        let context = ContextBuilder::new()
            .timeout(self.answer_timeout)
            .ack_timeout(FORGOTTEN_ACK_TIMEOUT)
            .max_ack_inflight(self.max_in_flight);
        let jetstream = match &self.domain {
            Some(domain) => context.domain(domain).build(client),
            None => context.build(client),
        };
        Ok(Client { jetstream, signals })
    }

    /// The addresses of all servers that have any, and the names behind them.
    async fn vetted_addresses(&self) -> Result<(Vec<ServerAddr>, AddressNames), String> {
        // One name that is not answered for must not keep us from the others.
        let patience = self.connect_timeout / 2;
        let looked_up =
            join_all(self.servers.iter().map(|server| timeout(patience, server.vetted_addresses()))).await;
        let (mut addresses, mut names, mut failures) = (Vec::new(), AddressNames::default(), Vec::new());
        for (server, found) in self.servers.iter().zip(looked_up) {
            let found = match found {
                Ok(Ok(found)) => found,
                Ok(Err(error)) => {
                    failures.push(error.to_string());
                    continue;
                }
                Err(_elapsed) => {
                    failures.push(format!("{} cannot be resolved in time", server.endpoint()));
                    continue;
                }
            };
            let found = &found[..found.len().min(ADDRESSES_TRIED)];
            names.add(server.endpoint(), found);
            let scheme = if self.tls_required { "tls" } else { "nats" };
            for address in found {
                let socket = std::net::SocketAddr::new(*address, server.endpoint().port());
                addresses.push(
                    format!("{scheme}://{socket}")
                        .parse::<ServerAddr>()
                        .map_err(|error| error.to_string())?,
                );
            }
        }
        if addresses.is_empty() { Err(failures.join("; ")) } else { Ok((addresses, names)) }
    }

    fn failure(&self, error: &async_nats::ConnectError) -> ConnectFailure {
        let target = self.target();
        let reason = chain(error);
        match error.kind() {
            ConnectErrorKind::AuthorizationViolation => ConnectFailure::Refused(format!(
                "{target} does not know this user and password, token or key"
            )),
            ConnectErrorKind::Authentication => {
                ConnectFailure::Refused(format!("{target}: cannot log in: {reason}"))
            }
            _ if is_about_login(&reason) => ConnectFailure::Refused(format!("{target}: {reason}")),
            _ => ConnectFailure::Unreachable(format!("{target} cannot be connected to: {reason}")),
        }
    }
}

impl Client {
    /// Whether it is worth a new call.
    pub(super) fn is_usable(&self) -> bool {
        let signals = self.signals.borrow();
        signals.lost.is_none() && !signals.leaving
    }

    /// The number of the latest error: what comes after it is news.
    pub(super) fn errors_so_far(&self) -> u64 {
        self.signals.borrow().errors
    }

    /// Resolves once a signal later than `since` says that no acknowledgement will come for a message.
    pub(super) async fn verdict(&self, subject: &str, since: u64) -> Verdict {
        self.wait_for(|signals| signals.verdict(|denied| denied.get(subject).copied(), since)).await
    }

    /// The same for a question to the server itself, whose subject the library makes.
    pub(super) async fn verdict_on_question(&self, since: u64) -> Verdict {
        let latest = |denied: &HashMap<String, u64>| {
            let questions = denied.iter().filter(|(subject, _)| subject.starts_with('$'));
            questions.map(|(_, error)| *error).max()
        };
        self.wait_for(|signals| signals.verdict(latest, since)).await
    }

    async fn wait_for(&self, judge: impl Fn(&Signals) -> Option<Verdict>) -> Verdict {
        let mut signals = self.signals.clone();
        let mut verdict = None;
        let found = signals.wait_for(|signals| {
            verdict = judge(signals);
            verdict.is_some()
        });
        // The sender ends with the connection, if not otherwise.
        drop(found.await);
        verdict.unwrap_or_else(|| Verdict::Lost("the connection was closed".to_owned()))
    }

    /// Sends what is queued and closes the connection.
    pub(super) async fn close(&self) {
        // It may be closed already, which is as well.
        if let Err(error) = self.jetstream.client().drain().await {
            tracing::debug!(%error, "a NATS connection was gone before it was closed");
        }
    }
}

impl Signals {
    fn note(&mut self, event: Event) {
        match event {
            Event::ServerError(ServerError::Other(text)) => self.note_error(&text),
            Event::ServerError(error) => self.note_error(&error.to_string()),
            Event::Disconnected | Event::Closed => {
                self.lost.get_or_insert_with(|| match &self.last_error {
                    Some(error) => format!("the connection was lost: {error}"),
                    None => "the connection was lost".to_owned(),
                });
            }
            Event::LameDuckMode | Event::Draining => self.leaving = true,
            Event::Connected | Event::SlowConsumer(_) | Event::ClientError(_) => {}
        }
    }

    fn note_error(&mut self, text: &str) {
        self.errors += 1;
        match Denial::of(text) {
            Some(Denial::Publish(subject)) => {
                if self.denied.len() >= DENIALS_KEPT {
                    self.denied.clear();
                }
                self.denied.insert(subject.to_owned(), self.errors);
            }
            // All that we subscribe to are the answers.
            Some(Denial::Subscribe(subject)) => {
                self.lost = Some(format!(
                    "the server does not let this user subscribe to {subject:?}, where its answers go; see inbox_prefix"
                ));
            }
            None => self.last_error = Some(text.to_owned()),
        }
    }

    fn verdict(&self, denied: impl Fn(&HashMap<String, u64>) -> Option<u64>, since: u64) -> Option<Verdict> {
        if denied(&self.denied).is_some_and(|error| error > since) {
            return Some(Verdict::Denied);
        }
        self.lost.clone().map(Verdict::Lost)
    }
}

/// A server's "Permissions Violation".
enum Denial<'a> {
    Publish(&'a str),
    Subscribe(&'a str),
}

impl<'a> Denial<'a> {
    /// Reads `Permissions Violation for Publish to "a.b"` and its like.
    fn of(text: &'a str) -> Option<Self> {
        let rest = text.strip_prefix("Permissions Violation for ")?;
        let (what, quoted) = rest.split_once('"')?;
        let subject = quoted.split_once('"').map_or(quoted, |(subject, _)| subject);
        if what.starts_with("Publish") {
            Some(Self::Publish(subject))
        } else if what.starts_with("Subscription") {
            Some(Self::Subscribe(subject))
        } else {
            None
        }
    }
}

/// Whether a server closed the connection because of who we are.
fn is_about_login(reason: &str) -> bool {
    let reason = reason.to_ascii_lowercase();
    ["authentication", "authorization", "expired", "revoked"].iter().any(|word| reason.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(signals: &Signals, subject: &str, since: u64) -> Option<Verdict> {
        signals.verdict(|denied| denied.get(subject).copied(), since)
    }

    fn told(texts: &[&str]) -> Signals {
        let mut signals = Signals::default();
        for text in texts {
            signals.note(Event::ServerError(ServerError::Other((*text).to_owned())));
        }
        signals
    }

    #[test]
    fn a_denial_is_about_its_subject_and_about_what_was_sent_before_it() {
        let signals = told(&["Permissions Violation for Publish to \"a.b\""]);
        assert_eq!(verdict(&signals, "a.b", 0), Some(Verdict::Denied));
        assert_eq!(verdict(&signals, "a.c", 0), None);
        assert_eq!(verdict(&signals, "a.b", signals.errors), None, "the right may have been given since");
    }

    #[test]
    fn answers_that_cannot_come_and_lost_connections_are_about_every_message() {
        let signals = told(&["Permissions Violation for Subscription to \"_INBOX.x.*\""]);
        assert!(
            matches!(verdict(&signals, "a", 0), Some(Verdict::Lost(why)) if why.contains("inbox_prefix"))
        );
        let mut signals = told(&["User Authentication Expired"]);
        assert_eq!(verdict(&signals, "a", 0), None);
        signals.note(Event::Disconnected);
        assert!(matches!(verdict(&signals, "a", 9), Some(Verdict::Lost(why)) if why.contains("Expired")));
    }

    #[test]
    fn any_text_of_a_server_is_read_without_harm() {
        for text in
            ["", "Permissions Violation for ", "Permissions Violation for Publish to \"", "\"\"", "Publish"]
        {
            told(&[text]);
        }
    }
}
