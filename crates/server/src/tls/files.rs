//! The files of TLS: read, checked against each other, and made into what rustls serves with. Blocking throughout.
//!
//! Symbolic links are followed every time, so that a directory of files which is swapped as a whole, by one link in the
//! path (as Kubernetes does it with `..data`), is noticed like a file that is written over.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{InconsistentKeys, RootCertStore, ServerConfig};
use zeroize::Zeroizing;

use super::certificate::Validity;
use super::error::{TlsError, TlsFileProblem};
use super::options::{ClientCertificates, TlsOptions};

/// More than any certificates or key need: a wrong path must not read a disk into memory.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Everybody on the machine may read it.
const READABLE_BY_OTHERS: u32 = 0o004;

/// The files of one door.
#[derive(Debug, Clone)]
pub(super) struct TlsFiles {
    section: &'static str,
    certificates: PathBuf,
    key: PathBuf,
    client_authorities: Option<PathBuf>,
    clients: ClientCertificates,
    /// What the door speaks, the dearest first (ALPN); nothing where it has no name.
    protocols: &'static [&'static [u8]],
}

/// What was made of them.
pub(super) struct Loaded {
    pub(super) config: Arc<ServerConfig>,
    /// When the whole chain is good.
    pub(super) validity: Validity,
    pub(super) key_is_readable_by_others: bool,
}

/// What a file looks like from outside; a file that cannot be looked at has none. Equal: it has not changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fingerprint(Vec<Option<[i64; 7]>>);

impl TlsFiles {
    /// None where there is to be no TLS.
    pub(super) fn new(
        section: &'static str,
        options: &TlsOptions,
        protocols: &'static [&'static [u8]],
    ) -> Option<Self> {
        Some(Self {
            section,
            certificates: options.certificate_file.clone()?,
            key: options.private_key_file.clone()?,
            client_authorities: options.client_ca_file.clone(),
            clients: options.client_certificates,
            protocols,
        })
    }

    pub(super) fn section(&self) -> &'static str {
        self.section
    }

    pub(super) fn key_path(&self) -> &Path {
        &self.key
    }

    /// To be taken before the files are read: what changes while they are is then seen the next time.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        let paths = [Some(&self.certificates), Some(&self.key), self.client_authorities.as_ref()];
        let look = |path: &PathBuf| {
            let metadata = std::fs::metadata(path).ok()?;
            #[allow(clippy::cast_possible_wrap, reason = "compared, never counted with")]
            let numbers = [metadata.dev() as i64, metadata.ino() as i64, metadata.size() as i64];
            let [device, inode, size] = numbers;
            let (changed, made) = (metadata.mtime(), metadata.ctime());
            Some([device, inode, size, changed, metadata.mtime_nsec(), made, metadata.ctime_nsec()])
        };
        Fingerprint(paths.into_iter().flatten().map(look).collect())
    }

    /// Reads and checks them all.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub(super) fn load(&self) -> Result<Loaded, TlsError> {
        let certificate_problem = |problem| self.error("certificate_file", &self.certificates, problem);
        let chain = read_certificates(&self.certificates).map_err(certificate_problem)?;
        let validity = Validity::of_chain(&chain)
            .map_err(|(number, why)| certificate_problem(TlsFileProblem::NotX509 { number, why }))?;
        let (key, key_is_readable_by_others) =
            read_key(&self.key).map_err(|problem| self.error("private_key_file", &self.key, problem))?;
        let provider = provider();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| certificate_problem(TlsFileProblem::Unusable(error.to_string())))?;
        let builder = match self.client_verifier(provider)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| {
            let problem = match error {
                rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                    TlsFileProblem::KeyOfAnother(self.certificates.clone())
                }
                error => TlsFileProblem::Unusable(error.to_string()),
            };
            self.error("private_key_file", &self.key, problem)
        })?;
        config.alpn_protocols = self.protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Loaded { config: Arc::new(config), validity, key_is_readable_by_others })
    }

    /// What client certificates are checked by; none where they are not asked for.
    fn client_verifier(
        &self,
        provider: Arc<CryptoProvider>,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
        let Some(path) = &self.client_authorities else { return Ok(None) };
        let failed = |problem| self.error("client_ca_file", path, problem);
        let unusable = |why: String| failed(TlsFileProblem::Unusable(why));
        let mut authorities = RootCertStore::empty();
        for certificate in read_certificates(path).map_err(failed)? {
            authorities.add(certificate).map_err(|error| unusable(error.to_string()))?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider);
        let builder = match self.clients {
            ClientCertificates::Off => return Ok(None),
            ClientCertificates::Optional => builder.allow_unauthenticated(),
            ClientCertificates::Required => builder,
        };
        builder.build().map(Some).map_err(|error| unusable(error.to_string()))
    }

    fn error(&self, name: &'static str, path: &Path, problem: TlsFileProblem) -> TlsError {
        TlsError { section: self.section, name, path: path.to_owned(), problem }
    }
}

/// The process's cryptography, which `main` names; where it has none, as in tests, the same.
fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(aws_lc_rs::default_provider()))
}

/// The certificates of a file: at least one. Blocking.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileProblem> {
    let (pem, _) = read(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) | Err(_) => Err(TlsFileProblem::NoCertificate),
    }
}

/// The key, and whether others may read it.
fn read_key(path: &Path) -> Result<(PrivateKeyDer<'static>, bool), TlsFileProblem> {
    let (pem, mode) = read(path)?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| TlsFileProblem::NoKey)?;
    Ok((key, mode & READABLE_BY_OTHERS != 0))
}

/// What is in a file, and who may do what with it.
fn read(path: &Path) -> Result<(Zeroizing<Vec<u8>>, u32), TlsFileProblem> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    // With room for all of it: a buffer that grew would leave parts of a key behind.
    let room = metadata.len().min(MAX_FILE_BYTES) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(room).unwrap_or(0)));
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(TlsFileProblem::TooLarge(MAX_FILE_BYTES));
    }
    Ok((bytes, metadata.permissions().mode()))
}
