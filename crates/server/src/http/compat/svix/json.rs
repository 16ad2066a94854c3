//! Bodies of JSON, in both directions. Fields that are not known are left aside: SDKs of other versions send them.

use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::error::Category;

use super::refusal::Refusal;
use crate::http::problem::Problem;

/// A value that comes, or goes, as JSON.
#[derive(Debug, Clone, Copy)]
pub(super) struct Json<T>(pub(super) T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        // It was bounded when it was read.
        let body = axum::body::to_bytes(request.into_body(), usize::MAX).await;
        let body = body.map_err(|error| Refusal::internal(error.to_string()))?;
        parse(&body).map(Self)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => {
                let mut response = Response::new(axum::body::Body::from(body));
                let json = HeaderValue::from_static("application/json");
                response.headers_mut().insert(CONTENT_TYPE, json);
                response
            }
            Err(error) => Refusal::internal(error.to_string()).into_response(),
        }
    }
}

/// A field of a patch: absent, null or a value.
pub(super) type Patched<T> = Option<Option<T>>;

/// Tells null from absent; for a field with `#[serde(default)]`.
pub(super) fn patched<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Patched<T>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let parsed = serde_path_to_error::deserialize(&mut deserializer);
    let value = parsed.map_err(|error| {
        let path = error.path().to_string();
        refused(error.inner(), if path == "." { "" } else { &path })
    })?;
    deserializer.end().map_err(|error| refused(&error, ""))?;
    Ok(value)
}

fn refused(error: &serde_json::Error, field: &str) -> Refusal {
    match error.classify() {
        Category::Data => Refusal::invalid(field, error.to_string()),
        Category::Syntax | Category::Eof | Category::Io => {
            let problem = Problem::new(StatusCode::BAD_REQUEST, "invalid_json", "The body is not JSON");
            Refusal::Problem(problem.detail(error.to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Sample {
        #[serde(default, deserialize_with = "patched")]
        uid: Patched<String>,
        #[allow(dead_code, reason = "only its shape is looked at")]
        count: u8,
    }

    #[test]
    fn null_is_told_from_absent_and_unknown_fields_are_left_aside() {
        let uid = |body: &str| parse::<Sample>(body.as_bytes()).unwrap().uid;
        assert_eq!(uid(r#"{"count": 1, "other": 2}"#), None);
        assert_eq!(uid(r#"{"count": 1, "uid": null}"#), Some(None));
        assert_eq!(uid(r#"{"count": 1, "uid": "a"}"#), Some(Some("a".to_owned())));
    }

    #[test]
    fn a_refusal_names_the_field() {
        let Refusal::Invalid { fields } = parse::<Sample>(br#"{"count": 300}"#).unwrap_err() else {
            panic!("another refusal")
        };
        assert_eq!(fields[0].0, ["body", "count"]);
        assert!(
            matches!(parse::<Sample>(b"{"), Err(Refusal::Problem(problem)) if problem.code() == "invalid_json")
        );
    }
}
