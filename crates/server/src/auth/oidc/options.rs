//! `[auth.oidc]`: the OpenID Connect provider that users log in with. Without an issuer there is none.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use eventrelay_event::Tenant;
use eventrelay_state::Role;
use rustls::RootCertStore;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::admission::{AdmissionRules, NewUsers, Roles};
use super::endpoint;
use crate::tls;

/// More than any secret has.
const MAX_SECRET_BYTES: u64 = 4096;
const MAX_TEXT_CHARS: usize = 255;
const MAX_SCOPES: usize = 32;
const MAX_ROLES: usize = 1000;

/// How users log in with a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OidcOptions {
    /// The provider's name for itself, below which its `.well-known/openid-configuration` is. None: there is no provider.
    pub issuer: Option<String>,
    /// What the provider calls this relay.
    pub client_id: Option<String>,
    /// A file with the secret that the provider has given out with it. None: a public client, which proves itself by PKCE alone.
    pub client_secret_file: Option<PathBuf>,
    /// The authorities that may vouch for the provider, in PEM. None: the public ones.
    pub ca_file: Option<PathBuf>,
    /// What browsers call `/v1/oidc/callback` here, as it is registered with the provider.
    pub redirect_url: Option<String>,
    /// What the provider is asked for; `openid` is among it.
    pub scopes: Vec<String>,
    /// What a login page calls the provider.
    pub name: String,
    /// Whether an email address counts as verified of which the provider does not say whether it is.
    pub trust_email: bool,
    /// Where its users have their roles.
    pub tenant: String,
    /// Whether users are made who are not there.
    pub create_users: bool,
    /// Their role, where no claim says it.
    pub default_role: Option<Role>,
    /// The claim that says a user's role, at each login. None: roles are given here.
    pub role_claim: Option<String>,
    /// Which of its values stands for which role. Of several the most powerful counts.
    pub roles: BTreeMap<String, Role>,
}

impl Default for OidcOptions {
    fn default() -> Self {
        Self {
            issuer: None,
            client_id: None,
            client_secret_file: None,
            ca_file: None,
            redirect_url: None,
            scopes: ["openid", "email", "profile"].map(str::to_owned).to_vec(),
            name: "OpenID Connect".to_owned(),
            trust_email: false,
            tenant: Tenant::default().to_string(),
            create_users: false,
            default_role: None,
            role_claim: None,
            roles: BTreeMap::new(),
        }
    }
}

/// A setting that makes no sense. Shows no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("auth.oidc.{name}: {why}")]
pub struct OidcOptionsError {
    /// The setting's name.
    pub name: &'static str,
    /// What is wrong with it.
    pub why: String,
}

/// The settings, understood, with what is in their files.
pub(super) struct OidcSettings {
    pub(super) issuer: String,
    pub(super) client_id: String,
    pub(super) client_secret: Option<Zeroizing<String>>,
    pub(super) authorities: RootCertStore,
    /// As it is registered with the provider, character for character.
    pub(super) redirect_url: String,
    /// As the provider takes them: with spaces between.
    pub(super) scopes: String,
    pub(super) name: String,
    pub(super) rules: AdmissionRules,
}

impl OidcOptions {
    /// Checks the settings, and reads the files as a start would. Blocking.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub fn validate(&self) -> Result<(), OidcOptionsError> {
        self.settings().map(drop)
    }

    /// The settings; none where there is no provider. Blocking.
    pub(super) fn settings(&self) -> Result<Option<OidcSettings>, OidcOptionsError> {
        let Some(issuer) = &self.issuer else { return self.check_is_unused().map(|()| None) };
        let url =
            endpoint::parse(issuer).map_err(|expected| refused("issuer", format!("must be {expected}")))?;
        if url.query().is_some() {
            return Err(refused("issuer", "must have no query"));
        }
        let client_id = self.client_id.clone().unwrap_or_default();
        check_text("client_id", &client_id)?;
        check_text("name", &self.name)?;
        Ok(Some(OidcSettings {
            issuer: issuer.clone(),
            client_id,
            client_secret: self.client_secret_file.as_deref().map(read_secret).transpose()?,
            authorities: self.authorities()?,
            redirect_url: self.checked_redirect_url()?,
            scopes: self.checked_scopes()?,
            name: self.name.clone(),
            rules: self.rules(issuer)?,
        }))
    }

    /// Somebody who sets one of these believes that there is a provider.
    fn check_is_unused(&self) -> Result<(), OidcOptionsError> {
        let default = Self::default();
        if *self == default {
            return Ok(());
        }
        Err(refused("issuer", "is not set, but other settings of the provider are"))
    }

    fn checked_redirect_url(&self) -> Result<String, OidcOptionsError> {
        let expected = |expected| refused("redirect_url", format!("must be {expected}"));
        let text = self.redirect_url.as_deref();
        let text = text.ok_or_else(|| expected("what browsers call /v1/oidc/callback of this server"))?;
        let url = endpoint::parse(text).map_err(expected)?;
        if url.query().is_some() || !url.path().ends_with("/v1/oidc/callback") {
            return Err(expected("a URL that ends with /v1/oidc/callback"));
        }
        Ok(text.to_owned())
    }

    fn checked_scopes(&self) -> Result<String, OidcOptionsError> {
        // RFC 6749, section 3.3.
        let is_one = |scope: &String| {
            !scope.is_empty()
                && scope.len() <= MAX_TEXT_CHARS
                && scope.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
        };
        if !self.scopes.iter().all(is_one) || self.scopes.len() > MAX_SCOPES {
            return Err(refused("scopes", "must be names of visible ASCII, at most 32"));
        }
        if !self.scopes.iter().any(|scope| scope == "openid") {
            return Err(refused("scopes", "must have `openid` among them"));
        }
        Ok(self.scopes.join(" "))
    }

    fn rules(&self, issuer: &str) -> Result<AdmissionRules, OidcOptionsError> {
        let tenant = Tenant::parse(&self.tenant).map_err(|error| refused("tenant", error.to_string()))?;
        let (roles, new_users) = match (&self.role_claim, self.default_role) {
            (Some(_), Some(_)) => {
                return Err(refused(
                    "default_role",
                    "must not be set where role_claim is, which says the role",
                ));
            }
            (Some(claim), None) => {
                check_text("role_claim", claim)?;
                if self.roles.is_empty() || self.roles.len() > MAX_ROLES {
                    return Err(refused("roles", "must have a role for at least one value of role_claim"));
                }
                (Roles::Claim { name: claim.clone(), values: self.roles.clone() }, NewUsers::OfClaim)
            }
            (None, _) if !self.roles.is_empty() => {
                return Err(refused("role_claim", "must be set where roles are"));
            }
            (None, Some(role)) => (Roles::Kept, NewUsers::Of(role)),
            (None, None) if self.create_users => {
                return Err(refused(
                    "default_role",
                    "must be set where users are made and role_claim is not set",
                ));
            }
            (None, None) => (Roles::Kept, NewUsers::Refused),
        };
        let new_users = if self.create_users { new_users } else { NewUsers::Refused };
        let trusts_email = self.trust_email;
        Ok(AdmissionRules { issuer: issuer.to_owned(), tenant, roles, new_users, trusts_email })
    }

    fn authorities(&self) -> Result<RootCertStore, OidcOptionsError> {
        let Some(path) = &self.ca_file else {
            return Ok(webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect());
        };
        let failed = |why: String| refused("ca_file", format!("{}: {why}", path.display()));
        let mut authorities = RootCertStore::empty();
        for certificate in tls::read_certificates(path).map_err(|problem| failed(problem.to_string()))? {
            authorities.add(certificate).map_err(|error| failed(error.to_string()))?;
        }
        Ok(authorities)
    }
}

fn refused(name: &'static str, why: impl Into<String>) -> OidcOptionsError {
    OidcOptionsError { name, why: why.into() }
}

fn check_text(name: &'static str, text: &str) -> Result<(), OidcOptionsError> {
    let is_one =
        !text.trim().is_empty() && text.chars().count() <= MAX_TEXT_CHARS && !text.contains(char::is_control);
    if is_one {
        Ok(())
    } else {
        Err(refused(name, "must be a text of 1 to 255 characters, none of them a control"))
    }
}

/// White space around what the file holds is no part of it.
fn read_secret(path: &Path) -> Result<Zeroizing<String>, OidcOptionsError> {
    let failed = |why: &str| refused("client_secret_file", format!("{}: {why}", path.display()));
    let unreadable = |error: std::io::Error| failed(&format!("cannot be read: {error}"));
    // With room for all of it: a buffer that grew would leave parts of the secret behind.
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(MAX_SECRET_BYTES + 1).unwrap_or(0)));
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_SECRET_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
    let secret = text.trim();
    if secret.is_empty() || text.len() as u64 > MAX_SECRET_BYTES || secret.contains(char::is_control) {
        return Err(failed("must hold one secret: a line of at most 4,096 bytes"));
    }
    Ok(Zeroizing::new(secret.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usable() -> OidcOptions {
        OidcOptions {
            issuer: Some("https://login.example.com/realm".to_owned()),
            client_id: Some("relay".to_owned()),
            redirect_url: Some("https://relay.example.com/v1/oidc/callback".to_owned()),
            ..OidcOptions::default()
        }
    }

    #[track_caller]
    fn refused_name(options: &OidcOptions) -> Option<&'static str> {
        options.validate().err().map(|error| error.name)
    }

    #[test]
    fn no_provider_is_valid_and_so_is_one_with_what_it_needs() {
        assert!(OidcOptions::default().settings().unwrap().is_none());
        let settings = usable().settings().unwrap().unwrap();
        assert_eq!((settings.scopes.as_str(), settings.client_secret), ("openid email profile", None));
        assert_eq!((settings.rules.tenant, settings.rules.new_users), (Tenant::default(), NewUsers::Refused));
        let loopback = OidcOptions {
            issuer: Some("http://127.0.0.1:9000".to_owned()),
            redirect_url: Some("http://localhost:8080/v1/oidc/callback".to_owned()),
            ..usable()
        };
        assert_eq!(refused_name(&loopback), None);
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name() {
        let text = |text: &str| Some(text.to_owned());
        let roles = || BTreeMap::from([("staff".to_owned(), Role::Viewer)]);
        for (name, options) in [
            ("issuer", OidcOptions { issuer: None, ..usable() }),
            ("issuer", OidcOptions { issuer: text("http://login.example.com"), ..usable() }),
            ("issuer", OidcOptions { issuer: text("https://login.example.com/?a=b"), ..usable() }),
            ("client_id", OidcOptions { client_id: None, ..usable() }),
            (
                "client_secret_file",
                OidcOptions { client_secret_file: Some("/nonexistent".into()), ..usable() },
            ),
            ("ca_file", OidcOptions { ca_file: Some("/nonexistent".into()), ..usable() }),
            ("redirect_url", OidcOptions { redirect_url: None, ..usable() }),
            (
                "redirect_url",
                OidcOptions { redirect_url: text("http://relay.example.com/v1/oidc/callback"), ..usable() },
            ),
            (
                "redirect_url",
                OidcOptions { redirect_url: text("https://relay.example.com/callback"), ..usable() },
            ),
            ("scopes", OidcOptions { scopes: vec!["email".to_owned()], ..usable() }),
            ("scopes", OidcOptions { scopes: vec!["openid".to_owned(), "a b".to_owned()], ..usable() }),
            ("name", OidcOptions { name: " ".to_owned(), ..usable() }),
            ("tenant", OidcOptions { tenant: "Not One".to_owned(), ..usable() }),
            ("default_role", OidcOptions { create_users: true, ..usable() }),
            ("role_claim", OidcOptions { roles: roles(), ..usable() }),
            ("roles", OidcOptions { role_claim: text("groups"), ..usable() }),
            (
                "default_role",
                OidcOptions {
                    role_claim: text("groups"),
                    roles: roles(),
                    default_role: Some(Role::Viewer),
                    ..usable()
                },
            ),
        ] {
            assert_eq!(refused_name(&options), Some(name), "{options:?}");
        }
    }

    #[test]
    fn a_secret_is_read_without_the_white_space_and_shown_to_nobody() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let options = OidcOptions { client_secret_file: Some(file.path().to_owned()), ..usable() };
        assert_eq!(refused_name(&options), Some("client_secret_file"), "it is empty");
        std::fs::write(file.path(), "canary\n").unwrap();
        let settings = options.settings().unwrap().unwrap();
        assert_eq!(settings.client_secret.as_deref().map(String::as_str), Some("canary"));
        std::fs::write(file.path(), "canary\ncanary\n").unwrap();
        let error = options.validate().unwrap_err();
        assert!(error.name == "client_secret_file" && !error.to_string().contains("canary"), "{error}");
    }
}
