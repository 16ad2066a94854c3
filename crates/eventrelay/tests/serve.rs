//! `eventrelay serve` as a process: how it starts, why it does not, and how it ends.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

mod harness;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use harness::{DEADLINE, RelayProcess, SMALL_LOG, StartFailure, eventrelay, http, poll, run, stderr};
use rustix::process::Signal;
use tempfile::TempDir;

const EVENT: &str = r#"{"type":"order.created","source":"/shop","data":{"order":1}}"#;

fn temporary() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Starts where it is expected not to.
fn refused(directory: &Path, configuration: &str) -> StartFailure {
    match RelayProcess::try_start(directory, configuration) {
        Ok(_) => panic!("it started"),
        Err(failure) => failure,
    }
}

#[test]
fn with_no_configuration_it_says_where_it_listens_and_what_to_try() {
    let directory = temporary();
    let mut command = eventrelay(directory.path());
    command.args(["serve", "--http-listen", "127.0.0.1:0"]);
    let mut relay = RelayProcess::spawn(command).unwrap();
    let line = relay.wait_for_line(|line| line.trim_start().starts_with("curl ")).unwrap();
    assert!(line.contains(&format!("{}/v1/events ", relay.url())), "{line}");
    let event = line.split("-d '").nth(1).unwrap().strip_suffix('\'').unwrap();
    let answer = http::publish(relay.http(), event);
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.json()["offset"], 0);
    assert!(directory.path().join("data/log").is_dir());
}

#[test]
fn an_acknowledged_event_survives_a_kill() {
    let directory = temporary();
    let relay = RelayProcess::start(directory.path(), SMALL_LOG);
    let receipt = http::publish(relay.http(), EVENT).json();
    relay.kill();
    let relay = RelayProcess::start(directory.path(), SMALL_LOG);
    let found = http::get(relay.http(), &format!("/v1/events/{}", receipt["id"].as_str().unwrap()));
    assert_eq!(found.status, 200);
    assert_eq!(found.json()["data"]["order"], 1);
}

#[test]
fn a_webhook_declared_in_the_file_is_called() {
    let directory = temporary();
    let receiver = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", receiver.local_addr().unwrap());
    let subscription = format!(
        "{SMALL_LOG}\n[egress]\nallow_private_addresses = true\n[[subscriptions]]\nname = \"hook\"\n\
         sink = {{ kind = \"webhook\", url = \"{url}\", unsigned = true }}\n"
    );
    let relay = RelayProcess::start(directory.path(), &subscription);
    let receipt = http::publish(relay.http(), EVENT).json();
    let (mut connection, _) = receiver.accept().unwrap();
    connection.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    // The data comes last in the body.
    while !request.windows(12).any(|window| window == br#"{"order":1}}"#) {
        let read = connection.read(&mut buffer).unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&request));
        request.extend_from_slice(&buffer[..read]);
    }
    connection.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
    let request = String::from_utf8(request).unwrap().to_lowercase();
    assert!(request.starts_with("post /hook "), "{request}");
    assert!(request.contains(&format!("webhook-id: {}", receipt["id"].as_str().unwrap())), "{request}");
}

#[test]
fn sigterm_and_sigint_drain_and_exit_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let directory = temporary();
        let mut relay = RelayProcess::start(directory.path(), SMALL_LOG);
        assert_eq!(http::publish(relay.http(), EVENT).status, 201);
        relay.signal(signal);
        let status = relay.wait();
        let said = relay.everything_said();
        assert_eq!(status.code(), Some(0), "{said}");
        assert!(said.contains("everything in flight was finished"), "{said}");
    }
}

#[test]
fn a_request_in_flight_is_answered_before_the_end() {
    let directory = temporary();
    let mut relay = RelayProcess::start(directory.path(), SMALL_LOG);
    let mut request = begin_publish(&relay);
    relay.signal(Signal::TERM);
    relay.wait_for_line(|line| line.contains("draining")).unwrap();
    request.write_all(&EVENT.as_bytes()[1..]).unwrap();
    let mut answer = String::new();
    request.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert_eq!(relay.wait().code(), Some(0));
}

#[test]
fn a_second_signal_exits_at_once() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let directory = temporary();
        let mut relay = RelayProcess::start(directory.path(), SMALL_LOG);
        let _held_open = begin_publish(&relay);
        relay.signal(signal);
        relay.wait_for_line(|line| line.contains("draining")).unwrap();
        relay.signal(signal);
        assert_eq!(relay.wait().code(), Some(code), "{}", relay.everything_said());
    }
}

/// A publish whose body has begun, so that a drain waits for it.
fn begin_publish(relay: &RelayProcess) -> TcpStream {
    let mut stream = TcpStream::connect(relay.http()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    // With `Expect`, the server says when it has begun to handle the request.
    write!(
        stream,
        "POST /v1/events HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Expect: 100-continue\r\n\r\n",
        relay.http(),
        EVENT.len()
    )
    .unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(&EVENT.as_bytes()[..1]).unwrap();
    stream
}

#[test]
fn a_second_process_on_the_same_data_exits_with_3_and_leaves_the_first_alone() {
    let directory = temporary();
    let relay = RelayProcess::start(directory.path(), SMALL_LOG);
    let second = refused(directory.path(), SMALL_LOG);
    assert_eq!(second.code, Some(3), "{second:?}");
    assert!(second.said.contains("another process has the log"), "{second:?}");
    assert_eq!(http::publish(relay.http(), EVENT).status, 201);
}

#[test]
fn an_address_in_use_exits_with_8() {
    let directory = temporary();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(directory.path(), ["serve", "--http-listen", &address]);
    assert_eq!(output.status.code(), Some(8), "{output:?}");
    assert!(stderr(&output).contains(&address), "{output:?}");
}

#[test]
fn a_grpc_address_in_use_exits_with_8_and_leaves_no_door_open() {
    let directory = temporary();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(directory.path(), ["serve", "--http-listen", "127.0.0.1:0", "--grpc-listen", &address]);
    assert_eq!(output.status.code(), Some(8), "{output:?}");
    assert!(stderr(&output).contains("(grpc.listen)"), "{output:?}");
}

#[test]
fn it_says_where_grpc_listens_unless_it_is_switched_off() {
    for (enabled, expected) in [(true, true), (false, false)] {
        let directory = temporary();
        let configuration = format!("{SMALL_LOG}\n[grpc]\nenabled = {enabled}\n");
        let mut relay = RelayProcess::start(directory.path(), &configuration);
        // The greeting ends with what to try.
        relay.wait_for_line(|line| line.trim_start().starts_with("curl ")).unwrap();
        assert_eq!(relay.everything_said().contains("Listening on grpc://127.0.0.1:"), expected);
    }
}

#[test]
fn an_address_that_others_can_reach_exits_with_2_before_anything_is_made() {
    let directory = temporary();
    let output = run(directory.path(), ["serve", "--http-listen", "0.0.0.0:0"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(stderr(&output).contains("no API keys"), "{output:?}");
    assert!(!directory.path().join("data").exists());
}

#[test]
fn a_lost_state_file_exits_with_4_until_an_operator_decides() {
    let directory = temporary();
    let relay = RelayProcess::start(directory.path(), SMALL_LOG);
    assert_eq!(http::publish(relay.http(), EVENT).status, 201);
    assert_eq!(relay.terminate().code(), Some(0));
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        // A clean end may have removed the last two.
        let _ = fs::remove_file(directory.path().join("data").join(name));
    }
    let failure = refused(directory.path(), SMALL_LOG);
    assert_eq!(failure.code, Some(4), "{failure:?}");
    assert!(failure.said.contains("there is no state file"), "{failure:?}");
    assert!(!directory.path().join("data/state.db").exists(), "a fresh state was begun silently");
    let mut command = eventrelay(directory.path());
    command.args(["serve", "--http-listen", "127.0.0.1:0", "--create-missing-state"]);
    assert!(RelayProcess::spawn(command).is_ok());
}

#[test]
fn a_log_older_than_its_state_exits_with_4() {
    let directory = temporary();
    let configuration = format!(
        "{SMALL_LOG}\n[[subscriptions]]\nname = \"file\"\nsink = {{ kind = \"file\", directory = \"out\" }}\n"
    );
    let log = directory.path().join("data/log");
    let relay = RelayProcess::start(directory.path(), &configuration);
    assert_eq!(relay.terminate().code(), Some(0));
    let older = directory.path().join("older");
    copy_directory(&log, &older);
    let relay = RelayProcess::start(directory.path(), &configuration);
    assert_eq!(http::publish(relay.http(), EVENT).status, 201);
    // The cursor is saved at the end at the latest, but only past what was delivered.
    wait_until_delivered(&relay);
    assert_eq!(relay.terminate().code(), Some(0));
    fs::remove_dir_all(&log).unwrap();
    fs::rename(&older, &log).unwrap();
    let failure = refused(directory.path(), &configuration);
    assert_eq!(failure.code, Some(4), "{failure:?}");
    assert!(failure.said.contains("settled offsets up to 1, but the log ends at 0"), "{failure:?}");
}

fn wait_until_delivered(relay: &RelayProcess) {
    poll::until("the delivery", || {
        let health = http::get(relay.http(), "/health").json();
        (health["components"]["subscriptions"][0]["lag_events"] == 0).then_some(())
    });
}

fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_sync_mode_that_breaks_promises_is_warned_about_at_every_start() {
    let directory = temporary();
    let configuration = SMALL_LOG.replace("[log]", "[log]\nsync = \"never\"");
    for _ in 0..2 {
        let mut relay = RelayProcess::start(directory.path(), &configuration);
        assert!(relay.everything_said().contains("WARNING: log.sync is not \"commit\""));
        relay.terminate();
    }
}

#[test]
fn every_metric_is_documented_and_in_the_format_of_prometheus() {
    let directory = temporary();
    let subscription = format!(
        "{SMALL_LOG}\n[[subscriptions]]\nname = \"file\"\nsink = {{ kind = \"file\", directory = \"out\" }}\n"
    );
    let relay = RelayProcess::start(directory.path(), &subscription);
    assert_eq!(http::publish(relay.http(), EVENT).status, 201);
    assert_eq!(http::publish(relay.http(), "{").status, 400);
    let metrics = http::get(relay.http(), "/metrics");
    assert!(
        metrics.head.to_lowercase().contains("content-type: application/openmetrics-text"),
        "{}",
        metrics.head
    );
    assert!(metrics.body.ends_with("# EOF\n"));
    let documentation = include_str!("../../../docs/metrics.md");
    let described: Vec<&str> = metrics.body.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    assert!(described.len() > 40, "{described:?}");
    for line in described {
        let (name, kind) = line.split_once(' ').unwrap();
        let name = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
        assert!(documentation.contains(&format!("| `{name}` |")), "{name} is not in docs/metrics.md");
    }
}
