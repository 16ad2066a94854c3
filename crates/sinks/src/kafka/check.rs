//! Looks whether deliveries would get through: asks one broker, on a connection of its own.
//!
//! | step | what is found out |
//! |---|---|
//! | connect, TLS, log in | reachability, certificates, user and password |
//! | ApiVersions | that it is a broker, new enough for an idempotent producer (Kafka 0.11) |
//! | Metadata of the topic, where it is the same for every event, without creating it | that it is there, and, from Kafka 2.3 on, the right to write to it |
//! | InitProducerId | the right to produce idempotently |

use std::ops::RangeInclusive;

use super::broker::{BrokerAddress, DialError, Dialler};
use super::login::LoginError;
use super::metadata::Metadata;
use super::wire::{ApiKey, ExchangeError, Malformed, Reader, exchange, put_count, put_string};
use crate::CheckError;
use crate::egress::Stream;

const UNKNOWN_TOPIC: i16 = 3;
const INVALID_TOPIC: i16 = 17;
const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
const CLUSTER_AUTHORIZATION_FAILED: i16 = 31;

/// The versions of Produce that an idempotent producer can use, as far as the gate lets it.
const PRODUCE_VERSIONS: RangeInclusive<i16> = 3..=8;
/// Metadata's versions for here: one that does not create topics, and one that tells rights.
const METADATA_VERSIONS: [i16; 2] = [8, 4];

/// What is to be looked for.
pub(super) struct Check<'a> {
    pub(super) dialler: &'a Dialler,
    pub(super) brokers: &'a [BrokerAddress],
    /// None where it depends on the event.
    pub(super) topic: Option<&'a str>,
    /// A topic that is not there will be created.
    pub(super) creates_topic: bool,
}

impl Check<'_> {
    /// Asks the first broker that can be reached.
    pub(super) async fn run(&self) -> Result<(), CheckError> {
        let mut refusal = None;
        for address in self.brokers {
            match self.dial(address).await {
                Ok(mut stream) => return self.ask(address, &mut stream).await,
                // The first one's, but for one that says more than that nobody is there.
                Err(error @ CheckError::Unreachable(_)) => refusal = refusal.or(Some(error)),
                Err(error) => refusal = Some(error),
            }
        }
        Err(refusal
            .unwrap_or_else(|| CheckError::Unreachable("there is no broker in the settings".to_owned())))
    }

    async fn dial(&self, address: &BrokerAddress) -> Result<Stream, CheckError> {
        let dialled = match self.dialler.connector(address) {
            Ok(connector) => self.dialler.dial(address, &connector).await,
            Err(error) => Err(error),
        };
        dialled.map_err(|error| match &error {
            DialError::Login { source: LoginError::Exchange(_), .. } => {
                let why =
                    format!("{error}; does it log in by SASL on this port, and with or without TLS as set?");
                CheckError::Unreachable(why)
            }
            DialError::Login { .. } => CheckError::Forbidden(error.to_string()),
            _ => CheckError::Unreachable(error.to_string()),
        })
    }

    async fn ask(&self, address: &BrokerAddress, stream: &mut Stream) -> Result<(), CheckError> {
        let asked = tokio::time::timeout(self.dialler.timeout(), self.ask_all(stream)).await;
        match asked {
            Ok(Ok(found)) => found,
            Ok(Err(ExchangeError::Closed)) => Err(CheckError::Unreachable(format!(
                "{address} closed the connection: it may want TLS (`tls`) or a log-in (`sasl`)"
            ))),
            Ok(Err(error)) => Err(CheckError::Unreachable(format!("{address}: {error}"))),
            Err(_elapsed) => {
                let limit = self.dialler.timeout().as_millis();
                Err(CheckError::Unreachable(format!("{address} did not answer within {limit} ms")))
            }
        }
    }

    async fn ask_all(&self, stream: &mut Stream) -> Result<Result<(), CheckError>, ExchangeError> {
        let client_id = self.dialler.client_id();
        let offered = exchange(stream, ApiKey::ApiVersions, 0, client_id, &[]).await?;
        let versions = Versions::read(&offered)?;
        let can_produce =
            PRODUCE_VERSIONS.into_iter().any(|version| versions.offers(ApiKey::Produce, version));
        if !can_produce || !versions.offers(ApiKey::InitProducerId, 0) {
            let why = "the broker does not offer what an idempotent producer needs: Kafka 0.11 or later does";
            return Ok(Err(CheckError::Mismatch(why.to_owned())));
        }
        if let Some(topic) = self.topic
            && let Some(version) =
                METADATA_VERSIONS.into_iter().find(|it| versions.offers(ApiKey::Metadata, *it))
        {
            let answer =
                exchange(stream, ApiKey::Metadata, version, client_id, &ask_topic(topic, version)).await?;
            if let Err(error) = self.judge_topic(topic, &Metadata::read(version, &answer)?) {
                return Ok(Err(error));
            }
        }
        // No transactional id, and so no time limit for transactions.
        let mut body = Vec::new();
        put_string(&mut body, None, false);
        body.extend_from_slice(&i32::MAX.to_be_bytes());
        let answer = exchange(stream, ApiKey::InitProducerId, 0, client_id, &body).await?;
        let mut reader = Reader::new(&answer, false);
        reader.i32()?;
        if reader.i16()? == CLUSTER_AUTHORIZATION_FAILED {
            let why = "no right to produce idempotently (IDEMPOTENT_WRITE on the cluster)";
            return Ok(Err(CheckError::Forbidden(why.to_owned())));
        }
        Ok(Ok(()))
    }

    fn judge_topic(&self, name: &str, metadata: &Metadata<'_>) -> Result<(), CheckError> {
        let topic = metadata.topics.iter().find(|topic| topic.name == Some(name));
        let missing = || CheckError::Missing(format!("there is no topic `{name}`"));
        let topic = topic.ok_or_else(missing)?;
        match topic.error {
            UNKNOWN_TOPIC if self.creates_topic => Ok(()),
            UNKNOWN_TOPIC => Err(missing()),
            INVALID_TOPIC => Err(CheckError::Missing(format!("`{name}` is no topic's name to the broker"))),
            TOPIC_AUTHORIZATION_FAILED => {
                Err(CheckError::Forbidden(format!("no right to see the topic `{name}`")))
            }
            _ if topic.may_write == Some(false) => {
                Err(CheckError::Forbidden(format!("no right to write to the topic `{name}`")))
            }
            // Without a leader for the moment, for one: deliveries wait for that.
            _ => Ok(()),
        }
    }
}

/// A Metadata request for one topic, which is not to be created.
fn ask_topic(topic: &str, version: i16) -> Vec<u8> {
    let mut body = Vec::new();
    put_count(&mut body, 1, false);
    put_string(&mut body, Some(topic), false);
    body.push(0);
    if version >= 8 {
        // The cluster's rights, not asked for; the topic's.
        body.extend_from_slice(&[0, 1]);
    }
    body
}

/// What a broker offers: `error i16, [ key i16, oldest i16, newest i16 ]`.
struct Versions(Vec<(i16, i16, i16)>);

impl Versions {
    fn read(answer: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(answer, false);
        if reader.i16()? != 0 {
            return Err(Malformed("it does not say which versions it speaks"));
        }
        let count = reader.count()?;
        let mut apis = Vec::with_capacity(count.min(256));
        for _ in 0..count {
            apis.push((reader.i16()?, reader.i16()?, reader.i16()?));
        }
        Ok(Self(apis))
    }

    fn offers(&self, api: ApiKey, version: i16) -> bool {
        self.0.iter().any(|(key, oldest, newest)| *key == api.key() && (*oldest..=*newest).contains(&version))
    }
}
