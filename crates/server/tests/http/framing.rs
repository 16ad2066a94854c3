//! Bytes that are not quite HTTP. Each is answered with a problem, its connection is closed, and nothing of it is taken.

use crate::support::{TestServer, post};

async fn refused(bytes: impl AsRef<[u8]>, status: u16, code: &str) {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    client.send(&bytes).await;
    let answer = client.answer().await;
    let text = String::from_utf8_lossy(bytes.as_ref()).chars().take(200).collect::<String>();
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{text:?}");
    client.finish_sending().await;
    assert_eq!(client.until_closed().await, b"", "{text:?}");
    server.assert_unharmed().await;
}

#[tokio::test]
async fn two_lengths() {
    let event = r#"{"type":"t","source":"/s"}"#;
    for lengths in [
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    ] {
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{lengths}\r\n"
        );
        refused(format!("{head}1a\r\n{event}\r\n0\r\n\r\n"), 400, "ambiguous_length").await;
    }
    refused(
        "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        400,
        "invalid_content_length",
    )
    .await;
    refused(
        "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        501,
        "unsupported_transfer_encoding",
    )
    .await;
}

#[tokio::test]
async fn bare_line_ends() {
    refused("GET /healthz HTTP/1.1\nHost: localhost\n\n", 400, "malformed_request").await;
    refused("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: 1\nY: 2\r\n\r\n", 400, "malformed_request").await;
}

#[tokio::test]
async fn hosts_that_are_missing_or_too_many() {
    refused("GET /healthz HTTP/1.1\r\n\r\n", 400, "invalid_host").await;
    refused("GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400, "invalid_host")
        .await;
}

#[tokio::test]
async fn heads_that_are_too_large() {
    let many = "X: y\r\n".repeat(65);
    refused(format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{many}\r\n"), 431, "too_many_headers").await;
    let long = "x".repeat(40_000);
    refused(
        format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: {long}\r\n\r\n"),
        431,
        "headers_too_large",
    )
    .await;
}

#[tokio::test]
async fn other_protocols_and_proxies() {
    refused("GET /healthz HTTP/3.0\r\nHost: localhost\r\n\r\n", 505, "unsupported_version").await;
    refused("CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n", 405, "method_not_allowed")
        .await;
    refused("HELO evil.example\r\n\r\n", 400, "malformed_request").await;
}

#[tokio::test]
async fn chunks_that_are_none() {
    let head = "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in ["zz\r\n", "1\n{\r\n", "5\r\n123456\r\n0\r\n\r\n"] {
        refused(format!("{head}{body}"), 400, "malformed_chunk").await;
    }
}

#[tokio::test]
async fn what_came_before_is_still_answered_first() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    let good = post("Content-Type: application/json\r\n", r#"{"type":"t","source":"/s"}"#);
    client.send([good.as_slice(), b"GET /healthz HTTP/1.1\r\n\r\n", good.as_slice()].concat()).await;
    assert_eq!(client.answer().await.status, 201);
    assert_eq!(client.answer().await.code(), "invalid_host");
    client.finish_sending().await;
    client.until_closed().await;
    assert_eq!(server.log.durable_offset(), 1, "what followed the refused request was taken");
}

#[tokio::test]
async fn a_clients_own_refused_method_is_nothing_special() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    client.send("REFUSED / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(client.answer().await.code(), "not_found");
    assert_eq!(client.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_stores_nothing() {
    let server = TestServer::start().await;
    for bytes in [
        "POST /v1",
        "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 26\r\n\r\n{\"type\":\"t\"",
    ] {
        let mut client = server.connect().await;
        client.send(bytes).await;
        client.finish_sending().await;
        client.until_closed().await;
    }
    server.assert_unharmed().await;
}
