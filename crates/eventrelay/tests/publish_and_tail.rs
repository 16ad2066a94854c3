//! `eventrelay publish` and `eventrelay tail` against a server.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

mod harness;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Output, Stdio};

use harness::{RelayProcess, SMALL_LOG, eventrelay, http, run, stderr, stdout};
use serde_json::Value;
use tempfile::TempDir;

struct Server {
    directory: TempDir,
    relay: RelayProcess,
    url: String,
}

impl Server {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let relay = RelayProcess::start(directory.path(), SMALL_LOG);
        let url = relay.url();
        Self { directory, relay, url }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        run(self.directory.path(), arguments.iter().chain(&["--url", &self.url]))
    }
}

fn lines(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn numbered(count: u64) -> String {
    (0..count).map(|number| format!("{{\"type\":\"t\",\"source\":\"/s\",\"data\":{number}}}\n")).collect()
}

#[test]
fn one_event_is_published_once_however_often_its_key_comes() {
    let server = Server::start();
    let event = r#"{"type":"order.created","source":"/shop","data":{"order":1}}"#;
    let first = server.run(&["publish", event, "--idempotency-key", "order-1"]);
    assert_eq!(first.status.code(), Some(0), "{first:?}");
    let again = server.run(&["publish", event, "--idempotency-key", "order-1"]);
    let (first, again) = (&lines(&first)[0], &lines(&again)[0]);
    assert_eq!((&first["duplicate"], &again["duplicate"]), (&false.into(), &true.into()));
    assert_eq!(first["id"], again["id"]);
}

#[test]
fn a_file_and_stdin_are_published_in_order_in_batches() {
    let server = Server::start();
    let file = server.directory.path().join("events.ndjson");
    fs::write(&file, numbered(250)).unwrap();
    let from_file = server.run(&["publish", "--file", file.to_str().unwrap(), "--batch-events", "100"]);
    assert_eq!(from_file.status.code(), Some(0), "{from_file:?}");
    assert!(stderr(&from_file).contains("250 events accepted"), "{from_file:?}");
    let offsets: Vec<u64> =
        lines(&from_file).iter().map(|receipt| receipt["offset"].as_u64().unwrap()).collect();
    assert_eq!(offsets, (0..250).collect::<Vec<u64>>());

    let mut command = eventrelay(server.directory.path());
    command.args(["publish", "--quiet", "--url", &server.url]).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(numbered(3).as_bytes()).unwrap();
    let from_stdin = child.wait_with_output().unwrap();
    assert_eq!((from_stdin.status.code(), stdout(&from_stdin)), (Some(0), ""));

    let followed = server.run(&["tail", "--from", "248", "--count", "5"]);
    let data: Vec<u64> = lines(&followed).iter().map(|event| event["data"].as_u64().unwrap()).collect();
    assert_eq!(data, [248, 249, 0, 1, 2]);
}

#[test]
fn a_refused_batch_names_the_line_and_exits_with_6() {
    let server = Server::start();
    let file = server.directory.path().join("events.ndjson");
    // Blank lines do not shift the number. Lines 1 and 3 make the first request, 4 and 5 the second.
    fs::write(&file, "{\"type\":\"t\",\"source\":\"/s\"}\n\n{\"type\":\"t\",\"source\":\"/s\"}\n{\"type\":\"t\",\"source\":\"/s\"}\n{\"type\":\"t\"}\n")
        .unwrap();
    let output = server.run(&["publish", "--file", file.to_str().unwrap(), "--batch-events", "2"]);
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    let said = stderr(&output);
    assert!(said.contains("line 5: ") && said.contains("source"), "{said}");
    assert!(said.contains("2 events before line 4 were accepted"), "{said}");
    assert_eq!(lines(&output).len(), 2);
    let health = http::get(server.relay.http(), "/health").json();
    assert_eq!(health["components"]["log"]["durable_offset"], 2);
}

#[test]
fn a_tail_goes_on_after_a_restart_and_misses_nothing() {
    let server = Server::start();
    let publish = |url: &str, number: u64| {
        let event = format!("{{\"type\":\"t\",\"source\":\"/s\",\"data\":{number}}}");
        let output = run(server.directory.path(), ["publish", &event, "--url", url]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    };
    let mut command = eventrelay(server.directory.path());
    command.args(["tail", "--from", "earliest", "--count", "2", "--url", &server.url]);
    let mut tail = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut printed = BufReader::new(tail.stdout.take().unwrap()).lines();
    publish(&server.url, 1);
    let first: Value = serde_json::from_str(&printed.next().unwrap().unwrap()).unwrap();
    assert_eq!(first["data"], 1);

    let address = server.relay.http().to_string();
    server.relay.kill();
    let mut command = eventrelay(server.directory.path());
    command.args(["serve", "--http-listen", &address]);
    let _restarted = RelayProcess::spawn(command).unwrap();
    publish(&server.url, 2);
    let second: Value = serde_json::from_str(&printed.next().unwrap().unwrap()).unwrap();
    assert_eq!((&second["data"], &second["offset"]), (&2.into(), &1.into()));
    assert!(printed.next().is_none(), "--count was passed");
    assert_eq!(tail.wait().unwrap().code(), Some(0));
}

#[test]
fn a_start_beyond_the_log_is_refused() {
    let server = Server::start();
    let output = server.run(&["tail", "--from", "7"]);
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    assert!(stderr(&output).contains("invalid_start"), "{output:?}");
}

#[test]
fn a_reader_that_goes_away_ends_a_tail_quietly() {
    let server = Server::start();
    assert_eq!(
        http::post(server.relay.http(), "/v1/events", "application/x-ndjson", &numbered(1000)).status,
        201
    );
    let mut command = eventrelay(server.directory.path());
    command.args(["tail", "--from", "earliest", "--url", &server.url]);
    let mut tail = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(tail.stdout.take());
    let output = tail.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
}

#[test]
fn a_file_is_published_whole_though_nobody_reads_the_receipts() {
    let server = Server::start();
    let file = server.directory.path().join("events.ndjson");
    fs::write(&file, numbered(2_000)).unwrap();
    let mut command = eventrelay(server.directory.path());
    command.args(["publish", "--file", file.to_str().unwrap(), "--batch-events", "10", "--url", &server.url]);
    let mut publish = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(publish.stdout.take());
    let output = publish.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(stderr(&output).contains("2000 events accepted"), "{output:?}");
}
