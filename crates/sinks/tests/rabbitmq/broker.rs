//! A broker of the test's own, and sinks into it.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use eventrelay_sinks::{Sink, build};
use serde_json::{Value, json};

use crate::broker_events::{loopback, owner};
use crate::components::Component;
use crate::management::Management;

/// Starts a broker; none where it is not installed.
pub(crate) fn start() -> Option<(Component, Management)> {
    let broker = Component::start("rabbitmq")?;
    let management = management(&broker);
    Some((broker, management))
}

/// The management API of a broker, once it is up.
pub(crate) fn management(broker: &Component) -> Management {
    let port = std::fs::read_to_string(broker.directory().join("management.port")).unwrap();
    let management = Management(([127, 0, 0, 1], port.trim().parse().unwrap()).into());
    management.wait_until_up();
    management
}

/// Runs `rabbitmqctl`.
pub(crate) fn control(broker: &Component, arguments: &[&str]) {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let call = "set -eu; source scripts/services.d/rabbitmq; rabbitmq_control \"$@\"";
    let done = Command::new("bash")
        .args(["-c", call, "control"])
        .arg(broker.directory())
        .args(arguments)
        .current_dir(root)
        .output()
        .unwrap();
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// A sink into the exchange `events`, with the type for the routing key, and with more settings.
pub(crate) fn sink(broker: &Component, extra: &Value) -> Arc<dyn Sink> {
    let mut settings = json!({
        "servers": [format!("amqp://{}", broker.address())],
        "exchange": "events",
        "routing_key": "{type}",
        "password": "guest",
    });
    settings.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    build("rabbitmq", &settings, &owner(), &loopback()).unwrap()
}
