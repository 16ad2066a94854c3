//! The doors that a publisher may come through, and what each says to one event.

use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};

use eventrelay_server::proto::v1;
use eventrelay_server::proto::v1::event_relay_client::EventRelayClient;
use serde::Deserialize;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt;

use crate::harness::DEADLINE;
use crate::harness::connection::Connection;

/// Where one life of the server listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
    pub(crate) lines: SocketAddr,
}

/// A protocol, and where in it the key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DoorKind {
    /// The key is a field of the JSON.
    Http,
    /// The key is a header.
    HttpHeader,
    Grpc,
    GrpcStream,
    TcpLines,
}

/// A receipt, as all doors give it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) id: String,
    pub(crate) offset: u64,
    pub(crate) duplicate: bool,
}

/// What a publish came to, when the connection held.
#[derive(Debug)]
pub(crate) enum Answer {
    Stored(Receipt),
    /// The stable code of a refusal.
    Refused(String),
}

/// The event of a key, the same through every door.
#[derive(Debug, Clone)]
pub(crate) struct KeyedEvent {
    pub(crate) key: String,
    pub(crate) data: String,
}

const EVENT_TYPE: &str = "order.created";
const SOURCE: &str = "/shop";

/// An open connection.
pub(crate) enum Door {
    Http { connection: Connection, key_in_header: bool },
    Grpc { runtime: Runtime, client: EventRelayClient<Channel> },
    GrpcStream(Box<Stream>),
    TcpLines(BufReader<TcpStream>),
}

/// A stream of messages, with one in flight.
pub(crate) struct Stream {
    runtime: Runtime,
    messages: mpsc::Sender<v1::PublishStreamRequest>,
    answers: tonic::Streaming<v1::PublishStreamResponse>,
    sequence: u64,
}

impl DoorKind {
    pub(crate) const ALL: [Self; 5] =
        [Self::Http, Self::HttpHeader, Self::Grpc, Self::GrpcStream, Self::TcpLines];

    /// Connects.
    pub(crate) fn open(self, addresses: Addresses) -> io::Result<Door> {
        match self {
            Self::Http | Self::HttpHeader => Ok(Door::Http {
                connection: Connection::open(addresses.http)?,
                key_in_header: self == Self::HttpHeader,
            }),
            Self::Grpc => {
                let (runtime, client) = grpc_client(addresses.grpc)?;
                Ok(Door::Grpc { runtime, client })
            }
            Self::GrpcStream => Stream::open(addresses.grpc).map(Box::new).map(Door::GrpcStream),
            Self::TcpLines => {
                let stream = TcpStream::connect(addresses.lines)?;
                stream.set_read_timeout(Some(DEADLINE))?;
                stream.set_nodelay(true)?;
                Ok(Door::TcpLines(BufReader::new(stream)))
            }
        }
    }
}

impl Door {
    /// Publishes, and waits for what is said to it. An error is a broken connection: the outcome is not known.
    pub(crate) fn publish(&mut self, event: &KeyedEvent) -> io::Result<Answer> {
        match self {
            Self::Http { connection, key_in_header } => over_http(connection, *key_in_header, event),
            Self::Grpc { runtime, client } => {
                let request = v1::PublishRequest { events: vec![event.message()] };
                let answer = runtime.block_on(limited(client.publish(request)))?;
                answer_of_call(answer.map(|answer| answer.into_inner().receipts))
            }
            Self::GrpcStream(stream) => stream.publish(event),
            Self::TcpLines(stream) => over_lines(stream, event),
        }
    }
}

impl KeyedEvent {
    fn json(&self, with_key: bool) -> String {
        let key = if with_key { format!(r#","idempotency_key":"{}""#, self.key) } else { String::new() };
        format!(r#"{{"type":"{EVENT_TYPE}","source":"{SOURCE}"{key},"data":{}}}"#, self.data)
    }

    fn message(&self) -> v1::Event {
        v1::Event {
            r#type: EVENT_TYPE.to_owned(),
            source: SOURCE.to_owned(),
            idempotency_key: Some(self.key.clone()),
            data: Some(v1::event::Data::Json(self.data.clone())),
            ..v1::Event::default()
        }
    }
}

fn over_http(connection: &mut Connection, key_in_header: bool, event: &KeyedEvent) -> io::Result<Answer> {
    let mut headers = vec![("Content-Type", "application/json")];
    if key_in_header {
        headers.push(("Idempotency-Key", &event.key));
    }
    let answer = connection.post("/v1/events", &headers, event.json(!key_in_header).as_bytes())?;
    if answer.status == 201 {
        return Ok(Answer::Stored(serde_json::from_str(&answer.body)?));
    }
    Ok(Answer::Refused(answer.json()["code"].as_str().unwrap_or(&answer.body).to_owned()))
}

fn over_lines(stream: &mut BufReader<TcpStream>, event: &KeyedEvent) -> io::Result<Answer> {
    stream.get_mut().write_all(format!("{}\n", event.json(true)).as_bytes())?;
    let mut line = String::new();
    stream.read_line(&mut line)?;
    if !line.ends_with('\n') {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    let answer: serde_json::Value = serde_json::from_str(&line)?;
    match answer["code"].as_str() {
        Some(code) => Ok(Answer::Refused(code.to_owned())),
        None => Ok(Answer::Stored(serde_json::from_value(answer)?)),
    }
}

fn grpc_client(address: SocketAddr) -> io::Result<(Runtime, EventRelayClient<Channel>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(io::Error::other)?;
    let channel = runtime.block_on(limited(endpoint.connect()))?.map_err(io::Error::other)?;
    Ok((runtime, EventRelayClient::new(channel)))
}

impl Stream {
    fn open(address: SocketAddr) -> io::Result<Self> {
        let (runtime, mut client) = grpc_client(address)?;
        let (messages, receiver) = mpsc::channel(1);
        let requests = futures_util::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|request| (request, receiver))
        });
        let answers =
            runtime.block_on(limited(client.publish_stream(requests)))?.map_err(io::Error::other)?;
        Ok(Self { runtime, messages, answers: answers.into_inner(), sequence: 0 })
    }

    fn publish(&mut self, event: &KeyedEvent) -> io::Result<Answer> {
        self.sequence += 1;
        let request = v1::PublishStreamRequest { sequence: self.sequence, events: vec![event.message()] };
        let (messages, answers) = (&self.messages, &mut self.answers);
        let answer = self.runtime.block_on(limited(async {
            messages.send(request).await.map_err(io::Error::other)?;
            let answer = answers.message().await.map_err(io::Error::other)?;
            answer.ok_or_else(|| io::Error::from(ErrorKind::UnexpectedEof))
        }))??;
        let [result] = <[_; 1]>::try_from(answer.results).unwrap();
        assert_eq!(result.sequence, self.sequence);
        match result.outcome.unwrap() {
            v1::publish_result::Outcome::Stored(receipts) => answer_of_call(Ok(receipts.receipts)),
            v1::publish_result::Outcome::Refused(refused) => Ok(Answer::Refused(refused.code)),
        }
    }
}

/// A call that takes too long is as good as a broken connection.
async fn limited<T>(call: impl Future<Output = T>) -> io::Result<T> {
    tokio::time::timeout(DEADLINE, call).await.map_err(|_| ErrorKind::TimedOut.into())
}

/// A call that ended without a refusal of the server's own is a broken connection.
fn answer_of_call(receipts: Result<Vec<v1::Receipt>, tonic::Status>) -> io::Result<Answer> {
    match receipts {
        Ok(receipts) => {
            let [receipt] = <[_; 1]>::try_from(receipts).unwrap();
            let v1::Receipt { id, offset, duplicate } = receipt;
            Ok(Answer::Stored(Receipt { id, offset, duplicate }))
        }
        Err(status) => match status.get_details_error_info() {
            Some(refusal) => Ok(Answer::Refused(refusal.reason)),
            None => Err(io::Error::other(status)),
        },
    }
}
