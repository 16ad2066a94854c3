//! Hostile clients against the real server, while a good one goes on: each gets a clear answer with a stable code, nothing
//! of theirs is stored, and the good client notices nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

mod harness;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

use harness::connection::Connection;
use harness::{DEADLINE, RelayProcess, SMALL_LOG, http};

const EVENT: &str = r#"{"type":"t","source":"/s"}"#;
const JSON: &str = "application/json";

/// A body that is refused.
struct Bad {
    what: &'static str,
    content_type: &'static str,
    header: Option<(&'static str, &'static str)>,
    body: Vec<u8>,
    status: u16,
    code: &'static str,
}

impl Bad {
    fn json(what: &'static str, body: impl Into<Vec<u8>>, status: u16, code: &'static str) -> Self {
        Self { what, content_type: JSON, header: None, body: body.into(), status, code }
    }

    fn of_type(self, content_type: &'static str) -> Self {
        Self { content_type, ..self }
    }

    fn with_header(self, name: &'static str, value: &'static str) -> Self {
        Self { header: Some((name, value)), ..self }
    }
}

fn bad_bodies() -> Vec<Bad> {
    let deep = format!(r#"{{"type":"t","source":"/s","data":{}{}}}"#, "[".repeat(50_000), "]".repeat(50_000));
    let large = format!(r#"{{"type":"t","source":"/s","data":"{}"}}"#, "x".repeat(200_000));
    let one_bad = format!("[{}{{\"source\":\"/s\"}}]", format!("{EVENT},").repeat(99));
    let many = format!("[{}]", vec![EVENT; 1_001].join(","));
    vec![
        Bad::json("half an object", r#"{"type":"#, 400, "malformed_json"),
        Bad::json("no body", "", 400, "malformed_json"),
        Bad::json("garbage", vec![0xf5; 1000], 400, "invalid_utf8"),
        Bad::json("a string", r#""event""#, 400, "not_an_object"),
        Bad::json("no type", r#"{"source":"/s"}"#, 400, "missing_field"),
        Bad::json("no source", r#"{"type":"t"}"#, 400, "missing_field"),
        Bad::json("a number for a type", r#"{"type":1,"source":"/s"}"#, 400, "invalid_field"),
        Bad::json("an unknown field", r#"{"type":"t","source":"/s","sauce":1}"#, 400, "unknown_field"),
        Bad::json("an empty batch", "[]", 400, "empty_batch"),
        Bad::json("one bad event of a hundred", one_bad, 400, "missing_field"),
        Bad::json("too many events", many, 413, "batch_too_large"),
        Bad::json("a depth bomb", deep, 400, "json_too_deep"),
        Bad::json("an event over the limit", large, 413, "event_too_large"),
        Bad::json("a body over the limit", vec![b' '; 5 << 20], 413, "body_too_large"),
        Bad::json("a lone surrogate", r#"{"type":"t","source":"/s","data":"\ud800"}"#, 400, "lone_surrogate"),
        Bad::json("an unknown type", EVENT, 415, "unsupported_content_type").of_type("text/html"),
        Bad::json("a body compressed in a way of its own", EVENT, 415, "unsupported_content_encoding")
            .with_header("Content-Encoding", "br"),
        Bad::json("a key with a space", EVENT, 400, "invalid_idempotency_key")
            .with_header("Idempotency-Key", "a b"),
        Bad::json("another host", EVENT, 403, "forbidden_host").with_header("Host", "evil.example"),
        Bad::json("a web page's origin", EVENT, 403, "forbidden_origin")
            .with_header("Origin", "https://evil.example"),
    ]
}

/// What is no HTTP that we want: the raw bytes, and the status that the answer begins with, if there is to be one.
fn bad_requests() -> Vec<(&'static str, Vec<u8>, Option<u16>)> {
    let post = "POST /v1/events HTTP/1.1\r\n";
    let host = "Host: localhost\r\nContent-Type: application/json\r\n";
    let text = |text: String| text.into_bytes();
    vec![
        ("no host", text(format!("{post}Content-Length: 0\r\n\r\n")), Some(400)),
        (
            "both lengths",
            text(format!("{post}{host}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")),
            Some(400),
        ),
        (
            "two lengths",
            text(format!("{post}{host}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}")),
            Some(400),
        ),
        (
            "a bare line feed",
            text(format!("POST /v1/events HTTP/1.1\n{host}Content-Length: 0\r\n\r\n")),
            Some(400),
        ),
        ("a header flood", text(format!("{post}{host}{}\r\n", "X: y\r\n".repeat(5_000))), Some(431)),
        ("one endless header", text(format!("{post}{host}X: {}\r\n\r\n", "y".repeat(100_000))), Some(431)),
        (
            "a chunk of 2^64",
            text(format!("{post}{host}Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n")),
            Some(400),
        ),
        ("TLS", [&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01][..], &[7; 500]].concat(), None),
        ("noise", (0..4096_u64).flat_map(|n| (n * 2_654_435_761).to_le_bytes()).collect(), None),
        ("HTTP/2 garbage", [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0xff; 1000]].concat(), None),
    ]
}

#[test]
fn hostile_clients_are_told_why_and_harm_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let relay = RelayProcess::start(directory.path(), SMALL_LOG);
    let server = relay.http();
    let stop = AtomicBool::new(false);
    let stored = std::thread::scope(|scope| {
        let stopping = Stop(&stop);
        let good = scope.spawn(|| publish_until(server, &stop));
        // Connections that say half a word and nothing more stay open all the while.
        let idle: Vec<TcpStream> = (0..300).map(|n| half_a_request(server, n)).collect();
        for bad in bad_bodies() {
            refuse(server, &bad);
        }
        for (what, bytes, status) in bad_requests() {
            refuse_raw(server, what, &bytes, status);
        }
        drop(idle);
        drop(stopping);
        good.join().unwrap()
    });
    let health = http::get(server, "/health").json();
    assert_eq!(health["status"], "ok", "{health}");
    assert_eq!(health["components"]["log"]["durable_offset"], stored, "something of theirs was stored");
    let metrics = http::get(server, "/metrics").body;
    for bad in bad_bodies() {
        let counted = format!("eventrelay_http_problems_total{{code=\"{}\"}}", bad.code);
        assert!(metrics.contains(&counted), "{counted} is not counted");
    }
    assert_eq!(relay.terminate().code(), Some(0));
}

/// Stops the good client, also when the test fails, for it waits for that.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// The good client: one event after the other on one connection, each accepted.
fn publish_until(server: SocketAddr, stop: &AtomicBool) -> u64 {
    let mut connection = Connection::open(server).unwrap();
    let mut accepted = 0;
    while !stop.load(Ordering::SeqCst) {
        let answer = connection.post("/v1/events", &[("Content-Type", JSON)], EVENT.as_bytes()).unwrap();
        assert_eq!(answer.status, 201, "the good client was told {answer:?}");
        accepted += 1;
    }
    accepted
}

fn half_a_request(server: SocketAddr, n: usize) -> TcpStream {
    let mut stream = TcpStream::connect(server).unwrap();
    let request = b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{";
    stream.write_all(&request[..n % request.len()]).unwrap();
    stream
}

fn refuse(server: SocketAddr, bad: &Bad) {
    let Bad { what, content_type, header, body, status, code } = bad;
    let host = server.to_string();
    let host = header.filter(|(name, _)| *name == "Host").map_or(host.as_str(), |(_, value)| value);
    let mut head = format!(
        "POST /v1/events HTTP/1.1\r\nHost: {host}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n",
        body.len()
    );
    if let Some((name, value)) = header.filter(|(name, _)| *name != "Host") {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let answer = exchange(server, &[head.as_bytes(), b"Connection: close\r\n\r\n", body].concat(), false);
    let (answer_head, answer_body) =
        answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{what}: {answer:?}"));
    assert!(answer_head.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer}");
    assert!(
        answer_head.to_lowercase().contains("content-type: application/problem+json"),
        "{what}: {answer}"
    );
    let problem: serde_json::Value = serde_json::from_str(answer_body).unwrap();
    assert_eq!((&problem["code"], &problem["status"]), (&(*code).into(), &(*status).into()), "{what}");
    if *what == "one bad event of a hundred" {
        assert_eq!(problem["index"], 99, "the bad event is not named: {problem}");
    }
}

fn refuse_raw(server: SocketAddr, what: &str, bytes: &[u8], status: Option<u16>) {
    let answer = exchange(server, bytes, status.is_none());
    if let Some(status) = status {
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer:?}");
    }
    assert!(!answer.starts_with("HTTP/1.1 2"), "{what} was taken: {answer:?}");
}

/// Sends what it can, and gives what comes back until the server closes; `ends` where it has said all that it wants to say.
fn exchange(server: SocketAddr, bytes: &[u8], ends: bool) -> String {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    // The server may refuse and close before it has taken everything.
    let _ = stream.write_all(bytes);
    if ends {
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }
    let mut answer = Vec::new();
    // A reset after the answer takes nothing away from what was read.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}
