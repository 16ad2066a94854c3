//! Every page of `docs/sinks`: its first configuration, as printed, delivers to the real component.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

#[path = "../../sinks/tests/components/mod.rs"]
mod components;
mod harness;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

use components::Component;
use harness::poll::within;
use harness::receiver::{Receiver, Reply};
use harness::{DEADLINE, RelayProcess, http};

const EVENT: &str =
    r#"{"type":"order.created","source":"/shop","key":"customer-1","subject":"o-1","data":{"total":12.5}}"#;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The first block of TOML of a page.
fn configuration_of(page: &str) -> String {
    let text = fs::read_to_string(root().join("docs/sinks").join(page)).unwrap();
    let (_, block) = text.split_once("```toml\n").unwrap();
    block.split_once("```").unwrap().0.to_owned()
}

/// The port that a page prints: the one that `scripts/services start` gives the component.
fn printed_port(component: &str) -> String {
    let script = fs::read_to_string(root().join("scripts/services.d").join(component)).unwrap();
    script.lines().find_map(|line| line.strip_prefix("preferred_port=")).unwrap().to_owned()
}

/// Publishes an event to a server with this configuration, and waits until it is delivered.
fn assert_delivers(configuration: &str) {
    let directory = tempfile::tempdir().unwrap();
    let mut relay = RelayProcess::start(directory.path(), configuration);
    let published = http::publish(relay.http(), EVENT);
    assert_eq!(published.status, 201, "{published:?}");
    let delivered = |line: &str| {
        line.starts_with("eventrelay_deliveries_total{")
            && line.contains(r#"outcome="delivered""#)
            && line.ends_with(" 1")
    };
    let is_delivered = || http::get(relay.http(), "/metrics").body.lines().any(delivered).then_some(());
    if within(DEADLINE, is_delivered).is_none() {
        relay.signal(rustix::process::Signal::TERM);
        panic!("nothing was delivered by\n{configuration}\nwhich said:\n{}", relay.everything_said());
    }
}

/// The page's configuration, with the component's own port, delivers.
fn assert_page_works(page: &str, name: &str, component: &Component) {
    let (printed, port) = (printed_port(name), component.port().to_string());
    let configuration = configuration_of(page);
    assert!(configuration.contains(&printed), "{page} prints another port than {printed}");
    assert_delivers(&configuration.replace(&printed, &port));
}

#[test]
fn postgres() {
    let Some(component) = Component::start("postgres") else { return };
    assert_page_works("postgres.md", "postgres", &component);
}

#[test]
fn redis() {
    let Some(component) = Component::start("redis") else { return };
    assert_page_works("redis.md", "redis", &component);
}

#[test]
fn nats() {
    let Some(component) = Component::start("nats") else { return };
    let stream = r#"{"name":"EVENTS","subjects":["events.>"],"storage":"file"}"#;
    let mut connection = TcpStream::connect(component.address()).unwrap();
    let length = stream.len();
    let subscribe = "CONNECT {}\r\nSUB answer 1\r\n";
    write!(connection, "{subscribe}PUB $JS.API.STREAM.CREATE.EVENTS answer {length}\r\n{stream}\r\n")
        .unwrap();
    connection.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut lines = BufReader::new(connection).lines();
    assert!(lines.any(|line| line.unwrap().contains("stream_create_response")));
    assert_page_works("nats.md", "nats", &component);
}

#[test]
fn rabbitmq() {
    let Some(component) = Component::start("rabbitmq") else { return };
    let port = fs::read_to_string(component.directory().join("management.port")).unwrap();
    let management = SocketAddr::from(([127, 0, 0, 1], port.trim().parse().unwrap()));
    let call = |method: &str, path: &str, body: &str| -> u16 {
        let Ok(mut stream) = TcpStream::connect(management) else { return 0 };
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let length = body.len();
        let credentials = "Basic Z3Vlc3Q6Z3Vlc3Q=";
        write!(
            stream,
            "{method} /api/{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {credentials}\r\n"
        )
        .unwrap();
        write!(
            stream,
            "Content-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    };
    assert!(within(DEADLINE, || (call("GET", "overview", "") == 200).then_some(())).is_some());
    assert_eq!(call("PUT", "exchanges/%2F/events", r#"{"type":"topic","durable":true}"#), 201);
    assert_eq!(call("PUT", "queues/%2F/orders", r#"{"durable":true}"#), 201);
    assert_eq!(call("POST", "bindings/%2F/e/events/q/orders", r##"{"routing_key":"order.#"}"##), 201);
    assert_page_works("rabbitmq.md", "rabbitmq", &component);
}

#[test]
fn object_store() {
    let Some(component) = Component::start("s3") else { return };
    assert_page_works("object_store.md", "s3", &component);
}

#[cfg(feature = "kafka")]
#[test]
fn kafka() {
    let Some(component) = Component::start("kafka") else { return };
    let broker = format!("tcp://{}", component.address());
    let created = std::process::Command::new(components::services_folder().join("tansu/bin/tansu"))
        .args(["topic", "create", "orders", "--broker", &broker])
        .output()
        .unwrap();
    assert!(created.status.success(), "{created:?}");
    assert_page_works("kafka.md", "kafka", &component);
}

#[test]
fn http_requests() {
    let receiver = Receiver::start(|_| Reply::Status(204));
    let configuration = configuration_of("http.md");
    assert!(configuration.contains("127.0.0.1:9999"));
    assert_delivers(&configuration.replace("127.0.0.1:9999", &receiver.address().to_string()));
}
