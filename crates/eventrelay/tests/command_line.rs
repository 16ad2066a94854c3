//! The commands that need no server, and what all of them answer to a mistake.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

mod harness;

use harness::{run, stderr, stdout};

#[test]
fn version_is_printed_for_people_and_for_programs() {
    let directory = tempfile::tempdir().unwrap();
    let text = run(directory.path(), ["version"]);
    assert_eq!(stdout(&text), concat!("eventrelay ", env!("CARGO_PKG_VERSION"), "\n"));
    let json = run(directory.path(), ["version", "--json"]);
    let json: serde_json::Value = serde_json::from_str(stdout(&json)).unwrap();
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn help_lists_the_exit_codes_that_are_documented() {
    let directory = tempfile::tempdir().unwrap();
    let help = run(directory.path(), ["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let documented = include_str!("../../../docs/exit-codes.md");
    let (_, listed) = stdout(&help).split_once("Exit codes:").unwrap();
    let codes: Vec<&str> = listed
        .split_whitespace()
        .filter(|word| word.len() <= 3 && word.bytes().all(|byte| byte.is_ascii_digit()))
        .collect();
    assert!(codes.len() >= 10, "{codes:?}");
    for code in codes {
        assert!(documented.contains(&format!("| {code} |")), "docs/exit-codes.md lacks {code}");
    }
}

#[test]
fn a_mistake_on_the_command_line_exits_with_2() {
    let directory = tempfile::tempdir().unwrap();
    for arguments in [&["serv"][..], &["serve", "--colour"], &["tail", "--from", "yesterday"], &[]] {
        assert_eq!(run(directory.path(), arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_server_that_is_not_there_exits_with_5() {
    let directory = tempfile::tempdir().unwrap();
    // Bound and closed again: nobody listens there.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{address}");
    for command in [&["publish", "{}"][..], &["tail"]] {
        let output = run(directory.path(), command.iter().chain(&["--url", url.as_str()]));
        assert_eq!(output.status.code(), Some(5), "{output:?}");
        assert!(stderr(&output).contains(&url), "{output:?}");
    }
}

#[test]
fn a_url_that_cannot_be_spoken_to_exits_with_2() {
    let directory = tempfile::tempdir().unwrap();
    for url in ["example.com:80", "http://", "https://", "ftp://example.com"] {
        let output = run(directory.path(), ["publish", "{}", "--url", url]);
        assert_eq!(output.status.code(), Some(2), "{url}: {output:?}");
    }
}
