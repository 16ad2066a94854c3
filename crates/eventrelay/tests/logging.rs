//! The process's own log lines: their form, where they go, and what must never be in them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

mod harness;

use std::fs;

use harness::{RelayProcess, SMALL_LOG, http, poll};

#[test]
fn without_a_terminal_every_line_on_stderr_is_json() {
    let directory = tempfile::tempdir().unwrap();
    let mut relay = RelayProcess::start(directory.path(), SMALL_LOG);
    let line = relay.wait_for_line(|line| line.contains("\"listening\"")).unwrap();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["level"], &line["address"]), (&"INFO".into(), &relay.http().to_string().into()));
}

#[test]
fn files_get_the_lines_too_and_the_format_and_level_can_be_chosen() {
    let directory = tempfile::tempdir().unwrap();
    let logging = "[logging]\nformat = \"human\"\nlevel = \"warn,eventrelay::commands=info\"\nfile_directory = \"lines\"\n";
    let mut relay = RelayProcess::start(directory.path(), &format!("{SMALL_LOG}{logging}"));
    relay.signal(rustix::process::Signal::TERM);
    assert_eq!(relay.wait().code(), Some(0));
    let said = relay.everything_said();
    assert!(said.contains("INFO eventrelay::commands::serve: listening address="), "{said}");
    assert!(!said.contains("a new log was created"), "another module's level was not kept: {said}");
    let file = fs::read_dir(directory.path().join("lines")).unwrap().next().unwrap().unwrap();
    let messages: Vec<String> = fs::read_to_string(file.path())
        .unwrap()
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["message"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(messages.first().map(String::as_str), Some("listening"));
    assert!(messages.last().unwrap().starts_with("stopped"), "the last lines were lost: {messages:?}");
}

#[test]
fn neither_data_nor_secrets_are_logged_even_at_the_finest_level() {
    let directory = tempfile::tempdir().unwrap();
    // The target refuses connections, so that failures are logged as well.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let configuration = format!(
        "{SMALL_LOG}[egress]\nallow_private_addresses = true\n[logging]\nlevel = \"trace\"\n\
         [[subscriptions]]\nname = \"hook\"\nbreaker = {{ consecutive_failures = 1 }}\n\
         sink = {{ kind = \"webhook\", url = \"http://{closed}/canary-path\", \
         secrets = [\"whsec_Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5\"], headers = {{ authorization = \"canary-token\" }} }}\n"
    );
    let mut relay = RelayProcess::start(directory.path(), &configuration);
    let event = r#"{"type":"t","source":"/s","data":"canary-data","headers":{"trace":"canary-header"}}"#;
    assert_eq!(http::publish(relay.http(), event).status, 201);
    assert_eq!(http::publish(relay.http(), "{\"type\":\"canary-broken\",").status, 400);
    poll::until("the failed delivery", || {
        let health = http::get(relay.http(), "/health").json();
        (health["components"]["subscriptions"][0]["healthy"] == false).then_some(())
    });
    relay.signal(rustix::process::Signal::TERM);
    relay.wait();
    let said = relay.everything_said();
    assert!(said.contains("DEBUG"), "the finer levels are not on");
    let leaks: Vec<&str> =
        said.lines().filter(|line| line.contains("canary") || line.contains("Y2FuYXJ5")).collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
}
