//! A provider, asked by the authorization code flow with PKCE (OpenID Connect Core 1.0, section 3.1; RFC 7636).
//!
//! ```text
//!  browser ──▶ authorization endpoint ──▶ back here with a code
//!  here    ──▶ token endpoint: code, verifier ──▶ ID token ──▶ checked with the provider's keys
//!  here    ──▶ userinfo endpoint, where the token does not say what is needed
//! ```

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request};
use serde::Deserialize;
use serde_json::{Map, Value};
use url::Url;
use zeroize::Zeroizing;

use super::claims::Claims;
use super::discovery::{Discovery, Metadata};
use super::id_token::{Expected, IdToken, TokenError};
use super::options::OidcSettings;
use super::pending::PendingLogin;
use super::provider_http::{ProviderError, ProviderHttp, nonsense, unexpected};

/// Of what a provider calls an error, so much is told.
const MAX_ERROR_CHARS: usize = 64;

/// A provider, and what this relay is to it.
pub(super) struct Provider {
    issuer: String,
    client_id: String,
    client_secret: Option<Zeroizing<String>>,
    redirect_url: String,
    scopes: String,
    /// The claim that says roles, which is then asked for wherever it may be.
    role_claim: Option<String>,
    http: Arc<ProviderHttp>,
    discovery: Discovery,
}

/// Somebody whom the provider vouches for.
#[derive(Debug)]
pub(super) struct Proven {
    /// The provider's name for the user, which never changes.
    pub(super) subject: String,
    /// What else the provider says of the user.
    pub(super) claims: Claims,
}

/// Why nobody is vouched for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProofError {
    /// It may be otherwise in a moment.
    #[error(transparent)]
    Unavailable(#[from] ProviderError),
    /// The code is none that the provider has given out, or was used.
    #[error("the provider refuses the code: {0}")]
    Code(String),
    /// What the provider gives for the code is not good.
    #[error("the ID token is not good: {0}")]
    Token(#[from] TokenError),
    /// What the userinfo endpoint says is of another user.
    #[error("the userinfo endpoint speaks of another user")]
    OtherUser,
}

#[derive(Deserialize)]
struct Tokens {
    #[serde(default)]
    id_token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
}

impl Provider {
    pub(super) fn new(settings: OidcSettings, role_claim: Option<String>) -> Result<Self, ProviderError> {
        let http = Arc::new(ProviderHttp::new(settings.authorities)?);
        Ok(Self {
            discovery: Discovery::new(&settings.issuer, Arc::clone(&http))?,
            issuer: settings.issuer,
            client_id: settings.client_id,
            client_secret: settings.client_secret,
            redirect_url: settings.redirect_url,
            scopes: settings.scopes,
            role_claim,
            http,
        })
    }

    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Where a browser goes to log in.
    pub(super) async fn authorization_url(&self, login: &PendingLogin) -> Result<Url, ProviderError> {
        let mut url = self.discovery.metadata().await?.authorization_endpoint.clone();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.client_id)
            .append_pair("redirect_uri", &self.redirect_url)
            .append_pair("scope", &self.scopes)
            .append_pair("state", &login.state())
            .append_pair("nonce", &login.nonce())
            .append_pair("code_challenge", &login.challenge())
            .append_pair("code_challenge_method", "S256");
        Ok(url)
    }

    /// Whom the provider vouches for with a code.
    pub(super) async fn prove(
        &self,
        code: &str,
        login: &PendingLogin,
        now_seconds: u64,
    ) -> Result<Proven, ProofError> {
        let metadata = self.discovery.metadata().await?;
        let tokens = self.redeem(&metadata, code, login).await?;
        let token = tokens.id_token.as_deref().ok_or(TokenError::Malformed)?;
        let token = IdToken::parse(token)?;
        let keys = self.discovery.keys_for(&metadata, &token).await?;
        let (client_id, nonce) = (self.client_id.as_str(), login.nonce());
        let expected = Expected { issuer: &self.issuer, client_id, nonce: &nonce, now_seconds };
        let (subject, claims) = token.verify(&keys, &expected)?;
        let proven = Proven { subject, claims };
        match (&metadata.userinfo_endpoint, &tokens.access_token) {
            (Some(url), Some(access_token)) if self.lacks_something(&proven.claims) => {
                self.completed(proven, url, access_token).await
            }
            _ => Ok(proven),
        }
    }

    /// Has the code exchanged for tokens.
    async fn redeem(
        &self,
        metadata: &Metadata,
        code: &str,
        login: &PendingLogin,
    ) -> Result<Tokens, ProofError> {
        let url = &metadata.token_endpoint;
        let (secret, in_body) = (self.client_secret.as_ref(), metadata.wants_secret_in_body);
        let form = self.form(code, login, secret.filter(|_| in_body));
        let mut request =
            Request::builder().method(Method::POST).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(secret) = secret.filter(|_| !in_body) {
            request = request.header(AUTHORIZATION, basic(&self.client_id, secret)?);
        }
        let (status, body) = self.http.send(url, request, form).await?;
        match status.as_u16() {
            200 => Ok(serde_json::from_slice(&body).map_err(|error| nonsense(url, &error))?),
            // RFC 6749, section 5.2. That the client itself is refused is a fault of the configuration, not of who logs in.
            400 if error_of(&body).is_some_and(|error| error == "invalid_grant") => {
                Err(ProofError::Code("invalid_grant".to_owned()))
            }
            400 | 401 => {
                let said = error_of(&body).unwrap_or_default();
                tracing::error!(said, "the OpenID Connect provider refuses this relay: look at [auth.oidc]");
                Err(unexpected(url, status).into())
            }
            _ => Err(unexpected(url, status).into()),
        }
    }

    /// A public client, and one whose secret is in the body, names itself there too.
    fn form(&self, code: &str, login: &PendingLogin, secret_in_body: Option<&Zeroizing<String>>) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", code)
            .append_pair("redirect_uri", &self.redirect_url)
            .append_pair("code_verifier", &login.verifier());
        if self.client_secret.is_none() || secret_in_body.is_some() {
            form.append_pair("client_id", &self.client_id);
        }
        if let Some(secret) = secret_in_body {
            form.append_pair("client_secret", secret);
        }
        form.finish()
    }

    fn lacks_something(&self, claims: &Claims) -> bool {
        let lacks_roles = self.role_claim.as_ref().is_some_and(|claim| claims.values(claim).is_none());
        claims.email().is_none() || lacks_roles
    }

    /// With what the userinfo endpoint says. What the token says counts before it, but an email address comes with its own word on
    /// whether it is verified.
    async fn completed(
        &self,
        mut proven: Proven,
        url: &Url,
        access_token: &str,
    ) -> Result<Proven, ProofError> {
        let bearer = HeaderValue::try_from(format!("Bearer {access_token}"));
        let bearer = bearer.map_err(|error| nonsense(url, &error))?;
        let (status, body) =
            self.http.send(url, Request::builder().header(AUTHORIZATION, bearer), String::new()).await?;
        if status != http::StatusCode::OK {
            return Err(unexpected(url, status).into());
        }
        let said: Map<String, Value> =
            serde_json::from_slice(&body).map_err(|error| nonsense(url, &error))?;
        if said.get("sub").and_then(Value::as_str) != Some(proven.subject.as_str()) {
            return Err(ProofError::OtherUser);
        }
        proven.claims.complete_with(said);
        Ok(proven)
    }
}

/// Both are encoded as in a form first (RFC 6749, section 2.3.1).
fn basic(client_id: &str, secret: &str) -> Result<HeaderValue, ProviderError> {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = Zeroizing::new(format!("{}:{}", encoded(client_id), encoded(secret)));
    let value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
    let mut value = value.map_err(|error| ProviderError::Unwritable(error.to_string()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// What a provider calls an error, where it is a plain word.
fn error_of(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Refused {
        error: String,
    }
    let Refused { error } = serde_json::from_slice(body).ok()?;
    plain_word(&error)
}

/// A word that can be shown: it may come from anybody.
pub(super) fn plain_word(text: &str) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    (!text.is_empty() && text.len() <= MAX_ERROR_CHARS && text.bytes().all(is_plain)).then(|| text.to_owned())
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Provider").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}
