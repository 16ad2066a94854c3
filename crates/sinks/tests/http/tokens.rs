//! OAuth 2.0 tokens: fetched once, kept, replaced.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use eventrelay_sinks::{Outcome, Sink};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::receiver::{Received, Receiver, Reply};
use crate::sinks::{deliver_event, event, retried, sink};

/// A token's server that gives `token-1`, `token-2`, …
async fn token_server(expires_in: Value) -> Receiver {
    Receiver::start(move |number| {
        let body = json!({"access_token": format!("token-{number}"), "token_type": "bearer", "expires_in": expires_in});
        Reply::with_body("200 OK", "content-type: application/json\r\n", &body.to_string())
    })
    .await
}

fn with_tokens(target: &Receiver, tokens: &Receiver, extra: &Value) -> Arc<dyn Sink> {
    let mut oauth2 = json!({
        "token_url": format!("http://{}/token", tokens.address),
        "client_id": "relay +1",
        "client_secret": "s3cret/",
    });
    oauth2.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    sink(target, "/", &json!({"oauth2": oauth2, "timeout_ms": 3000}))
}

fn tokens_seen(receiver: &mut Receiver) -> Vec<String> {
    receiver.so_far().1.into_iter().map(|mut it| it.headers.remove("authorization").unwrap()).collect()
}

#[tokio::test]
async fn a_token_is_asked_for_as_the_standard_says() {
    let target = Receiver::always(Reply::ok()).await;
    let mut tokens = token_server(json!(3600)).await;
    let extra = json!({"scope": "events:write a", "parameters": {"audience": "https://api/"}});
    deliver_event(&with_tokens(&target, &tokens, &extra), &event("1")).await;
    let request = tokens.request().await;
    assert_eq!(request.line, "POST /token HTTP/1.1");
    assert_eq!(request.headers["content-type"], "application/x-www-form-urlencoded");
    // base64("relay+%2B1:s3cret%2F")
    assert_eq!(request.headers["authorization"], "Basic cmVsYXkrJTJCMTpzM2NyZXQlMkY=");
    let body = "grant_type=client_credentials&scope=events%3Awrite+a&audience=https%3A%2F%2Fapi%2F";
    assert_eq!(String::from_utf8(request.body).unwrap(), body);

    let extra = json!({"client_authentication": "body"});
    deliver_event(&with_tokens(&target, &tokens, &extra), &event("1")).await;
    let request = tokens.request().await;
    assert!(!request.headers.contains_key("authorization"));
    let body = "grant_type=client_credentials&client_id=relay+%2B1&client_secret=s3cret%2F";
    assert_eq!(String::from_utf8(request.body).unwrap(), body);
}

#[tokio::test]
async fn many_requests_share_one_token() {
    let mut target = Receiver::always(Reply::ok()).await;
    let mut tokens = token_server(json!("3600")).await;
    let sink = with_tokens(&target, &tokens, &json!({}));
    let mut tasks = JoinSet::new();
    for _ in 0..20 {
        let sink = sink.clone();
        tasks.spawn(async move { deliver_event(&sink, &event("1")).await.outcome });
    }
    while let Some(outcome) = tasks.join_next().await {
        assert_eq!(outcome.unwrap(), Outcome::Delivered);
    }
    assert_eq!(tokens.so_far().1.len(), 1);
    assert_eq!(tokens_seen(&mut target), vec!["Bearer token-1"; 20]);
}

#[tokio::test]
async fn a_token_is_replaced_shortly_before_it_expires() {
    let mut target = Receiver::always(Reply::ok()).await;
    let tokens = token_server(json!(1000)).await;
    let sink = with_tokens(&target, &tokens, &json!({}));
    deliver_event(&sink, &event("1")).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(930)).await;
    tokio::time::resume();
    deliver_event(&sink, &event("1")).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(945)).await;
    tokio::time::resume();
    deliver_event(&sink, &event("1")).await;
    assert_eq!(tokens_seen(&mut target), ["Bearer token-1", "Bearer token-1", "Bearer token-2"]);
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let accepts = |token: &'static str| {
        move |_: usize, request: &Received| match request.headers["authorization"] == token {
            true => Reply::ok(),
            false => Reply::status("401 Unauthorized", ""),
        }
    };
    let mut target = Receiver::answering(accepts("Bearer token-2")).await;
    let mut tokens = token_server(json!(3600)).await;
    let sink = with_tokens(&target, &tokens, &json!({}));
    // Fetched for this very request: another would fare no better.
    assert!(retried(&deliver_event(&sink, &event("1")).await).contains("401"));
    assert_eq!(deliver_event(&sink, &event("1")).await.outcome, Outcome::Delivered);
    assert_eq!(tokens_seen(&mut target), ["Bearer token-1", "Bearer token-2"]);
    assert_eq!(tokens.so_far().1.len(), 2);

    // A kept one is replaced within the attempt.
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let mut target = Receiver::answering(move |_, request| {
        let revoked = counted.fetch_add(1, Ordering::SeqCst) > 0;
        match revoked && request.headers["authorization"] == "Bearer token-1" {
            true => Reply::status("401 Unauthorized", ""),
            false => Reply::ok(),
        }
    })
    .await;
    let tokens = token_server(json!(3600)).await;
    let sink = with_tokens(&target, &tokens, &json!({}));
    for _ in 0..2 {
        assert_eq!(deliver_event(&sink, &event("1")).await.outcome, Outcome::Delivered);
    }
    assert_eq!(tokens_seen(&mut target), ["Bearer token-1", "Bearer token-1", "Bearer token-2"]);
}

#[tokio::test]
async fn without_a_token_nothing_is_sent_and_no_secret_is_shown() {
    let mut target = Receiver::always(Reply::ok()).await;
    let error = r#"{"error":"invalid_client","error_description":"canary"}"#;
    for (reply, why) in [
        (Reply::with_body("400 Bad Request", "", error), "400 Bad Request: invalid_client"),
        (Reply::with_body("200 OK", "", "canary"), "something else than a token"),
        (Reply::with_body("200 OK", "", r#"{"access_token":"canary\n"}"#), "a header cannot hold"),
        (Reply::with_body("200 OK", "", r#"{"access_token":"canary","token_type":"mac"}"#), "not a bearer"),
        (Reply::status("302 Found", "location: http://127.0.0.1/\r\n"), "302 Found"),
        (Reply::Silence, "within 3000 ms"),
    ] {
        let tokens = Receiver::always(reply).await;
        let sink = with_tokens(&target, &tokens, &json!({}));
        let attempt = deliver_event(&sink, &event("1")).await;
        let text = retried(&attempt);
        assert!(text.contains(why) && !text.contains("canary") && !text.contains("s3cret"), "{text}");
    }
    assert_eq!(target.so_far().0, 0);
}

#[tokio::test]
async fn all_that_wait_hear_of_one_failure() {
    let target = Receiver::always(Reply::ok()).await;
    let mut tokens = Receiver::always(Reply::Silence).await;
    let sink = with_tokens(&target, &tokens, &json!({}));
    let began = std::time::Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..10 {
        let sink = sink.clone();
        tasks.spawn(async move { deliver_event(&sink, &event("1")).await });
    }
    while let Some(attempt) = tasks.join_next().await {
        retried(&attempt.unwrap());
    }
    assert!(began.elapsed() < Duration::from_secs(6), "one timeout, not ten");
    assert!(tokens.so_far().1.len() <= 2);
}
