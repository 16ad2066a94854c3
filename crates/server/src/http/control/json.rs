//! Bodies of JSON, in both directions.
//!
//! What is not JSON at all is refused with `malformed_json`; JSON that is not what the operation takes, with `invalid_body` and
//! the path of the field (`retry.max_attempts`). Unknown fields are refused where `T` says `deny_unknown_fields`, as all do.

use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::error::Category;

use super::MAX_BODY_BYTES;
use crate::http::problem::Problem;

/// A value that comes, or goes, as JSON.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Json<T>(pub(crate) T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        check_is_json(request.headers())?;
        let body = whole_body(request).await?;
        parse(&body).map(Self)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        let body = match serde_json::to_vec(&self.0) {
            Ok(body) => body,
            Err(error) => return IntoResponse::into_response(Problem::internal(error.to_string())),
        };
        let mut response = Response::new(axum::body::Body::from(body));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// All of the body, which was bounded when it was read.
pub(super) async fn whole_body(request: Request) -> Result<Bytes, Problem> {
    let body = axum::body::to_bytes(request.into_body(), MAX_BODY_BYTES).await;
    body.map_err(|error| Problem::internal(error.to_string()))
}

/// Whether the body is in the clear, which is how declarations come.
pub(super) fn check_is_not_compressed(headers: &HeaderMap) -> Result<(), Problem> {
    let encoding = headers.get(CONTENT_ENCODING).map_or(&b"identity"[..], HeaderValue::as_bytes);
    if encoding.eq_ignore_ascii_case(b"identity") {
        return Ok(());
    }
    let title = "The body is compressed";
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_content_encoding", title)
        .detail("This operation takes its body as it is"))
}

/// The media type of the body, without its parameters; none where it has none.
pub(super) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?;
    let text = String::from_utf8_lossy(value.as_bytes());
    Some(text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

pub(super) fn unsupported_content_type(taken: &'static str) -> Problem {
    let title = "The body has another form";
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_content_type", title).detail(taken)
}

pub(super) fn invalid_utf8(error: &std::string::FromUtf8Error) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_utf8", "The body is not UTF-8").detail(error.to_string())
}

fn check_is_json(headers: &HeaderMap) -> Result<(), Problem> {
    check_is_not_compressed(headers)?;
    match media_type(headers) {
        None => Ok(()),
        Some(name) if name == "application/json" => Ok(()),
        Some(_) => Err(unsupported_content_type("This operation takes `application/json`")),
    }
}

pub(in crate::http) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        refused(error.inner(), (path != ".").then_some(path))
    })?;
    deserializer.end().map_err(|error| refused(&error, None))?;
    Ok(value)
}

fn refused(error: &serde_json::Error, field: Option<String>) -> Problem {
    let (code, title) = match error.classify() {
        Category::Data => ("invalid_body", "The body is not what this operation takes"),
        Category::Syntax | Category::Eof | Category::Io => ("malformed_json", "The body is not JSON"),
    };
    Problem::new(StatusCode::BAD_REQUEST, code, title).detail(error.to_string()).field(field)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[allow(dead_code, reason = "only its shape is looked at")]
        inner: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[allow(dead_code, reason = "only its shape is looked at")]
        count: u8,
    }

    fn problem(body: &str) -> (&'static str, serde_json::Value) {
        let problem = parse::<Outer>(body.as_bytes()).unwrap_err();
        let code = problem.code();
        let response = problem.into_response();
        let shown: serde_json::Value = serde_json::from_slice(response.body().bytes().unwrap()).unwrap();
        (code, shown["field"].clone())
    }

    #[test]
    fn a_refusal_names_the_field() {
        parse::<Outer>(br#"{"inner":[{"count":1}]}"#).unwrap();
        assert_eq!(
            problem(r#"{"inner":[{"count":1},{"count":300}]}"#),
            ("invalid_body", "inner[1].count".into())
        );
        assert_eq!(problem(r#"{"inner":[{"colour":1}]}"#), ("invalid_body", "inner[0].colour".into()));
        assert_eq!(problem("{}"), ("invalid_body", serde_json::Value::Null));
    }

    #[test]
    fn what_is_no_json_or_more_than_one_value_is_malformed() {
        for body in ["", "{", r#"{"inner":[]} {}"#, "\u{feff}{}"] {
            assert_eq!(problem(body).0, "malformed_json", "{body}");
        }
    }

    #[test]
    fn another_media_type_is_refused() {
        let check = |name: &'static str, value| {
            let name = http::HeaderName::from_static(name);
            let headers = HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
            check_is_json(&headers).map_err(|problem| problem.code())
        };
        assert_eq!(check("content-type", "Application/JSON; charset=utf-8"), Ok(()));
        assert_eq!(check("content-type", "text/plain"), Err("unsupported_content_type"));
        assert_eq!(check("content-encoding", "gzip"), Err("unsupported_content_encoding"));
        assert_eq!(check_is_json(&HeaderMap::new()).map_err(|problem| problem.code()), Ok(()));
    }
}
