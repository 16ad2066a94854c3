//! Brokers that lie: about where others are, about what went wrong, about the protocol.

use eventrelay_sinks::{CheckError, Outcome};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::broker::Broker;
use crate::sinks::{batch, deliver, reject, retry, sink, try_sink};

#[tokio::test]
async fn a_broker_of_our_own_making_is_believed_while_it_is_honest() {
    let broker = Broker::honest(1);
    let sink = sink(&broker.start().await.to_string(), &json!({}));
    assert_eq!(deliver(&sink, &batch(0..3)).await, vec![Outcome::Delivered; 3]);
    assert_eq!(sink.check().await, Ok(()));
    assert!(broker.state.lock().unwrap().produce_requests > 0);
    sink.close().await;
}

#[tokio::test]
async fn a_broker_cannot_send_us_where_we_may_not_go() {
    for (leader, why) in [
        (("169.254.169.254", 80), "169.254.169.254:80 is a link-local or cloud metadata address"),
        (("0xa9fea9fe", 80), "169.254.169.254:80 is a link-local or cloud metadata address"),
        (("::ffff:a9fe:a9fe", 80), "a link-local or cloud metadata address"),
    ] {
        let broker = Broker { leader: Some(leader), ..Broker::honest(1) };
        let sink = sink(&broker.start().await.to_string(), &json!({"timeout_ms": 4000}));
        let outcomes = deliver(&sink, &batch(0..1)).await;
        assert!(retry(&outcomes[0]).contains(why), "{leader:?}: {outcomes:?}");
        assert!(retry(&outcomes[0]).contains("which may not be connected to"), "{outcomes:?}");
        assert_eq!(broker.state.lock().unwrap().produce_requests, 0);
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
        let broker = Broker { produce_error, ..Broker::honest(1) };
        let sink = sink(&broker.start().await.to_string(), &json!({}));
        let outcomes = deliver(&sink, &batch(0..2)).await;
        assert!(retry(&outcomes[0]).starts_with("Kafka: "), "{produce_error}: {outcomes:?}");
        sink.close().await;
    }
    let broker = Broker { topic_error: 4242, ..Broker::honest(1) };
    let sink = sink(&broker.start().await.to_string(), &json!({"timeout_ms": 4000}));
    assert!(matches!(deliver(&sink, &batch(0..1)).await[..], [Outcome::Retry { .. }]));
    sink.close().await;
}

#[tokio::test]
async fn a_broker_that_refuses_a_lone_message_is_asked_once_more_and_then_believed() {
    let broker = Broker { produce_error: 10, ..Broker::honest(1) };
    let sink = sink(&broker.start().await.to_string(), &json!({}));
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
