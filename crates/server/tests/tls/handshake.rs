//! Handshakes that come to nothing cost nobody else anything.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::http_server::TestServer;
use crate::support::{Authority, Client, certified, until_metrics_say};

const EVENT: &str = r#"{"type":"t","source":"/s"}"#;

async fn start(handshake_timeout_ms: u64) -> (TestServer, Authority) {
    let (authority, files) = certified();
    let server = TestServer::start_with(|options| {
        options.tls = files.options();
        options.tls.handshake_timeout_ms = handshake_timeout_ms;
    })
    .await;
    (server, authority)
}

fn counted(reason: &str, times: u64) -> String {
    format!("eventrelay_http_refused_connections_total{{reason=\"{reason}\"}} {times}")
}

async fn until_closed(mut socket: TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    // A reset is a way to close.
    let _ = tokio::time::timeout(crate::support::PATIENCE, socket.read_to_end(&mut said)).await.unwrap();
    said
}

#[tokio::test]
async fn a_silent_client_is_ended_by_the_deadline_while_others_are_served() {
    let (server, authority) = start(300).await;
    let mut silent = Vec::new();
    for begun in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"] {
        for _ in 0..20 {
            let mut socket = TcpStream::connect(server.address).await.unwrap();
            socket.write_all(begun).await.unwrap();
            silent.push(socket);
        }
    }
    let mut client = Client::connect(server.address, authority.client(&["http/1.1"])).await;
    assert_eq!(client.publish("", EVENT).await.0, 201);
    for socket in silent {
        assert_eq!(until_closed(socket).await, b"");
    }
    let config = authority.client(&["http/1.1"]);
    until_metrics_say(server.address, &config, &counted("tls_handshake_timeout", 60)).await;
    assert_eq!(client.publish("", EVENT).await.0, 201, "who has shaken hands is no longer timed by them");
}

#[tokio::test]
async fn a_trickle_does_not_prolong_the_deadline() {
    let (server, authority) = start(300).await;
    let (mut reader, mut writer) = TcpStream::connect(server.address).await.unwrap().into_split();
    writer.write_all(b"\x16\x03\x01\x40\x00").await.unwrap();
    let trickle = tokio::spawn(async move {
        let mut pace = tokio::time::interval(std::time::Duration::from_millis(20));
        while writer.write_all(b"\x01").await.is_ok() {
            pace.tick().await;
        }
    });
    let mut said = Vec::new();
    let _ = tokio::time::timeout(crate::support::PATIENCE, reader.read_to_end(&mut said)).await.unwrap();
    trickle.await.unwrap();
    let config = authority.client(&["http/1.1"]);
    until_metrics_say(server.address, &config, &counted("tls_handshake_timeout", 1)).await;
}

#[tokio::test]
async fn garbage_in_a_record_ends_the_connection_at_once() {
    let (server, authority) = start(60_000).await;
    let garbage: [&[u8]; 5] = [
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\xff",
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
        b"\x16\x00\x00\xff\xff",
        &[0x16; 200],
        // A first message of 16 MiB.
        b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
    ];
    for bytes in garbage {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        socket.shutdown().await.unwrap();
        assert_eq!(until_closed(socket).await, b"", "{bytes:?}");
    }
    let mut client = Client::connect(server.address, authority.client(&["http/1.1"])).await;
    assert_eq!(client.publish("", EVENT).await.0, 201);
    let (_, metrics) = client.get("/metrics").await;
    assert!(metrics.contains("{reason=\"tls_handshake_failed\"}"), "{metrics}");
}

#[tokio::test]
async fn a_client_that_leaves_or_believes_nothing_is_counted_as_that() {
    let (server, authority) = start(60_000).await;
    drop(TcpStream::connect(server.address).await.unwrap());
    let config = authority.client(&["http/1.1"]);
    until_metrics_say(server.address, &config, &counted("tls_client_left", 1)).await;
    let stranger = Authority::new();
    assert!(Client::try_connect(server.address, stranger.client(&["http/1.1"])).await.is_err());
    until_metrics_say(server.address, &config, &counted("tls_refused_by_client", 1)).await;
}

#[tokio::test]
async fn tls_1_2_is_spoken() {
    let (server, authority) = start(60_000).await;
    let mut client = Client::connect(server.address, authority.tls12_client()).await;
    assert_eq!(client.publish("", EVENT).await.0, 201);
}

#[tokio::test]
async fn a_client_that_is_too_old_hears_so() {
    let (server, authority) = start(60_000).await;
    // TLS 1.1, one cipher suite, no extensions.
    let body = [&[0x03, 0x02][..], &[7; 32], &[0, 0, 2, 0x00, 0x2f, 1, 0]].concat();
    let length = u8::try_from(body.len()).unwrap();
    let hello = [&[0x16, 0x03, 0x01, 0, length + 4, 1, 0, 0, length][..], &body].concat();
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket.write_all(&hello).await.unwrap();
    let said = until_closed(socket).await;
    assert_eq!((said.len(), said.first()), (7, Some(&0x15)), "an alert: {said:?}");
    let config = authority.client(&["http/1.1"]);
    until_metrics_say(server.address, &config, &counted("tls_handshake_failed", 1)).await;
}
