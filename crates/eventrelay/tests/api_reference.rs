//! The `curl` lines of `/docs`, each run as it is printed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

mod harness;

use std::path::Path;
use std::process::{Command, Output};

use harness::{RelayProcess, SMALL_LOG, http, poll, run, stdout};

/// A consumer's subscription of the name that the examples have.
const JOBS: &str = "
    [[subscriptions]]
    name = \"jobs\"
";

/// Targets on this machine may be looked for.
const EGRESS: &str = "
    [egress]
    allow_private_addresses = true
";

/// Makes the user of the login's example.
fn make_user(directory: &Path, relay: &RelayProcess, key: &str) {
    let create = r#"curl -sS -H "authorization: Bearer $EVENTRELAY_API_KEY" -H 'content-type: application/json' --data-binary \
        '{"email":"bob@example.com","role":"viewer","password":"correct horse battery"}'"#;
    let create = match key {
        "" => create.replace(r#"-H "authorization: Bearer $EVENTRELAY_API_KEY""#, ""),
        _ => create.to_owned(),
    };
    let output = shell(directory, key, &format!("{create} {}/v1/users", relay.url()));
    assert!(output.status.success(), "{output:?}");
}

/// What a shell makes of a line. `curl` says by its exit code whether the answer was a good one.
fn shell(directory: &Path, key: &str, line: &str) -> Output {
    Command::new("sh")
        .args(["-c", line])
        .current_dir(directory)
        .env("CURL_HOME", directory)
        .env("EVENTRELAY_API_KEY", key)
        .output()
        .unwrap()
}

/// The lines of a page, with whether their answers end.
fn lines_of(page: &str) -> Vec<(String, bool)> {
    let lines = page.split("<pre class=\"curl").skip(1).map(|rest| {
        let (kind, rest) = rest.split_once("\">").unwrap();
        let (line, _) = rest.split_once("</pre>").unwrap();
        let entities = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")];
        let line = entities.iter().fold(line.to_owned(), |line, (entity, char)| line.replace(entity, char));
        (line, kind.is_empty())
    });
    lines.collect()
}

/// Makes the dead letters of the examples: a subscription whose target is not there.
fn make_dead_letters(directory: &Path, relay: &RelayProcess, key: &str) {
    let ask = |path: &str, body: &str| {
        let shown = if key.is_empty() { "" } else { r#"-H "authorization: Bearer $EVENTRELAY_API_KEY""# };
        let body = if body.is_empty() { String::new() } else { format!("--data-binary '{body}'") };
        let line =
            format!("curl -sS {shown} -H 'content-type: application/json' {body} {}{path}", relay.url());
        let output = shell(directory, key, &line);
        assert!(output.status.success(), "{line}: {output:?}");
        stdout(&output).to_owned()
    };
    ask(
        "/v1/subscriptions",
        r#"{"name": "shipping", "start": "earliest", "retry": {"max_attempts": 1},
            "sink": {"kind": "webhook", "url": "http://127.0.0.1:9/", "unsigned": true}}"#,
    );
    let event = r#"{"type": "order.created", "source": "/shop"}"#;
    ask("/v1/events", &format!("[{}]", [event; 5].join(",")));
    poll::until("the dead letters", || {
        let stats = ask("/v1/subscriptions/shipping/stats", "");
        stats.contains(r#""dead_letters":5"#).then_some(())
    });
}

/// What makes things comes before what is done with them, and what takes them away after.
fn place(line: &str) -> u8 {
    match line {
        _ if line.ends_with("/v1/subscriptions\"") => 0,
        _ if line.contains("-X DELETE") && line.ends_with("/v1/subscriptions/billing\"") => 2,
        _ => 1,
    }
}

fn run_all(directory: &Path, relay: &RelayProcess, key: &str) {
    std::fs::write(directory.join(".curlrc"), "fail-with-body\nmax-time = 30\n").unwrap();
    make_user(directory, relay, key);
    make_dead_letters(directory, relay, key);
    let page = http::get(relay.http(), "/docs");
    assert_eq!(page.status, 200, "{}", page.head);
    let mut lines = lines_of(&page.body);
    lines.sort_by_key(|(line, _)| place(line));
    assert!(lines.len() > 10, "{}", page.body);
    for (line, _) in lines.iter().filter(|(_, ends)| *ends) {
        let output = shell(directory, key, line);
        assert!(output.status.success(), "{line}\n{output:?}");
    }
}

#[test]
fn every_line_of_the_reference_works_as_printed() {
    let directory = tempfile::tempdir().unwrap();
    let relay = RelayProcess::start(directory.path(), &format!("{SMALL_LOG}{EGRESS}{JOBS}"));
    run_all(directory.path(), &relay, "");
}

#[test]
fn where_keys_are_asked_for_the_lines_show_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let bootstrap = run(path, ["keys", "generate"]);
    std::fs::write(path.join("bootstrap.key"), stdout(&bootstrap)).unwrap();
    let auth = "[auth]\nrequired = true\nbootstrap_key_file = \"bootstrap.key\"\n";
    let relay = RelayProcess::start(path, &format!("{SMALL_LOG}{EGRESS}{auth}{JOBS}"));
    run_all(path, &relay, stdout(&bootstrap).trim());
}
