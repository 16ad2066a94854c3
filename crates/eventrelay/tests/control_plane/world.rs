//! A relay, a receiver of webhooks, and JSON over HTTP.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::harness::http::{self, Answer};
use crate::harness::receiver::{Receiver, Reply, Request};
use crate::harness::{RelayProcess, SMALL_LOG, poll};

/// A webhook of the configuration's own, beside what the API makes, and receivers on this machine.
pub(crate) fn configuration(more: &str) -> String {
    format!(
        "{SMALL_LOG}[egress]\nallow_private_addresses = true\n[delivery]\ncheckpoint_interval_ms = 5\n{more}"
    )
}

pub(crate) fn start(directory: &Path) -> RelayProcess {
    RelayProcess::start(directory, &configuration(""))
}

/// A receiver that remembers what it was given, and answers as it is told.
pub(crate) struct Hook {
    receiver: Receiver,
    seen: Arc<Mutex<Vec<Seen>>>,
    status: Arc<AtomicU16>,
}

/// A delivery.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) id: String,
    pub(crate) signature: String,
    pub(crate) body: Value,
}

impl Hook {
    pub(crate) fn start() -> Self {
        let (seen, status) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicU16::new(200)));
        let (into, answer) = (Arc::clone(&seen), Arc::clone(&status));
        let receiver = Receiver::start(move |request: &Request| {
            let header = |name| request.header(name).unwrap_or_default().to_owned();
            let body = serde_json::from_slice(&request.body).unwrap();
            into.lock().unwrap().push(Seen {
                id: header("webhook-id"),
                signature: header("webhook-signature"),
                body,
            });
            Reply::Status(answer.load(Ordering::SeqCst))
        });
        Self { receiver, seen, status }
    }

    pub(crate) fn url(&self) -> String {
        self.receiver.url("/hook")
    }

    /// What it answers from now on.
    pub(crate) fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn forget(&self) {
        self.seen.lock().unwrap().clear();
    }

    /// Waits for a delivery of each of these events.
    pub(crate) fn wait_for(&self, ids: &[String]) -> Vec<Seen> {
        poll::until("the deliveries", || {
            let seen = self.seen();
            ids.iter().all(|id| seen.iter().any(|seen| seen.id == *id)).then_some(seen)
        })
    }
}

/// An operator, or a program, with a key or without.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) server: SocketAddr,
    pub(crate) key: Option<String>,
}

impl Client {
    pub(crate) fn of(relay: &RelayProcess) -> Self {
        Self { server: relay.http(), key: None }
    }

    pub(crate) fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.ask_with(method, path, &[], body)
    }

    pub(crate) fn ask_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let authorization = self.key.as_ref().map(|key| format!("Bearer {key}"));
        let mut all = headers.to_vec();
        if let Some(value) = &authorization {
            all.push(("authorization", value));
        }
        if body.is_some() {
            all.push(("content-type", "application/json"));
        }
        http::send(self.server, method, path, &all, &body.map(Value::to_string).unwrap_or_default())
    }

    /// The answer's body, which must come with this status.
    pub(crate) fn expect(&self, status: u16, method: &str, path: &str, body: Option<&Value>) -> Value {
        let answer = self.ask(method, path, body);
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        if answer.body.is_empty() { Value::Null } else { answer.json() }
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        self.expect(200, "GET", path, None)
    }

    pub(crate) fn post(&self, status: u16, path: &str, body: &Value) -> Value {
        self.expect(status, "POST", path, Some(body))
    }

    /// The code of a refusal, which must come with this status.
    pub(crate) fn refusal(&self, status: u16, method: &str, path: &str, body: Option<&Value>) -> String {
        self.expect(status, method, path, body)["code"].as_str().unwrap().to_owned()
    }

    /// Publishes events of a type, and gives their ids.
    pub(crate) fn publish(&self, event_type: &str, numbers: std::ops::Range<u64>) -> Vec<String> {
        let events: Vec<Value> = numbers
            .map(|number| json!({"type": event_type, "source": "/test", "data": {"number": number}}))
            .collect();
        let receipts = self.post(201, "/v1/events", &Value::Array(events));
        receipts
            .as_array()
            .unwrap()
            .iter()
            .map(|receipt| receipt["id"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Makes a webhook subscription that tries twice, at once.
    pub(crate) fn subscribe(&self, name: &str, hook: &Hook, more: &Value) -> Value {
        let mut body = json!({
            "name": name, "sink": {"kind": "webhook", "url": hook.url()},
            "retry": {"max_attempts": 2, "initial_backoff_ms": 1}, "start": "earliest",
        });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.post(201, "/v1/subscriptions", &body)
    }
}
