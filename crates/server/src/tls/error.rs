//! What is wrong with the files of TLS.

use std::io;
use std::path::PathBuf;

/// A file of TLS that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{section}.{name}: {path}: {problem}", path = path.display())]
pub struct TlsError {
    /// The table of the configuration, such as `http.tls`.
    pub section: &'static str,
    /// The key that names the file.
    pub name: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: TlsFileProblem,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum TlsFileProblem {
    /// The system does not give it.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// It cannot be what it should be.
    #[error("is larger than {0} bytes")]
    TooLarge(u64),
    /// There is no certificate in it, or one that is broken.
    #[error("holds no certificate in PEM form, or a broken one")]
    NoCertificate,
    /// There is a certificate in it that is none.
    #[error("certificate {number} in it is not valid X.509: {why}")]
    NotX509 {
        /// Which one, from 1.
        number: usize,
        /// What the reader says.
        why: String,
    },
    /// There is no private key in it.
    #[error("holds no private key in PEM form (PKCS #8, PKCS #1 or SEC 1, not encrypted)")]
    NoKey,
    /// The key is not that of the certificate.
    #[error("the key in it does not belong to the certificate in {}", .0.display())]
    KeyOfAnother(PathBuf),
    /// It is well-formed, but of a kind that is not taken.
    #[error("cannot be used: {0}")]
    Unusable(String),
}
