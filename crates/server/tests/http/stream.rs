//! The log as it grows.

use serde_json::Value;

use crate::support::{Client, TestServer};

async fn open(server: &TestServer, query: &str, headers: &str) -> (String, Client) {
    let mut client = server.connect().await;
    client.send(format!("GET /v1/events/stream{query} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")).await;
    (client.read_head().await, client)
}

/// Reads chunks until one has events, and gives these.
async fn events(client: &mut Client) -> Vec<Value> {
    loop {
        let size = client.read_past(b"\r\n").await;
        let size = usize::from_str_radix(std::str::from_utf8(&size).unwrap().trim(), 16).unwrap();
        let chunk = client.read_past(b"\r\n").await;
        assert_eq!(chunk.len(), size + 2);
        let lines = chunk[..size].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let events: Vec<Value> = lines.map(|line| serde_json::from_slice(line).unwrap()).collect();
        if !events.is_empty() {
            return events;
        }
    }
}

async fn publish(server: &TestServer, data: u64) {
    let answer = server
        .connect()
        .await
        .publish(format!("{{\"type\":\"t\",\n\"source\":\"/s\",\"data\":{{\n\"n\":{data}}}}}"))
        .await;
    assert_eq!(answer.status, 201);
}

#[tokio::test]
async fn events_are_shown_from_where_one_asks_and_as_they_come() {
    let server = TestServer::start().await;
    for n in 0..3 {
        publish(&server, n).await;
    }
    let (head, mut earliest) = open(&server, "?from=earliest", "").await;
    assert!(head.contains("application/x-ndjson"), "{head}");
    let (_, mut second) = open(&server, "?from=1", "").await;
    let (_, mut latest) = open(&server, "", "").await;
    let (_, mut resumed) = open(&server, "?from=0", "Last-Event-ID: 1\r\n").await;

    let shown = events(&mut earliest).await;
    assert_eq!(shown.iter().map(|event| event["data"]["n"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(events(&mut second).await[0]["offset"], 1);
    assert_eq!(events(&mut resumed).await[0]["offset"], 2);
    publish(&server, 3).await;
    for client in [&mut earliest, &mut second, &mut resumed, &mut latest] {
        assert_eq!(events(client).await[0]["data"]["n"], 3);
    }
}

#[tokio::test]
async fn browsers_get_server_sent_events() {
    let server = TestServer::start().await;
    publish(&server, 7).await;
    let (head, mut client) = open(&server, "?from=earliest", "Accept: text/event-stream\r\n").await;
    assert!(head.contains("text/event-stream"), "{head}");
    client.read_past(b"id: 0\ndata: ").await;
    let event: Value = serde_json::from_slice(&client.read_past(b"\n\n").await).unwrap();
    assert_eq!(event["data"]["n"], 7);
}

#[tokio::test]
async fn a_quiet_stream_shows_signs_of_life() {
    let server = TestServer::start_with(|options| options.event_stream_heartbeat_ms = 20).await;
    let (_, mut client) = open(&server, "", "Accept: text/event-stream\r\n").await;
    client.read_past(b": still here\n\n").await;
    client.read_past(b": still here\n\n").await;
    publish(&server, 1).await;
    client.read_past(b"id: 0\n").await;
}

#[tokio::test]
async fn a_start_that_is_none_is_refused() {
    let server = TestServer::start().await;
    for query in ["?from=x", "?from=-1", "?from=1", "?form=1", "?from=earliest&x=1", "?from="] {
        let answer = server.connect().await.get(&format!("/v1/events/stream{query}")).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_start"), "{query}");
    }
}

#[tokio::test]
async fn streams_are_limited_and_places_given_back() {
    let server = TestServer::start_with(|options| options.max_event_streams = 1).await;
    let (_, first) = open(&server, "", "").await;
    let answer = server.connect().await.get("/v1/events/stream").await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "too_many_streams"));
    drop(first);
    loop {
        let (head, _client) = open(&server, "", "").await;
        if head.starts_with("HTTP/1.1 200") {
            break;
        }
    }
}
