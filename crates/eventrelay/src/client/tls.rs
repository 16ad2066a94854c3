//! Which servers the commands believe over `https`, and which certificate they show if they are asked for one.
//!
//! The authorities are the public web's, or those of a file instead, since a server that was given a certificate by its own
//! people should be believed by that alone. There is no switch that believes anybody: whoever is on the way could then read
//! every event and the API key.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, ClientConfig, RootCertStore};

use crate::arguments::ServerAddress;
use crate::exit::Failure;

/// The variables that stand for the flags.
const CA_FILE_VARIABLE: &str = "EVENTRELAY_CA_FILE";
const CERTIFICATE_FILE_VARIABLE: &str = "EVENTRELAY_CLIENT_CERTIFICATE_FILE";
const KEY_FILE_VARIABLE: &str = "EVENTRELAY_CLIENT_KEY_FILE";

/// What is spoken with a server whose URL begins with `https`.
pub(super) fn config_for_https(server: &ServerAddress) -> Result<ClientConfig, Failure> {
    let ca_file = given(server.ca_file.as_ref(), CA_FILE_VARIABLE);
    let builder = ClientConfig::builder().with_root_certificates(authorities(ca_file.as_deref())?);
    let certificate = given(server.client_certificate_file.as_ref(), CERTIFICATE_FILE_VARIABLE);
    let key = given(server.client_key_file.as_ref(), KEY_FILE_VARIABLE);
    match (certificate, key) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(certificate), Some(key_path)) => {
            let key = PrivateKeyDer::from_pem_file(&key_path)
                .map_err(|error| unusable("client key", &key_path, &error))?;
            let chain = certificates("client certificate", &certificate)?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| unusable("client key", &key_path, &error))
        }
        _ => Err(Failure::usage(format!(
            "a client certificate and its key belong together: --client-certificate-file or {CERTIFICATE_FILE_VARIABLE}, \
             and --client-key-file or {KEY_FILE_VARIABLE}"
        ))),
    }
}

/// What is needed, and not used, where the URL begins with `http`.
pub(super) fn config_for_http(server: &ServerAddress) -> Result<ClientConfig, &'static str> {
    // Of a variable that is set for other servers nothing is expected here.
    if server.ca_file.is_some()
        || server.client_certificate_file.is_some()
        || server.client_key_file.is_some()
    {
        return Err("certificates are for https");
    }
    Ok(ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// Why the two sides do not come together.
pub(super) enum Distrust {
    /// This side does not believe the server's certificate.
    OfServer,
    /// The server ended the handshake for the certificate that it was, or was not, shown. With TLS 1.3 a client has sent its
    /// first request by then; the server has not read it.
    OfClient,
}

impl Distrust {
    /// Whether that is what an error is about.
    pub(super) fn in_error(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        use AlertDescription::{
            AccessDenied, BadCertificate, CertificateExpired, CertificateRequired, CertificateRevoked,
            CertificateUnknown, UnknownCA, UnsupportedCertificate,
        };
        let mut next = Some(error);
        while let Some(error) = next {
            match error.downcast_ref() {
                Some(rustls::Error::InvalidCertificate(_)) => return Some(Self::OfServer),
                Some(rustls::Error::AlertReceived(
                    AccessDenied
                    | BadCertificate
                    | CertificateExpired
                    | CertificateRequired
                    | CertificateRevoked
                    | CertificateUnknown
                    | UnknownCA
                    | UnsupportedCertificate,
                )) => return Some(Self::OfClient),
                _ => {}
            }
            // An I/O error names the source of what it wraps for its own, and so hides that itself.
            next = match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
                Some(wrapped) => Some(wrapped),
                None => error.source(),
            };
        }
        None
    }
}

fn given(flag: Option<&PathBuf>, variable: &str) -> Option<PathBuf> {
    flag.cloned()
        .or_else(|| std::env::var_os(variable).filter(|it| it != &OsString::new()).map(PathBuf::from))
}

fn authorities(file: Option<&Path>) -> Result<RootCertStore, Failure> {
    let Some(file) = file else { return Ok(webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect()) };
    let mut authorities = RootCertStore::empty();
    for certificate in certificates("CA file", file)? {
        authorities.add(certificate).map_err(|error| unusable("CA file", file, &error))?;
    }
    Ok(authorities)
}

/// At least one.
fn certificates(what: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| unusable(what, file, &error))?;
    if certificates.is_empty() {
        return Err(unusable(what, file, &"it holds no certificate in PEM form"));
    }
    Ok(certificates)
}

fn unusable(what: &str, file: &Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::usage(format!("cannot use the {what} {}: {why}", file.display()))
}
