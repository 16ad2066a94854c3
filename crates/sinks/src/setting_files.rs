//! Files and environment variables that settings name: certificates, keys, passwords.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::egress::{ClientTls, ClientTlsSettings, Identity, Protocols, TlsSettingsError};
use crate::{Environment, Secret, SinkError, settings};

/// More than any secrets, certificates or key need: a wrong path must not read a disk into memory.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The `tls` table of a sink's settings. It may be left out: then the public authorities are believed.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsFiles {
    /// A PEM file of the certificate authorities to believe instead of the public ones; only in trusted settings.
    pub ca_file: Option<PathBuf>,
    /// A PEM file with the client's certificate chain; only in trusted settings.
    pub client_certificate_file: Option<PathBuf>,
    /// A PEM file with that certificate's private key; only in trusted settings.
    pub client_key_file: Option<PathBuf>,
    /// Believe any certificate of the target. For tests only: it is warned about at each start.
    pub insecure_skip_verify: bool,
}

impl TlsFiles {
    /// The fields in use, all of which mean something over TLS only.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &'static str> + use<> {
        let fields = [
            ("tls.ca_file", self.ca_file.is_some()),
            ("tls.client_certificate_file", self.client_certificate_file.is_some()),
            ("tls.client_key_file", self.client_key_file.is_some()),
            ("tls.insecure_skip_verify", self.insecure_skip_verify),
        ];
        fields.into_iter().filter(|(_, given)| *given).map(|(field, _)| field)
    }

    /// Sets up TLS to `target`, as the settings of the kind ask.
    ///
    /// # Errors
    /// Names the field, as `tls.ca_file`.
    pub(crate) fn client_tls(
        &self,
        kind: &'static str,
        protocols: Protocols,
        target: &dyn std::fmt::Display,
        environment: &Environment,
    ) -> Result<ClientTls, SinkError> {
        let named = [
            ("tls.ca_file", self.ca_file.is_some()),
            ("tls.client_certificate_file", self.client_certificate_file.is_some()),
            ("tls.client_key_file", self.client_key_file.is_some()),
        ];
        for (field, _) in named.into_iter().filter(|(_, given)| *given) {
            only_trusted(kind, field, environment)?;
        }
        if self.client_certificate_file.is_some() != self.client_key_file.is_some() {
            let why = "client_certificate_file and client_key_file go together";
            return Err(settings::refused(kind, "tls.client_certificate_file", why));
        }
        if self.insecure_skip_verify {
            tracing::warn!(
                %target,
                kind,
                "insecure_skip_verify is set: this sink believes any certificate, so anyone on the way can read and change \
                 its events"
            );
        }
        let optional =
            |field, path: &Option<PathBuf>| path.as_deref().map(|path| read(kind, field, path)).transpose();
        let certificates = optional("tls.client_certificate_file", &self.client_certificate_file)?;
        let key = optional("tls.client_key_file", &self.client_key_file)?;
        let identity = certificates
            .zip(key)
            .map(|(certificates, key)| Identity { certificates, key: Zeroizing::new(key) });
        let authorities = optional("tls.ca_file", &self.ca_file)?;
        let tls = ClientTlsSettings { protocols, authorities, identity, insecure: self.insecure_skip_verify };
        ClientTls::new(tls).map_err(|error| {
            let field = match error {
                TlsSettingsError::Authorities => "tls.ca_file",
                TlsSettingsError::Certificates => "tls.client_certificate_file",
                TlsSettingsError::Key => "tls.client_key_file",
                TlsSettingsError::Provider(_) => "tls",
            };
            settings::refused(kind, field, error.to_string())
        })
    }
}

/// A secret that settings give by value, or name a file or an environment variable for; at most one of them.
#[derive(Debug)]
pub(crate) struct SecretSource<'a> {
    /// The field's name; the others are `<field>_file` and `<field>_env`.
    pub(crate) field: &'static str,
    pub(crate) value: Option<&'a Secret>,
    pub(crate) file: Option<&'a Path>,
    pub(crate) env: Option<&'a str>,
}

impl SecretSource<'_> {
    /// The secret; none where none is given. White space around what a file holds is no part of it.
    ///
    /// # Errors
    /// Names the field, and shows no secret.
    pub(crate) fn read(
        &self,
        kind: &'static str,
        environment: &Environment,
    ) -> Result<Option<Secret>, SinkError> {
        let (file_field, env_field) = (format!("{}_file", self.field), format!("{}_env", self.field));
        let given = [self.value.is_some(), self.file.is_some(), self.env.is_some()];
        if given.into_iter().filter(|given| *given).count() > 1 {
            let why = format!("at most one of `{}`, `{file_field}` and `{env_field}` may be set", self.field);
            return Err(settings::refused(kind, self.field, why));
        }
        if let Some(path) = self.file {
            only_trusted(kind, &file_field, environment)?;
            let bytes = Zeroizing::new(read(kind, self.field, path)?);
            let text =
                std::str::from_utf8(&bytes).map_err(|_| settings::refused(kind, file_field, "not UTF-8"))?;
            return Ok(Some(Secret::new(text.trim().to_owned())));
        }
        if let Some(variable) = self.env {
            only_trusted(kind, &env_field, environment)?;
            let text = std::env::var(variable);
            let text = text.map_err(|_| {
                settings::refused(kind, env_field, format!("{variable} is not set to a text"))
            })?;
            return Ok(Some(Secret::new(text)));
        }
        Ok(self.value.map(|secret| Secret::new(secret.expose().to_owned())))
    }
}

/// Refuses a field that reaches into this machine, unless the operator wrote it.
///
/// # Errors
/// Where the settings are not the operator's.
pub(crate) fn only_trusted(
    kind: &'static str,
    field: &str,
    environment: &Environment,
) -> Result<(), SinkError> {
    if environment.trusted_settings {
        return Ok(());
    }
    Err(settings::refused(kind, field, "may only be set in the configuration file"))
}

/// Reads a file that a field names.
///
/// # Errors
/// When it cannot be read, or is too large to be what it should.
pub(crate) fn read(kind: &'static str, field: &'static str, path: &Path) -> Result<Vec<u8>, SinkError> {
    let failed = |source| SinkError::File { kind, field, path: path.to_owned(), source };
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .map_err(failed)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(settings::refused(
            kind,
            field,
            format!("{} is larger than {MAX_FILE_BYTES} bytes", path.display()),
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted() -> Environment {
        Environment { trusted_settings: true, ..Environment::default() }
    }

    #[test]
    fn a_secret_comes_from_one_place_and_is_trimmed_where_that_is_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "canary\n").unwrap();
        let value = Secret::new("value".to_owned());
        let none = SecretSource { field: "password", value: None, file: None, env: None };
        assert!(none.read("k", &trusted()).unwrap().is_none());
        let by_value = SecretSource { value: Some(&value), ..none };
        assert_eq!(by_value.read("k", &Environment::default()).unwrap().unwrap().expose(), "value");
        let none = SecretSource { field: "password", value: None, file: None, env: None };
        let by_file = SecretSource { file: Some(file.path()), ..none };
        assert_eq!(by_file.read("k", &trusted()).unwrap().unwrap().expose(), "canary");
        let untrusted = by_file.read("k", &Environment::default()).unwrap_err().to_string();
        assert!(
            untrusted.contains("`password_file`") && untrusted.contains("configuration file"),
            "{untrusted}"
        );
        let both =
            SecretSource { field: "password", value: Some(&value), file: Some(file.path()), env: None };
        assert!(both.read("k", &trusted()).unwrap_err().to_string().contains("at most one"));
        let unset =
            SecretSource { field: "password", value: None, file: None, env: Some("EVENTRELAY_NOT_SET") };
        assert!(unset.read("k", &trusted()).unwrap_err().to_string().contains("`password_env`"));
    }
}
