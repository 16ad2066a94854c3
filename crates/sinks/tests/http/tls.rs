//! Over TLS, in both HTTP versions.

use eventrelay_sinks::Outcome;
use http::Version;
use serde_json::json;

use crate::sinks::{built, deliver_event, keyed, retried};
use crate::tls_receiver::{Authority, Receiver};

#[tokio::test]
async fn both_http_versions_carry_what_is_made_from_the_event() {
    let authority = Authority::new();
    let file = authority.file();
    for (http2, version) in [("auto", Version::HTTP_2), ("never", Version::HTTP_11)] {
        let acceptor = authority.acceptor("localhost", &["h2", "http/1.1"], None);
        let mut receiver = Receiver::start(Some(acceptor)).await;
        let sink = built(&json!({
            "url": format!("https://localhost:{}/orders/{{key}}?k={{key}}", receiver.address.port()),
            "headers": {"x-key": "{key}"},
            "http2": http2,
            "tls": {"ca_file": file.path()},
        }))
        .unwrap();
        sink.check().await.unwrap();
        assert_eq!(deliver_event(&sink, &keyed("a/b")).await.outcome, Outcome::Delivered);
        let seen = receiver.request().await;
        assert_eq!((seen.version, &*seen.path), (version, "/orders/a%2Fb?k=a%2Fb"));
        assert_eq!(seen.authority.unwrap(), format!("localhost:{}", receiver.address.port()));
        assert_eq!(seen.headers["x-key"], "a/b");
        sink.close().await;
    }
}

#[tokio::test]
async fn a_certificate_from_nowhere_is_refused() {
    let acceptor = Authority::new().acceptor("localhost", &["h2"], None);
    let receiver = Receiver::start(Some(acceptor)).await;
    let sink = built(&json!({"url": receiver.url("https", "localhost")})).unwrap();
    assert!(retried(&deliver_event(&sink, &keyed("a")).await).contains("TLS handshake failed"));
    assert!(sink.check().await.unwrap_err().to_string().contains("TLS handshake failed"));
}
