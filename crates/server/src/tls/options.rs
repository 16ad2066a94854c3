//! The `tls` table of a front door's section, with its defaults.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::error::TlsError;
use super::files::TlsFiles;
use crate::limits::{LimitCheck, OptionsError};

/// `[http.tls]`, `[grpc.tls]` or `[tcp.tls]`. Unknown names are errors. Without a certificate the door speaks in the clear.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsOptions {
    /// The certificate that is shown, then those that lead from it to its authority, in PEM. Default none: no TLS.
    pub certificate_file: Option<PathBuf>,
    /// Its private key in PEM (PKCS #8, PKCS #1 or SEC 1), not encrypted. Default none.
    pub private_key_file: Option<PathBuf>,
    /// Whether clients are asked for a certificate of their own. Default [`ClientCertificates::Off`].
    pub client_certificates: ClientCertificates,
    /// The authorities that may vouch for clients, in PEM. Default none.
    pub client_ca_file: Option<PathBuf>,
    /// How long a handshake may take, from the connection's first moment. Default 10 s.
    pub handshake_timeout_ms: u64,
    /// How often the files are looked at for changes; 0: only when the process is asked to. Default 5 s.
    pub reload_interval_ms: u64,
}

/// `client_certificates`: whether clients are asked for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientCertificates {
    /// They are not.
    Off,
    /// They are. Who shows none is let in all the same; who shows one that is not believed is not.
    Optional,
    /// They are, and who shows none that is believed is not let in.
    Required,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self {
            certificate_file: None,
            private_key_file: None,
            client_certificates: ClientCertificates::Off,
            client_ca_file: None,
            handshake_timeout_ms: 10_000,
            reload_interval_ms: 5_000,
        }
    }
}

impl TlsOptions {
    /// Whether the door speaks TLS.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.certificate_file.is_some() && self.private_key_file.is_some()
    }

    /// Reads the files as a start would, and forgets them. Blocking. `section` is what the configuration calls the table.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub fn check_files(&self, section: &'static str) -> Result<(), TlsError> {
        TlsFiles::new(section, self, &[]).map_or(Ok(()), |files| files.load().map(drop))
    }

    /// Checks that the options fit each other; the files are not looked at. `section` is what the configuration calls the
    /// table.
    ///
    /// # Errors
    /// The first that does not fit.
    pub(crate) fn validate(&self, section: &'static str) -> Result<(), OptionsError> {
        let check = LimitCheck { section };
        check.none_zero([("handshake_timeout_ms", self.handshake_timeout_ms)])?;
        let not_set = |name, expected| Err(check.error(name, &"not set", expected));
        match (&self.certificate_file, &self.private_key_file) {
            (Some(_), Some(_)) => {}
            (Some(_), None) => return not_set("private_key_file", "the key of certificate_file"),
            (None, Some(_)) => return not_set("certificate_file", "the certificate of private_key_file"),
            (None, None) => {
                if self.client_ca_file.is_some() || self.client_certificates != ClientCertificates::Off {
                    return not_set("certificate_file", "set where client certificates are asked for");
                }
            }
        }
        match (&self.client_ca_file, self.client_certificates) {
            (None, ClientCertificates::Optional | ClientCertificates::Required) => {
                not_set("client_ca_file", "set where client_certificates is optional or required")
            }
            // Somebody believes that clients are checked.
            (Some(_), ClientCertificates::Off) => Err(check.error(
                "client_certificates",
                &"off",
                "optional or required where client_ca_file is set",
            )),
            (None, ClientCertificates::Off)
            | (Some(_), ClientCertificates::Optional | ClientCertificates::Required) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_tls_is_valid_and_off() {
        assert_eq!(TlsOptions::default().validate("http.tls"), Ok(()));
        assert!(!TlsOptions::default().is_enabled());
    }

    #[test]
    fn what_belongs_together_is_asked_for_together() {
        let file = || Some(PathBuf::from("file.pem"));
        let pair =
            || TlsOptions { certificate_file: file(), private_key_file: file(), ..TlsOptions::default() };
        assert!(pair().is_enabled());
        assert_eq!(pair().validate("http.tls"), Ok(()));
        let required = ClientCertificates::Required;
        assert_eq!(
            TlsOptions { client_ca_file: file(), client_certificates: required, ..pair() }
                .validate("http.tls"),
            Ok(())
        );
        for (name, options) in [
            ("private_key_file", TlsOptions { private_key_file: None, ..pair() }),
            ("certificate_file", TlsOptions { certificate_file: None, ..pair() }),
            ("certificate_file", TlsOptions { client_ca_file: file(), ..TlsOptions::default() }),
            ("client_ca_file", TlsOptions { client_certificates: required, ..pair() }),
            ("client_certificates", TlsOptions { client_ca_file: file(), ..pair() }),
            ("handshake_timeout_ms", TlsOptions { handshake_timeout_ms: 0, ..pair() }),
        ] {
            let error = options.validate("http.tls").unwrap_err();
            assert_eq!((error.section, error.name), ("http.tls", name), "{error}");
        }
    }
}
