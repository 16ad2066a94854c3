//! No secret in anything that is shown: not in a sink, not in an attempt, whatever goes wrong.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use eventrelay_sinks::webhook::{Settings, WebhookSink};
use serde_json::json;

use crate::receiver::{Receiver, Reply};
use crate::sinks::{deliver, loopback, webhook};

const CANARY: &str = "canarycanarycanarycanarycanary";

#[tokio::test]
async fn nothing_shows_a_secret() {
    let key = STANDARD.encode(CANARY);
    let extra = json!({
        "secrets": [format!("whsec_{key}")],
        "headers": {"authorization": format!("Bearer {CANARY}")},
        "timeout_ms": 300,
    });
    let mut shown = String::new();
    for reply in [
        Reply::ok(),
        Reply::status("302 Found", &format!("location: https://{CANARY}/\r\n")),
        Reply::status("410 Gone", ""),
        Reply::BytesThenClose(Vec::new()),
        Reply::BytesThenClose(format!("{CANARY}\r\n\r\n").into_bytes()),
        Reply::Silence,
        Reply::Reset,
    ] {
        let receiver = Receiver::always(reply).await;
        let sink = webhook(&format!("{}/{CANARY}?token={CANARY}", receiver.url()), &extra);
        write!(shown, "{:?}", deliver(&sink).await).unwrap();
    }
    let mut settings = extra.clone();
    for url in [format!("http://127.0.0.1:1/{CANARY}"), format!("https://127.0.0.1:1/?{CANARY}")] {
        settings["url"] = json!(url);
        let sink = webhook(&url, &extra);
        let settings: Settings = serde_json::from_value(settings.clone()).unwrap();
        write!(shown, "{settings:?}{settings:#?}").unwrap();
        write!(shown, "{:?}{:?}", WebhookSink::new(&settings, &loopback()).unwrap(), deliver(&sink).await)
            .unwrap();
    }
    assert!(shown.contains("127.0.0.1:1") && shown.contains("authorization"), "something was shown: {shown}");
    for secret in [CANARY, &key] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
