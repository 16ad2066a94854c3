//! Where a login goes on to: a path of this server, and of no other.
//!
//! Browsers take `//host` and `/\host` for another host's address, and leave out tabs and line ends wherever they stand. So a path
//! here is visible ASCII without a backslash, and what the URL standard makes of it must still be on the same host.

use url::Url;

const MAX_BYTES: usize = 1024;
/// What leads back to here would go on for ever.
const OWN_PATHS: &str = "/v1/oidc/";
/// Stands for this server, whatever it is called.
const SELF: &str = "https://self.invalid/";

/// A path of this server, with its query and fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReturnTo(String);

/// A text that is no path of this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a path of this server, such as /subscriptions: visible ASCII, at most {MAX_BYTES} bytes")]
pub struct NotAPath;

impl ReturnTo {
    /// Takes a text as a path.
    ///
    /// # Errors
    /// When it could lead anywhere else.
    pub fn parse(text: &str) -> Result<Self, NotAPath> {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        if !text.starts_with('/') || text.starts_with("//") || text.len() > MAX_BYTES || !is_plain {
            return Err(NotAPath);
        }
        let base = Url::parse(SELF).map_err(|_| NotAPath)?;
        let joined = base.join(text).map_err(|_| NotAPath)?;
        let is_own = joined.origin() == base.origin() && joined.username().is_empty();
        let leads_here = joined.path().starts_with(OWN_PATHS) || joined.path().starts_with("//");
        if is_own && !leads_here { Ok(Self(text.to_owned())) } else { Err(NotAPath) }
    }

    /// The path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for ReturnTo {
    fn default() -> Self {
        Self("/".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_this_server_is_taken_as_it_is() {
        for path in
            ["/", "/subscriptions?tenant=acme&x=%2F%2Fevil#top", "/a/../b", "/a//b", "/@evil.example", "/:80"]
        {
            assert_eq!(ReturnTo::parse(path).map(|path| path.0), Ok(path.to_owned()));
        }
    }

    #[test]
    fn what_could_lead_elsewhere_is_refused_in_every_spelling() {
        for text in [
            "",
            "subscriptions",
            "?x",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/a\\b",
            "/\t/evil.example",
            "/\n/evil.example",
            "\t//evil.example",
            " //evil.example",
            "/..//evil.example",
            "/.//evil.example",
            "/%2e%2e//evil.example",
            "https://evil.example/",
            "javascript:alert(1)",
            "/ä",
            "/a b",
            "/a\u{0}",
            "/v1/oidc/login",
            "/x/../v1/oidc/callback?code=1",
            &format!("/{}", "x".repeat(MAX_BYTES)),
        ] {
            assert_eq!(ReturnTo::parse(text), Err(NotAPath), "{text:?}");
        }
    }
}
