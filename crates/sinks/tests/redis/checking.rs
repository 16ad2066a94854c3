//! What `check()` finds, and that it leaves nothing behind.

use eventrelay_sinks::CheckError;
use serde_json::{Value, json};

use crate::broker_events::{batch, deliver_all, within_patience};
use crate::components::Component;
use crate::raw_client::Reply;
use crate::server;

async fn check(server: &Component, settings: Value) -> Result<(), CheckError> {
    within_patience(server::sink(server, &settings).check()).await
}

#[tokio::test]
async fn what_fits_passes_and_nothing_is_written() {
    let Some((server, mut raw)) = server::start() else { return };
    for settings in [
        json!({}),
        json!({"stream": "events.{type}"}),
        json!({"ids": "offset", "create_group": "workers", "dead_letter_stream": "dead"}),
        json!({"layout": "eventrail"}),
    ] {
        assert_eq!(check(&server, settings).await, Ok(()));
    }
    assert_eq!(raw.run(&["DBSIZE"]), Reply::Number(0));
    let sink = server::sink(&server, &json!({}));
    deliver_all(&sink, &batch("a", 0..1)).await;
    assert_eq!(within_patience(sink.check()).await, Ok(()));
    assert_eq!(raw.run(&["XLEN", "events"]), Reply::Number(1));
}

#[tokio::test]
async fn a_key_that_is_no_stream_is_named() {
    let Some((server, mut raw)) = server::start() else { return };
    raw.run(&["SET", "text", "x"]);
    for settings in [json!({"stream": "text"}), json!({"dead_letter_stream": "text"})] {
        let error = check(&server, settings).await.unwrap_err();
        assert!(
            matches!(&error, CheckError::Mismatch(why) if why.contains("\"text\" is a string")),
            "{error}"
        );
    }
}

#[tokio::test]
async fn every_right_that_deliveries_need_is_looked_at() {
    let Some((server, mut raw)) = server::start() else { return };
    let rights = ["+xadd", "+multi", "+exec", "+discard"];
    let user = |raw: &mut crate::raw_client::RawClient, rights: &[&str]| {
        let mut words =
            vec!["ACL", "SETUSER", "relay", "reset", "on", ">pw", "~events", "~{events}:eventrelay"];
        words.extend(rights);
        raw.run(&words);
    };
    let login = |extra: Value| {
        let mut settings = json!({"user": "relay", "password": "pw"});
        settings.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        settings
    };
    user(&mut raw, &rights);
    assert_eq!(check(&server, login(json!({}))).await, Ok(()));
    for (extra, more) in [
        (json!({"create_group": "workers"}), vec!["+xgroup"]),
        (json!({"ids": "offset"}), vec!["+xinfo", "+xrange", "+hsetnx", "+hget", "+hset", "+hdel"]),
        (json!({"dead_letter_stream": "dead"}), vec!["~dead"]),
    ] {
        for without in &more {
            let mut given = rights.to_vec();
            given.extend(more.iter().filter(|it| it != &without));
            user(&mut raw, &given);
            let error = check(&server, login(extra.clone())).await.unwrap_err();
            assert!(
                matches!(&error, CheckError::Forbidden(why) if why.contains("NOPERM")),
                "{without}: {error}"
            );
        }
        let mut given = rights.to_vec();
        given.extend(&more);
        user(&mut raw, &given);
        assert_eq!(check(&server, login(extra)).await, Ok(()), "{more:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_or_takes_no_writes_is_unreachable() {
    let Some((mut server, mut raw)) = server::start() else { return };
    raw.run(&["REPLICAOF", "127.0.0.1", "1"]);
    for settings in [json!({}), json!({"ids": "offset"})] {
        let error = check(&server, settings).await.unwrap_err();
        assert!(matches!(&error, CheckError::Unreachable(_)), "{error}");
    }
    server.kill();
    let error = check(&server, json!({})).await.unwrap_err();
    assert!(matches!(&error, CheckError::Unreachable(why) if why.contains("connected to")), "{error}");
}
