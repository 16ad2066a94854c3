//! A server of the test's own, and sinks into it.

use std::sync::Arc;

use eventrelay_sinks::{Sink, build};
use serde_json::{Value, json};

use crate::broker_events::{loopback, owner};
use crate::components::Component;
use crate::raw_client::RawClient;

/// Starts a server; none where it is not installed.
pub(crate) fn start() -> Option<Component> {
    Component::start("nats")
}

/// Starts a server with a configuration of its own, which is laid over what the service has.
pub(crate) fn start_with(configuration: &str) -> Option<Component> {
    let mut server = start()?;
    server.kill();
    let whole = format!(
        "host: 127.0.0.1\nport: $NATS_PORT\njetstream {{ store_dir: $NATS_STORE, sync_interval: always }}\n{configuration}\n"
    );
    std::fs::write(server.directory().join("nats.conf"), whole).unwrap();
    server.resume();
    Some(server)
}

/// A server with a stream `EVENTS` that captures `events.>`.
pub(crate) fn start_with_stream() -> Option<(Component, RawClient)> {
    let server = start()?;
    let mut raw = RawClient::connect(server.address());
    raw.create_stream("EVENTS", &["events.>"], &json!({}));
    Some((server, raw))
}

/// A sink into `events.{type}`, with more settings.
pub(crate) fn sink(server: &Component, extra: &Value) -> Arc<dyn Sink> {
    let mut settings =
        json!({"servers": [format!("nats://{}", server.address())], "subject": "events.{type}"});
    settings.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    build("nats", &settings, &owner(), &loopback()).unwrap()
}
