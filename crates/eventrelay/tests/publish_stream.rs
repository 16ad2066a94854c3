//! `POST /v1/events/stream` against the built binary: a body of any length takes no more memory, and what was acknowledged
//! survives kill -9 and is not stored again.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

mod harness;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use harness::{DEADLINE, RelayProcess, SMALL_LOG, http};

/// A stream that is open: where it is written to, and where its answers come from, one line each. The chunks' own lines are
/// told from answers by their first byte.
struct Stream {
    sender: TcpStream,
    answers: BufReader<TcpStream>,
}

impl Stream {
    fn open(server: SocketAddr, headers: &str) -> Self {
        let mut sender = TcpStream::connect(server).unwrap();
        sender.set_read_timeout(Some(DEADLINE)).unwrap();
        sender.set_nodelay(true).unwrap();
        let head = format!(
            "POST /v1/events/stream HTTP/1.1\r\nHost: {server}\r\nContent-Type: application/x-ndjson\r\n\
             Transfer-Encoding: chunked\r\n{headers}\r\n"
        );
        sender.write_all(head.as_bytes()).unwrap();
        let mut answers = BufReader::new(sender.try_clone().unwrap());
        let mut status = String::new();
        answers.read_line(&mut status).unwrap();
        assert_eq!(status, "HTTP/1.1 200 OK\r\n");
        Self { sender, answers }
    }

    /// The next answer; none at the end, of whatever kind.
    fn next(&mut self) -> Option<Value> {
        next(&mut self.answers)
    }
}

fn next(answers: &mut impl BufRead) -> Option<Value> {
    loop {
        let mut line = String::new();
        match answers.read_line(&mut line) {
            Ok(0) | Err(_) => return None,
            Ok(_) if line == "0\r\n" => return None,
            Ok(_) if line.starts_with('{') => return Some(serde_json::from_str(&line).unwrap()),
            Ok(_) => {}
        }
    }
}

fn send(sender: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    sender.write_all(format!("{:x}\r\n", bytes.len()).as_bytes())?;
    sender.write_all(bytes)?;
    sender.write_all(b"\r\n")
}

#[test]
fn what_a_stream_acknowledged_is_there_after_kill_9_and_is_not_stored_again() {
    let directory = tempfile::tempdir().unwrap();
    let relay = RelayProcess::start(directory.path(), SMALL_LOG);
    let line = |number: u64| format!("{{\"type\":\"t\",\"source\":\"/s\",\"data\":{number}}}\n");
    let key = "Idempotency-Key: import-1\r\n";
    let mut stream = Stream::open(relay.http(), key);
    let mut sender = stream.sender.try_clone().unwrap();
    // Until the kill closes the connection.
    let sending = std::thread::spawn(move || {
        let mut sent = 0;
        while send(&mut sender, line(sent).as_bytes()).is_ok() {
            sent += 1;
        }
        sent
    });
    let mut acknowledged: Vec<Value> = (0..500).map(|_| stream.next().unwrap()).collect();
    relay.kill();
    acknowledged.extend(std::iter::from_fn(|| stream.next()));
    let sent = sending.join().unwrap();

    let relay = RelayProcess::start(directory.path(), SMALL_LOG);
    let mut again = Stream::open(relay.http(), key);
    let mut sender = again.sender.try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        (0..sent).for_each(|number| send(&mut sender, line(number).as_bytes()).unwrap());
        sender.write_all(b"0\r\n\r\n").unwrap();
    });
    let repeated: Vec<Value> = std::iter::from_fn(|| again.next()).collect();
    sending.join().unwrap();
    assert_eq!(repeated.len() as u64, sent);
    for (first, second) in acknowledged.iter().zip(&repeated) {
        assert_eq!((&first["id"], &second["duplicate"]), (&second["id"], &Value::Bool(true)));
    }
    let offsets: Vec<u64> = repeated.iter().map(|receipt| receipt["offset"].as_u64().unwrap()).collect();
    assert_eq!(offsets, (0..sent).collect::<Vec<_>>(), "something is missing, or there twice");
    assert!(relay.terminate().success());
}

#[test]
fn a_body_of_200_megabytes_takes_the_memory_of_a_small_one() {
    const LINES: usize = 2000;
    let directory = tempfile::tempdir().unwrap();
    // No memory for caches, so that what is left is the stream's.
    let configuration = "
        [log]
        segment_bytes = 8388608
        max_commit_bytes = 1048576
        queue_bytes = 4194304
        tail_cache_bytes = 1048576
        retention_max_bytes = 16777216
        [http]
        body_memory_bytes = 8388608
    ";
    let relay = RelayProcess::start(directory.path(), configuration);
    let line = format!("{{\"type\":\"t\",\"source\":\"/s\",\"data\":\"{}\"}}\n", "x".repeat(100_000));
    let before = relay.peak_memory_bytes();
    let mut stream = Stream::open(relay.http(), "");
    let mut sender = stream.sender.try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        (0..LINES).for_each(|_| send(&mut sender, line.as_bytes()).unwrap());
        sender.write_all(b"0\r\n\r\n").unwrap();
    });
    let offsets = std::iter::from_fn(|| stream.next()).map(|receipt| receipt["offset"].as_u64().unwrap());
    assert!(offsets.eq(0..LINES as u64));
    sending.join().unwrap();
    let grown = relay.peak_memory_bytes() - before;
    // What the allocator keeps for reuse varies; what must not be is memory in proportion to the body.
    assert!(grown < 96 << 20, "{grown} bytes more, for a body of {} in all", LINES * 100_000);
    let metrics = http::get(relay.http(), "/metrics").body;
    assert!(metrics.contains(&format!("eventrelay_http_stream_lines_accepted_total {LINES}")), "{metrics}");
    assert!(relay.terminate().success());
}
