//! Rude clients: each gets a clear answer, stores nothing, and harms nobody.

use std::io;

use eventrelay_server::proto::v1;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

use super::support::{Conversation, TestServer, code, event, publish, within};

#[tokio::test]
async fn a_message_over_the_limit_is_refused_and_the_connection_goes_on() {
    let server = TestServer::start_with(|options| options.max_message_bytes = 10_000).await;
    let mut client = server.client().await;
    let large = v1::Event { data: Some(v1::event::Data::Binary(vec![0; 20_000].into())), ..event("t") };
    let status = publish(&mut client, vec![large.clone()]).await.unwrap_err();
    assert_eq!((status.code(), code(&status).as_str()), (Code::ResourceExhausted, "message_too_large"));

    let mut stream = Conversation::open(&mut client).await;
    stream.send(1, vec![large]).await;
    let status = stream.next().await.unwrap_err();
    assert_eq!(code(&status), "message_too_large");
    server.assert_unharmed().await;
}

/// One request over HTTP/2; gives the status, `grpc-status` and the body.
async fn post(server: &TestServer, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, Option<Code>) {
    let socket = TcpStream::connect(server.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    let driver = tokio::spawn(connection);
    let mut request = http::Request::post(format!("http://{}{path}", server.address));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(bytes::Bytes::copy_from_slice(body))).unwrap();
    let response = within(sender.send_request(request)).await.unwrap();
    let (head, body) = response.into_parts();
    let trailers = within(body.collect()).await.unwrap().trailers().cloned();
    let status = head.headers.get("grpc-status").cloned();
    let status = status.or_else(|| trailers?.get("grpc-status").cloned());
    driver.abort();
    (head.status.as_u16(), status.map(|status| Code::from_bytes(status.as_bytes())))
}

/// A path, headers and a body, and the HTTP and gRPC status that they get.
type NoCall<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [u8], u16, Option<Code>);

const GRPC: (&str, &str) = ("content-type", "application/grpc");
const PUBLISH: &str = "/eventrelay.v1.EventRelay/Publish";

#[tokio::test]
async fn what_is_no_call_of_ours_is_told_so() {
    let server = TestServer::start().await;
    let garbage = [0, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff];
    let bomb = [0, 0xff, 0xff, 0xff, 0xff, 1];
    let cases: [NoCall<'_>; 8] = [
        (PUBLISH, &[("content-type", "application/json")], b"{}", 415, None),
        (PUBLISH, &[], b"", 415, None),
        (PUBLISH, &[GRPC], &garbage, 200, Some(Code::InvalidArgument)),
        (PUBLISH, &[GRPC], &bomb, 200, Some(Code::ResourceExhausted)),
        (PUBLISH, &[GRPC, ("origin", "http://evil.example")], &[0; 5], 200, Some(Code::PermissionDenied)),
        ("/eventrelay.v1.EventRelay/Destroy", &[GRPC], &[0; 5], 200, Some(Code::Unimplemented)),
        ("/", &[GRPC], b"", 200, Some(Code::Unimplemented)),
        (PUBLISH, &[GRPC, ("grpc-encoding", "gzip")], &[1, 0, 0, 0, 0], 200, Some(Code::Unimplemented)),
    ];
    for (path, headers, body, status, code) in cases {
        assert_eq!(post(&server, path, headers, body).await, (status, code), "{path} {headers:?} {body:?}");
    }
    server.assert_unharmed().await;
}

#[tokio::test]
async fn a_call_for_another_host_is_refused() {
    let server = TestServer::start().await;
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", server.address))
        .unwrap()
        .origin("http://evil.example".parse().unwrap())
        .connect()
        .await
        .unwrap();
    let mut client = v1::event_relay_client::EventRelayClient::new(channel);
    let status = publish(&mut client, vec![event("t")]).await.unwrap_err();
    assert_eq!((status.code(), code(&status).as_str()), (Code::PermissionDenied, "forbidden_host"));
    server.assert_unharmed().await;
}

#[tokio::test]
async fn metadata_over_the_limit_is_refused_and_the_connection_goes_on() {
    let server = TestServer::start_with(|options| options.max_head_bytes = 4096).await;
    let mut client = server.client().await;
    let one_endless = [("x-filler".to_owned(), "y".repeat(5000))];
    let many: Vec<_> = (0..200).map(|n| (format!("x-filler-{n}"), "y".to_owned())).collect();
    for flood in [&one_endless[..], &many] {
        let mut request = tonic::Request::new(v1::PublishRequest { events: vec![event("t")] });
        for (name, value) in flood {
            let name: tonic::metadata::AsciiMetadataKey = name.parse().unwrap();
            request.metadata_mut().insert(name, value.parse().unwrap());
        }
        let status = within(client.publish(request)).await.unwrap_err();
        // HTTP/2 answers it with 431 before it is a call of anything.
        assert!(status.message().contains("431"), "{status:?}");
    }
    assert_eq!(server.log.durable_offset(), 0);
    publish(&mut client, vec![event("t")]).await.unwrap();
}

async fn everything(socket: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    match within(socket.read_to_end(&mut answer)).await {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
    }
    answer
}

#[tokio::test]
async fn http_1_is_told_that_this_is_another_port() {
    let server = TestServer::start().await;
    for bytes in ["GET / HTTP/1.1\r\nhost: localhost\r\n\r\n", "garbage \0\0 of any kind\r\n\r\n"] {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        socket.write_all(bytes.as_bytes()).await.unwrap();
        let answer = String::from_utf8(everything(&mut socket).await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 505 ") && answer.contains("unsupported_version"), "{answer}");
    }
    assert!(server.metrics().contains(r#"eventrelay_grpc_refused_connections_total{reason="not_http2"} 2"#));
    server.assert_unharmed().await;
}

#[tokio::test]
async fn who_stays_silent_or_stops_halfway_is_closed() {
    let server = TestServer::start_with(|options| {
        (options.first_byte_timeout_ms, options.idle_timeout_ms) = (50, 50);
    })
    .await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for sent in [&b""[..], &preface[..10], preface] {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        socket.write_all(sent).await.unwrap();
        everything(&mut socket).await;
    }
    server.assert_unharmed().await;
}

#[tokio::test]
async fn half_a_message_is_cut_off_and_its_neighbours_go_on() {
    let server = TestServer::start_with(|options| options.message_timeout_ms = 50).await;
    let socket = TcpStream::connect(server.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    let driver = tokio::spawn(connection);
    let half = http_body::Frame::data(bytes::Bytes::from_static(&[0, 0, 0, 0, 100, 1, 2]));
    let pieces = stream::iter([Ok::<_, io::Error>(half)]).chain(stream::pending());
    let request = http::Request::post(format!("http://{}{PUBLISH}", server.address));
    let request = request.header("content-type", "application/grpc").body(StreamBody::new(pieces)).unwrap();
    let response = within(sender.send_request(request)).await.unwrap();
    let status = Code::from_bytes(response.headers()["grpc-status"].as_bytes());
    assert_eq!(status, Code::DeadlineExceeded);
    assert!(server.metrics().contains(r#"code="message_timeout"} 1"#));
    driver.abort();
    server.assert_unharmed().await;
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_counted() {
    let server = TestServer::start_with(|options| options.max_connections_per_address = 2).await;
    let _first = TcpStream::connect(server.address).await.unwrap();
    let second = TcpStream::connect(server.address).await.unwrap();
    let mut third = TcpStream::connect(server.address).await.unwrap();
    assert!(everything(&mut third).await.is_empty());
    drop(second);
    // Its place is free once the server has seen it go.
    within(async {
        while !server.metrics().contains("eventrelay_grpc_connections 1\n") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    server.assert_unharmed().await;
    assert!(server.metrics().contains(r#"reason="max_connections_per_address"} 1"#));
}

#[tokio::test]
async fn a_client_that_takes_no_answers_is_read_no_further_and_harms_nobody() {
    let server = TestServer::start_with(|options| {
        (options.stream_in_flight_bytes, options.write_timeout_ms) = (16 * 1024, 200);
    })
    .await;
    // The smallest window that the protocol allows, so that its answers soon fill it.
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", server.address))
        .unwrap()
        .initial_stream_window_size(Some(1024))
        .connect()
        .await
        .unwrap();
    let mut client = v1::event_relay_client::EventRelayClient::new(channel);
    let mut rude = Conversation::open(&mut client).await;
    let mut sent = 0;
    while rude.takes(sent, vec![event("t"); 100]).await {
        sent += 1;
        assert!(sent < 100_000, "all that a client sends is taken, though it takes no answers");
    }
    publish(&mut server.client().await, vec![event("t")]).await.unwrap();
    // What it had coming it still gets, in order, and then hears that there will be no more.
    let mut answered = 0;
    let status = loop {
        match rude.next().await {
            Ok(result) => assert_eq!(result.unwrap().sequence, answered),
            Err(status) => break status,
        }
        answered += 1;
    };
    assert_eq!((status.code(), code(&status).as_str()), (Code::Unavailable, "stream_cut_off"));
    assert!(answered < sent, "{answered} answers of {sent}");
}
