//! What a well-behaved client gets.

use eventrelay_server::SubscriptionHealth;
use serde_json::json;

use crate::support::{Client, TestServer, post};

const JSON: &str = "Content-Type: application/json\r\n";

async fn stored(client: &mut Client, receipt: &serde_json::Value) -> serde_json::Value {
    let answer = client.get(&format!("/v1/events/{}", receipt["id"].as_str().unwrap())).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

#[tokio::test]
async fn an_event_is_stored_and_read_back() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    let answer =
        client.publish(r#"{"type": "order.created", "source": "/shop", "data": {"total": 1.50}}"#).await;
    assert_eq!((answer.status, answer.header("content-type")), (201, Some("application/json")));
    let receipt = answer.json();
    assert_eq!((&receipt["offset"], &receipt["duplicate"]), (&json!(0), &json!(false)));
    assert_eq!(server.log.durable_offset(), 1);

    let event = stored(&mut client, &receipt).await;
    assert_eq!((&event["type"], &event["source"]), (&json!("order.created"), &json!("/shop")));
    assert_eq!((&event["id"], &event["data"]), (&receipt["id"], &json!({"total": 1.5})));
}

#[tokio::test]
async fn an_event_is_shown_as_a_cloud_event_to_who_asks() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    let receipt = client.publish(r#"{"type": "t", "source": "/s"}"#).await.json();
    let id = receipt["id"].as_str().unwrap();
    client
        .send(format!(
            "GET /v1/events/{id} HTTP/1.1\r\nHost: localhost\r\nAccept: text/html, application/cloudevents+json;q=0.9\r\n\r\n"
        ))
        .await;
    let answer = client.answer().await;
    assert_eq!(answer.header("content-type"), Some("application/cloudevents+json"));
    assert_eq!(answer.json()["specversion"], "1.0");
}

#[tokio::test]
async fn every_form_of_events_is_taken() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    let cloud_event = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":1}"#;

    let answer = client.post(JSON, r#"[{"type":"a","source":"/s"},{"type":"b","source":"/s"}]"#).await;
    assert_eq!((answer.status, answer.json()[1]["offset"].clone()), (201, json!(1)));

    let lines = "{\"type\":\"a\",\"source\":\"/s\"}\n{\"type\":\"b\",\"source\":\"/s\"}\n";
    let answer = client.post("Content-Type: application/x-ndjson\r\n", lines).await;
    assert_eq!((answer.status, answer.json().as_array().unwrap().len()), (201, 2));

    let answer =
        client.post("Content-Type: application/cloudevents+json; charset=utf-8\r\n", cloud_event).await;
    assert_eq!((answer.status, answer.json()["offset"].clone()), (201, json!(4)));

    let batch = format!("[{}]", cloud_event.replace("\"1\"", "\"2\""));
    let answer = client.post("Content-Type: application/cloudevents-batch+json\r\n", batch).await;
    assert_eq!((answer.status, answer.json()[0]["offset"].clone()), (201, json!(5)));

    let headers = "Content-Type: text/plain\r\nce-specversion: 1.0\r\nce-id: 3\r\nce-source: /s\r\nce-type: greeting\r\n";
    let answer = client.post(headers, "hello").await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let event = stored(&mut client, &answer.json()).await;
    assert_eq!(
        (&event["type"], &event["client_id"], &event["data"]),
        (&json!("greeting"), &json!("3"), &json!("hello"))
    );
}

#[tokio::test]
async fn a_repeated_publish_yields_the_same_event() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    let headers = format!("{JSON}Idempotency-Key: once\r\n");
    let first = client.post(&headers, r#"{"type":"t","source":"/s"}"#).await.json();
    let second = client.post(&headers, r#"{"type":"t","source":"/s"}"#).await;
    assert_eq!(second.status, 201);
    let second = second.json();
    assert_eq!((&second["id"], &second["offset"]), (&first["id"], &first["offset"]));
    assert_eq!((&first["duplicate"], &second["duplicate"]), (&json!(false), &json!(true)));

    let other = client.post(&headers, r#"{"type":"other","source":"/s"}"#).await;
    assert_eq!((other.status, other.code().as_str()), (422, "idempotency_key_reused"));
    assert_eq!(server.log.durable_offset(), 1);
}

#[tokio::test]
async fn a_repeated_batch_repeats_each_of_its_events() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    let headers = format!("{JSON}Idempotency-Key: many\r\n");
    let batch = r#"[{"type":"t","source":"/s"},{"type":"t","source":"/s"}]"#;
    let first = client.post(&headers, batch).await.json();
    assert_ne!(first[0]["id"], first[1]["id"], "the events of a batch are two, though they are alike");
    let second = client.post(&headers, batch).await.json();
    assert_eq!((&second[0]["id"], &second[1]["id"]), (&first[0]["id"], &first[1]["id"]));
    assert_eq!(server.log.durable_offset(), 2);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    let event = r#"{"type":"t","source":"/s"}"#;
    let mut requests = Vec::new();
    for _ in 0..20 {
        requests.extend(post(JSON, event));
    }
    requests.extend(b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.send(requests).await;
    for offset in 0..20 {
        assert_eq!(client.answer().await.json()["offset"], offset);
    }
    assert_eq!(client.answer().await.status, 404);
}

#[tokio::test]
async fn a_body_may_come_in_chunks_and_in_pieces() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    let body = r#"{"type":"t","source":"/s","data":"0123456789"}"#;
    client
        .send(format!(
            "POST /v1/events HTTP/1.1\r\nHost: localhost\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n"
        ))
        .await;
    for piece in body.as_bytes().chunks(7) {
        client.send(format!("{:x}\r\n", piece.len())).await;
        client.send(piece).await;
        client.send("\r\n").await;
    }
    client.send("0\r\nX-Trailer: 1\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 201);

    for byte in post(JSON, body) {
        client.send([byte]).await;
    }
    assert_eq!(client.answer().await.json()["offset"], 1);
}

#[tokio::test]
async fn a_large_body_is_taken_whole() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    let data = "x".repeat(700_000);
    let receipt = client.publish(format!(r#"{{"type":"t","source":"/s","data":"{data}"}}"#)).await.json();
    assert_eq!(stored(&mut client, &receipt).await["data"], data);
    let events: Vec<_> = (0..900).map(|n| json!({"type": "t", "source": "/s", "data": n})).collect();
    let receipts = client.publish(serde_json::to_vec(&events).unwrap()).await.json();
    assert_eq!((receipts.as_array().unwrap().len(), &receipts[899]["offset"]), (900, &json!(900)));
}

#[tokio::test]
async fn a_client_that_waits_for_leave_to_send_gets_it() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    let body = r#"{"type":"t","source":"/s"}"#;
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nHost: localhost\r\n{JSON}Expect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    client.send(&head).await;
    assert_eq!(client.read_head().await, "HTTP/1.1 100 Continue");
    client.send(body).await;
    assert_eq!(client.answer().await.status, 201);
}

#[tokio::test]
async fn requests_are_named() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    client.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: abc-1\r\n\r\n").await;
    assert_eq!(client.answer().await.header("x-request-id"), Some("abc-1"));
    let (first, second) = (client.get("/healthz").await, client.get("/healthz").await);
    assert_ne!(first.header("x-request-id").unwrap(), second.header("x-request-id").unwrap());
}

#[tokio::test]
async fn the_noop_route_is_there_only_when_asked_for() {
    let request = "POST /noop HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi";
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    client.send(request).await;
    assert_eq!(client.answer().await.status, 404);

    let server = TestServer::start_with(|options| options.enable_noop_route = true).await;
    let mut client = server.connect().await;
    client.send(request).await;
    assert_eq!(client.answer().await.status, 204);
    assert_eq!(client.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_head_request_gets_the_head_alone() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    client.send("HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let head = client.read_head().await;
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("content-length: 15"), "{head}");
    assert_eq!(client.get("/healthz").await.body, br#"{"status":"ok"}"#);
}

fn subscription(name: &str, healthy: bool) -> SubscriptionHealth {
    let status = "running".to_owned();
    SubscriptionHealth { name: name.to_owned(), status, healthy, lag_events: 0, why: None }
}

#[tokio::test]
async fn what_became_of_an_event_is_told_by_subscription() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    let receipt = client.publish(r#"{"type":"t","source":"/s"}"#).await.json();
    let path = format!("/v1/events/{}/status", receipt["id"].as_str().unwrap());
    let alone = client.get(&path).await;
    assert_eq!(alone.status, 200);
    assert_eq!(alone.json(), json!({"id": receipt["id"], "offset": 0, "status": "done", "deliveries": []}));

    server.subscriptions.0.lock().unwrap().extend([subscription("one", true), subscription("two", false)]);
    let status = client.get(&path).await.json();
    assert_eq!(status["status"], "failed");
    assert_eq!(status["deliveries"][0], json!({"subscription": "one", "state": "delivered"}));
    let dead = &status["deliveries"][1];
    assert_eq!(
        (&dead["state"], &dead["attempts"], &dead["error"]),
        (&"dead".into(), &2.into(), &"410".into())
    );
    assert!(dead["dead_at"].as_str().unwrap().ends_with('Z'), "{dead}");

    for id in ["x", "00000000-0000-7000-8000-000000000000"] {
        let absent = client.get(&format!("/v1/events/{id}/status")).await;
        assert_eq!((absent.status, absent.code().as_str()), (404, "event_not_found"));
    }
}

#[tokio::test]
async fn the_requests_trace_is_kept_with_its_events() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = format!("{JSON}Traceparent: {parent}\r\nTracestate: a=b\r\n");
    let own = r#"{"type":"t","source":"/s","headers":{"traceparent":"own"}}"#;
    let answer = client.post(&headers, format!(r#"[{{"type":"t","source":"/s"}},{own}]"#)).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let taken = stored(&mut client, &answer.json()[0]).await;
    assert_eq!(taken["headers"], json!({"traceparent": parent, "tracestate": "a=b"}));
    assert_eq!(stored(&mut client, &answer.json()[1]).await["headers"], json!({"traceparent": "own"}));

    let wrong = client.post(&format!("{JSON}Traceparent: 00-xyz\r\n"), r#"{"type":"t","source":"/s"}"#).await;
    assert_eq!(stored(&mut client, &wrong.json()).await.get("headers"), None);
}
