//! Certificates, and a client that speaks TLS byte by byte.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use eventrelay_server::tls::TlsOptions;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Longer than anything that a test waits for; reached only when the server hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A certificate authority.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// For `localhost`.
    pub(crate) fn pair(&self) -> Pair {
        self.pair_with(|_| {})
    }

    pub(crate) fn pair_with(&self, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// A client that believes this authority and offers these protocols.
    pub(crate) fn client(&self, protocols: &[&str]) -> ClientConfig {
        self.client_with(protocols, None)
    }

    /// One that speaks TLS 1.2 only. There the server is the first to know that the handshake is done.
    pub(crate) fn tls12_client(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS12])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }

    /// The same, which also has a certificate of its own.
    pub(crate) fn client_with(&self, protocols: &[&str], own: Option<&Pair>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![pair.der()], key).unwrap()
            }
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        // Every connection is a handshake of its own, with a certificate.
        config.resumption = rustls::client::Resumption::disabled();
        config
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

impl Pair {
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }
}

/// A directory with the files of a door.
pub(crate) struct Files {
    directory: tempfile::TempDir,
}

impl Files {
    pub(crate) fn of(pair: &Pair) -> Self {
        let files = Self { directory: tempfile::tempdir().unwrap() };
        files.write(pair);
        files
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Puts another pair in the place of the one that is there.
    pub(crate) fn write(&self, pair: &Pair) {
        std::fs::write(self.path("tls.crt"), &pair.certificate).unwrap();
        std::fs::write(self.path("tls.key"), &pair.key).unwrap();
    }

    /// The options that name them; changes are noticed at once.
    pub(crate) fn options(&self) -> TlsOptions {
        TlsOptions {
            certificate_file: Some(self.path("tls.crt")),
            private_key_file: Some(self.path("tls.key")),
            reload_interval_ms: 5,
            ..TlsOptions::default()
        }
    }
}

/// An authority and the files of a door with a certificate of it.
pub(crate) fn certified() -> (Authority, Files) {
    let authority = Authority::new();
    let files = Files::of(&authority.pair());
    (authority, files)
}

/// A client's end of a connection.
pub(crate) struct Client {
    pub(crate) stream: TlsStream<TcpStream>,
    received: Vec<u8>,
}

/// How the server's half of a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It said so (`close_notify`).
    Properly,
    /// The connection was just gone.
    CutOff,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr, config: ClientConfig) -> Self {
        Self::try_connect(address, config).await.unwrap()
    }

    pub(crate) async fn try_connect(address: SocketAddr, config: ClientConfig) -> io::Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").unwrap();
        let handshake = TlsConnector::from(Arc::new(config)).connect(name, socket);
        let stream = tokio::time::timeout(PATIENCE, handshake).await.expect("a handshake")?;
        Ok(Self { stream, received: Vec::new() })
    }

    /// What the server has shown.
    pub(crate) fn server_certificate(&self) -> CertificateDer<'static> {
        self.stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    }

    pub(crate) fn protocol(&self) -> Option<&[u8]> {
        self.stream.get_ref().1.alpn_protocol()
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Sends no more: `close_notify`, and the end of the TCP stream.
    pub(crate) async fn finish_sending(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// `close_notify` alone.
    pub(crate) async fn say_close_notify(&mut self) {
        self.stream.get_mut().1.send_close_notify();
        self.stream.flush().await.unwrap();
    }

    pub(crate) async fn receive(&mut self, count: usize) -> Vec<u8> {
        while self.received.len() < count {
            assert_eq!(self.fill().await, None, "after {:?}", self.received);
        }
        self.received.drain(..count).collect()
    }

    /// Reads up to and with `end`.
    pub(crate) async fn receive_past(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(place) = self.received.windows(end.len()).position(|window| window == end) {
                return self.received.drain(..place + end.len()).collect();
            }
            assert_eq!(self.fill().await, None, "after {:?}", self.received);
        }
    }

    /// Waits until the server ends its half, and gives what it still said.
    pub(crate) async fn until_ended(&mut self) -> (Vec<u8>, Ended) {
        loop {
            if let Some(ended) = self.fill().await {
                return (std::mem::take(&mut self.received), ended);
            }
        }
    }

    async fn fill(&mut self) -> Option<Ended> {
        let read = self.stream.read_buf(&mut self.received);
        match tokio::time::timeout(PATIENCE, read).await.expect("an answer") {
            Ok(0) => Some(Ended::Properly),
            Ok(_) => None,
            Err(_) => Some(Ended::CutOff),
        }
    }

    /// One request over HTTP/1.1: its status and body.
    pub(crate) async fn request(&mut self, request: &str) -> (u16, String) {
        self.send(request).await;
        let head = String::from_utf8(self.receive_past(b"\r\n\r\n").await).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = head
            .to_lowercase()
            .split("content-length: ")
            .nth(1)
            .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse().unwrap());
        (status, String::from_utf8(self.receive(length).await).unwrap())
    }

    pub(crate) async fn get(&mut self, path: &str) -> (u16, String) {
        self.request(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await
    }

    /// Publishes one event over HTTP/1.1; `headers` are whole lines.
    pub(crate) async fn publish(&mut self, headers: &str, event: &str) -> (u16, String) {
        let length = event.len();
        self.request(&format!(
            "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{headers}\
             Content-Length: {length}\r\n\r\n{event}"
        ))
        .await
    }
}

/// Waits until this holds.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the condition holds in the end");
}

/// Waits until the metrics of an HTTP server say this, asked over TLS.
pub(crate) async fn until_metrics_say(address: SocketAddr, config: &ClientConfig, line: &str) {
    let mut client = Client::connect(address, config.clone()).await;
    let wait = async {
        loop {
            let (_, metrics) = client.get("/metrics").await;
            if metrics.lines().any(|shown| shown == line) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let seen = tokio::time::timeout(PATIENCE, wait).await;
    assert!(seen.is_ok(), "no {line:?}");
}
