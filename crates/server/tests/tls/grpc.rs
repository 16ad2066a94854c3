//! gRPC over TLS.

use std::pin::Pin;
use std::task::{Context, Poll};

use eventrelay_server::proto::v1::event_relay_client::EventRelayClient;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

use crate::grpc_server::{Conversation, TestServer, event, publish};
use crate::support::{Authority, Client, Ended, certified, until};

async fn start() -> (TestServer, Authority) {
    let (authority, files) = certified();
    (TestServer::start_with(|options| options.tls = files.options()).await, authority)
}

/// Makes connections for tonic.
#[derive(Clone)]
struct Connector {
    server: std::net::SocketAddr,
    config: ClientConfig,
}

impl tower_service::Service<http::Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        let Self { server, config } = self.clone();
        Box::pin(async move { Ok(TokioIo::new(Client::try_connect(server, config).await?.stream)) })
    }
}

async fn channel(server: &TestServer, config: ClientConfig) -> Channel {
    let connector = Connector { server: server.address, config };
    Endpoint::from_static("https://localhost").connect_with_connector(connector).await.unwrap()
}

#[tokio::test]
async fn events_are_published_one_by_one_and_by_streams() {
    let (server, authority) = start().await;
    let mut client = EventRelayClient::new(channel(&server, authority.client(&["h2"])).await);
    let receipts = publish(&mut client, vec![event("a"), event("b")]).await.unwrap();
    assert_eq!(receipts.iter().map(|receipt| receipt.offset).collect::<Vec<_>>(), [0, 1]);

    let mut stream = Conversation::open(&mut client).await;
    for sequence in 0..500 {
        stream.send(sequence, vec![event("c")]).await;
    }
    stream.half_close();
    for _ in 0..500 {
        assert!(stream.next().await.unwrap().is_some());
    }
    assert!(stream.next().await.unwrap().is_none());
    assert_eq!(server.log.durable_offset(), 502);
}

#[tokio::test]
async fn nothing_but_http2_is_agreed_on() {
    let (server, authority) = start().await;
    let client = Client::connect(server.address, authority.client(&["http/1.1", "h2"])).await;
    assert_eq!(client.protocol(), Some(&b"h2"[..]));
    assert!(Client::try_connect(server.address, authority.client(&["http/1.1"])).await.is_err());
    until(|| server.metrics().contains("{reason=\"tls_handshake_failed\"} 1")).await;
}

#[tokio::test]
async fn a_plain_client_is_refused_without_a_word() {
    let (server, authority) = start().await;
    let endpoint = Endpoint::from_shared(format!("http://{}", server.address)).unwrap();
    let refused = match endpoint.connect().await {
        Ok(plain) => publish(&mut EventRelayClient::new(plain), vec![event("t")]).await.is_err(),
        Err(_) => true,
    };
    assert!(refused);
    until(|| server.metrics().contains("{reason=\"not_tls\"}")).await;
    let mut client = EventRelayClient::new(channel(&server, authority.client(&["h2"])).await);
    publish(&mut client, vec![event("t")]).await.unwrap();
    assert_eq!(server.log.durable_offset(), 1);
}

#[tokio::test]
async fn a_drain_says_goodbye() {
    let (mut server, authority) = start().await;
    let mut silent = Client::connect(server.address, authority.tls12_client()).await;
    server.begin_shutdown();
    assert_eq!(silent.until_ended().await, (vec![], Ended::Properly));
    server.stopped().await;
}
