//! The TCP front door of the built binary: what was acknowledged survives kill -9, all doors know one idempotency key, and
//! hostile clients leave the others alone.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

mod harness;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::mpsc::channel;

use harness::{DEADLINE, RelayProcess, SMALL_LOG, eventrelay, http, poll, run, stdout};
use serde_json::Value;

/// A server with both TCP listeners.
struct Server {
    relay: RelayProcess,
    frames: SocketAddr,
    lines: SocketAddr,
}

impl Server {
    fn start(directory: &Path) -> Self {
        std::fs::write(directory.join("eventrelay.toml"), SMALL_LOG).unwrap();
        let mut command = eventrelay(directory);
        command.args(["serve", "--http-listen", "127.0.0.1:0"]);
        command.args(["--tcp-frames-listen", "127.0.0.1:0", "--tcp-lines-listen", "127.0.0.1:0"]);
        let mut relay = RelayProcess::spawn(command).unwrap_or_else(|failure| panic!("{failure:?}"));
        let mut address = |what: &str| {
            let line = relay.wait_for_line(|line| line.contains("tcp://") && line.ends_with(what)).unwrap();
            line.split("tcp://").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
        };
        let (frames, lines) = (address("for frames"), address("for lines of JSON"));
        Self { relay, frames, lines }
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn frame(payload: &str) -> Vec<u8> {
    [&u32::try_from(payload.len()).unwrap().to_le_bytes(), payload.as_bytes()].concat()
}

/// Sends a line and reads its answer.
fn exchange(stream: &mut BufReader<TcpStream>, line: &str) -> Value {
    stream.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_line(&mut answer).unwrap();
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error} in {answer:?}"))
}

#[test]
fn what_was_acknowledged_is_there_after_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let mut sender = connect(server.frames);
    let mut receiver = sender.try_clone().unwrap();
    let (progress, seen) = channel();
    let acknowledgements = std::thread::spawn(move || {
        let (mut bytes, mut total) = ([0; 4096], 0);
        // Until the kill closes the connection, in one way or another.
        while let Ok(count) = receiver.read(&mut bytes) {
            if count == 0 {
                break;
            }
            assert!(bytes[..count].iter().all(|byte| *byte == 0x00), "refused after {total}");
            total += count;
            let _ = progress.send(total);
        }
        total
    });
    // Sends without waiting, so that the kill finds frames in every state.
    let sending = std::thread::spawn(move || {
        for first in (0..).step_by(50) {
            let frames: Vec<u8> = (first..first + 50).flat_map(|n| frame(&format!("payload {n}"))).collect();
            if sender.write_all(&frames).is_err() {
                return;
            }
        }
    });
    while seen.recv_timeout(DEADLINE).unwrap() < 2_000 {}
    server.relay.kill();
    let acknowledged = acknowledgements.join().unwrap();
    sending.join().unwrap();

    let server = Server::start(directory.path());
    let count = acknowledged.to_string();
    let url = server.relay.url();
    let tail = run(directory.path(), ["tail", "--url", &url, "--from", "earliest", "--count", &count]);
    assert_eq!(stdout(&tail).lines().count(), acknowledged);
    for (n, line) in stdout(&tail).lines().enumerate() {
        let event: Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["data_base64"], base64_of(&format!("payload {n}")), "event {n}: {line}");
        assert_eq!((&event["type"], &event["source"]), (&"tcp.payload".into(), &"/tcp".into()));
    }
    assert_eq!(server.relay.terminate().code(), Some(0));
}

#[test]
fn one_key_is_one_event_whichever_door_it_comes_through_and_after_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let event = r#"{"type":"order.created","source":"/shop","idempotency_key":"once","data":{"order":1}}"#;
    let server = Server::start(directory.path());
    let first = exchange(&mut BufReader::new(connect(server.lines)), event);
    assert_eq!(first["duplicate"], false, "{first}");
    server.relay.kill();

    let server = Server::start(directory.path());
    let mut lines = BufReader::new(connect(server.lines));
    let again = exchange(&mut lines, event);
    assert_eq!((&again["id"], &again["duplicate"]), (&first["id"], &true.into()));
    let by_http = http::publish(server.relay.http(), event).json();
    assert_eq!((&by_http["id"], &by_http["duplicate"]), (&first["id"], &true.into()));
    let other = exchange(&mut lines, &event.replace("\"order\":1", "\"order\":2"));
    assert_eq!(other["code"], "idempotency_key_reused", "{other}");
    assert_eq!(server.relay.terminate().code(), Some(0));
}

#[test]
fn hostile_clients_leave_the_others_alone() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let mut good = connect(server.frames);
    let mut rude = Vec::new();
    for bytes in [&[0xff; 4][..], &[0, 0, 0, 0], &[9, 0, 0, 0, 1], b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"] {
        for address in [server.frames, server.lines, server.relay.http()] {
            let mut stream = connect(address);
            stream.write_all(bytes).unwrap();
            rude.push(stream);
            good.write_all(&frame("good")).unwrap();
            let mut answer = [0xff];
            good.read_exact(&mut answer).unwrap();
            assert_eq!(answer, [0x00], "while {bytes:?} was sent to {address}");
        }
    }
    let server_http = server.relay.http();
    poll::until("the length bombs are counted", || {
        let metrics = http::get(server_http, "/metrics").body;
        let line = "eventrelay_tcp_ended_connections_total{reason=\"frame_too_large\"} 2";
        metrics.contains(line).then_some(())
    });
    drop(rude);
    assert_eq!(server.relay.terminate().code(), Some(0));
}

#[test]
fn a_port_that_is_taken_is_named_with_its_key() {
    let directory = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output =
        run(directory.path(), ["serve", "--http-listen", "127.0.0.1:0", "--tcp-frames-listen", &address]);
    assert_eq!(output.status.code(), Some(8), "{output:?}");
    let said = harness::stderr(&output);
    assert!(said.contains(&address) && said.contains("tcp.frames_listen"), "{said}");
}

/// Base64 of ASCII, in the few lines that a test can afford.
fn base64_of(text: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::new();
    for group in text.as_bytes().chunks(3) {
        let bits =
            group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let index = (bits >> (18 - 6 * place)) as usize & 63;
            encoded.push(if place <= group.len() { ALPHABET[index] as char } else { '=' });
        }
    }
    encoded
}
