//! Why a request to the store did not succeed, for the dispatcher and for people.
//!
//! | what happened | kind |
//! |---|---|
//! | no connection, no answer in time, 408, 429, 5xx | unreachable |
//! | 401, 403 | forbidden |
//! | 404: no such bucket or container | missing |
//! | any other answer; a file system's error | other |
//!
//! All of them are a retry, after `Retry-After` where given: none is about one event, and an operator can repair each. What
//! the store says in its answer is shown by code and message; addresses, keys and signatures are not.

use std::error::Error as StdError;
use std::time::{Duration, SystemTime};

use http::StatusCode;

use crate::http_client::{Answer, retry_after};
use crate::{CheckError, Outcome};

const MAX_CODE_BYTES: usize = 64;
const MAX_MESSAGE_CHARS: usize = 200;

/// What kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailureKind {
    Unreachable,
    Forbidden,
    Missing,
    Other,
}

/// Why a request did not succeed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{why}")]
pub(super) struct StoreFailure {
    pub(super) kind: FailureKind,
    pub(super) why: String,
    /// What the store asks us to wait.
    pub(super) after: Option<Duration>,
    /// The store's own word for it.
    pub(super) code: Option<String>,
}

impl StoreFailure {
    pub(super) fn new(kind: FailureKind, why: impl Into<String>) -> Self {
        Self { kind, why: why.into(), after: None, code: None }
    }

    /// The failure that an answer is.
    pub(super) fn of_answer(answer: &Answer) -> Self {
        let status = answer.status();
        let kind = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => FailureKind::Forbidden,
            StatusCode::NOT_FOUND => FailureKind::Missing,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => FailureKind::Unreachable,
            status if status.is_server_error() => FailureKind::Unreachable,
            _ => FailureKind::Other,
        };
        let body = String::from_utf8_lossy(&answer.body);
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        let code = element(&body, "Code")
            .filter(|code| code.len() <= MAX_CODE_BYTES && code.bytes().all(is_word))
            .map(str::to_owned);
        let mut why = format!("the store answered {status}");
        if let Some(code) = &code {
            why = format!("{why}: {code}");
        }
        if let Some(message) = element(&body, "Message") {
            let line = message.lines().next().unwrap_or_default();
            let shown: String =
                line.chars().filter(|char| !char.is_control()).take(MAX_MESSAGE_CHARS).collect();
            why = format!("{why} ({shown})");
        }
        if status.is_redirection() {
            why = format!("{why}; redirects are not followed: check region and endpoint");
        }
        Self { kind, why, after: retry_after(&answer.head.headers, SystemTime::now()), code }
    }

    /// The failure that a library's error is: ours, which it carries, or else its own.
    pub(super) fn of_error(error: &object_store::Error) -> Self {
        let mut is_of_files = false;
        let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
        while let Some(error) = cause {
            if let Some(failure) = error.downcast_ref::<Self>() {
                return failure.clone();
            }
            is_of_files |= error.is::<std::io::Error>();
            cause = error.source();
        }
        let kind = match error {
            object_store::Error::NotFound { .. } => FailureKind::Missing,
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                FailureKind::Forbidden
            }
            _ => FailureKind::Other,
        };
        if matches!(error, object_store::Error::Generic { .. }) && !is_of_files {
            // The library quotes what it could not read, and that may be a token.
            return Self::new(kind, "the store gave no valid answer");
        }
        Self::new(kind, crate::error::chain(error))
    }

    pub(super) fn outcome(&self) -> Outcome {
        Outcome::Retry { after: self.after, why: self.why.clone() }
    }

    pub(super) fn into_check_error(self) -> CheckError {
        match self.kind {
            FailureKind::Unreachable => CheckError::Unreachable(self.why),
            FailureKind::Forbidden => CheckError::Forbidden(self.why),
            FailureKind::Missing => CheckError::Missing(self.why),
            FailureKind::Other => CheckError::Mismatch(self.why),
        }
    }
}

/// The text of an XML element, of the first one with this name.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_by_their_name() {
        let xml = "<?xml version=\"1.0\"?><Error><Code>NoSuchBucket</Code><Message>a b</Message></Error>";
        assert_eq!((element(xml, "Code"), element(xml, "Message")), (Some("NoSuchBucket"), Some("a b")));
        assert_eq!((element(xml, "Key"), element("<Code>", "Code")), (None, None));
    }

    #[test]
    fn a_failure_of_ours_is_found_in_the_librarys_error() {
        let ours = StoreFailure::new(FailureKind::Forbidden, "no");
        let wrapped = object_store::Error::Generic { store: "S3", source: Box::new(ours) };
        let found = StoreFailure::of_error(&wrapped);
        assert_eq!((found.kind, found.why.as_str()), (FailureKind::Forbidden, "no"));
        let source = Box::new(std::io::Error::other("disk full"));
        let other =
            StoreFailure::of_error(&object_store::Error::Generic { store: "LocalFileSystem", source });
        assert!(other.kind == FailureKind::Other && other.why.contains("disk full"), "{other:?}");
        let source = "unexpected canary".into();
        let answer = StoreFailure::of_error(&object_store::Error::Generic { store: "GCS", source });
        assert_eq!(answer.why, "the store gave no valid answer");
    }
}
