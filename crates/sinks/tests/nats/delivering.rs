//! What arrives, and how often.

use eventrelay_event::{Data, Event};
use eventrelay_sinks::{Delivery, Purpose};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::broker_events::{batch, deliver_all, delivery, dropped_after, event, ids, within_patience};
use crate::raw_client::RawClient;
use crate::server;

fn stored_ids(raw: &mut RawClient) -> Vec<String> {
    raw.messages("EVENTS").iter().map(|message| message.header("Nats-Msg-Id").unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_batch_arrives_in_its_order_with_all_that_the_events_have() {
    let Some((server, mut raw)) = server::start_with_stream() else { return };
    let sink = server::sink(&server, &json!({}));
    let batch = batch("order.created", 0..300);
    deliver_all(&sink, &batch).await;
    assert_eq!(stored_ids(&mut raw), ids(&batch));

    let event = Event {
        id: Some("number 1".to_owned()),
        content_type: Some("application/octet-stream".to_owned()),
        data: Some(Data::binary(vec![0, 255, b'\r', b'\n'].into())),
        ..event("order.paid", 1)
    };
    deliver_all(&sink, &[delivery(300, &event)]).await;
    let last = raw.messages("EVENTS").pop().unwrap();
    assert_eq!((last.subject.as_str(), &last.data[..]), ("events.order.paid", &[0, 255, b'\r', b'\n'][..]));
    for (name, value) in [
        ("ce-id", "number%201"),
        ("ce-type", "order.paid"),
        ("ce-specversion", "1.0"),
        ("ce-datacontenttype", "application/octet-stream"),
    ] {
        assert_eq!(last.header(name), Some(value), "{name}");
    }
    sink.close().await;
}

#[tokio::test]
async fn a_structured_message_is_the_event() {
    let Some((server, mut raw)) = server::start_with_stream() else { return };
    let sink = server::sink(&server, &json!({"content_mode": "structured"}));
    let batch = batch("order.created", 7..8);
    deliver_all(&sink, &batch).await;
    let message = raw.messages("EVENTS").pop().unwrap();
    assert_eq!(message.header("Content-Type"), Some("application/cloudevents+json"));
    let event: Value = serde_json::from_slice(&message.data).unwrap();
    assert_eq!((&event["data"]["number"], &event["id"]), (&json!(7), &json!(ids(&batch)[0])));
}

#[tokio::test]
async fn a_repetition_leaves_one_message_and_a_replay_another() {
    let Some((server, mut raw)) = server::start_with_stream() else { return };
    let sink = server::sink(&server, &json!({}));
    let first = batch("order.created", 0..10);
    deliver_all(&sink, &first).await;
    let again = |purpose| first.iter().map(|it| Delivery { purpose, ..it.clone() }).collect::<Vec<_>>();
    deliver_all(&sink, &again(Purpose::Live)).await;
    deliver_all(&sink, &again(Purpose::Redrive)).await;
    assert_eq!(stored_ids(&mut raw), ids(&first));

    deliver_all(&sink, &again(Purpose::Replay)).await;
    deliver_all(&sink, &again(Purpose::Replay)).await;
    let stored = stored_ids(&mut raw);
    assert_eq!(stored.len(), 30);
    assert!(stored[10..20].iter().zip(ids(&first)).all(|(replayed, id)| replayed.starts_with(&id)));

    // Another subscription's copies of the same events are not taken for repetitions.
    deliver_all(&server::sink(&server, &json!({"message_id": "{id}-audit"})), &first).await;
    assert_eq!(stored_ids(&mut raw).len(), 40);
}

#[tokio::test]
async fn many_batches_at_once_share_a_bounded_number_of_places() {
    let Some((server, mut raw)) = server::start_with_stream() else { return };
    let sink = server::sink(&server, &json!({"batch_events": 60, "max_in_flight": 100}));
    let batches: Vec<_> =
        (0..20).map(|number| batch("order.created", number * 60..(number + 1) * 60)).collect();
    within_patience(join_all(batches.iter().map(|batch| deliver_all(&sink, batch)))).await;
    let state = raw.api("STREAM.INFO.EVENTS", &json!({}));
    assert_eq!(state["state"]["messages"], json!(1200));
    let connections = connections(&server);
    assert_eq!(connections, 2, "the sink's one and ours");
}

/// How many connections the server has, by what it has written to its log.
fn connections(server: &crate::components::Component) -> usize {
    let fds = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port = format!(":{:04X}", server.port());
    fds.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            Some((words.next()?.to_owned(), words.next()?.to_owned(), words.next()?.to_owned()))
        })
        .filter(|(local, _, state)| local.ends_with(&port) && state == "01")
        .count()
}

#[tokio::test]
async fn a_delivery_that_is_dropped_halfway_can_be_repeated() {
    let Some((server, mut raw)) = server::start_with_stream() else { return };
    let sink = server::sink(&server, &json!({}));
    let batch = batch("order.created", 0..500);
    deliver_all(&sink, &batch[..1]).await;
    // Further and further, until it comes to its end.
    let mut waits = 1;
    while dropped_after(waits, sink.deliver(&batch)).await.is_none() {
        waits += 1 + waits / 4;
    }
    deliver_all(&sink, &batch).await;
    let mut stored = stored_ids(&mut raw);
    stored.sort_unstable();
    assert_eq!(stored, ids(&batch));
}
