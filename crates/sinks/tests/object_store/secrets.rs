//! No secret in anything that is shown or logged, whatever goes wrong.

use std::fmt::Write as _;

use eventrelay_sinks::object_store::{ObjectStoreSink, Settings};
use serde_json::json;

use crate::broker_events::{batch, deliver, deliver_all, loopback, owner};
use crate::http_receiver::{Receiver, Reply};
use crate::log_lines::LogLines;
use crate::stores::{Store, merged, s3_settings, sink_in};

#[tokio::test]
async fn neither_secrets_nor_events_are_logged_or_shown() {
    let log = LogLines::capture();
    let Some(store) = Store::s3() else { return };
    let mut shown = String::new();

    deliver_all(&store.sink(&json!({})), &batch("order.created", 0..10)).await;
    deliver_all(&store.sink(&json!({})), &batch("order.created", 0..12)).await;
    let canary = json!({"s3": {
        "access_key_id": "canary-id", "secret_access_key": "canary-key", "session_token": "canary-token",
    }});
    let sink = store.sink(&canary);
    write!(shown, "{:?}{:?}", deliver(&sink, &batch("order.created", 0..1)).await, sink.check().await)
        .unwrap();
    for reply in [
        Reply::status("302 Found", "location: https://canary-location/\r\n"),
        Reply::with_body("403 Forbidden", "", "<AWSAccessKeyId>canary-id</AWSAccessKeyId>"),
        Reply::with_body("200 OK", "", "canary-answer"),
        Reply::BytesThenClose(b"canary-answer\r\n\r\n".to_vec()),
        Reply::Reset,
    ] {
        let receiver = Receiver::always(reply).await;
        let settings = merged(json!({"s3": s3_settings(receiver.address)}), &canary);
        let sink = sink_in(&loopback(), &owner(), &settings);
        write!(shown, "{:?}", deliver(&sink, &batch("order.created", 0..1)).await).unwrap();
        sink.close().await;
        let settings: Settings = serde_json::from_value(settings).unwrap();
        let sink = ObjectStoreSink::new(&settings, &owner(), &loopback()).unwrap();
        write!(shown, "{settings:?}{sink:?}").unwrap();
    }
    assert!(shown.contains("ObjectStoreSink(s3 events)") && shown.contains("redacted"), "{shown}");
    let logged = log.text();
    for secret in ["canary", "testtest", "AWS4-HMAC", "number"] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
        assert!(!logged.contains(secret), "{secret}: {logged}");
    }
}
