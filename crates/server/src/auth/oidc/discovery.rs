//! What a provider says of itself: where it is asked for what, and the keys that it signs with. Read when the first login needs it,
//! and kept for an hour.
//!
//! ```text
//!  <issuer>/.well-known/openid-configuration ──▶ Metadata ── jwks_uri ──▶ SigningKeys
//! ```
//!
//! One request at a time, whoever waits for its answer. A key that is not there has the keys read again, once a minute at most, for a
//! provider may have changed them and anybody can send a token that names a key. After a failure nobody is asked for a few
//! seconds, so that those who wait are not held up one after the other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;
use url::Url;

use super::endpoint;
use super::id_token::IdToken;
use super::provider_http::{ProviderError, ProviderHttp, nonsense};
use super::signing_keys::SigningKeys;

const KEPT: Duration = Duration::from_secs(3600);
/// Between two readings of the keys for the sake of one that is not there.
const BETWEEN_REREADINGS: Duration = Duration::from_secs(60);
/// How long a failure answers for the provider.
const FAILURE_KEPT: Duration = Duration::from_secs(2);
const WELL_KNOWN: &str = "/.well-known/openid-configuration";

/// Where a provider is asked for what.
#[derive(Debug)]
pub(super) struct Metadata {
    pub(super) authorization_endpoint: Url,
    pub(super) token_endpoint: Url,
    pub(super) userinfo_endpoint: Option<Url>,
    jwks_uri: Url,
    /// Whether a client's secret has to be in the body, since no header is taken.
    pub(super) wants_secret_in_body: bool,
}

#[derive(Deserialize)]
struct JsonMetadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    #[serde(default)]
    userinfo_endpoint: Option<String>,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

/// What is known of one provider.
#[derive(Debug)]
pub(super) struct Discovery {
    issuer: String,
    url: Url,
    http: Arc<ProviderHttp>,
    turn: Semaphore,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    metadata: Option<(Arc<Metadata>, Instant)>,
    keys: Option<(Arc<SigningKeys>, Instant)>,
    /// When the keys were last read for the sake of one that was not there.
    reread_at: Option<Instant>,
    failure: Option<(ProviderError, Instant)>,
}

impl Discovery {
    /// `issuer` is a URL without a query.
    pub(super) fn new(issuer: &str, http: Arc<ProviderHttp>) -> Result<Self, ProviderError> {
        let url = format!("{}{WELL_KNOWN}", issuer.trim_end_matches('/'));
        let url =
            url.parse().map_err(|error: url::ParseError| ProviderError::Unwritable(error.to_string()))?;
        Ok(Self { issuer: issuer.to_owned(), url, http, turn: Semaphore::new(1), known: Mutex::default() })
    }

    /// Where the provider is asked for what.
    pub(super) async fn metadata(&self) -> Result<Arc<Metadata>, ProviderError> {
        if let Some(known) = self.known().metadata(Instant::now()) {
            return known;
        }
        let _turn = self.turn().await?;
        if let Some(known) = self.known().metadata(Instant::now()) {
            return known;
        }
        let read = self.read_metadata().await;
        let mut known = self.known();
        known.note(&read);
        let metadata = Arc::new(read?);
        known.metadata = Some((Arc::clone(&metadata), Instant::now()));
        Ok(metadata)
    }

    /// The keys, with the one of the token among them where the provider has it.
    pub(super) async fn keys_for(
        &self,
        metadata: &Metadata,
        token: &IdToken<'_>,
    ) -> Result<Arc<SigningKeys>, ProviderError> {
        if let Some(known) = self.known().keys(token, Instant::now()) {
            return known;
        }
        let _turn = self.turn().await?;
        let now = Instant::now();
        {
            let mut known = self.known();
            if let Some(known) = known.keys(token, now) {
                return known;
            }
            if known.keys.is_some() {
                known.reread_at = Some(now);
            }
        }
        let read = self.read_keys(&metadata.jwks_uri).await;
        let mut known = self.known();
        known.note(&read);
        let keys = Arc::new(read?);
        known.keys = Some((Arc::clone(&keys), Instant::now()));
        Ok(keys)
    }

    async fn read_metadata(&self) -> Result<Metadata, ProviderError> {
        let body = self.http.get(&self.url).await?;
        Metadata::parse(&body, &self.issuer).map_err(|why| nonsense(&self.url, &why))
    }

    async fn read_keys(&self, url: &Url) -> Result<SigningKeys, ProviderError> {
        let body = self.http.get(url).await?;
        SigningKeys::parse(&body).ok_or_else(|| nonsense(url, &"it is no key set"))
    }

    async fn turn(&self) -> Result<SemaphorePermit<'_>, ProviderError> {
        // It is never closed.
        self.turn.acquire().await.map_err(|error| ProviderError::Unwritable(error.to_string()))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn metadata(&self, now: Instant) -> Option<Result<Arc<Metadata>, ProviderError>> {
        match &self.metadata {
            Some((metadata, read_at)) if now < *read_at + KEPT => Some(Ok(Arc::clone(metadata))),
            _ => self.failure(now).map(Err),
        }
    }

    fn keys(&self, token: &IdToken<'_>, now: Instant) -> Option<Result<Arc<SigningKeys>, ProviderError>> {
        match &self.keys {
            Some((keys, read_at)) if now < *read_at + KEPT => {
                let may_reread = self.reread_at.is_none_or(|at| now >= at + BETWEEN_REREADINGS);
                (token.has_key_in(keys) || !may_reread).then(|| Ok(Arc::clone(keys)))
            }
            _ => self.failure(now).map(Err),
        }
    }

    fn failure(&self, now: Instant) -> Option<ProviderError> {
        let recent = self.failure.as_ref().filter(|(_, at)| now < *at + FAILURE_KEPT);
        recent.map(|(error, _)| error.clone())
    }

    fn note<T>(&mut self, read: &Result<T, ProviderError>) {
        self.failure = read.as_ref().err().map(|error| (error.clone(), Instant::now()));
    }
}

impl Metadata {
    /// Reads the document.
    ///
    /// # Errors
    /// When it is not that of the issuer, or leads where nothing may be asked.
    fn parse(json: &[u8], issuer: &str) -> Result<Self, String> {
        let document: JsonMetadata = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if document.issuer != issuer {
            return Err(
                "it is the document of another issuer: auth.oidc.issuer must be written as there".to_owned()
            );
        }
        let url = |name: &str, text: &str| {
            endpoint::parse(text).map_err(|expected| format!("{name} must be {expected}"))
        };
        let userinfo = document.userinfo_endpoint.as_deref();
        let methods = document.token_endpoint_auth_methods_supported.unwrap_or_default();
        let takes = |method: &str| methods.iter().any(|name| name == method);
        Ok(Self {
            authorization_endpoint: url("authorization_endpoint", &document.authorization_endpoint)?,
            token_endpoint: url("token_endpoint", &document.token_endpoint)?,
            userinfo_endpoint: userinfo.map(|text| url("userinfo_endpoint", text)).transpose()?,
            jwks_uri: url("jwks_uri", &document.jwks_uri)?,
            // Where nothing is said, the header is what all take.
            wants_secret_in_body: takes("client_secret_post") && !takes("client_secret_basic"),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ISSUER: &str = "https://login.example.com";

    fn document() -> Value {
        json!({
            "issuer": ISSUER, "authorization_endpoint": "https://login.example.com/authorize",
            "token_endpoint": "https://api.example.com/token", "jwks_uri": "https://login.example.com/keys",
        })
    }

    fn parse(document: &Value) -> Result<Metadata, String> {
        Metadata::parse(document.to_string().as_bytes(), ISSUER)
    }

    #[test]
    fn only_the_issuers_own_document_is_taken_and_only_where_it_leads_by_tls() {
        assert!(parse(&document()).is_ok());
        for (name, value) in [
            ("issuer", json!("https://login.example.com/")),
            ("issuer", json!("https://evil.example")),
            ("token_endpoint", json!("http://api.example.com/token")),
            ("jwks_uri", json!("file:///etc/passwd")),
            ("userinfo_endpoint", json!("ldap://x")),
            ("authorization_endpoint", json!(null)),
        ] {
            let mut wrong = document();
            wrong[name] = value.clone();
            assert!(parse(&wrong).is_err(), "{name}: {value}");
        }
        assert!(Metadata::parse(b"<html>", ISSUER).is_err());
    }

    #[test]
    fn the_secret_goes_into_the_body_only_where_no_header_is_taken() {
        for (methods, expected) in [
            (json!(null), false),
            (json!(["client_secret_post", "client_secret_basic"]), false),
            (json!(["private_key_jwt"]), false),
            (json!(["client_secret_post"]), true),
        ] {
            let mut said = document();
            said["token_endpoint_auth_methods_supported"] = methods.clone();
            assert_eq!(parse(&said).unwrap().wants_secret_in_body, expected, "{methods}");
        }
    }
}
