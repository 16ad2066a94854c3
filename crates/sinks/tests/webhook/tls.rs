//! Certificates, and HTTP/2 where the receiver has it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use eventrelay_sinks::{Outcome, Sink, build};
use http::{Request, Response, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::json;
use tempfile::NamedTempFile;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::sinks::{deliver, loopback, owner, retried, webhook};

/// A certificate authority and a server's certificate from it.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    /// The authority's certificate as a file.
    fn file(&self) -> NamedTempFile {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), self.issuer.pem()).unwrap();
        file
    }

    /// A certificate for `name` and its key, as PEM.
    fn certificate(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    fn acceptor(&self, name: &str, alpn: &[&str], client_authority: Option<&Self>) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let builder = match client_authority {
            None => builder.unwrap().with_no_client_auth(),
            Some(authority) => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(authority.issuer.der().clone()).unwrap();
                let verifier =
                    rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build();
                builder.unwrap().with_client_cert_verifier(verifier.unwrap())
            }
        };
        let (certificate, key) = self.certificate(name);
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let mut config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// A receiver that an HTTP library serves.
struct Receiver {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    versions: mpsc::UnboundedReceiver<(Version, Option<String>)>,
    _tasks: JoinSet<()>,
}

impl Receiver {
    /// With TLS the handshake decides the protocol; without, it is HTTP/2.
    async fn start(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (sender, versions) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, tls, Arc::clone(&connections), sender));
        Self { address, connections, versions, _tasks: tasks }
    }

    fn url(&self, scheme: &str, host: &str) -> String {
        format!("{scheme}://{host}:{}/hook", self.address.port())
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    connections: Arc<AtomicUsize>,
    versions: mpsc::UnboundedSender<(Version, Option<String>)>,
) {
    let mut tasks = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (tls, connections, versions) = (tls.clone(), Arc::clone(&connections), versions.clone());
        tasks.spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let host = request.headers().get("host").map(|host| host.to_str().unwrap().to_owned());
                let _ = versions
                    .send((request.version(), request.uri().authority().map(ToString::to_string).or(host)));
                async move {
                    assert!(request.headers().contains_key("webhook-signature"));
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(body.len().to_string()))))
                }
            });
            let Some(tls) = tls else {
                connections.fetch_add(1, Ordering::SeqCst);
                let io = TokioIo::new(stream);
                return drop(
                    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(io, service)
                        .await,
                );
            };
            let Ok(stream) = tls.accept(stream).await else { return };
            connections.fetch_add(1, Ordering::SeqCst);
            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let io = TokioIo::new(stream);
            if http2 {
                drop(
                    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(io, service)
                        .await,
                );
            } else {
                drop(hyper::server::conn::http1::Builder::new().serve_connection(io, service).await);
            }
        });
    }
}

async fn deliver_at_once(sink: &Arc<dyn Sink>, count: usize) {
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        let sink = Arc::clone(sink);
        tasks.spawn(async move { deliver(&sink).await });
    }
    while let Some(attempt) = tasks.join_next().await {
        let attempt = attempt.unwrap();
        assert_eq!(attempt.outcome, Outcome::Delivered, "{attempt:?}");
    }
}

#[tokio::test]
async fn all_requests_share_one_http2_connection() {
    let authority = Authority::new();
    let mut receiver =
        Receiver::start(Some(authority.acceptor("localhost", &["h2", "http/1.1"], None))).await;
    let file = authority.file();
    let sink = webhook(&receiver.url("https", "localhost"), &json!({"ca_file": file.path()}));
    deliver_at_once(&sink, 50).await;
    deliver_at_once(&sink, 50).await;
    assert_eq!(receiver.connections(), 1);
    let authority = format!("localhost:{}", receiver.address.port());
    assert_eq!(receiver.versions.recv().await.unwrap(), (Version::HTTP_2, Some(authority)));
    sink.close().await;
}

#[tokio::test]
async fn http1_is_spoken_where_the_receiver_prefers_it_or_the_settings_say_so() {
    let authority = Authority::new();
    let file = authority.file();
    for (alpn, http2) in [(&["http/1.1"][..], "auto"), (&[], "auto"), (&["h2", "http/1.1"], "never")] {
        let mut receiver = Receiver::start(Some(authority.acceptor("localhost", alpn, None))).await;
        let settings = json!({"ca_file": file.path(), "http2": http2});
        let sink = webhook(&receiver.url("https", "localhost"), &settings);
        deliver_at_once(&sink, 4).await;
        assert_eq!(receiver.versions.recv().await.unwrap().0, Version::HTTP_11);
        let connections = receiver.connections();
        assert!(connections <= 4);
        deliver(&sink).await;
        assert_eq!(receiver.connections(), connections, "connections are kept over TLS too");
    }
}

#[tokio::test]
async fn http2_can_be_spoken_without_tls() {
    let mut receiver = Receiver::start(None).await;
    let sink = webhook(&receiver.url("http", "127.0.0.1"), &json!({"http2": "prior_knowledge"}));
    deliver_at_once(&sink, 20).await;
    assert_eq!(receiver.connections(), 1);
    assert_eq!(receiver.versions.recv().await.unwrap().0, Version::HTTP_2);
}

#[tokio::test]
async fn a_certificate_from_nowhere_or_for_another_name_is_refused() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let receiver = Receiver::start(Some(authority.acceptor("localhost", &["h2"], None))).await;
    let (known, unknown) = (authority.file(), stranger.file());
    let name = receiver.url("https", "localhost");
    let address = receiver.url("https", "127.0.0.1");
    for (url, settings) in [
        (&name, json!({})),
        (&name, json!({"ca_file": unknown.path()})),
        (&address, json!({"ca_file": known.path()})),
    ] {
        let attempt = deliver(&webhook(url, &settings)).await;
        assert!(retried(&attempt).contains("TLS handshake failed"), "{attempt:?}");
    }
    let trusting = webhook(&address, &json!({"insecure_skip_verify": true}));
    assert_eq!(deliver(&trusting).await.outcome, Outcome::Delivered);
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_the_receiver_asks_for_one() {
    let authority = Authority::new();
    let receiver =
        Receiver::start(Some(authority.acceptor("localhost", &["http/1.1"], Some(&authority)))).await;
    let file = authority.file();
    let (certificate, key) = authority.certificate("client");
    let (certificate_file, key_file) = (NamedTempFile::new().unwrap(), NamedTempFile::new().unwrap());
    std::fs::write(certificate_file.path(), certificate.pem()).unwrap();
    std::fs::write(key_file.path(), key.serialize_pem()).unwrap();

    let url = receiver.url("https", "localhost");
    retried(&deliver(&webhook(&url, &json!({"ca_file": file.path()}))).await);
    let settings = json!({
        "ca_file": file.path(),
        "client_certificate_file": certificate_file.path(),
        "client_key_file": key_file.path(),
    });
    assert_eq!(deliver(&webhook(&url, &settings)).await.outcome, Outcome::Delivered);
}

#[test]
fn tls_settings_of_a_plain_url_are_refused() {
    let settings = json!({"url": "http://127.0.0.1:9", "unsigned": true, "insecure_skip_verify": true});
    let refused = build("webhook", &settings, &owner(), &loopback()).err().unwrap().to_string();
    assert!(refused.contains("insecure_skip_verify") && refused.contains("http://"), "{refused}");
}
