//! The broker's management API, over plain HTTP: what queues hold is not read by the library that wrote it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::broker_events::PATIENCE;

/// The API of one broker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Management(pub(crate) SocketAddr);

/// A message that a queue holds.
#[derive(Debug)]
pub(crate) struct Queued(Value);

impl Management {
    /// Waits until the API answers.
    pub(crate) fn wait_until_up(self) {
        let began = std::time::Instant::now();
        while self.try_call("GET", "overview", &Value::Null).is_none_or(|(status, _)| status != 200) {
            assert!(began.elapsed() < PATIENCE * 2, "the management API does not answer");
            // It needs the processor more than we do.
            std::thread::park_timeout(std::time::Duration::from_millis(50));
        }
    }

    pub(crate) fn put(self, path: &str, body: &Value) {
        let (status, answer) = self.call("PUT", path, body);
        assert!(matches!(status, 201 | 204), "{path}: {status} {answer}");
    }

    /// A durable topic exchange with a queue that takes some of its keys.
    pub(crate) fn exchange_and_queue(self, exchange: &str, queue: &str, keys: &str) {
        self.put(&format!("exchanges/%2F/{exchange}"), &json!({"type": "topic", "durable": true}));
        self.queue(queue, &json!({}));
        let (status, answer) =
            self.call("POST", &format!("bindings/%2F/e/{exchange}/q/{queue}"), &json!({"routing_key": keys}));
        assert_eq!(status, 201, "{answer}");
    }

    /// A durable queue.
    pub(crate) fn queue(self, name: &str, arguments: &Value) {
        self.put(&format!("queues/%2F/{name}"), &json!({"durable": true, "arguments": arguments}));
    }

    /// A user with rights to write to what a pattern names.
    pub(crate) fn user(self, name: &str, password: &str, write: &str) {
        self.put(&format!("users/{name}"), &json!({"password": password, "tags": ""}));
        self.put(&format!("permissions/%2F/{name}"), &json!({"configure": "", "write": write, "read": ""}));
    }

    /// All that a queue holds, in its order; it keeps it.
    pub(crate) fn messages(self, queue: &str) -> Vec<Queued> {
        let how = json!({"count": 100_000, "ackmode": "ack_requeue_true", "encoding": "base64"});
        let (status, answer) = self.call("POST", &format!("queues/%2F/{queue}/get"), &how);
        assert_eq!(status, 200, "{answer}");
        answer.as_array().unwrap().iter().cloned().map(Queued).collect()
    }

    /// The message ids of what a queue holds.
    pub(crate) fn ids(self, queue: &str) -> Vec<String> {
        self.messages(queue)
            .iter()
            .map(|message| message.property("message_id").as_str().unwrap().to_owned())
            .collect()
    }

    fn call(self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        self.try_call(method, path, body).expect("the management API answers")
    }

    fn try_call(self, method: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
        let mut stream = TcpStream::connect(self.0).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let login = STANDARD.encode("guest:guest");
        let request = format!(
            "{method} /api/{path} HTTP/1.0\r\nauthorization: Basic {login}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, serde_json::from_str(body).unwrap_or(Value::Null)))
    }
}

impl Queued {
    pub(crate) fn property(&self, name: &str) -> &Value {
        &self.0["properties"][name]
    }

    pub(crate) fn header(&self, name: &str) -> &Value {
        &self.0["properties"]["headers"][name]
    }

    pub(crate) fn routing_key(&self) -> &str {
        self.0["routing_key"].as_str().unwrap()
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        STANDARD.decode(self.0["payload"].as_str().unwrap()).unwrap()
    }
}
