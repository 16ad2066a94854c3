//! A server of the test's own, and sinks into it.

use std::sync::Arc;

use eventrelay_sinks::{Owner, Sink, build};
use serde_json::{Value, json};

use crate::broker_events::{loopback, owner};
use crate::components::Component;
use crate::raw_client::{RawClient, Reply};

/// Starts a server; none where it is not installed.
pub(crate) fn start() -> Option<(Component, RawClient)> {
    let server = Component::start("redis")?;
    let raw = RawClient::connect(server.address());
    Some((server, raw))
}

/// A sink into the stream `events`, with more settings.
pub(crate) fn sink(server: &Component, extra: &Value) -> Arc<dyn Sink> {
    sink_of(server, extra, &owner())
}

/// The same, of somebody.
pub(crate) fn sink_of(server: &Component, extra: &Value, owner: &Owner) -> Arc<dyn Sink> {
    let mut settings = json!({"servers": [format!("redis://{}", server.address())], "stream": "events"});
    settings.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    build("redis", &settings, owner, &loopback()).unwrap()
}

/// Waits until a server that has just been started answers.
pub(crate) async fn connect_again(server: &Component) -> RawClient {
    let mut raw = RawClient::connect(server.address());
    crate::broker_events::until(async || raw.ask(&["PING"]) == Reply::Text("PONG".to_owned())).await;
    raw
}
