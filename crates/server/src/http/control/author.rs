//! Who makes the change that a request asks for, and where the request comes from.

use axum::extract::FromRequestParts;
use http::header::USER_AGENT;
use http::request::Parts;

use crate::auth::{Access, Author, LoginSource};
use crate::http::problem::Problem;
use crate::http::request_source::RequestSource;

/// The author of a change, for the audit log.
#[derive(Debug, Clone)]
pub(crate) struct RequestAuthor(pub(crate) Author);

impl<S: Sync> FromRequestParts<S> for RequestAuthor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let access = parts.extensions.get::<Access>();
        let access = access.ok_or_else(|| Problem::internal("a change for everybody has no author"))?;
        let source = source(parts)?;
        Ok(Self(Author {
            actor: access.actor(),
            request_id: source.request_id(),
            client_address: Some(source.address.to_string()),
        }))
    }
}

/// Where somebody comes from who wants to be let in, or shows a password.
#[derive(Debug, Clone)]
pub(crate) struct LoginFrom(pub(crate) LoginSource);

impl<S: Sync> FromRequestParts<S> for LoginFrom {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let source = source(parts)?;
        let user_agent = parts.headers.get(USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes()));
        Ok(Self(LoginSource {
            address: source.address,
            user_agent: user_agent.unwrap_or_default().into_owned(),
            request_id: source.request_id(),
        }))
    }
}

/// The connection that a request came by.
impl<S: Sync> FromRequestParts<S> for RequestSource {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        source(parts).cloned()
    }
}

fn source(parts: &Parts) -> Result<&RequestSource, Problem> {
    let source = parts.extensions.get::<RequestSource>();
    source.ok_or_else(|| Problem::internal("a request does not say where it comes from"))
}
