//! Where a webhook's signing secrets and certificates come from: its settings, files or the environment.

use std::path::PathBuf;

use zeroize::Zeroizing;

use super::settings::{KIND, Settings};
use super::signature::Signer;
use crate::egress::{ClientTls, ClientTlsSettings, Endpoint, Identity, TlsSettingsError};
use crate::setting_files::read;
use crate::{Secret, SinkError, settings};

/// Takes all active secrets, in the order `secrets`, `secrets_file`, `secrets_env`, `expiring_secrets`.
pub(super) fn signer(settings: &Settings) -> Result<Signer, SinkError> {
    let mut count = 0;
    let mut signer = Signer::default();
    let mut add = |field: &str, index: usize, secret: &Secret, expires_at_seconds: Option<u64>| {
        count += 1;
        settings::within(KIND, field, &count, 0..=Signer::MAX_SECRETS)?;
        let added = signer.add(secret, expires_at_seconds);
        added.map_err(|error| settings::refused(KIND, format!("{field}[{index}]"), error.to_string()))
    };
    for (index, secret) in settings.secrets.iter().enumerate() {
        add("secrets", index, secret, None)?;
    }
    if let Some(path) = &settings.secrets_file {
        let text = Zeroizing::new(read(KIND, "secrets_file", path)?);
        let text =
            std::str::from_utf8(&text).map_err(|_| settings::refused(KIND, "secrets_file", "not UTF-8"))?;
        for (index, secret) in words(text).iter().enumerate() {
            add("secrets_file", index, secret, None)?;
        }
    }
    if let Some(variable) = &settings.secrets_env {
        let text = std::env::var(variable).map(Zeroizing::new);
        let text = text.map_err(|_| {
            settings::refused(KIND, "secrets_env", format!("{variable} is not set to a text"))
        })?;
        for (index, secret) in words(&text).iter().enumerate() {
            add("secrets_env", index, secret, None)?;
        }
    }
    for (index, expiring) in settings.expiring_secrets.iter().enumerate() {
        add("expiring_secrets", index, &expiring.secret, Some(expiring.expires_at_seconds))?;
    }
    let lasting = count - settings.expiring_secrets.len();
    if lasting == 0 && !settings.unsigned {
        let why = "at least one `whsec_…` or `whsk_…` secret is needed, or `unsigned = true`";
        return Err(settings::refused(KIND, "secrets", why));
    }
    Ok(signer)
}

fn words(text: &str) -> Vec<Secret> {
    text.split_whitespace().map(|word| Secret::new(word.to_owned())).collect()
}

/// Sets up TLS as the settings ask.
pub(super) fn client_tls(settings: &Settings, endpoint: &Endpoint) -> Result<ClientTls, SinkError> {
    if settings.insecure_skip_verify {
        tracing::warn!(
            %endpoint,
            "insecure_skip_verify is set: this webhook believes any certificate, so anyone on the way can read and change \
             its events"
        );
    }
    let read_optional =
        |field, path: &Option<PathBuf>| path.as_deref().map(|path| read(KIND, field, path)).transpose();
    let certificates = read_optional("client_certificate_file", &settings.client_certificate_file)?;
    let key = read_optional("client_key_file", &settings.client_key_file)?;
    ClientTls::new(ClientTlsSettings {
        protocols: settings.http2.protocols(),
        authorities: read_optional("ca_file", &settings.ca_file)?,
        identity: certificates
            .zip(key)
            .map(|(certificates, key)| Identity { certificates, key: Zeroizing::new(key) }),
        insecure: settings.insecure_skip_verify,
    })
    .map_err(|error| {
        let field = match error {
            TlsSettingsError::Authorities => "ca_file",
            TlsSettingsError::Certificates => "client_certificate_file",
            TlsSettingsError::Key => "client_key_file",
            TlsSettingsError::Provider(_) => "url",
        };
        settings::refused(KIND, field, error.to_string())
    })
}
