//! Parameters of the query. Unknown and repeated ones are refused, with the name of the parameter: a misspelt filter that is
//! silently ignored shows too much.

use axum::extract::FromRequestParts;
use http::StatusCode;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::http::problem::Problem;

/// The parameters, as a struct that says `deny_unknown_fields`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parse(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

/// Parses a query.
///
/// # Errors
/// 400 `invalid_query`.
pub(super) fn parse<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    let pairs = serde_urlencoded::from_str::<Vec<(String, String)>>(query);
    let pairs = pairs.map_err(|error| invalid(error.to_string(), None))?;
    for (place, (name, _)) in pairs.iter().enumerate() {
        if pairs[..place].iter().any(|(earlier, _)| earlier == name) {
            return Err(invalid("There is more than one".to_owned(), Some(name.clone())));
        }
    }
    let deserializer = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let path = error.path().to_string();
        invalid(error.into_inner().to_string(), (path != ".").then_some(path))
    })
}

/// A parameter that makes no sense.
pub(crate) fn invalid(detail: String, parameter: Option<String>) -> Problem {
    let title = "A parameter of the query is not valid";
    Problem::new(StatusCode::BAD_REQUEST, "invalid_query", title).detail(detail).field(parameter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::control::page::Page;

    fn field(query: &str) -> serde_json::Value {
        let problem = parse::<Page>(query).unwrap_err();
        assert_eq!(problem.code(), "invalid_query", "{query}");
        let response = problem.into_response();
        let shown: serde_json::Value = serde_json::from_slice(response.body().bytes().unwrap()).unwrap();
        shown["field"].clone()
    }

    #[test]
    fn unknown_and_repeated_parameters_are_refused_by_name() {
        parse::<Page>("").unwrap();
        parse::<Page>("limit=250").unwrap();
        for (query, name) in [
            ("limt=1", "limt"),
            ("limit=1&limit=2", "limit"),
            ("limit=0", "limit"),
            ("limit=251", "limit"),
            ("limit=", "limit"),
            ("cursor=%21", "cursor"),
        ] {
            assert_eq!(field(query), name, "{query}");
        }
    }
}
