//! `GET /v1/events/{id}/status` against the real server: what became of an event, from its publish to its end.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

mod harness;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::{Value, json};

use harness::receiver::{Receiver, Reply};
use harness::{RelayProcess, SMALL_LOG, http, poll};

fn configuration(receiver: &Receiver) -> String {
    let webhook = |name: &str, types: &str, retry: &str| {
        format!(
            "[[subscriptions]]\nname = \"{name}\"\nfilter = {{ types = [\"{types}\"] }}\nretry = {{ {retry} }}\n\
             sink = {{ kind = \"webhook\", url = \"{}\", unsigned = true }}\n",
            receiver.url(&format!("/{name}"))
        )
    };
    let patient = "max_attempts = 1000, initial_backoff_ms = 10, max_backoff_ms = 50";
    [
        format!("{SMALL_LOG}\n[egress]\nallow_private_addresses = true\n"),
        webhook("recovering", "order.*", patient),
        webhook("refusing", "order.*", "max_attempts = 2, initial_backoff_ms = 5"),
        webhook("other", "user.*", patient),
    ]
    .join("\n")
}

fn status(server: SocketAddr, id: &str) -> Value {
    let answer = http::get(server, &format!("/v1/events/{id}/status"));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// What became of the event, by subscription.
fn states(status: &Value) -> Vec<(&str, &str)> {
    let deliveries = status["deliveries"].as_array().unwrap().iter();
    deliveries.map(|it| (it["subscription"].as_str().unwrap(), it["state"].as_str().unwrap())).collect()
}

#[test]
fn an_event_is_processing_then_failed_where_one_gave_it_up_and_a_restart_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let answers = Arc::new(AtomicU16::new(503));
    let answering = Arc::clone(&answers);
    let receiver = Receiver::start(move |request| match request.path.as_str() {
        "/refusing" => Reply::Status(500),
        _ => Reply::Status(answering.load(Ordering::SeqCst)),
    });
    let configuration = configuration(&receiver);
    let relay = RelayProcess::start(directory.path(), &configuration);
    let receipt = http::publish(relay.http(), r#"{"type":"order.created","source":"/shop"}"#).json();
    let id = receipt["id"].as_str().unwrap();

    let processing = poll::until("one to give up and the other to wait", || {
        let status = status(relay.http(), id);
        (states(&status) == [("recovering", "retrying"), ("refusing", "dead")]).then_some(status)
    });
    assert_eq!(processing["status"], "processing", "{processing}");
    assert!(processing["deliveries"][0]["attempts"].as_u64().unwrap() >= 1, "{processing}");
    assert!(processing["deliveries"][0]["error"].as_str().unwrap().contains("503"), "{processing}");
    assert_eq!(processing["deliveries"][1]["attempts"], 2, "{processing}");

    answers.store(204, Ordering::SeqCst);
    let failed = poll::until("the delivery", || {
        let status = status(relay.http(), id);
        (states(&status) == [("recovering", "delivered"), ("refusing", "dead")]).then_some(status)
    });
    assert_eq!(failed["status"], "failed", "{failed}");
    relay.kill();

    let relay = RelayProcess::start(directory.path(), &configuration);
    assert_eq!(status(relay.http(), id), failed);
    let unwanted = http::publish(relay.http(), r#"{"type":"ping","source":"/shop"}"#).json();
    let status = status(relay.http(), unwanted["id"].as_str().unwrap());
    assert_eq!(status, json!({"id": unwanted["id"], "offset": 1, "status": "done", "deliveries": []}));
}
