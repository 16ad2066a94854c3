//! Certificates that change while the server runs.

use std::os::unix::fs::symlink;

use eventrelay_server::tls::{ClientCertificates, TlsOptions};
use rustls::ClientConfig;

use crate::http_server::TestServer;
use crate::support::{Authority, Client, Files, PATIENCE, Pair, certified, until_metrics_say};
use crate::tcp_server;

const EVENT: &str = r#"{"type":"t","source":"/s"}"#;

/// Waits until new connections get this certificate, and checks that from then on no other is shown.
async fn until_shown(address: std::net::SocketAddr, config: &ClientConfig, pair: &Pair) {
    let wait = async {
        while Client::connect(address, config.clone()).await.server_certificate() != pair.der() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the new certificate");
    for _ in 0..20 {
        assert_eq!(Client::connect(address, config.clone()).await.server_certificate(), pair.der());
    }
}

#[tokio::test]
async fn a_new_pair_is_shown_on_the_same_listener_and_old_connections_go_on() {
    let (authority, files) = certified();
    let server = TestServer::start_with(|options| options.tls = files.options()).await;
    let config = authority.client(&["http/1.1"]);
    let mut old = Client::connect(server.address, config.clone()).await;
    assert_eq!(old.publish("", EVENT).await.0, 201);
    let before = old.server_certificate();
    for _ in 0..3 {
        let pair = authority.pair();
        files.write(&pair);
        until_shown(server.address, &config, &pair).await;
        assert_eq!(old.publish("", EVENT).await.0, 201);
    }
    assert_eq!(old.server_certificate(), before);
}

#[tokio::test]
async fn a_directory_that_is_swapped_by_a_link_is_noticed() {
    // As Kubernetes does it: tls.crt ─▶ ..data/tls.crt, ..data ─▶ ..1, and ..data is exchanged for one to ..2.
    let authority = Authority::new();
    let pairs = [authority.pair(), authority.pair()];
    let files = Files::of(&pairs[0]);
    let directory = files.directory();
    for (name, pair) in ["..1", "..2"].into_iter().zip(&pairs) {
        std::fs::create_dir(directory.join(name)).unwrap();
        std::fs::write(directory.join(name).join("tls.crt"), &pair.certificate).unwrap();
        std::fs::write(directory.join(name).join("tls.key"), &pair.key).unwrap();
    }
    symlink("..1", directory.join("..data")).unwrap();
    for name in ["tls.crt", "tls.key"] {
        std::fs::remove_file(directory.join(name)).unwrap();
        symlink(format!("..data/{name}"), directory.join(name)).unwrap();
    }
    let server = TestServer::start_with(|options| options.tls = files.options()).await;
    let config = authority.client(&["http/1.1"]);
    until_shown(server.address, &config, &pairs[0]).await;
    symlink("..2", directory.join("..data_tmp")).unwrap();
    std::fs::rename(directory.join("..data_tmp"), directory.join("..data")).unwrap();
    until_shown(server.address, &config, &pairs[1]).await;
}

#[tokio::test]
async fn a_pair_that_cannot_be_used_changes_nothing_until_it_is_mended() {
    let authority = Authority::new();
    let (first, second) = (authority.pair(), authority.pair());
    let files = Files::of(&first);
    let server = TestServer::start_with(|options| options.tls = files.options()).await;
    let config = authority.client(&["http/1.1"]);
    // The key of another, no key, no file.
    let breakages: [&dyn Fn(); 3] = [
        &|| std::fs::write(files.path("tls.key"), &second.key).unwrap(),
        &|| std::fs::write(files.path("tls.key"), "no key at all").unwrap(),
        &|| std::fs::remove_file(files.path("tls.crt")).unwrap(),
    ];
    for (index, break_it) in breakages.into_iter().enumerate() {
        break_it();
        let failed = format!("eventrelay_http_tls_reloads_total{{outcome=\"failed\"}} {}", index + 1);
        until_metrics_say(server.address, &config, &failed).await;
        assert_eq!(Client::connect(server.address, config.clone()).await.server_certificate(), first.der());
    }
    // One after the other, as a person would: in between they do not match.
    std::fs::write(files.path("tls.crt"), &second.certificate).unwrap();
    std::fs::write(files.path("tls.key"), &second.key).unwrap();
    until_shown(server.address, &config, &second).await;
}

#[tokio::test]
async fn who_may_vouch_for_clients_changes_too() {
    let (authority, files) = certified();
    let (old, new) = (Authority::new(), Authority::new());
    std::fs::write(files.path("clients.crt"), old.pem()).unwrap();
    let options = TlsOptions {
        client_certificates: ClientCertificates::Required,
        client_ca_file: Some(files.path("clients.crt")),
        ..files.options()
    };
    let server = tcp_server::TestServer::start_with(|tcp| tcp.tls = options).await;
    let (of_old, of_new) = (old.pair(), new.pair());
    let acknowledged = async |pair: &Pair| {
        let config = authority.client_with(&[], Some(pair));
        let Ok(mut client) = Client::try_connect(server.frames_address(), config).await else { return false };
        let sent = tokio::io::AsyncWriteExt::write_all(&mut client.stream, &tcp_server::frame("a")).await;
        // It may have been turned away already.
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut client.stream).await;
        sent.is_ok() && client.until_ended().await.0 == [0]
    };
    assert!(acknowledged(&of_old).await);
    assert!(!acknowledged(&of_new).await);
    std::fs::write(files.path("clients.crt"), new.pem()).unwrap();
    let wait = async { while !acknowledged(&of_new).await {} };
    tokio::time::timeout(PATIENCE, wait).await.expect("the new authority is believed");
    assert!(!acknowledged(&of_old).await);
}

#[tokio::test]
async fn files_that_are_not_looked_at_are_read_when_somebody_asks() {
    let (authority, files) = certified();
    let mut options = files.options();
    options.reload_interval_ms = 0;
    let server = TestServer::start_with(|http| http.tls = options).await;
    let config = authority.client(&["http/1.1"]);
    let before = Client::connect(server.address, config.clone()).await.server_certificate();
    let pair = authority.pair();
    files.write(&pair);
    for _ in 0..20 {
        let shown = Client::connect(server.address, config.clone()).await.server_certificate();
        assert_eq!(shown, before);
    }
    server.certificates.as_ref().unwrap().request_reload();
    until_shown(server.address, &config, &pair).await;
}
