//! How commands end that did not get what they asked for.

use std::sync::{Arc, Mutex};

use crate::harness::receiver::{Receiver, Reply};
use crate::harness::{run, stderr};

#[test]
fn a_server_that_is_not_there_exits_with_5() {
    let directory = tempfile::tempdir().unwrap();
    // Bound and closed again: nobody listens there.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{address}");
    std::fs::write(directory.path().join("a.toml"), "subscriptions = []\n").unwrap();
    for command in [
        &["publish", "{}"][..],
        &["tail"],
        &["events", "search"],
        &["subscriptions", "pause", "billing"],
        &["subscriptions", "delete", "billing", "--yes"],
        &["dead-letters", "redrive", "billing", "--all"],
        &["apply", "-f", "a.toml"],
        &["keys", "list"],
    ] {
        let output = run(directory.path(), command.iter().chain(&["--url", url.as_str()]));
        assert_eq!(output.status.code(), Some(5), "{output:?}");
        assert!(stderr(&output).contains(&url), "{output:?}");
    }
}

#[test]
fn a_name_that_is_none_exits_with_2() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["", "a/b", "..", "a?b", "a b"] {
        let output = run(directory.path(), ["subscriptions", "get", name]);
        assert_eq!(output.status.code(), Some(2), "{name:?}: {output:?}");
    }
}

/// A server that hangs up on so many requests, and then does what it is asked. Gives the idempotency keys it was shown.
fn hanging_up(times: usize) -> (Receiver, Arc<Mutex<Vec<String>>>) {
    let keys = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&keys);
    let server = Receiver::start(move |request| {
        let mut seen = seen.lock().unwrap();
        seen.push(request.header("idempotency-key").unwrap_or_default().to_owned());
        if seen.len() > times { Reply::Status(200) } else { Reply::HangUp }
    });
    (server, keys)
}

#[test]
fn a_command_that_is_not_answered_is_repeated_under_one_key() {
    let directory = tempfile::tempdir().unwrap();
    let (server, keys) = hanging_up(2);
    let url = server.url("");
    let command = ["seek", "billing", "--to", "latest", "--json", "--url", &url];
    let output = run(directory.path(), command);
    assert!(output.status.success(), "{output:?}");
    let first = keys.lock().unwrap().clone();
    assert_eq!(first.len(), 3);
    assert!(first[0].len() > 20 && first.iter().all(|key| *key == first[0]), "{first:?}");
    // The next command is another one.
    assert!(run(directory.path(), command).status.success());
    assert_ne!(keys.lock().unwrap()[3], first[0]);
}

#[test]
fn a_change_whose_outcome_is_not_known_exits_with_7() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a.json"), "{}").unwrap();
    let (server, keys) = hanging_up(usize::MAX);
    let url = server.url("");
    for (command, tries) in [
        (&["seek", "billing", "--to", "latest"][..], 4),
        // Sent again it could undo what somebody else did meanwhile.
        (&["subscriptions", "replace", "billing", "--file", "a.json"], 1),
    ] {
        keys.lock().unwrap().clear();
        let output = run(directory.path(), command.iter().chain(&["--url", url.as_str()]));
        assert_eq!(output.status.code(), Some(7), "{output:?}");
        assert!(stderr(&output).contains("unknown"), "{output:?}");
        assert_eq!(keys.lock().unwrap().len(), tries, "{command:?}");
    }
}
