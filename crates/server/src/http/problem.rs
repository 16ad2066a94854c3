//! What a client gets when something is wrong: RFC 9457 problem details with a stable `code`.
//!
//! ```json
//! {"type":"urn:eventrelay:problem:invalid_event","title":"The event is not valid","status":400,
//!  "detail":"type: must not be empty","code":"invalid_event","index":3,"field":"type"}
//! ```
//!
//! `type` and `code` say the same thing, one for RFC 9457 and one for a `switch` statement. `index` is the place of
//! the event in its batch, from 0; `retry_after` is in seconds, as in the `Retry-After` header. `detail` is for
//! people and may change.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use serde::Serialize;

use super::body::Body;
use super::gate::Violation;
use crate::quota::Exceeded;

/// A problem on its way to the client. Boxed, since it is the rare case of many results.
#[derive(Debug, Clone)]
pub(crate) struct Problem(Box<Details>);

/// Which problem an answer tells of, for who counts them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProblemCode(pub(crate) &'static str);

#[derive(Debug, Clone)]
struct Details {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: Cow<'static, str>,
    index: Option<usize>,
    field: Option<String>,
    retry_after: Option<Duration>,
    allow: Option<String>,
    oldest_offset: Option<u64>,
}

#[derive(Serialize)]
struct Rendered<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_offset: Option<u64>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, title: &'static str) -> Self {
        Self(Box::new(Details {
            status,
            code,
            title,
            detail: Cow::Borrowed(""),
            index: None,
            field: None,
            retry_after: None,
            allow: None,
            oldest_offset: None,
        }))
    }

    /// The same with another status, for clients that read it otherwise.
    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.0.status = status;
        self
    }

    pub(crate) fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.0.detail = detail.into();
        self
    }

    /// The place of the event in its batch, from 0.
    pub(crate) fn index(mut self, index: Option<usize>) -> Self {
        self.0.index = index;
        self
    }

    /// The field of that event.
    pub(crate) fn field(mut self, field: Option<String>) -> Self {
        self.0.field = field;
        self
    }

    pub(crate) fn retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    pub(crate) fn oldest_offset(mut self, offset: u64) -> Self {
        self.0.oldest_offset = Some(offset);
        self
    }

    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "There is no such resource")
    }

    /// `allow`: the methods that the resource has.
    pub(crate) fn method_not_allowed(allow: String) -> Self {
        let mut problem = Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "The resource does not have this method",
        )
        .detail(format!("It has: {allow}"));
        problem.0.allow = Some(allow);
        problem
    }

    /// Over a quota.
    pub(crate) fn quota(exceeded: &Exceeded) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, exceeded.code(), "A quota is used up")
            .detail(exceeded.to_string())
            .retry_after(exceeded.retry_after)
    }

    pub(crate) fn internal(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The server failed").detail(detail)
    }

    #[cfg(test)]
    pub(crate) fn status(&self) -> StatusCode {
        self.0.status
    }

    pub(crate) fn code(&self) -> &'static str {
        self.0.code
    }

    #[cfg(test)]
    pub(crate) fn field_name(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// What is wrong, in a few words.
    pub(crate) fn title(&self) -> &'static str {
        self.0.title
    }

    /// What is wrong, for people.
    pub(crate) fn words(&self) -> &str {
        if self.0.detail.is_empty() { self.0.title } else { &self.0.detail }
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        let details = *self.0;
        // A `Retry-After` has whole seconds, and one of 0 would invite a storm.
        let retry_after =
            details.retry_after.map(|wait| wait.as_millis().div_ceil(1000).clamp(1, 86_400) as u64);
        let rendered = Rendered {
            r#type: format!("urn:eventrelay:problem:{}", details.code),
            title: details.title,
            status: details.status.as_u16(),
            detail: &details.detail,
            code: details.code,
            index: details.index,
            field: details.field.as_deref(),
            retry_after,
            oldest_offset: details.oldest_offset,
        };
        // Strings and numbers always serialise; an empty body still has the status.
        let body = serde_json::to_vec(&rendered).map_or_else(|_| Bytes::new(), Bytes::from);
        let mut response = Response::new(Body::full(body));
        *response.status_mut() = details.status;
        response.extensions_mut().insert(ProblemCode(details.code));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if details.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(allow) = details.allow {
            // Methods are tokens, which every header may have.
            if let Ok(allow) = HeaderValue::try_from(allow) {
                headers.insert(ALLOW, allow);
            }
        }
        response
    }
}

impl axum::response::IntoResponse for Problem {
    fn into_response(self) -> axum::response::Response {
        Self::into_response(self).map(axum::body::Body::new)
    }
}

impl From<Violation> for Problem {
    fn from(violation: Violation) -> Self {
        let (status, code, detail) = match violation {
            Violation::BareLineEnd => (400, "malformed_request", "Lines must end with CR LF"),
            Violation::HeadTooLarge => {
                (431, "headers_too_large", "The request line and headers are too large")
            }
            Violation::TooManyHeaders => (431, "too_many_headers", "The request has too many headers"),
            Violation::MalformedRequestLine => (400, "malformed_request", "The request line is malformed"),
            Violation::UnsupportedVersion => {
                (505, "unsupported_version", "Only HTTP/1.0, HTTP/1.1 and HTTP/2 are spoken")
            }
            Violation::MalformedHeader => (400, "malformed_request", "A header is malformed"),
            Violation::ContentLength => {
                (400, "invalid_content_length", "Content-Length must be one decimal number")
            }
            Violation::AmbiguousLength => {
                (400, "ambiguous_length", "Content-Length and Transfer-Encoding exclude each other")
            }
            Violation::TransferEncoding => (
                501,
                "unsupported_transfer_encoding",
                "The only transfer encoding, from HTTP/1.1 on, is chunked",
            ),
            Violation::Host => (400, "invalid_host", "An HTTP/1.1 request has exactly one Host header"),
            Violation::Connect => (405, "method_not_allowed", "This is no proxy"),
            Violation::MalformedChunk => (400, "malformed_chunk", "The chunked body is malformed"),
            Violation::HeadTimeout => (408, "request_timeout", "The request's head took too long"),
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
        let title = status.canonical_reason().unwrap_or("The request is refused");
        Self::new(status, code, title).detail(detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_carries_what_a_program_and_a_person_need() {
        let problem = Problem::new(StatusCode::BAD_REQUEST, "invalid_event", "The event is not valid")
            .detail("\"type\" must\nnot be empty")
            .index(Some(3))
            .field(Some("type".to_owned()))
            .retry_after(Duration::from_millis(1200));
        let response = problem.into_response();
        assert_eq!(response.status(), 400);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()["retry-after"], "2");
        let json: serde_json::Value = serde_json::from_slice(response.body().bytes().unwrap()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "type": "urn:eventrelay:problem:invalid_event", "title": "The event is not valid", "status": 400,
                "detail": "\"type\" must\nnot be empty", "code": "invalid_event", "index": 3, "field": "type",
                "retry_after": 2,
            })
        );
    }

    #[test]
    fn a_wrong_method_is_told_the_right_ones() {
        let response = Problem::method_not_allowed("GET, HEAD".to_owned()).into_response();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["allow"]),
            (405, &HeaderValue::from_static("GET, HEAD"))
        );
    }
}
