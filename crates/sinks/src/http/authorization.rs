//! Who a request says it is from: nobody, a user, the holder of a token, or the holder of a token that is fetched.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use http::header::AUTHORIZATION;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::headers::Headers;
use super::settings::{Basic, KIND, Settings};
use super::token::{Generation, TokenError, TokenSource};
use crate::setting_files::SecretSource;
use crate::{Environment, Secret, SinkError, settings};

/// What goes into `authorization`.
pub(super) enum Authorization {
    None,
    Fixed(HeaderValue),
    OAuth2(Box<TokenSource>),
}

/// The value for one request.
#[derive(Default)]
pub(super) struct Credential {
    pub(super) header: Option<HeaderValue>,
    /// Which token it holds, where it was fetched.
    pub(super) generation: Option<Generation>,
}

impl Authorization {
    /// Takes the one way that the settings have.
    pub(super) fn new(
        settings: &Settings,
        headers: &Headers,
        environment: &Environment,
    ) -> Result<Self, SinkError> {
        let token = SecretSource {
            field: "bearer_token",
            value: settings.bearer_token.as_ref(),
            file: settings.bearer_token_file.as_deref(),
            env: settings.bearer_token_env.as_deref(),
        }
        .read(KIND, environment)?;
        let given = [
            ("basic", settings.basic.is_some()),
            ("bearer_token", token.is_some()),
            ("oauth2", settings.oauth2.is_some()),
            ("headers.authorization", headers.has(&AUTHORIZATION)),
        ];
        let mut given = given.into_iter().filter(|(_, given)| *given).map(|(field, _)| field);
        if let (Some(first), Some(second)) = (given.next(), given.next()) {
            let why = format!("there is `{first}` already, and a request has one `authorization`");
            return Err(settings::refused(KIND, second, why));
        }
        if let Some(basic) = &settings.basic {
            return Ok(Self::Fixed(basic_credentials(basic, environment)?));
        }
        if let Some(token) = token {
            return bearer(token.expose())
                .map(Self::Fixed)
                .ok_or_else(|| settings::refused(KIND, "bearer_token", "not what a header can hold"));
        }
        match &settings.oauth2 {
            Some(oauth2) => {
                Ok(Self::OAuth2(Box::new(TokenSource::new(oauth2, settings, headers, environment)?)))
            }
            None => Ok(Self::None),
        }
    }

    /// The value for a request; fetches a token where there is none that is still good.
    pub(super) async fn credential(&self, deadline: Instant) -> Result<Credential, TokenError> {
        match self {
            Self::None => Ok(Credential::default()),
            Self::Fixed(header) => Ok(Credential { header: Some(header.clone()), generation: None }),
            Self::OAuth2(source) => {
                let (header, generation) = source.token(deadline).await?;
                Ok(Credential { header: Some(header), generation: Some(generation) })
            }
        }
    }

    /// Forgets a token that the target refused. Whether another try with a new one makes sense.
    pub(super) fn refused(&self, credential: &Credential) -> bool {
        match (self, &credential.generation) {
            (Self::OAuth2(source), Some(generation)) => source.refused(generation),
            _ => false,
        }
    }

    pub(super) async fn close(&self) {
        if let Self::OAuth2(source) = self {
            source.close().await;
        }
    }
}

/// `Bearer …`, where a header can hold it.
pub(super) fn bearer(token: &str) -> Option<HeaderValue> {
    let text = Zeroizing::new(format!("Bearer {token}"));
    sensitive(&text)
}

/// `Basic …` for a user and a password.
pub(super) fn basic(username: &str, password: &Secret) -> Option<HeaderValue> {
    let pair = Zeroizing::new(format!("{username}:{}", password.expose()));
    let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
    sensitive(&text)
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    // Kept out of `Debug` and out of HTTP/2's compression state.
    value.set_sensitive(true);
    Some(value)
}

fn basic_credentials(settings: &Basic, environment: &Environment) -> Result<HeaderValue, SinkError> {
    let password = SecretSource {
        field: "password",
        value: settings.password.as_ref(),
        file: settings.password_file.as_deref(),
        env: settings.password_env.as_deref(),
    }
    .read(KIND, environment)?
    .ok_or_else(|| settings::refused(KIND, "basic.password", "is missing"))?;
    if settings.username.contains(':') {
        return Err(settings::refused(KIND, "basic.username", "may not hold a colon"));
    }
    basic(&settings.username, &password)
        .ok_or_else(|| settings::refused(KIND, "basic", "not what a header can hold"))
}
