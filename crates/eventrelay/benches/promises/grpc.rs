//! Publishing over streams of gRPC.
//!
//! The client is no tonic, which would encode every message anew and cost more than the server: messages are prepared, and
//! go as they are into DATA frames of the `h2` crate; of the answers no more is read than how many results are `stored`.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use eventrelay_server::proto::v1;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use prost::Message;
use tokio::net::TcpStream;

use crate::in_process::runtime;
use crate::prepared::{Keyed, Prepared, json_data, placeholder};
use crate::server::Server;
use crate::table::{Bar, Table};

const CONNECTIONS: usize = 4;
const STREAMS: usize = 16;
const EVENTS: usize = 32;
/// Messages of one stream on the way; a few hundred kilobytes, as docs/grpc-api.md says.
const MESSAGES_IN_FLIGHT: u64 = 24;
const TURN: Duration = Duration::from_secs(4);
const WINDOW_BYTES: u32 = 8 << 20;

/// Bytes before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// A sequence number as a varint of full width, which any decoder takes, so that it can be written in place.
const SEQUENCE_BYTES: usize = 5;

pub(crate) fn streams(directory: &Path, table: &mut Table) {
    let server = Server::start(directory, "");
    let rate = rate(&server, Keyed::No);
    let beside = format!("on {CONNECTIONS} connections, {MESSAGES_IN_FLIGHT} messages of a stream in flight");
    let what = "gRPC, PublishStream, 16 streams, messages of 32";
    table.add(what, rate, "events/s", &beside, Bar::AtLeast(250_000.0));
}

/// Events a second, all of them durable.
pub(crate) fn rate(server: &Server, keyed: Keyed) -> f64 {
    let message = message(keyed);
    let stored_before = server.durable_offset();
    let began = Instant::now();
    let messages: u64 = runtime().block_on(async {
        let mut tasks = Vec::new();
        for _ in 0..CONNECTIONS {
            let sender = connect(server.grpc).await;
            for _ in 0..STREAMS / CONNECTIONS {
                let (sender, message, address) = (sender.clone(), message.clone(), server.grpc);
                tasks.push(tokio::spawn(async move { stream(sender, address, message, began).await }));
            }
        }
        let mut messages = 0;
        for task in tasks {
            messages += task.await.expect("a stream ends well");
        }
        messages
    });
    let took = began.elapsed();
    let events = messages as usize * EVENTS;
    server.assert_stored(stored_before, events);
    events as f64 / took.as_secs_f64()
}

/// A message with its prefix, and a sequence number to be written.
fn message(keyed: Keyed) -> Prepared {
    let event = v1::Event {
        r#type: "order.created".to_owned(),
        source: "/shop".to_owned(),
        idempotency_key: placeholder(keyed),
        data: Some(v1::event::Data::Json(json_data())),
        ..v1::Event::default()
    };
    let events = v1::PublishStreamRequest { sequence: 0, events: vec![event; EVENTS] }.encode_to_vec();
    let length = u32::try_from(1 + SEQUENCE_BYTES + events.len()).expect("a small message");
    const SEQUENCE_TAG: u8 = 1 << 3;
    let sequence = [0; SEQUENCE_BYTES];
    Prepared::new([&[0][..], &length.to_be_bytes(), &[SEQUENCE_TAG], &sequence, &events].concat())
}

fn numbered(message: &mut Prepared, sequence: u64) -> Bytes {
    let mut bytes = BytesMut::from(message.next());
    let digits = &mut bytes[PREFIX_BYTES + 1..PREFIX_BYTES + 1 + SEQUENCE_BYTES];
    for (at, digit) in digits.iter_mut().enumerate() {
        let more = if at + 1 < SEQUENCE_BYTES { 0x80 } else { 0 };
        *digit = (sequence >> (7 * at)) as u8 & 0x7f | more;
    }
    bytes.freeze()
}

async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    let socket = TcpStream::connect(address).await.expect("connected");
    socket.set_nodelay(true).expect("set");
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
    let (sender, connection) = builder.handshake(socket).await.expect("HTTP/2");
    // It ends with its streams; what goes wrong with it goes wrong with them.
    drop(tokio::spawn(connection));
    sender
}

/// Keeps messages in flight until the turn is over. Answers how many were stored.
async fn stream(
    sender: SendRequest<Bytes>,
    address: SocketAddr,
    mut message: Prepared,
    began: Instant,
) -> u64 {
    let (response, mut requests) = call(sender, address).await;
    let (mut sent, mut stored) = (0, 0);
    let mut send = |requests: &mut SendStream<Bytes>, sent: &mut u64, last: bool| {
        *sent += 1;
        requests.send_data(numbered(&mut message, *sent), last).expect("sent");
    };
    while sent < MESSAGES_IN_FLIGHT {
        send(&mut requests, &mut sent, false);
    }
    let mut answers =
        Answers { stream: response.await.expect("answered").into_body(), received: BytesMut::new() };
    let mut open = true;
    while stored < sent {
        stored += answers.stored().await;
        while open && sent - stored < MESSAGES_IN_FLIGHT {
            open = began.elapsed() < TURN;
            send(&mut requests, &mut sent, !open);
        }
    }
    stored
}

async fn call(sender: SendRequest<Bytes>, address: SocketAddr) -> (ResponseFuture, SendStream<Bytes>) {
    let request = http::Request::post(format!("http://{address}/eventrelay.v1.EventRelay/PublishStream"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("a request");
    let mut sender = sender.ready().await.expect("room for a stream");
    sender.send_request(request, false).expect("sent")
}

/// What comes back on a stream.
struct Answers {
    stream: RecvStream,
    received: BytesMut,
}

impl Answers {
    /// How many messages the next bytes say are stored.
    async fn stored(&mut self) -> u64 {
        let bytes = self.stream.data().await.expect("the stream goes on").expect("received");
        self.stream.flow_control().release_capacity(bytes.len()).expect("released");
        self.received.extend_from_slice(&bytes);
        let mut stored = 0;
        while let Some(prefix) = self.received.first_chunk::<PREFIX_BYTES>() {
            let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
            if self.received.len() < PREFIX_BYTES + length {
                break;
            }
            stored += stored_results(&self.received[PREFIX_BYTES..PREFIX_BYTES + length]);
            self.received.advance(PREFIX_BYTES + length);
        }
        stored
    }
}

/// Passes over the results of a `PublishStreamResponse`; each must be `stored`.
fn stored_results(mut response: &[u8]) -> u64 {
    const RESULT: u8 = 1 << 3 | 2;
    const SEQUENCE: u8 = 1 << 3;
    const STORED: u8 = 2 << 3 | 2;
    let mut results = 0;
    while !response.is_empty() {
        assert_eq!(response.get_u8(), RESULT);
        let length = varint(&mut response) as usize;
        let (mut result, rest) = response.split_at(length);
        response = rest;
        assert_eq!(result.get_u8(), SEQUENCE);
        varint(&mut result);
        assert_eq!(result.get_u8(), STORED, "a message was refused");
        results += 1;
    }
    results
}

fn varint(bytes: &mut &[u8]) -> u64 {
    prost::encoding::decode_varint(bytes).expect("a varint")
}
