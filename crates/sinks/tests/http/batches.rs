//! Events that share requests.

use bytes::Bytes;
use eventrelay_event::{Data, Event};
use eventrelay_sinks::Delivery;
use serde_json::{Value, json};

use crate::receiver::{Received, Receiver, Reply};
use crate::sinks::{deliver, deliveries, delivery, event, keyed, outcomes, rejected, retried, sink};

fn data_of(request: &Received) -> Vec<u64> {
    let array: Vec<Value> = serde_json::from_slice(&request.body).unwrap();
    array.iter().map(|value| value["data"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn a_batch_is_an_array_or_lines() {
    let mut receiver = Receiver::always(Reply::ok()).await;
    for (body, batch, content_type, expected) in [
        ("event", "json_array", "application/json", None),
        ("cloudevents", "json_array", "application/cloudevents-batch+json", None),
        ("event", "ndjson", "application/x-ndjson", None),
        ("data", "json_array", "application/json", Some("[0,1,{  \"a\":2},null]")),
        ("data", "ndjson", "application/x-ndjson", Some("0\n1\n{  \"a\":2}\nnull\n")),
    ] {
        let mut batch_of = deliveries(2);
        batch_of.push(delivery(2, &event("{ \n \"a\":2\r}")));
        batch_of.push(delivery(3, &Event { data: None, ..event("1") }));
        let sink = sink(&receiver, "/in", &json!({"body": body, "batch": batch}));
        assert_eq!(outcomes(&deliver(&sink, &batch_of).await), "DDDD");
        let request = receiver.request().await;
        assert_eq!(request.headers["content-type"], content_type);
        let text = String::from_utf8(request.body).unwrap();
        match expected {
            Some(expected) => assert_eq!(text, expected),
            None => {
                let array = match batch {
                    "ndjson" => format!("[{}]", text.trim_end().replace('\n', ",")),
                    _ => text,
                };
                let array: Vec<Value> = serde_json::from_str(&array).unwrap();
                assert!(array.len() == 4 && array[1]["data"] == 1 && array[2]["data"]["a"] == 2);
            }
        }
    }
}

#[tokio::test]
async fn one_poison_event_does_not_fail_its_neighbours() {
    let mut receiver = Receiver::answering(|_, request| {
        let poison = data_of(request).iter().any(|data| [3, 17].contains(data));
        let body = "no such product";
        if poison { Reply::with_body("422 Unprocessable Entity", "", body) } else { Reply::ok() }
    })
    .await;
    let sink = sink(&receiver, "/", &json!({"batch": "json_array"}));
    let attempts = deliver(&sink, &deliveries(20)).await;
    assert_eq!(outcomes(&attempts), "DDDXDDDDDDDDDDDDDXDD");
    assert!(rejected(&attempts[3]).contains("422"));
    let response = attempts[17].response.as_ref().unwrap();
    assert!((response.status, response.body.ends_with(b"no such product")) == (422, true), "{response:?}");
    assert_eq!(attempts[18].response.as_ref().unwrap().status, 200);
    let (connections, requests) = receiver.so_far();
    assert!(connections == 1 && requests.len() < 20, "{connections}, {}", requests.len());
    let delivered: Vec<_> = requests
        .iter()
        .map(data_of)
        .filter(|data| !data.contains(&3) && !data.contains(&17))
        .flatten()
        .collect();
    let expected: Vec<_> = (0..20).filter(|data| ![3, 17].contains(data)).collect();
    assert_eq!(delivered, expected, "each once, in order");
}

#[tokio::test]
async fn what_is_to_be_tried_again_is_not_overtaken() {
    let receiver = Receiver::start(|number| match number {
        1 => Reply::ok(),
        2 => Reply::status("503 Service Unavailable", ""),
        _ => panic!("nothing is sent behind it"),
    })
    .await;
    let sink = sink(&receiver, "/{key}", &json!({"batch": "ndjson"}));
    let keys = ["a", "a", "b", "a", "a"];
    let batch: Vec<_> = (0..).zip(keys).map(|(offset, key)| delivery(offset, &keyed(key))).collect();
    let attempts = deliver(&sink, &batch).await;
    assert_eq!(outcomes(&attempts), "DDTTT");
    assert!(retried(&attempts[4]).contains("503"));
}

#[tokio::test]
async fn neighbours_with_the_same_address_and_headers_share_a_request() {
    let mut receiver = Receiver::always(Reply::ok()).await;
    let settings = json!({"batch": "json_array", "headers": {"x-source": "{source}"}});
    let sink = sink(&receiver, "/{key}", &settings);
    let of = |key: &str, source: &str| Event { source: source.to_owned(), ..keyed(key) };
    let events = [of("a", "/1"), of("a", "/1"), of("a", "/2"), of("b", "/2"), event("1"), of("b", "/2")];
    let batch: Vec<_> = (0..).zip(&events).map(|(offset, event)| delivery(offset, event)).collect();
    let attempts = deliver(&sink, &batch).await;
    assert_eq!(outcomes(&attempts), "DDDDXD");
    assert!(rejected(&attempts[4]).contains("no key"));
    let requests = receiver.so_far().1;
    let shape = |request: &Received| format!("{} {}", &request.line[..7], data_of(request).len());
    let shapes: Vec<_> = requests.iter().map(shape).collect();
    assert_eq!(shapes, ["POST /a 2", "POST /a 1", "POST /b 1", "POST /b 1"]);
}

#[tokio::test]
async fn data_that_is_not_json_is_rejected_by_itself() {
    let mut receiver = Receiver::always(Reply::ok()).await;
    let sink = sink(&receiver, "/", &json!({"body": "data", "batch": "ndjson"}));
    let binary = Event { data: Some(Data::binary(Bytes::from_static(b"\xff"))), ..event("1") };
    let batch = [delivery(0, &event("0")), delivery(1, &binary), delivery(2, &event("2"))];
    assert_eq!(outcomes(&deliver(&sink, &batch).await), "DXD");
    let bodies: Vec<_> = receiver.so_far().1.into_iter().map(|request| request.body).collect();
    assert_eq!(bodies, [b"0\n", b"2\n"]);
}

#[tokio::test]
async fn an_event_that_keeps_failing_goes_alone() {
    let mut receiver = Receiver::always(Reply::ok()).await;
    let sink = sink(&receiver, "/", &json!({"batch": "json_array"}));
    let mut batch = deliveries(5);
    batch[2] = Delivery { attempt: 4, ..batch[2].clone() };
    assert_eq!(outcomes(&deliver(&sink, &batch).await), "DDDDD");
    let requests: Vec<_> = receiver.so_far().1.iter().map(data_of).collect();
    assert_eq!(requests, [vec![0, 1], vec![2], vec![3, 4]]);
}

#[tokio::test]
async fn batches_are_as_large_as_asked() {
    let receiver = Receiver::always(Reply::ok()).await;
    let limit = |extra| sink(&receiver, "/", &extra).batch_limit();
    assert_eq!(limit(json!({"batch_events": 50})).events, 1);
    let limit = limit(json!({"batch": "ndjson", "batch_events": 50, "batch_bytes": 4096}));
    assert_eq!((limit.events, limit.bytes), (50, 4096));
}
