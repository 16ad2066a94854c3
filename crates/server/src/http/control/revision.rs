//! Edits that know of each other: a resource shows its revision as an `ETag`, and an edit says with `If-Match` which one it
//! means to change. One that is not the latest is answered 412 `precondition_failed`.
//!
//! Entity tags are strong: `"7"`. `If-Match: *` means any revision, of what is there.

use axum::extract::FromRequestParts;
use http::header::{HeaderValue, IF_MATCH};
use http::request::Parts;
use http::{HeaderMap, StatusCode};

use crate::http::problem::Problem;

/// The entity tag of a revision.
pub(crate) fn etag(revision: u64) -> HeaderValue {
    let text = format!("\"{revision}\"");
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

/// Which revision an edit is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum IfMatch {
    /// Nothing is said, or `*`: the latest, whichever it is.
    Any,
    /// One of these tags.
    OneOf(Vec<String>),
}

impl IfMatch {
    /// The revision that is meant, where it is one and one only.
    pub(crate) fn check(&self, revision: u64) -> Result<(), Problem> {
        let tag = format!("\"{revision}\"");
        match self {
            Self::Any => Ok(()),
            // A weak tag matches nothing here (RFC 9110, 13.1.1).
            Self::OneOf(tags) if tags.contains(&tag) => Ok(()),
            Self::OneOf(_) => {
                let title = "It has been changed since";
                Err(Problem::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", title)
                    .detail(format!("Its revision is {tag} now: read it again, and decide again")))
            }
        }
    }

    fn of(headers: &HeaderMap) -> Self {
        let values: Vec<_> = headers.get_all(IF_MATCH).iter().collect();
        if values.is_empty() || values.iter().any(|value| value.as_bytes() == b"*") {
            return Self::Any;
        }
        let tags = values.iter().flat_map(|value| value.to_str().unwrap_or_default().split(','));
        Self::OneOf(tags.map(|tag| tag.trim().to_owned()).collect())
    }
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(Self::of(&parts.headers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[&'static str], revision: u64) -> bool {
        let values = values.iter().map(|value| (IF_MATCH, HeaderValue::from_static(value)));
        IfMatch::of(&values.collect()).check(revision).is_ok()
    }

    #[test]
    fn an_edit_of_another_revision_is_refused() {
        assert_eq!(etag(7), "\"7\"");
        for (values, is_good) in [
            (&[][..], true),
            (&["*"], true),
            (&["\"7\""], true),
            (&["\"6\", \"7\""], true),
            (&["\"6\"", "\"7\""], true),
            (&["\"6\""], false),
            (&["7"], false),
            (&["W/\"7\""], false),
            (&[""], false),
        ] {
            assert_eq!(check(values, 7), is_good, "{values:?}");
        }
    }
}
