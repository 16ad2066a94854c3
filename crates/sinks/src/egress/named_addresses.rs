//! Checks certificates for client libraries that dial by themselves.
//!
//! Such a library is given vetted addresses and no name, so that it cannot ask the resolver again. It then asks TLS for a
//! certificate of that *address*, which hardly any server has. This verifier knows the names that each address was
//! resolved from, and checks the certificate against those, as strictly as if the name had been asked for.
//!
//! The server is not told the name (no SNI), for TLS never tells an address: a server that chooses its certificate by
//! name presents its default one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use super::Endpoint;

/// Which names stand behind which address.
#[derive(Debug, Clone, Default)]
pub(crate) struct AddressNames(HashMap<IpAddr, Vec<ServerName<'static>>>);

impl AddressNames {
    /// Notes an endpoint's addresses. Only for an endpoint with a name for TLS; any other adds nothing.
    pub(crate) fn add(&mut self, endpoint: &Endpoint, addresses: &[IpAddr]) {
        let Some(name) = endpoint.tls_name() else { return };
        for address in addresses {
            self.0.entry(*address).or_default().push(name.clone());
        }
    }

    fn of(&self, asked: &ServerName<'_>) -> &[ServerName<'static>] {
        let ServerName::IpAddress(address) = asked else { return &[] };
        self.0.get(&IpAddr::from(*address)).map_or(&[], Vec::as_slice)
    }
}

/// Checks a certificate against the names of the address that was dialled.
#[derive(Debug)]
pub(super) struct NamedAddressVerifier {
    inner: Arc<dyn ServerCertVerifier>,
    names: AddressNames,
}

impl NamedAddressVerifier {
    pub(super) fn new(inner: Arc<dyn ServerCertVerifier>, names: AddressNames) -> Self {
        Self { inner, names }
    }
}

impl ServerCertVerifier for NamedAddressVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        asked: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // An address that nobody vetted has no name to be believed for.
        let mut failure = Error::InvalidCertificate(CertificateError::NotValidForName);
        for name in self.names.of(asked) {
            match self.inner.verify_server_cert(certificate, intermediates, name, ocsp, now) {
                Ok(verified) => return Ok(verified),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
