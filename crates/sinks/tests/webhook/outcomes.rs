//! What statuses and headers of an answer come to.

use std::time::Duration;

use eventrelay_sinks::Outcome;
use serde_json::json;

use crate::receiver::{Receiver, Reply};
use crate::sinks::{deliver, retried, webhook};

#[tokio::test]
async fn success_is_delivered_with_the_response_kept() {
    let receiver = Receiver::always(Reply::ok()).await;
    let attempt = deliver(&webhook(&receiver.url(), &json!({}))).await;
    assert_eq!(attempt.outcome, Outcome::Delivered);
    let response = attempt.response.unwrap();
    assert_eq!((response.status, &response.body[..], response.truncated), (200, &b"ok"[..], false));
}

#[tokio::test]
async fn gone_is_gone() {
    let receiver = Receiver::always(Reply::status("410 Gone", "")).await;
    let attempt = deliver(&webhook(&receiver.url(), &json!({}))).await;
    assert!(matches!(attempt.outcome, Outcome::Gone { .. }), "{attempt:?}");
}

#[tokio::test]
async fn a_wait_that_the_receiver_asks_for_is_handed_on() {
    let receiver = Receiver::always(Reply::status("429 Too Many Requests", "Retry-After: 17\r\n")).await;
    let attempt = deliver(&webhook(&receiver.url(), &json!({}))).await;
    assert!(
        matches!(attempt.outcome, Outcome::Retry { after: Some(after), .. } if after == Duration::from_secs(17))
    );
    assert_eq!(attempt.response.unwrap().status, 429);
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_not_followed() {
    let mut elsewhere = Receiver::always(Reply::ok()).await;
    for status in
        ["301 Moved", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"]
    {
        let location = format!("Location: {}\r\n", elsewhere.url());
        let receiver = Receiver::always(Reply::status(status, &location)).await;
        let attempt = deliver(&webhook(&receiver.url(), &json!({}))).await;
        assert!(retried(&attempt).contains("redirects are not followed"), "{attempt:?}");
    }
    assert_eq!(elsewhere.so_far().0, 0, "nobody came");
}
