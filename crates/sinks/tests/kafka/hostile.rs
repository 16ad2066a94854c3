//! Brokers that lie: about where others are, about what went wrong, about the protocol.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use eventrelay_sinks::{CheckError, Outcome};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::sinks::{batch, deliver, reject, retry, sink, try_sink};

/// What a broker of our own making says.
#[derive(Clone)]
struct Script {
    /// Who leads the topic's only partition.
    leader: Option<(&'static str, u16)>,
    /// What it answers to Produce.
    produce_error: i16,
    /// What it says of the topic.
    topic_error: i16,
    produced: Arc<AtomicUsize>,
}

impl Script {
    fn honest() -> Self {
        Self { leader: None, produce_error: 0, topic_error: 0, produced: Arc::default() }
    }

    async fn start(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let script = script.clone();
                tokio::spawn(async move { script.serve(stream, address).await });
            }
        });
        address
    }

    /// Serves until the client leaves.
    async fn serve(&self, mut stream: TcpStream, own: SocketAddr) {
        while let Ok(length) = stream.read_i32().await {
            let mut request = vec![0; usize::try_from(length).unwrap()];
            if stream.read_exact(&mut request).await.is_err() {
                return;
            }
            let body = match i16::from_be_bytes([request[0], request[1]]) {
                18 => self.versions(request[3]),
                3 => self.metadata(own),
                // No throttling, no error, a producer id and its epoch.
                22 => vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0],
                0 => self.produce(),
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

    /// Offers classic versions only; the newest of Produce would be one with tagged fields.
    fn versions(&self, version: u8) -> Vec<u8> {
        let flexible = version >= 3;
        let mut body = vec![0, 0];
        let apis = [(0i16, 3i16, 8i16), (3, 4, 4), (18, 0, 3), (22, 0, 1), (71, 0, 0)];
        let count = u8::try_from(apis.len()).unwrap();
        body.extend_from_slice(if flexible { &[6][..] } else { &[0, 0, 0, 5] });
        assert_eq!(count, 5);
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

    /// Version 4: itself as broker 1, the leader as broker 2, the topic `orders` led by it.
    fn metadata(&self, own: SocketAddr) -> Vec<u8> {
        let mut body = vec![0; 4];
        let mut brokers = vec![(1i32, own.ip().to_string(), own.port())];
        brokers.extend(self.leader.map(|(host, port)| (2, host.to_owned(), port)));
        let leader = brokers.last().unwrap().0;
        body.extend_from_slice(&i32::try_from(brokers.len()).unwrap().to_be_bytes());
        for (id, host, port) in brokers {
            body.extend_from_slice(&id.to_be_bytes());
            text(&mut body, &host);
            body.extend_from_slice(&i32::from(port).to_be_bytes());
            body.extend_from_slice(&[0xff, 0xff]);
        }
        body.extend_from_slice(&[0xff, 0xff]);
        body.extend_from_slice(&1i32.to_be_bytes());
        body.extend_from_slice(&1i32.to_be_bytes());
        body.extend_from_slice(&self.topic_error.to_be_bytes());
        text(&mut body, "orders");
        body.push(0);
        body.extend_from_slice(&i32::from(self.topic_error == 0).to_be_bytes());
        if self.topic_error == 0 {
            body.extend_from_slice(&[0; 6]);
            body.extend_from_slice(&leader.to_be_bytes());
            for _ in ["replicas", "in sync"] {
                body.extend_from_slice(&1i32.to_be_bytes());
                body.extend_from_slice(&leader.to_be_bytes());
            }
        }
        body
    }

    /// Version 8.
    fn produce(&self) -> Vec<u8> {
        self.produced.fetch_add(1, Ordering::Relaxed);
        let mut body = 1i32.to_be_bytes().to_vec();
        text(&mut body, "orders");
        body.extend_from_slice(&1i32.to_be_bytes());
        body.extend_from_slice(&[0; 4]);
        body.extend_from_slice(&self.produce_error.to_be_bytes());
        body.extend_from_slice(&[0; 8]);
        body.extend_from_slice(&(-1i64).to_be_bytes());
        body.extend_from_slice(&[0; 8]);
        body.extend_from_slice(&[0, 0, 0, 0, 0xff, 0xff]);
        body.extend_from_slice(&[0; 4]);
        body
    }
}

fn text(body: &mut Vec<u8>, text: &str) {
    body.extend_from_slice(&i16::try_from(text.len()).unwrap().to_be_bytes());
    body.extend_from_slice(text.as_bytes());
}

#[tokio::test]
async fn a_broker_of_our_own_making_is_believed_while_it_is_honest() {
    let script = Script::honest();
    let sink = sink(&script.start().await.to_string(), &json!({}));
    assert_eq!(deliver(&sink, &batch(0..3)).await, vec![Outcome::Delivered; 3]);
    assert_eq!(sink.check().await, Ok(()));
    assert!(script.produced.load(Ordering::Relaxed) > 0);
    sink.close().await;
}

#[tokio::test]
async fn a_broker_cannot_send_us_where_we_may_not_go() {
    for (leader, why) in [
        (("169.254.169.254", 80), "169.254.169.254:80 is a link-local or cloud metadata address"),
        (("0xa9fea9fe", 80), "169.254.169.254:80 is a link-local or cloud metadata address"),
        (("::ffff:a9fe:a9fe", 80), "a link-local or cloud metadata address"),
    ] {
        let script = Script { leader: Some(leader), ..Script::honest() };
        let sink = sink(&script.start().await.to_string(), &json!({"timeout_ms": 4000}));
        let outcomes = deliver(&sink, &batch(0..1)).await;
        assert!(retry(&outcomes[0]).contains(why), "{leader:?}: {outcomes:?}");
        assert!(retry(&outcomes[0]).contains("which may not be connected to"), "{outcomes:?}");
        assert_eq!(script.produced.load(Ordering::Relaxed), 0);
        sink.close().await;
    }
}

#[tokio::test]
async fn addresses_and_ports_of_the_settings_are_judged_before_anything_is_made() {
    let refused = |brokers: &str| try_sink(brokers, &json!({})).err().unwrap_or_default();
    assert!(refused("169.254.169.254:9092").contains("`brokers[0]`"));
    assert!(refused("localhost:9092,2852039166").contains("`brokers[1]`"));
    assert!(refused("kafka://localhost").contains("must be a host"));
}

#[tokio::test]
async fn errors_that_nobody_has_heard_of_are_errors_like_others() {
    for produce_error in [120, 4242, -77, i16::MIN] {
        let script = Script { produce_error, ..Script::honest() };
        let sink = sink(&script.start().await.to_string(), &json!({}));
        let outcomes = deliver(&sink, &batch(0..2)).await;
        assert!(retry(&outcomes[0]).starts_with("Kafka: "), "{produce_error}: {outcomes:?}");
        sink.close().await;
    }
    let script = Script { topic_error: 4242, ..Script::honest() };
    let sink = sink(&script.start().await.to_string(), &json!({"timeout_ms": 4000}));
    assert!(matches!(deliver(&sink, &batch(0..1)).await[..], [Outcome::Retry { .. }]));
    sink.close().await;
}

#[tokio::test]
async fn a_broker_that_refuses_a_lone_message_is_asked_once_more_and_then_believed() {
    let script = Script { produce_error: 10, ..Script::honest() };
    let sink = sink(&script.start().await.to_string(), &json!({}));
    let outcomes = deliver(&sink, &batch(0..2)).await;
    assert!(
        outcomes.iter().all(|outcome| reject(outcome) == "the broker takes no message so large"),
        "{outcomes:?}"
    );
    sink.close().await;
}

#[tokio::test]
async fn what_does_not_speak_kafka_is_no_broker() {
    for (answer, why) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "more than are taken"),
        (b"\0\0\0\x04\0\0\0\x63", "belongs to no request"),
        (b"\x00\xff\xff\xff\0\0\0\x01", "closed the connection"),
        (b"", "closed the connection"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 8];
                let _ = stream.read_exact(&mut request).await;
                let _ = stream.write_all(answer).await;
            }
        });
        let sink = sink(&address.to_string(), &json!({"timeout_ms": 3000}));
        let Err(CheckError::Unreachable(said)) = sink.check().await else { panic!("{answer:?}") };
        assert!(said.contains(why), "{answer:?}: {said}");
        let outcomes = deliver(&sink, &batch(0..1)).await;
        assert!(retry(&outcomes[0]).contains(&address.to_string()), "{answer:?}: {outcomes:?}");
        sink.close().await;
    }
}

#[tokio::test]
async fn a_broker_that_never_answers_costs_no_more_than_the_time_allowed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let sink = sink(&address.to_string(), &json!({"timeout_ms": 3000, "connect_timeout_ms": 500}));
    let Err(CheckError::Unreachable(said)) = sink.check().await else { panic!("nobody answers") };
    assert!(said.contains("did not answer within 500 ms"), "{said}");
    let began = std::time::Instant::now();
    assert!(matches!(deliver(&sink, &batch(0..1)).await[..], [Outcome::Retry { .. }]));
    assert!(began.elapsed() < std::time::Duration::from_millis(4000), "{:?}", began.elapsed());
    let closing = tokio::time::timeout(std::time::Duration::from_secs(10), sink.close());
    closing.await.expect("closing waits for no broker");
    drop(listener);
}
