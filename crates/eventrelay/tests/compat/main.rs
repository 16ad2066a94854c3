//! The clients of other systems against the built binary: their calls as their programs make them, their status codes and
//! names to the letter.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

#[path = "../../../sinks/tests/components/mod.rs"]
mod components;
#[path = "../harness/mod.rs"]
mod harness;
mod ingester;
mod svix;
mod svix_portal;
mod webhooks;

use std::net::SocketAddr;

use harness::http;
use serde_json::Value;

/// One call: status, and the body as JSON where there is one.
fn call(server: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
    let answer = http::send(server, method, path, headers, body);
    let body = match answer.body.as_str() {
        "" => Value::Null,
        text => serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text:?}")),
    };
    (answer.status, body)
}
