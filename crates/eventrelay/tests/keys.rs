//! API keys with the real server and command: from the first key to a revoked one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

mod harness;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Output;

use harness::{DEADLINE, RelayProcess, SMALL_LOG, eventrelay, http, run, stderr, stdout};

const EVENT: &str = r#"{"type":"order.created","source":"/shop"}"#;

/// Runs a command that shows a key.
fn with_key(directory: &Path, key: &str, url: &str, arguments: &[&str]) -> Output {
    eventrelay(directory)
        .env("EVENTRELAY_API_KEY", key)
        .args(arguments)
        .args(["--url", url])
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    stdout(output).trim().to_owned()
}

/// Logs in over TCP, sends an event, and gives the answers.
fn publish_line(relay: &mut RelayProcess, key: &str) -> Vec<serde_json::Value> {
    let line = relay.wait_for_line(|line| line.ends_with("for lines of JSON")).unwrap();
    let address: SocketAddr =
        line.split("tcp://").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", address.port())).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(format!("{{\"api_key\":\"{key}\"}}\n{EVENT}\n").as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    BufReader::new(stream).lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
}

#[test]
fn from_the_first_key_to_a_revoked_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let bootstrap = said(&run(path, ["keys", "generate"]));
    std::fs::write(path.join("bootstrap.key"), format!("{bootstrap}\n")).unwrap();
    // All addresses, for with keys that is allowed.
    let configuration = format!(
        "{SMALL_LOG}\n[http]\nlisten = \"0.0.0.0:0\"\n[auth]\nrequired = true\nbootstrap_key_file = \"bootstrap.key\"\n"
    );
    std::fs::write(path.join("eventrelay.toml"), configuration).unwrap();
    let start = || {
        let mut command = eventrelay(path);
        command.args(["serve", "--tcp-lines-listen", "0.0.0.0:0"]);
        RelayProcess::spawn(command).unwrap()
    };
    let mut relay = start();
    let url = format!("http://127.0.0.1:{}", relay.http().port());
    let refused = run(path, ["publish", EVENT, "--url", &url]);
    assert_eq!(refused.status.code(), Some(6), "{refused:?}");
    assert!(stderr(&refused).contains("unauthenticated"), "{refused:?}");

    let create = |scopes: &str| {
        let arguments = ["keys", "create", "--name", "shop", "--tenant", "acme", "--scopes", scopes];
        said(&with_key(path, &bootstrap, &url, &arguments))
    };
    let (publisher, reader) = (create("publish"), create("read"));
    // Who administers one tenant need not name it.
    let own = ["keys", "create", "--name", "own", "--scopes", "tenant_admin", "--json"];
    let own: serde_json::Value =
        serde_json::from_str(&said(&with_key(path, &create("tenant_admin"), &url, &own))).unwrap();
    assert_eq!(own["tenant"], "acme", "{own}");
    said(&with_key(path, &publisher, &url, &["publish", EVENT]));
    let wrong = with_key(path, &reader, &url, &["publish", EVENT]);
    assert!(stderr(&wrong).contains("missing_scope"), "{wrong:?}");
    let tail = ["tail", "--from", "earliest", "--count", "1"];
    let event: serde_json::Value =
        serde_json::from_str(&said(&with_key(path, &reader, &url, &tail))).unwrap();
    assert_eq!((&event["tenant"], &event["type"]), (&"acme".into(), &"order.created".into()));
    let answers = publish_line(&mut relay, &publisher);
    assert_eq!((&answers[0]["tenant"], &answers[1]["offset"]), (&"acme".into(), &1.into()), "{answers:?}");
    relay.kill();

    // A kill forgets no key and no revocation.
    let relay = start();
    let url = format!("http://127.0.0.1:{}", relay.http().port());
    let list = said(&with_key(path, &bootstrap, &url, &["keys", "list", "--json"]));
    assert!(!list.contains(&publisher) && !list.contains("er_"), "{list}");
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let id = list["data"].as_array().unwrap().iter().find(|key| key["scopes"][0] == "publish").unwrap()["id"]
        .as_str()
        .unwrap();
    said(&with_key(path, &bootstrap, &url, &["keys", "revoke", id]));
    let table = said(&with_key(path, &bootstrap, &url, &["keys", "list"]));
    assert!(table.lines().any(|line| line.contains(id) && line.contains("revoked")), "{table}");
    relay.kill();
    let mut relay = start();
    let url = format!("http://127.0.0.1:{}", relay.http().port());
    let revoked = with_key(path, &publisher, &url, &["publish", EVENT]);
    assert!(stderr(&revoked).contains("unauthenticated"), "{revoked:?}");
    let answers = publish_line(&mut relay, &publisher);
    assert_eq!((answers.len(), &answers[0]["code"]), (1, &"unauthenticated".into()), "{answers:?}");
    assert_eq!(http::get(relay.http(), "/healthz").status, 200);
}

#[test]
fn a_bootstrap_key_that_is_none_is_refused_at_the_start_without_being_quoted() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("bootstrap.key"), "er_canary").unwrap();
    let configuration =
        format!("{SMALL_LOG}\n[auth]\nrequired = true\nbootstrap_key_file = \"bootstrap.key\"\n");
    let failure = RelayProcess::try_start(directory.path(), &configuration).err().unwrap();
    assert_eq!(failure.code, Some(2), "{failure:?}");
    assert!(failure.said.contains("bootstrap.key") && !failure.said.contains("canary"), "{failure:?}");
}
