//! Client certificates: who must show one, and what it is not good for.

use eventrelay_server::tls::{ClientCertificates, TlsOptions};
use rustls::ClientConfig;

use crate::support::{Authority, Client, Files, Pair, certified, until, until_metrics_say};
use crate::{grpc_server, http_server, tcp_server};

const EVENT: &str = r#"{"type":"t","source":"/s"}"#;

/// A door's authority, its files, and the authority of its clients.
fn with_clients(clients: ClientCertificates) -> (Authority, TlsOptions, Authority, Files) {
    let (authority, files) = certified();
    let of_clients = Authority::new();
    std::fs::write(files.path("clients.crt"), of_clients.pem()).unwrap();
    let options = TlsOptions {
        client_certificates: clients,
        client_ca_file: Some(files.path("clients.crt")),
        ..files.options()
    };
    (authority, options, of_clients, files)
}

/// Whether a request over HTTP is answered. With TLS 1.3 a client learns only then that it was turned away.
async fn is_served(server: &http_server::TestServer, config: ClientConfig) -> bool {
    let Ok(mut client) = Client::try_connect(server.address, config).await else { return false };
    tokio::io::AsyncWriteExt::write_all(
        &mut client.stream,
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    )
    .await
    .is_ok()
        && client.until_ended().await.0.starts_with(b"HTTP/1.1 200 ")
}

#[tokio::test]
async fn where_they_are_required_only_who_shows_a_good_one_is_let_in() {
    let (authority, options, of_clients, _files) = with_clients(ClientCertificates::Required);
    let server = http_server::TestServer::start_with(|http| http.tls = options).await;
    let own = of_clients.pair();
    let expired = of_clients.pair_with(|params| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    });
    let foreign = Authority::new().pair();
    let with = |pair: Option<&Pair>| authority.client_with(&["http/1.1"], pair);
    assert!(is_served(&server, with(Some(&own))).await);
    assert!(!is_served(&server, with(None)).await);
    assert!(!is_served(&server, with(Some(&foreign))).await);
    assert!(!is_served(&server, with(Some(&expired))).await);
    // A server's certificate of the authority that clients believe is none of a client.
    assert!(!is_served(&server, with(Some(&authority.pair()))).await);
    let counted = "eventrelay_http_refused_connections_total{reason=\"tls_client_certificate\"} 4";
    until_metrics_say(server.address, &with(Some(&own)), counted).await;
}

#[tokio::test]
async fn where_they_are_optional_only_who_shows_a_bad_one_is_not() {
    let (authority, options, of_clients, _files) = with_clients(ClientCertificates::Optional);
    let server = http_server::TestServer::start_with(|http| http.tls = options).await;
    let (own, foreign) = (of_clients.pair(), Authority::new().pair());
    let with = |pair: Option<&Pair>| authority.client_with(&["http/1.1"], pair);
    assert!(is_served(&server, with(Some(&own))).await);
    assert!(is_served(&server, with(None)).await);
    assert!(!is_served(&server, with(Some(&foreign))).await);
}

#[tokio::test]
async fn they_take_no_api_keys_place() {
    let (authority, options, of_clients, _files) = with_clients(ClientCertificates::Required);
    let server = http_server::TestServer::start_asking_for_keys(true, |http| http.tls = options).await;
    let own = of_clients.pair();
    let config = authority.client_with(&["http/1.1"], Some(&own));
    let mut client = Client::connect(server.address, config).await;
    assert_eq!(client.publish("", EVENT).await.0, 401);
    assert_eq!(server.log.durable_offset(), 0);
}

#[tokio::test]
async fn the_other_doors_ask_for_them_too() {
    let (authority, options, of_clients, _files) = with_clients(ClientCertificates::Required);
    let own = of_clients.pair();
    let tcp = tcp_server::TestServer::start_with(|tcp| tcp.tls = options.clone()).await;
    let mut client = Client::connect(tcp.frames_address(), authority.client_with(&[], Some(&own))).await;
    client.send(tcp_server::frame("a")).await;
    assert_eq!(client.receive(1).await, [0]);
    if let Ok(mut stranger) = Client::try_connect(tcp.frames_address(), authority.client(&[])).await {
        assert_eq!(stranger.until_ended().await.0, b"");
    }
    tcp.until_metrics_say("eventrelay_tcp_refused_connections_total{reason=\"tls_client_certificate\"} 1")
        .await;
    assert_eq!(tcp.log.durable_offset(), 1);

    let grpc = grpc_server::TestServer::start_with(|grpc| grpc.tls = options).await;
    if let Ok(mut stranger) = Client::try_connect(grpc.address, authority.client(&["h2"])).await {
        assert_eq!(stranger.until_ended().await.0, b"");
    }
    until(|| grpc.metrics().contains("{reason=\"tls_client_certificate\"} 1")).await;
    let with_own = authority.client_with(&["h2"], Some(&own));
    assert_eq!(Client::connect(grpc.address, with_own).await.protocol(), Some(&b"h2"[..]));
}
