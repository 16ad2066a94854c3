//! A broker of the tests' own: as honest as Kafka's, or as dishonest as it is told to be.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::partition_log::{PartitionLog, Produced};

/// The only topic.
const TOPIC: &str = "orders";

/// What the broker says.
#[derive(Clone)]
pub(crate) struct Broker {
    /// Who leads the partitions; itself when there is nobody else.
    pub(crate) leader: Option<(&'static str, u16)>,
    /// What it answers to every Produce.
    pub(crate) produce_error: i16,
    /// What it says of the topic.
    pub(crate) topic_error: i16,
    pub(crate) state: Arc<Mutex<State>>,
}

/// What the broker has been asked and holds.
pub(crate) struct State {
    pub(crate) produce_requests: usize,
    pub(crate) partitions: Vec<PartitionLog>,
    /// What happens to the next Produce requests, the last one first; none when they are treated well.
    pub(crate) faults: Vec<Option<Fault>>,
    producers: u8,
}

/// What happens to a Produce request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is refused with that error.
    Refused(i16),
    /// The connection ends before anything is written.
    ClosedBefore,
    /// The connection ends when all is written.
    ClosedAfter,
}

impl Broker {
    pub(crate) fn honest(partitions: usize) -> Self {
        let state = State {
            produce_requests: 0,
            partitions: (0..partitions).map(|_| PartitionLog::default()).collect(),
            faults: Vec::new(),
            producers: 0,
        };
        Self { leader: None, produce_error: 0, topic_error: 0, state: Arc::new(Mutex::new(state)) }
    }

    pub(crate) async fn start(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let broker = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let broker = broker.clone();
                tokio::spawn(async move { broker.serve(stream, address).await });
            }
        });
        address
    }

    /// Serves until the client leaves, or a fault ends the connection. One request after the other, as Kafka does.
    async fn serve(&self, mut stream: TcpStream, own: SocketAddr) {
        while let Ok(length) = stream.read_i32().await {
            let mut request = vec![0; usize::try_from(length).unwrap()];
            if stream.read_exact(&mut request).await.is_err() {
                return;
            }
            let body = match i16::from_be_bytes([request[0], request[1]]) {
                18 => versions(request[3]),
                3 => self.metadata(own),
                22 => self.new_producer(),
                0 => match self.produce(&request) {
                    Some(body) => body,
                    None => return,
                },
                other => panic!("nobody asks for API {other}"),
            };
            let mut answer = i32::try_from(4 + body.len()).unwrap().to_be_bytes().to_vec();
            answer.extend_from_slice(&request[4..8]);
            answer.extend_from_slice(&body);
            if stream.write_all(&answer).await.is_err() {
                return;
            }
        }
    }

    /// No throttling, no error, a producer id and its epoch.
    fn new_producer(&self) -> Vec<u8> {
        let mut state = self.state.lock().unwrap();
        state.producers += 1;
        vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, state.producers, 0, 0]
    }

    /// Version 4: itself as broker 1, the leader as broker 2, the topic led by it.
    fn metadata(&self, own: SocketAddr) -> Vec<u8> {
        let mut body = vec![0; 4];
        let mut brokers = vec![(1i32, own.ip().to_string(), own.port())];
        brokers.extend(self.leader.map(|(host, port)| (2, host.to_owned(), port)));
        let leader = brokers.last().unwrap().0;
        put_count(&mut body, brokers.len());
        for (id, host, port) in brokers {
            body.extend_from_slice(&id.to_be_bytes());
            put_text(&mut body, &host);
            body.extend_from_slice(&i32::from(port).to_be_bytes());
            body.extend_from_slice(&[0xff, 0xff]);
        }
        body.extend_from_slice(&[0xff, 0xff]);
        body.extend_from_slice(&1i32.to_be_bytes());
        put_count(&mut body, 1);
        body.extend_from_slice(&self.topic_error.to_be_bytes());
        put_text(&mut body, TOPIC);
        body.push(0);
        let partitions = if self.topic_error == 0 { self.state.lock().unwrap().partitions.len() } else { 0 };
        put_count(&mut body, partitions);
        for partition in 0..partitions {
            body.extend_from_slice(&[0; 2]);
            put_count(&mut body, partition);
            body.extend_from_slice(&leader.to_be_bytes());
            for _ in ["replicas", "in sync"] {
                put_count(&mut body, 1);
                body.extend_from_slice(&leader.to_be_bytes());
            }
        }
        body
    }

    /// The answer to a Produce request of version 8; none when the connection ends instead.
    fn produce(&self, request: &[u8]) -> Option<Vec<u8>> {
        let mut state = self.state.lock().unwrap();
        state.produce_requests += 1;
        let fault = state.faults.pop().flatten();
        let produced = Produced::read(request);
        let log = &mut state.partitions[produced.partition];
        let error = match fault {
            Some(Fault::ClosedBefore) => return None,
            Some(Fault::Refused(error)) => error,
            None if self.produce_error != 0 => self.produce_error,
            Some(Fault::ClosedAfter) | None => log.append(&produced),
        };
        if fault == Some(Fault::ClosedAfter) {
            return None;
        }
        let mut body = Vec::new();
        put_count(&mut body, 1);
        put_text(&mut body, TOPIC);
        put_count(&mut body, 1);
        put_count(&mut body, produced.partition);
        body.extend_from_slice(&error.to_be_bytes());
        // The first offset, which nobody looks at, the time of appending, the log's start.
        body.extend_from_slice(&[0; 8]);
        body.extend_from_slice(&(-1i64).to_be_bytes());
        body.extend_from_slice(&[0; 8]);
        // No errors of records, no message, no throttling.
        body.extend_from_slice(&[0, 0, 0, 0, 0xff, 0xff]);
        body.extend_from_slice(&[0; 4]);
        Some(body)
    }
}

/// Offers classic versions only; the newest of Produce would be one with tagged fields.
fn versions(version: u8) -> Vec<u8> {
    let flexible = version >= 3;
    let mut body = vec![0, 0];
    // Fetch is never asked for, but from it librdkafka concludes which format of messages is understood.
    let apis = [(0i16, 3i16, 8i16), (1, 4, 4), (3, 4, 4), (18, 0, 3), (22, 0, 1), (71, 0, 0)];
    body.extend_from_slice(if flexible { &[7][..] } else { &[0, 0, 0, 6] });
    assert_eq!(apis.len(), 6);
    for (key, oldest, newest) in apis {
        for number in [key, oldest, newest] {
            body.extend_from_slice(&number.to_be_bytes());
        }
        body.extend_from_slice(if flexible { &[0] } else { &[] });
    }
    if version > 0 {
        body.extend_from_slice(&[0; 4]);
    }
    body.extend_from_slice(if flexible { &[0] } else { &[] });
    body
}

fn put_count(body: &mut Vec<u8>, count: usize) {
    body.extend_from_slice(&i32::try_from(count).unwrap().to_be_bytes());
}

fn put_text(body: &mut Vec<u8>, text: &str) {
    body.extend_from_slice(&i16::try_from(text.len()).unwrap().to_be_bytes());
    body.extend_from_slice(text.as_bytes());
}
