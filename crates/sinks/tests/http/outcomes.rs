//! What answers, and their absence, come to.

use std::time::Duration;

use eventrelay_sinks::Outcome;
use serde_json::json;

use crate::receiver::{Receiver, Reply};
use crate::sinks::{deliver_event, event, rejected, retried, sink};

#[tokio::test]
async fn statuses_come_to_what_they_mean() {
    for (line, outcome) in [
        ("204 No Content", "delivered"),
        ("307 Temporary Redirect", "retry"),
        ("400 Bad Request", "reject"),
        ("401 Unauthorized", "retry"),
        ("404 Not Found", "retry"),
        ("409 Conflict", "reject"),
        ("410 Gone", "reject"),
        ("422 Unprocessable Entity", "reject"),
        ("500 Internal Server Error", "retry"),
    ] {
        let receiver = Receiver::always(Reply::status(line, "")).await;
        let attempt = deliver_event(&sink(&receiver, "/", &json!({})), &event("1")).await;
        match outcome {
            "delivered" => assert_eq!(attempt.outcome, Outcome::Delivered),
            "retry" => assert!(retried(&attempt).contains(line), "{attempt:?}"),
            _ => assert!(rejected(&attempt).contains(line), "{attempt:?}"),
        }
    }
}

#[tokio::test]
async fn exceptions_from_that_are_the_subscriptions_own() {
    let receiver = Receiver::always(Reply::status("409 Conflict", "")).await;
    let attempt =
        deliver_event(&sink(&receiver, "/", &json!({"success_statuses": [409]})), &event("1")).await;
    assert_eq!(attempt.outcome, Outcome::Delivered);
    let attempt =
        deliver_event(&sink(&receiver, "/", &json!({"retry_statuses": ["409"]})), &event("1")).await;
    assert!(retried(&attempt).contains("409"));
}

#[tokio::test]
async fn a_wait_that_the_target_asks_for_is_handed_on() {
    let receiver = Receiver::always(Reply::status("429 Too Many Requests", "Retry-After: 17\r\n")).await;
    let attempt = deliver_event(&sink(&receiver, "/", &json!({})), &event("1")).await;
    assert!(
        matches!(attempt.outcome, Outcome::Retry { after: Some(after), .. } if after == Duration::from_secs(17))
    );
}

#[tokio::test]
async fn head_and_body_of_the_answer_are_kept_within_the_limit() {
    let headers = "content-type: text/plain\r\nset-cookie: canary\r\nx-request-id: 7\r\n";
    let reply =
        Reply::with_body("422 Unprocessable Entity", headers, "no such product; the catalogue has others");
    let receiver = Receiver::always(reply).await;
    let response = deliver_event(&sink(&receiver, "/", &json!({})), &event("1")).await.response.unwrap();
    assert_eq!((response.status, response.truncated), (422, false));
    assert_eq!(
        response.body,
        "content-type: text/plain\nx-request-id: 7\n\nno such product; the catalogue has others"
    );

    let limited = sink(&receiver, "/", &json!({"response_bytes": 60}));
    let response = deliver_event(&limited, &event("1")).await.response.unwrap();
    assert!(response.truncated && response.body.len() == 60, "{response:?}");
    assert!(response.body.starts_with(b"content-type: text/plain\n\nno such"), "{response:?}");
    let nothing = sink(&receiver, "/", &json!({"response_bytes": 0}));
    assert!(deliver_event(&nothing, &event("1")).await.response.unwrap().body.is_empty());
}

#[tokio::test]
async fn silence_reset_and_absence_are_retried() {
    for (reply, why) in [(Reply::Silence, "within 500 ms"), (Reply::Reset, "no valid answer")] {
        let receiver = Receiver::always(reply).await;
        let sink = sink(&receiver, "/", &json!({"timeout_ms": 500}));
        assert!(retried(&deliver_event(&sink, &event("1")).await).contains(why));
    }
    let receiver = Receiver::always(Reply::ok()).await;
    let nobody = sink(&receiver, "/", &json!({}));
    drop(receiver);
    retried(&deliver_event(&nobody, &event("1")).await);
}
