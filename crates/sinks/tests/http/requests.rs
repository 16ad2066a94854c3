//! What a request looks like on the wire.

use bytes::Bytes;
use eventrelay_event::{Data, Event};
use eventrelay_sinks::Outcome;
use serde_json::{Value, json};

use crate::receiver::{Received, Receiver, Reply};
use crate::sinks::{built, deliver_event, event, keyed, rejected, sink};

async fn request(path: &str, extra: &Value, event: &Event) -> Received {
    let mut receiver = Receiver::always(Reply::ok()).await;
    let attempt = deliver_event(&sink(&receiver, path, extra), event).await;
    assert_eq!(attempt.outcome, Outcome::Delivered);
    receiver.request().await
}

#[tokio::test]
async fn method_url_and_headers_are_made_from_the_event() {
    let extra = json!({"method": "PUT", "headers": {"idempotency-key": "{id}", "X-Kind": "v1 {type}"}});
    let event = keyed("a/b?c=d&e%20\r\nü");
    let request = request("/orders/{key}?from={source}", &extra, &event).await;
    assert_eq!(request.line, "PUT /orders/a%2Fb%3Fc%3Dd%26e%2520%0D%0A%C3%BC?from=%2Fshop HTTP/1.1");
    assert_eq!(request.headers["x-kind"], "v1 order.created");
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(request.headers["idempotency-key"], body["id"].as_str().unwrap());
    assert_eq!(request.headers["content-type"], "application/json");
    assert_eq!(
        (&body["offset"], &body["type"], &body["data"]),
        (&json!(7), &json!("order.created"), &json!(1))
    );
}

#[tokio::test]
async fn an_event_that_does_not_fit_is_rejected_without_a_request() {
    let mut receiver = Receiver::always(Reply::ok()).await;
    let url = sink(&receiver, "/{key}/x", &json!({}));
    assert!(rejected(&deliver_event(&url, &event("1")).await).contains("no key"));
    assert!(rejected(&deliver_event(&url, &keyed("..")).await).contains("dots"));
    let header = sink(&receiver, "/", &json!({"headers": {"x-key": "{key}"}}));
    assert!(rejected(&deliver_event(&header, &keyed("a\r\nhost: b")).await).contains("x-key"));
    assert_eq!(receiver.so_far().0, 0);
}

#[tokio::test]
async fn a_body_may_be_a_structured_cloudevent() {
    let request = request("/", &json!({"body": "cloudevents"}), &keyed("k")).await;
    assert_eq!(request.headers["content-type"], "application/cloudevents+json");
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(
        (&body["specversion"], &body["type"], &body["partitionkey"], &body["data"]),
        (&json!("1.0"), &json!("order.created"), &json!("k"), &json!(1))
    );
}

#[tokio::test]
async fn a_body_may_be_a_binary_cloudevent() {
    let event = Event {
        subject: Some("Grüße 100%".to_owned()),
        data: Some(Data::binary(Bytes::from_static(b"\xff\x00"))),
        content_type: Some("image/png".to_owned()),
        headers: vec![("region".to_owned(), "eu".to_owned())],
        ..event("1")
    };
    let request = request("/", &json!({"body": "cloudevents_binary"}), &event).await;
    assert_eq!((&*request.headers["content-type"], &request.body[..]), ("image/png", &b"\xff\x00"[..]));
    assert_eq!(request.headers["ce-specversion"], "1.0");
    assert_eq!(request.headers["ce-source"], "/shop");
    assert_eq!(request.headers["ce-subject"], "Gr%C3%BC%C3%9Fe%20100%25");
    assert_eq!(request.headers["ce-region"], "eu");
}

#[tokio::test]
async fn a_body_may_be_the_data_or_nothing() {
    let event = event("{\n \"a\": 1.50}");
    let data = request("/", &json!({"body": "data"}), &event).await;
    assert_eq!(
        (&*data.headers["content-type"], &data.body[..]),
        ("application/json", &b"{\n \"a\": 1.50}"[..])
    );
    let own = json!({"body": "data", "headers": {"content-type": "application/vnd.order+json"}});
    assert_eq!(request("/", &own, &event).await.headers["content-type"], "application/vnd.order+json");
    for settings in [json!({"method": "GET"}), json!({"method": "DELETE", "body": "none"})] {
        let request = request("/", &settings, &event).await;
        assert!(request.body.is_empty() && !request.headers.contains_key("content-type"), "{request:?}");
    }
}

#[tokio::test]
async fn the_trace_of_the_event_goes_on_unless_the_settings_say_otherwise() {
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers = vec![("traceparent".to_owned(), trace.to_owned())];
    let event = Event { headers, ..event("1") };
    assert_eq!(request("/", &json!({}), &event).await.headers["traceparent"], trace);
    let own = json!({"headers": {"traceparent": "none"}});
    assert_eq!(request("/", &own, &event).await.headers["traceparent"], "none");
}

#[tokio::test]
async fn user_and_token_are_sent_and_there_is_only_one_way() {
    let basic = json!({"basic": {"username": "shop", "password": "päss:word"}});
    let authorization = request("/", &basic, &event("1")).await.headers["authorization"].clone();
    assert_eq!(authorization, "Basic c2hvcDpww6Rzczp3b3Jk");
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "t0ken\n").unwrap();
    let bearer = json!({"bearer_token_file": token.path()});
    assert_eq!(request("/", &bearer, &event("1")).await.headers["authorization"], "Bearer t0ken");

    let url = "https://example.com/";
    for settings in [
        json!({"url": url, "bearer_token": "canary", "headers": {"Authorization": "canary"}}),
        json!({"url": url, "bearer_token": "canary", "basic": {"username": "u", "password": "canary"}}),
        json!({"url": url, "bearer_token": "canary\n"}),
        json!({"url": url, "basic": {"username": "u"}}),
        json!({"url": url, "basic": {"username": "u:v", "password": "canary"}}),
        json!({"url": url, "bearer_token": "canary", "bearer_token_env": "PATH"}),
        json!({"url": "http://example.com/", "tls": {"insecure_skip_verify": true}}),
        json!({"url": "https://{key}.example.com/"}),
    ] {
        let Err(error) = built(&settings) else { panic!("{settings} was taken") };
        assert!(!error.contains("canary"), "{error}");
    }
}
