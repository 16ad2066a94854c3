//! Certificates, and HTTP/2 where the receiver has it.

use std::sync::Arc;

use eventrelay_sinks::{Outcome, Sink, build};
use http::Version;
use serde_json::json;
use tempfile::NamedTempFile;
use tokio::task::JoinSet;

use crate::sinks::{deliver, loopback, owner, retried, webhook};
use crate::tls_receiver::{Authority, Receiver};

async fn deliver_at_once(sink: &Arc<dyn Sink>, count: usize) {
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        let sink = Arc::clone(sink);
        tasks.spawn(async move { deliver(&sink).await });
    }
    while let Some(attempt) = tasks.join_next().await {
        let attempt = attempt.unwrap();
        assert_eq!(attempt.outcome, Outcome::Delivered, "{attempt:?}");
    }
}

#[tokio::test]
async fn all_requests_share_one_http2_connection() {
    let authority = Authority::new();
    let mut receiver =
        Receiver::start(Some(authority.acceptor("localhost", &["h2", "http/1.1"], None))).await;
    let file = authority.file();
    let sink = webhook(&receiver.url("https", "localhost"), &json!({"ca_file": file.path()}));
    deliver_at_once(&sink, 50).await;
    deliver_at_once(&sink, 50).await;
    assert_eq!(receiver.connections(), 1);
    let authority = format!("localhost:{}", receiver.address.port());
    let seen = receiver.request().await;
    assert_eq!((seen.version, seen.authority), (Version::HTTP_2, Some(authority)));
    assert!(seen.headers.contains_key("webhook-signature"));
    sink.close().await;
}

#[tokio::test]
async fn http1_is_spoken_where_the_receiver_prefers_it_or_the_settings_say_so() {
    let authority = Authority::new();
    let file = authority.file();
    for (alpn, http2) in [(&["http/1.1"][..], "auto"), (&[], "auto"), (&["h2", "http/1.1"], "never")] {
        let mut receiver = Receiver::start(Some(authority.acceptor("localhost", alpn, None))).await;
        let settings = json!({"ca_file": file.path(), "http2": http2});
        let sink = webhook(&receiver.url("https", "localhost"), &settings);
        deliver_at_once(&sink, 4).await;
        assert_eq!(receiver.request().await.version, Version::HTTP_11);
        let connections = receiver.connections();
        assert!(connections <= 4);
        deliver(&sink).await;
        assert_eq!(receiver.connections(), connections, "connections are kept over TLS too");
    }
}

#[tokio::test]
async fn http2_can_be_spoken_without_tls() {
    let mut receiver = Receiver::start(None).await;
    let sink = webhook(&receiver.url("http", "127.0.0.1"), &json!({"http2": "prior_knowledge"}));
    deliver_at_once(&sink, 20).await;
    assert_eq!(receiver.connections(), 1);
    assert_eq!(receiver.request().await.version, Version::HTTP_2);
}

#[tokio::test]
async fn a_certificate_from_nowhere_or_for_another_name_is_refused() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let receiver = Receiver::start(Some(authority.acceptor("localhost", &["h2"], None))).await;
    let (known, unknown) = (authority.file(), stranger.file());
    let name = receiver.url("https", "localhost");
    let address = receiver.url("https", "127.0.0.1");
    for (url, settings) in [
        (&name, json!({})),
        (&name, json!({"ca_file": unknown.path()})),
        (&address, json!({"ca_file": known.path()})),
    ] {
        let attempt = deliver(&webhook(url, &settings)).await;
        assert!(retried(&attempt).contains("TLS handshake failed"), "{attempt:?}");
    }
    let trusting = webhook(&address, &json!({"insecure_skip_verify": true}));
    assert_eq!(deliver(&trusting).await.outcome, Outcome::Delivered);
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_the_receiver_asks_for_one() {
    let authority = Authority::new();
    let receiver =
        Receiver::start(Some(authority.acceptor("localhost", &["http/1.1"], Some(&authority)))).await;
    let file = authority.file();
    let (certificate, key) = authority.certificate("client");
    let (certificate_file, key_file) = (NamedTempFile::new().unwrap(), NamedTempFile::new().unwrap());
    std::fs::write(certificate_file.path(), certificate.pem()).unwrap();
    std::fs::write(key_file.path(), key.serialize_pem()).unwrap();

    let url = receiver.url("https", "localhost");
    retried(&deliver(&webhook(&url, &json!({"ca_file": file.path()}))).await);
    let settings = json!({
        "ca_file": file.path(),
        "client_certificate_file": certificate_file.path(),
        "client_key_file": key_file.path(),
    });
    assert_eq!(deliver(&webhook(&url, &settings)).await.outcome, Outcome::Delivered);
}

#[test]
fn tls_settings_of_a_plain_url_are_refused() {
    let settings = json!({"url": "http://127.0.0.1:9", "unsigned": true, "insecure_skip_verify": true});
    let refused = build("webhook", &settings, &owner(), &loopback()).err().unwrap().to_string();
    assert!(refused.contains("insecure_skip_verify") && refused.contains("http://"), "{refused}");
}
