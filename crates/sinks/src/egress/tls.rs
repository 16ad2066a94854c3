//! The client's side of TLS: which certificates are believed, and which protocols are offered.
//!
//! The cryptography is aws-lc-rs, named here, so that it does not depend on what else is linked into the
//! process.

use std::sync::{Arc, LazyLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::named_addresses::{AddressNames, NamedAddressVerifier};

/// Sessions kept for resumption: a sink has one target, so few are of use.
const RESUMABLE_SESSIONS: usize = 4;

/// The public web's certificate authorities, shared by all sinks.
static PUBLIC_ROOTS: LazyLock<Arc<RootCertStore>> =
    LazyLock::new(|| Arc::new(webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect()));

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

/// Which HTTP versions are offered in the handshake (ALPN).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocols {
    /// HTTP/2 where the other side has it, else HTTP/1.1.
    Http1OrHttp2,
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only.
    Http2,
    #[allow(dead_code)]
    /// None: what is spoken is no HTTP.
    None,
}

/// What a subscription may choose of TLS. Certificates and keys are in PEM form.
#[derive(Debug)]
pub(crate) struct ClientTlsSettings {
    pub(crate) protocols: Protocols,
    /// Certificate authorities to believe *instead of* the public web's.
    pub(crate) authorities: Option<Vec<u8>>,
    /// The client's certificate chain and its private key.
    pub(crate) identity: Option<Identity>,
    /// Believe any certificate. Whoever is on the path can then read and change everything.
    pub(crate) insecure: bool,
}

/// A client certificate.
pub(crate) struct Identity {
    pub(crate) certificates: Vec<u8>,
    pub(crate) key: zeroize::Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity([redacted])")
    }
}

/// What is wrong with TLS settings.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsSettingsError {
    #[error("holds no PEM certificate")]
    Authorities,
    #[error("holds no PEM certificate")]
    Certificates,
    #[error("holds no PEM private key, or not that of the client certificate")]
    Key,
    #[error("TLS cannot be set up: {0}")]
    Provider(rustls::Error),
}

/// Speaks TLS to one kind of target.
#[derive(Clone)]
pub(crate) struct ClientTls {
    connector: TlsConnector,
    verifier: Arc<dyn ServerCertVerifier>,
}

impl ClientTls {
    pub(crate) fn new(settings: ClientTlsSettings) -> Result<Self, TlsSettingsError> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
            .with_safe_default_protocol_versions()
            .map_err(TlsSettingsError::Provider)?;
        let verifier: Arc<dyn ServerCertVerifier> = if settings.insecure {
            Arc::new(BelieveAnyone)
        } else {
            let roots = roots(settings.authorities.as_deref())?;
            WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&PROVIDER))
                .build()
                .map_err(|_| TlsSettingsError::Authorities)?
        };
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::clone(&verifier));
        let mut config = match settings.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = certificates(&identity.certificates).ok_or(TlsSettingsError::Certificates)?;
                let key = PrivateKeyDer::from_pem_slice(&identity.key).map_err(|_| TlsSettingsError::Key)?;
                builder.with_client_auth_cert(chain, key).map_err(|_| TlsSettingsError::Key)?
            }
        };
        config.resumption = Resumption::in_memory_sessions(RESUMABLE_SESSIONS);
        config.alpn_protocols = match settings.protocols {
            Protocols::Http1OrHttp2 => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Protocols::Http1 => vec![b"http/1.1".to_vec()],
            Protocols::Http2 => vec![b"h2".to_vec()],
            Protocols::None => Vec::new(),
        };
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), verifier })
    }

    /// The configuration, for a client library that shakes hands by itself.
    #[allow(dead_code)]
    pub(crate) fn config(&self) -> &Arc<ClientConfig> {
        self.connector.config()
    }

    /// The configuration, for a client library that dials by itself and so is given vetted addresses: it then takes an
    /// address for the server's name, and `names` says which names its certificate may carry instead.
    pub(crate) fn config_for_addresses(&self, names: AddressNames) -> ClientConfig {
        let mut config = ClientConfig::clone(self.connector.config());
        let verifier = NamedAddressVerifier::new(Arc::clone(&self.verifier), names);
        config.dangerous().set_certificate_verifier(Arc::new(verifier));
        config
    }

    /// Shakes hands; the certificate must carry `name`.
    pub(crate) async fn handshake(
        &self,
        name: ServerName<'static>,
        stream: TcpStream,
    ) -> std::io::Result<Box<TlsStream<TcpStream>>> {
        self.connector.connect(name, stream).await.map(Box::new)
    }
}

fn roots(authorities: Option<&[u8]>) -> Result<Arc<RootCertStore>, TlsSettingsError> {
    let Some(pem) = authorities else { return Ok(Arc::clone(&PUBLIC_ROOTS)) };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem).ok_or(TlsSettingsError::Authorities)? {
        roots.add(certificate).map_err(|_| TlsSettingsError::Authorities)?;
    }
    Ok(Arc::new(roots))
}

/// All certificates of a PEM text; none when there is none or one is broken.
fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
    (!found.is_empty()).then_some(found)
}

/// Believes any certificate, but still checks that the other side holds its key.
#[derive(Debug)]
struct BelieveAnyone;

impl ServerCertVerifier for BelieveAnyone {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &PROVIDER.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &PROVIDER.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        PROVIDER.signature_verification_algorithms.supported_schemes()
    }
}
