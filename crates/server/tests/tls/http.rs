//! HTTP over TLS: versions by ALPN, bodies of any size, who is a stranger, and the ends of connections.

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt;

use crate::http_server::{self, TestServer};
use crate::support::{Authority, Client, Ended, certified, until_metrics_say};

const EVENT: &str = r#"{"type":"t","source":"/s"}"#;

/// An HTTP server with TLS.
async fn start() -> (TestServer, Authority) {
    let (authority, files) = certified();
    (TestServer::start_with(|options| options.tls = files.options()).await, authority)
}

#[tokio::test]
async fn the_version_is_agreed_on_by_alpn() {
    let (server, authority) = start().await;
    for offered in [&["http/1.1"][..], &[], &["http/1.1", "spdy/3"]] {
        let mut client = Client::connect(server.address, authority.client(offered)).await;
        assert_eq!(client.protocol(), offered.first().map(|protocol| protocol.as_bytes()));
        assert_eq!(client.publish("", EVENT).await.0, 201);
        assert_eq!(client.publish("", EVENT).await.0, 201, "the connection goes on");
    }

    let client = Client::connect(server.address, authority.client(&["h2", "http/1.1"])).await;
    assert_eq!(client.protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(client.stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = http::Request::post("https://localhost/v1/events")
        .header("content-type", "application/json")
        .body(Full::<Bytes>::from(EVENT))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (201, http::Version::HTTP_2));
    assert_eq!(server.log.durable_offset(), 7);

    let nothing_in_common = Client::try_connect(server.address, authority.client(&["spdy/3"])).await;
    assert!(nothing_in_common.is_err());
}

#[tokio::test]
async fn bodies_longer_than_a_record_go_both_ways() {
    let (server, authority) = start().await;
    let mut client = Client::connect(server.address, authority.client(&["http/1.1"])).await;
    let text: String = ('a'..='z').cycle().take(900_000).collect();
    let event = format!(r#"{{"type":"t","source":"/s","data":"{text}"}}"#);
    let (status, receipt) = client.publish("", &event).await;
    assert_eq!(status, 201, "{receipt}");
    let receipt: serde_json::Value = serde_json::from_str(&receipt).unwrap();
    let (status, stored) = client.get(&format!("/v1/events/{}", receipt["id"].as_str().unwrap())).await;
    let stored: serde_json::Value = serde_json::from_str(&stored).unwrap();
    assert_eq!((status, stored["data"].as_str().unwrap() == text), (200, true));
}

#[tokio::test]
async fn a_client_that_takes_no_answer_is_cut_off() {
    let (authority, files) = certified();
    let server = TestServer::start_with(|options| {
        (options.tls, options.write_timeout_ms) = (files.options(), 200);
    })
    .await;
    let mut deaf = Client::connect(server.address, authority.client(&["http/1.1"])).await;
    let event = format!(r#"{{"type":"t","source":"/s","data":"{}"}}"#, "x".repeat(900_000));
    let (_, receipt) = deaf.publish("", &event).await;
    let receipt: serde_json::Value = serde_json::from_str(&receipt).unwrap();
    let id = receipt["id"].as_str().unwrap();
    // More than the system takes on the client's behalf.
    deaf.send(format!("GET /v1/events/{id} HTTP/1.1\r\nHost: localhost\r\n\r\n").repeat(50)).await;
    until_metrics_say(server.address, &authority.client(&["http/1.1"]), "eventrelay_http_connections 1")
        .await;
}

#[tokio::test]
async fn a_page_of_this_very_origin_is_served() {
    let (server, authority) = start().await;
    let mut client = Client::connect(server.address, authority.client(&["http/1.1"])).await;
    assert_eq!(client.publish("Origin: https://localhost\r\n", EVENT).await.0, 201);
    let (status, problem) = client.publish("Origin: http://localhost\r\n", EVENT).await;
    assert_eq!(status, 403, "{problem}");
    assert!(problem.contains("forbidden_origin"), "{problem}");
}

#[tokio::test]
async fn plain_http_is_told_that_this_port_speaks_tls() {
    let (server, authority) = start().await;
    let mut lost = server.connect().await;
    lost.send(http_server::post("Content-Type: application/json\r\n", EVENT)).await;
    let answer = lost.answer().await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "tls_required"));
    assert_eq!(lost.until_closed().await, b"");
    // HTTP/2 with prior knowledge is no TLS either.
    let mut lost = server.connect().await;
    lost.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_eq!(lost.answer().await.code(), "tls_required");
    drop(lost);

    let counted = "eventrelay_http_refused_connections_total{reason=\"not_tls\"} 2";
    until_metrics_say(server.address, &authority.client(&["http/1.1"]), counted).await;
    assert_eq!(server.log.durable_offset(), 0);
}

#[tokio::test]
async fn tls_on_a_port_that_speaks_none_fails_cleanly() {
    let (authority, _) = certified();
    let server = TestServer::start().await;
    let failed = Client::try_connect(server.address, authority.client(&["h2", "http/1.1"])).await;
    assert!(failed.is_err());
    server.assert_unharmed().await;
}

#[tokio::test]
async fn a_drain_says_goodbye() {
    let (mut server, authority) = start().await;
    let mut silent = Client::connect(server.address, authority.tls12_client()).await;
    let mut idle = Client::connect(server.address, authority.client(&["http/1.1"])).await;
    assert_eq!(idle.publish("", EVENT).await.0, 201);
    // Its handshake has just begun.
    let mut undecided = tokio::net::TcpStream::connect(server.address).await.unwrap();
    undecided.write_all(&[0x16]).await.unwrap();
    server.begin_shutdown();
    assert_eq!(silent.until_ended().await, (vec![], Ended::Properly));
    assert_eq!(idle.until_ended().await, (vec![], Ended::Properly));
    assert_eq!(server.stopped().await.cut_off, 0);
}

#[tokio::test]
async fn the_last_answer_of_a_connection_is_whole() {
    let (server, authority) = start().await;
    let mut client = Client::connect(server.address, authority.client(&["http/1.1"])).await;
    client.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    let (answer, ended) = client.until_ended().await;
    assert!(answer.starts_with(b"HTTP/1.1 200 "));
    assert_eq!(ended, Ended::Properly);

    let mut client = Client::connect(server.address, authority.client(&["http/1.1"])).await;
    client.send("GET /healthz HTTP/1.1\r\n\r\n").await;
    client.say_close_notify().await;
    let (answer, _) = client.until_ended().await;
    assert!(answer.starts_with(b"HTTP/1.1 400 "), "what the client no longer sends, it still hears");
}

#[tokio::test]
async fn a_metric_says_until_when_the_certificate_is_good() {
    let authority = Authority::new();
    let pair = authority.pair_with(|params| params.not_after = rcgen::date_time_ymd(2123, 4, 5));
    let files = crate::support::Files::of(&pair);
    let server = TestServer::start_with(|options| options.tls = files.options()).await;
    let seconds = rcgen::date_time_ymd(2123, 4, 5).unix_timestamp();
    let line = format!("eventrelay_http_tls_certificate_expiry_timestamp_seconds{{}} {seconds}");
    until_metrics_say(server.address, &authority.client(&["http/1.1"]), &line).await;

    let plain = TestServer::start().await.connect().await.get("/metrics").await;
    let plain = String::from_utf8(plain.body).unwrap();
    assert!(!plain.contains("expiry_timestamp_seconds{"), "nothing is said of a door without TLS");
}
