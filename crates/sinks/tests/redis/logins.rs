//! Users, passwords and rights, and nothing of them in the log.

use eventrelay_sinks::CheckError;
use serde_json::json;

use crate::broker_events::{batch, deliver, deliver_all, retried, within_patience};
use crate::log_lines::LogLines;
use crate::raw_client::Reply;
use crate::server;

#[tokio::test]
async fn a_wrong_password_is_put_right_in_its_file() {
    let Some((server, mut raw)) = server::start() else { return };
    raw.run(&["ACL", "SETUSER", "relay", "on", ">right", "~*", "+@all"]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "canary\n").unwrap();
    let sink = server::sink(&server, &json!({"user": "relay", "password_file": file.path()}));
    let refused = within_patience(sink.check()).await;
    assert!(
        matches!(&refused, Err(CheckError::Forbidden(why)) if why.contains("\"relay\"") && !why.contains("canary")),
        "{refused:?}"
    );
    let outcomes = deliver(&sink, &batch("a", 0..2)).await;
    assert!(outcomes.iter().all(|it| retried(it).contains("does not know the user")), "{outcomes:?}");
    std::fs::write(file.path(), "right\n").unwrap();
    deliver_all(&sink, &batch("a", 0..2)).await;
    assert_eq!(within_patience(sink.check()).await, Ok(()));
}

#[tokio::test]
async fn a_server_that_asks_for_a_password_gets_one_or_says_so() {
    let Some((server, mut raw)) = server::start() else { return };
    raw.run(&["CONFIG", "SET", "requirepass", "right"]);
    let nobody = server::sink(&server, &json!({}));
    let outcomes = deliver(&nobody, &batch("a", 0..2)).await;
    assert!(outcomes.iter().all(|outcome| retried(outcome).contains("NOAUTH")), "{outcomes:?}");
    assert!(matches!(within_patience(nobody.check()).await, Err(CheckError::Forbidden(_))));
    deliver_all(&server::sink(&server, &json!({"password": "right"})), &batch("a", 0..2)).await;
}

#[tokio::test]
async fn a_right_that_is_revoked_is_waited_for_until_it_is_given_back() {
    let Some((server, mut raw)) = server::start() else { return };
    raw.run(&["ACL", "SETUSER", "relay", "on", ">canary", "~events", "+@all"]);
    let sink = server::sink(&server, &json!({"user": "relay", "password": "canary"}));
    deliver_all(&sink, &batch("a", 0..2)).await;
    raw.run(&["ACL", "SETUSER", "relay", "-xadd"]);
    let outcomes = deliver(&sink, &batch("a", 2..5)).await;
    assert!(outcomes.iter().all(|outcome| retried(outcome).contains("NOPERM")), "{outcomes:?}");
    assert!(matches!(within_patience(sink.check()).await, Err(CheckError::Forbidden(_))));
    raw.run(&["ACL", "SETUSER", "relay", "+xadd"]);
    deliver_all(&sink, &batch("a", 2..5)).await;
    // The user goes, and its connections with it.
    raw.run(&["ACL", "DELUSER", "relay"]);
    let outcomes = deliver(&sink, &batch("a", 5..6)).await;
    assert!(!retried(&outcomes[0]).contains("canary"), "{outcomes:?}");
    raw.run(&["ACL", "SETUSER", "relay", "on", ">canary", "~events", "+@all"]);
    crate::broker_events::deliver_in_the_end(&sink, &batch("a", 5..6)).await;
    assert_eq!(raw.run(&["XLEN", "events"]), Reply::Number(6));
}

#[tokio::test]
async fn neither_secrets_nor_events_are_logged() {
    let log = LogLines::capture();
    let Some((server, mut raw)) = server::start() else { return };
    raw.run(&["ACL", "SETUSER", "relay", "on", ">canary", "~*", "+@all"]);
    raw.run(&["CONFIG", "SET", "appendfsync", "everysec"]);
    let sink = server::sink(&server, &json!({"user": "relay", "password": "canary", "ids": "offset"}));
    deliver_all(&sink, &batch("a", 0..10)).await;
    assert_eq!(within_patience(sink.check()).await, Ok(()));
    assert!(!format!("{:?}", within_patience(sink.check()).await).contains("canary"));
    sink.close().await;
    let wrong = server::sink(&server, &json!({"user": "relay", "password": "another canary"}));
    let refused = within_patience(wrong.check()).await.unwrap_err().to_string();
    assert!(!refused.contains("canary"), "{refused}");
    let logged = log.text();
    assert!(logged.contains("appendfsync"), "the log is looked at: {logged}");
    assert!(!logged.contains("canary") && !logged.contains("number"), "{logged}");
}
