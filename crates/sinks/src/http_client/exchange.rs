//! What is kept of a request and its answer for people to look at.

use bytes::Bytes;
use http::header::{HeaderMap, LOCATION, SET_COOKIE};
use http::{Method, Version};

use super::{Answer, Target, WriteRequest};
use crate::Exchange;

/// Stands for a value that nobody may see.
const REDACTED: &str = "[redacted]";

/// What was sent and, where it came, what was answered. Headers that are marked as sensitive keep their value to themselves.
pub(crate) fn exchange(
    request: &impl WriteRequest,
    target: &Target,
    body: &Bytes,
    answer: Option<&Answer>,
) -> Box<Exchange> {
    let written = request.request(Version::HTTP_11);
    let kept = body.len().min(Exchange::BODY_LIMIT_BYTES);
    Box::new(Exchange {
        method: method_name(written.method()),
        url: target.origin(),
        request_headers: headers(written.headers()),
        // A copy, so that it does not pin the event.
        request_body: Bytes::copy_from_slice(&body[..kept]),
        request_truncated: kept < body.len(),
        response_headers: answer.map(|answer| headers(&answer.head.headers)).unwrap_or_default(),
    })
}

fn method_name(method: &Method) -> String {
    method.as_str().to_owned()
}

fn headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut bytes = 0;
    let mut kept = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        // A URL may carry a token.
        let secret = value.is_sensitive() || name == SET_COOKIE || name == LOCATION;
        let shown = if secret { REDACTED.into() } else { String::from_utf8_lossy(value.as_bytes()) };
        bytes += name.as_str().len() + shown.len();
        if bytes > Exchange::HEADERS_LIMIT_BYTES {
            break;
        }
        kept.push((name.as_str().to_owned(), shown.into_owned()));
    }
    kept
}
