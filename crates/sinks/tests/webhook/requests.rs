//! What goes over the wire.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ed25519_dalek::{Signature, SigningKey, Verifier as _};
use eventrelay_event::{Data, Event, SpanId};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::receiver::{Received, Receiver, Reply};
use crate::sinks::{SECRET, deliver, deliver_event, delivery_of, event, webhook};

/// The request that a webhook with these settings makes of an event.
async fn request(extra: &Value, event: &Event) -> Received {
    let mut receiver = Receiver::always(Reply::ok()).await;
    deliver_event(&webhook(&receiver.url(), extra), event).await;
    receiver.request().await
}

/// Verifies as a receiver does that knows one `whsec_` secret.
fn verifies(request: &Received, secret: &str) -> bool {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(&signed_bytes(request));
    let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    request.headers["webhook-signature"].split(' ').any(|signature| signature == expected)
}

fn signed_bytes(request: &Received) -> Vec<u8> {
    let (id, timestamp) = (&request.headers["webhook-id"], &request.headers["webhook-timestamp"]);
    [id.as_bytes(), b".", timestamp.as_bytes(), b".", &request.body].concat()
}

#[tokio::test]
async fn a_request_is_as_standard_webhooks_has_it() {
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let request = request(&json!({}), &event()).await;
    let after = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();

    assert_eq!(request.line, "POST /hook HTTP/1.1");
    assert_eq!(request.headers["content-type"], "application/json");
    assert_eq!(request.headers["content-length"], request.body.len().to_string());
    assert!(request.headers["host"].starts_with("127.0.0.1:"));
    assert!(request.headers["user-agent"].starts_with("eventrelay/"));
    assert_eq!(request.headers["webhook-id"], delivery_of(&event()).event.id().to_string());
    let timestamp: u64 = request.headers["webhook-timestamp"].parse().unwrap();
    assert!((before..=after).contains(&timestamp), "the attempt's time, in seconds: {timestamp}");
    assert!(verifies(&request, SECRET));
    assert_eq!(request.headers.len(), 7, "and nothing else: {:?}", request.headers);
    assert_eq!(
        String::from_utf8(request.body).unwrap(),
        r#"{"type":"order.created","timestamp":"2026-01-31T12:00:00.000123Z","data":{"total": 1.50}}"#,
        "the data is spelled as the producer did"
    );
}

#[tokio::test]
async fn every_attempt_has_the_same_id() {
    let mut receiver = Receiver::always(Reply::status("500 No", "")).await;
    let sink = webhook(&receiver.url(), &json!({}));
    deliver(&sink).await;
    deliver(&sink).await;
    let (one, two) = (receiver.request().await, receiver.request().await);
    assert_eq!(one.headers["webhook-id"], two.headers["webhook-id"]);
}

#[tokio::test]
async fn during_rotation_both_secrets_verify_and_so_does_ed25519() {
    let new = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";
    let key = SigningKey::from_bytes(&[42; 32]);
    let pair = format!("whsk_{}", STANDARD.encode(key.to_keypair_bytes()));
    let request = request(&json!({"secrets": [new, SECRET, pair]}), &event()).await;
    assert!(verifies(&request, new) && verifies(&request, SECRET));
    assert!(!verifies(&request, "whsec_CQECAwQFBgcICQoLDA0ODxAREhMUFRYX"));

    let signature =
        request.headers["webhook-signature"].split(' ').find_map(|part| part.strip_prefix("v1a,"));
    let signature = Signature::from_slice(&STANDARD.decode(signature.unwrap()).unwrap()).unwrap();
    key.verifying_key().verify(&signed_bytes(&request), &signature).unwrap();
}

#[tokio::test]
async fn an_unsigned_webhook_sends_no_signature() {
    let request = request(&json!({"secrets": [], "unsigned": true}), &event()).await;
    assert!(!request.headers.contains_key("webhook-signature") && request.headers.contains_key("webhook-id"));
}

#[tokio::test]
async fn secrets_may_come_from_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{SECRET}\n")).unwrap();
    let request = request(&json!({"secrets": [], "secrets_file": file.path()}), &event()).await;
    assert!(verifies(&request, SECRET));
}

#[tokio::test]
async fn headers_of_the_subscription_are_sent() {
    let headers = json!({"headers": {"Authorization": "Bearer token", "X-Team": "a, b"}});
    let request = request(&headers, &event()).await;
    assert_eq!((&*request.headers["authorization"], &*request.headers["x-team"]), ("Bearer token", "a, b"));
}

#[tokio::test]
async fn a_deliverys_own_span_becomes_the_receivers_parent() {
    let mut receiver = Receiver::always(Reply::ok()).await;
    let sink = webhook(&receiver.url(), &json!({}));
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned();
    let headers = vec![("traceparent".to_owned(), parent), ("tracestate".to_owned(), "a=b".to_owned())];
    let mut delivery = delivery_of(&Event { headers, ..event() });
    delivery.span = SpanId::new([7; 8]);
    sink.deliver(&[delivery]).await;
    let request = receiver.request().await;
    assert_eq!(request.headers["traceparent"], "00-0af7651916cd43dd8448eb211c80319c-0707070707070707-01");
    assert_eq!(request.headers["tracestate"], "a=b");
}

#[tokio::test]
async fn an_events_trace_goes_on_with_the_receiver() {
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let with = |parent: &str| {
        let trace = [("traceparent", parent), ("tracestate", "congo=t61rcWkgMzE")];
        Event { headers: trace.map(|(name, value)| (name.to_owned(), value.to_owned())).into(), ..event() }
    };
    let traced = request(&json!({}), &with(parent)).await;
    assert_eq!(traced.headers["traceparent"], parent);
    assert_eq!(traced.headers["tracestate"], "congo=t61rcWkgMzE");
    let wrong = request(&json!({}), &with("no trace")).await;
    assert!(!wrong.headers.contains_key("traceparent") && !wrong.headers.contains_key("tracestate"));
}

#[tokio::test]
async fn every_kind_of_data_has_a_standard_body() {
    let text = Data::text("say \"hi\"\n".to_owned());
    let binary = Data::binary(Bytes::from_static(b"\xff\x00"));
    for (data, name, value) in [
        (None, "data", Value::Null),
        (Some(text), "data", json!("say \"hi\"\n")),
        (Some(binary), "data_base64", json!("/wA=")),
    ] {
        let event = Event { data, time: Some("2020-02-02T02:02:02+02:00".to_owned()), ..event() };
        let body: Value = serde_json::from_slice(&request(&json!({}), &event).await.body).unwrap();
        let expected =
            json!({"type": "order.created", "timestamp": "2020-02-02T02:02:02+02:00", name: value});
        assert_eq!(body, expected);
    }
}

#[tokio::test]
async fn a_body_may_be_the_data_with_its_own_content_type() {
    let settings = json!({"body": "data"});
    let plain = request(&settings, &event()).await;
    assert_eq!(
        (&*plain.headers["content-type"], &plain.body[..]),
        ("application/json", &br#"{"total": 1.50}"#[..])
    );

    let data = Some(Data::binary(Bytes::from_static(b"\xff\x00")));
    let image = Event { data, content_type: Some("image/png".to_owned()), ..event() };
    let request = request(&settings, &image).await;
    assert_eq!((&*request.headers["content-type"], &request.body[..]), ("image/png", &b"\xff\x00"[..]));
    assert!(verifies(&request, SECRET));
}

#[tokio::test]
async fn a_body_may_be_a_cloudevent() {
    let event = Event { subject: Some("7".to_owned()), ..event() };
    let request = request(&json!({"body": "cloudevents"}), &event).await;
    assert_eq!(request.headers["content-type"], "application/cloudevents+json");
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(
        (&body["specversion"], &body["type"], &body["source"], &body["subject"], &body["data"]["total"]),
        (&json!("1.0"), &json!("order.created"), &json!("/shop"), &json!("7"), &json!(1.5))
    );
    assert!(verifies(&request, SECRET));
}
