//! What `check()` finds.

use std::sync::Arc;

use eventrelay_sinks::{CheckError, Sink};
use serde_json::{Value, json};

use crate::broker_events::within_patience;
use crate::components::Component;
use crate::raw_client::RawClient;
use crate::server;

async fn check(sink: &Arc<dyn Sink>) -> Result<(), CheckError> {
    within_patience(sink.check()).await
}

async fn check_with(server: &Component, settings: Value) -> Result<(), CheckError> {
    check(&server::sink(server, &settings)).await
}

#[tokio::test]
async fn a_stream_that_fits_is_found_and_one_that_does_not_is_named() {
    let Some((server, mut raw)) = server::start_with_stream() else { return };
    raw.create_stream("SILENT", &["silent"], &json!({"no_ack": true}));
    raw.create_stream("COPY", &[], &json!({"subjects": null, "mirror": {"name": "EVENTS"}}));
    let missing = |why: &str| Err(CheckError::Missing(why.to_owned()));
    assert_eq!(check_with(&server, json!({"subject": "events.orders"})).await, Ok(()));
    assert_eq!(check_with(&server, json!({})).await, Ok(()));
    assert_eq!(check_with(&server, json!({"stream": "EVENTS"})).await, Ok(()));
    let lost = check_with(&server, json!({"subject": "lost.orders"})).await;
    assert_eq!(lost, missing("no stream captures the subject \"lost.orders\""));
    assert_eq!(check_with(&server, json!({"stream": "NONE"})).await, missing("there is no stream \"NONE\""));
    for (settings, word) in [
        (json!({"subject": "events.orders", "stream": "SILENT"}), "captured by the stream \"EVENTS\""),
        (json!({"subject": "silent"}), "no_ack"),
        (json!({"stream": "COPY"}), "mirror"),
    ] {
        let error = check_with(&server, settings).await.unwrap_err();
        assert!(matches!(&error, CheckError::Mismatch(why) if why.contains(word)), "{error}");
    }
    assert_eq!(raw.messages("EVENTS").len(), 0, "a check leaves nothing behind");
}

#[tokio::test]
async fn logins_and_rights_are_told_apart() {
    let users = r#"
        authorization { users = [
            {user: admin, password: admin}
            {user: reader, password: reader, permissions: {publish: ["$JS.API.>", "$SYS.REQ.USER.INFO", "audit"]}}
            {user: writer, password: writer, permissions: {publish: ["events.>"]}}
        ] }"#;
    let Some(server) = server::start_with(users) else { return };
    let mut raw = RawClient::log_in(server.address(), &json!({"user": "admin", "pass": "admin"}));
    raw.create_stream("EVENTS", &["events.>"], &json!({}));
    let check_as = async |user: &str, password: &str| {
        check_with(&server, json!({"subject": "events.orders", "user": user, "password": password})).await
    };
    assert_eq!(check_as("admin", "admin").await, Ok(()));
    let wrong = check_as("admin", "canary").await.unwrap_err();
    assert!(matches!(&wrong, CheckError::Forbidden(why) if !why.contains("canary")), "{wrong}");
    let reader = check_as("reader", "reader").await.unwrap_err();
    assert!(
        matches!(&reader, CheckError::Forbidden(why) if why.contains("may not publish to \"events.orders\"")),
        "{reader}"
    );
    assert_eq!(check_as("writer", "writer").await, Ok(()), "it may publish, and need not be let ask");
}

#[tokio::test]
async fn a_server_that_is_not_there_and_one_without_jetstream_are_told_apart() {
    let Some(mut server) = server::start() else { return };
    server.kill();
    let down = check_with(&server, json!({})).await.unwrap_err();
    assert!(
        matches!(&down, CheckError::Unreachable(why) if why.contains("cannot be connected to")),
        "{down}"
    );
    std::fs::write(server.directory().join("nats.conf"), "host: 127.0.0.1\nport: $NATS_PORT\n").unwrap();
    server.resume();
    for settings in [json!({}), json!({"subject": "events.orders"}), json!({"stream": "EVENTS"})] {
        let without = check_with(&server, settings).await.unwrap_err();
        assert!(matches!(&without, CheckError::Missing(why) if why.contains("JetStream")), "{without}");
    }
}
