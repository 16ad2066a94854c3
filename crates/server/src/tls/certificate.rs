//! What is read from a certificate: until when it is good, and whose it is.

use rustls::pki_types::CertificateDer;
use x509_parser::error::X509Error;
use x509_parser::prelude::{FromDer, X509Certificate};

/// When certificates are good, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) from_seconds: i64,
    pub(super) until_seconds: i64,
}

impl Validity {
    /// When all of a chain are good. The chain is not empty.
    ///
    /// # Errors
    /// Which of them, counted from 1, is no certificate, and why.
    pub(super) fn of_chain(chain: &[CertificateDer<'_>]) -> Result<Self, (usize, String)> {
        let mut all = Self { from_seconds: i64::MIN, until_seconds: i64::MAX };
        for (index, certificate) in chain.iter().enumerate() {
            let parsed = parse(certificate).map_err(|error| (index + 1, error.to_string()))?;
            let validity = parsed.validity();
            all.from_seconds = all.from_seconds.max(validity.not_before.timestamp());
            all.until_seconds = all.until_seconds.min(validity.not_after.timestamp());
        }
        Ok(all)
    }
}

/// Whose a certificate is: its subject, in the notation of RFC 4514.
pub(super) fn subject(certificate: &CertificateDer<'_>) -> String {
    match parse(certificate) {
        Ok(parsed) => parsed.subject().to_string(),
        Err(error) => format!("unreadable: {error}"),
    }
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, X509Error> {
    match X509Certificate::from_der(certificate) {
        Ok((_, parsed)) => Ok(parsed),
        Err(error) => Err(match error {
            x509_parser::nom::Err::Error(error) | x509_parser::nom::Err::Failure(error) => error,
            x509_parser::nom::Err::Incomplete(_) => X509Error::InvalidCertificate,
        }),
    }
}
