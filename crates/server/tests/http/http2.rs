//! HTTP/2 with prior knowledge, on the same port.

use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::support::TestServer;

type Sender = hyper::client::conn::http2::SendRequest<Full<bytes::Bytes>>;

async fn connect(server: &TestServer) -> Sender {
    let socket = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn publish(sender: &mut Sender, host: &str, body: &'static str) -> (u16, serde_json::Value) {
    let request = http::Request::post(format!("http://{host}/v1/events"))
        .header("content-type", "application/json")
        .body(Full::from(body))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn events_are_taken_over_one_connection() {
    let server = TestServer::start().await;
    let mut sender = connect(&server).await;
    let mut others = sender.clone();
    let event = r#"{"type":"t","source":"/s"}"#;
    let (first, second) =
        tokio::join!(publish(&mut sender, "localhost", event), publish(&mut others, "localhost", event));
    assert_eq!((first.0, second.0, server.log.durable_offset()), (201, 201, 2));
    let (status, problem) = publish(&mut sender, "localhost", "{").await;
    assert_eq!((status, problem["status"].as_u64()), (400, Some(400)));
    let (status, problem) = publish(&mut sender, "evil.example", event).await;
    assert_eq!((status, problem["code"].as_str()), (403, Some("forbidden_host")));
    assert_eq!(publish(&mut sender, "localhost", event).await.0, 201);
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let server = TestServer::start_with(|options| options.idle_timeout_ms = 50).await;
    let mut sender = connect(&server).await;
    assert_eq!(publish(&mut sender, "localhost", r#"{"type":"t","source":"/s"}"#).await.0, 201);
    while sender.ready().await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_drain_ends_the_connection() {
    let mut server = TestServer::start().await;
    let mut sender = connect(&server).await;
    assert_eq!(publish(&mut sender, "localhost", r#"{"type":"t","source":"/s"}"#).await.0, 201);
    server.begin_shutdown();
    assert_eq!(server.stopped().await.cut_off, 0);
}
