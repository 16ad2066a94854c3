//! What the server is called by those outside, where somebody stands in front of it: a proxy that speaks TLS, another name.

use std::fmt;

use http::Uri;
use serde::{Deserialize, Serialize};

/// An absolute URL of `http` or `https`, without a slash at its end, a query or a fragment.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicUrl(String);

/// What is no such URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be a URL such as https://relay.example, without credentials, query or fragment")]
pub struct PublicUrlError;

impl PublicUrl {
    /// What a path is appended to.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PublicUrl {
    type Error = PublicUrlError;

    fn try_from(mut text: String) -> Result<Self, PublicUrlError> {
        // A fragment is not seen by the parser.
        let url: Uri = Some(&text)
            .filter(|text| !text.contains('#'))
            .ok_or(PublicUrlError)?
            .parse()
            .map_err(|_| PublicUrlError)?;
        let has_scheme = matches!(url.scheme_str(), Some("http" | "https"));
        let has_host = url.host().is_some_and(|host| !host.is_empty());
        let has_credentials = url.authority().is_some_and(|authority| authority.as_str().contains('@'));
        if !has_scheme || !has_host || has_credentials || url.query().is_some() {
            return Err(PublicUrlError);
        }
        text.truncate(text.trim_end_matches('/').len());
        Ok(Self(text))
    }
}

impl From<PublicUrl> for String {
    fn from(url: PublicUrl) -> Self {
        url.0
    }
}

impl fmt::Debug for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_place_that_paths_can_be_appended_to() {
        let parsed = |text: &str| PublicUrl::try_from(text.to_owned()).map(|url| url.as_str().to_owned());
        for (text, url) in [
            ("https://relay.example", "https://relay.example"),
            ("https://relay.example/", "https://relay.example"),
            ("http://127.0.0.1:8080/relay//", "http://127.0.0.1:8080/relay"),
            ("https://[::1]:8443", "https://[::1]:8443"),
        ] {
            assert_eq!(parsed(text).as_deref(), Ok(url));
        }
        for wrong in [
            "",
            "relay.example",
            "/relay",
            "ftp://relay.example",
            "https://",
            "https://user:secret@relay.example",
            "https://relay.example/?a=1",
            "https://relay.example?",
            "https://relay.example/#top",
            "https://relay.example/a b",
        ] {
            assert_eq!(parsed(wrong), Err(PublicUrlError), "{wrong}");
        }
    }
}
