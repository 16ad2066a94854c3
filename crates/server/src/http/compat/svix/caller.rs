//! Who asks: whoever shows an API key or a signed token.

use axum::extract::FromRequestParts;
use eventrelay_event::Tenant;
use eventrelay_sinks::UrlView;
use eventrelay_state::{State, SvixApplication};
use http::header::HOST;
use http::request::Parts;

use super::super::options::JwtSecret;
use super::token::{self, Subject};
use crate::auth::{Access, ApiKeys, AuthError, Scope, Scopes};
use crate::http::authentication::{presented, refused};
use crate::http::control::refusals::of_state;
use crate::http::problem::Problem;

/// Who asks, for handlers.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    reach: Reach,
    scopes: Scopes,
    host: String,
}

/// What a caller finds; all else is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reach {
    Everything,
    Application { id: String, issued_at_micros: u64 },
    Tenant(Tenant),
}

/// Lets in who may do what needs `scope`.
pub(super) async fn admit(
    api_keys: &ApiKeys,
    state: &State,
    secret: Option<&JwtSecret>,
    parts: &mut Parts,
    scope: Scope,
) -> Result<Access, Problem> {
    let shown = presented(&parts.headers).map_err(|_| refused(AuthError::Unauthenticated))?;
    let (reach, access) = match shown {
        Some(shown) if token::is_one(shown) => of_token(api_keys, state, secret, shown).await?,
        shown => {
            let access = api_keys.authenticate(shown).map_err(refused)?;
            let reach = match access.allows(Scope::Admin) {
                true => Reach::Everything,
                false => Reach::Tenant(access.tenant().clone()),
            };
            (reach, access)
        }
    };
    if !access.allows(scope) {
        return Err(refused(AuthError::MissingScope(scope)));
    }
    let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host.or(parts.uri.host()).unwrap_or_default().to_owned();
    parts.extensions.insert(Caller { reach, scopes: access.scopes(), host });
    Ok(access)
}

async fn of_token(
    api_keys: &ApiKeys,
    state: &State,
    secret: Option<&JwtSecret>,
    shown: &str,
) -> Result<(Reach, Access), Problem> {
    let subject = secret.and_then(|secret| token::verify(secret, shown));
    Ok(match subject.ok_or_else(|| refused(AuthError::Unauthenticated))? {
        Subject::Organization { id } => {
            (Reach::Everything, api_keys.token_access(&id, Tenant::default(), Scopes::ALL))
        }
        Subject::Application { id, issued_at_micros, is_read_only } => {
            let scopes = if is_read_only { &[Scope::Read][..] } else { &[Scope::Read, Scope::Manage] };
            // What its users ask for is at the cost of its own tenant, and of nobody else.
            let tenant = tenant_of(state, id.clone()).await?;
            let access = api_keys.token_access(&id, tenant, scopes.iter().copied().collect());
            (Reach::Application { id, issued_at_micros }, access)
        }
    })
}

/// The tenant that an application is.
async fn tenant_of(state: &State, id: String) -> Result<Tenant, Problem> {
    let state = state.clone();
    let read = tokio::task::spawn_blocking(move || {
        Ok(state.svix_application(&id)?.filter(|application| application.id == id))
    });
    let found = read.await.map_err(|error| Problem::internal(error.to_string()))?;
    let found: Option<SvixApplication> = found.map_err(|error| of_state(&error))?;
    found.map(|application| application.tenant).ok_or_else(Problem::not_found)
}

impl Caller {
    /// Whether an application is there for this caller.
    pub(super) fn reaches(&self, application: &SvixApplication) -> bool {
        match &self.reach {
            Reach::Everything => true,
            Reach::Application { id, issued_at_micros } => {
                *id == application.id && *issued_at_micros >= application.tokens_after_micros
            }
            Reach::Tenant(tenant) => *tenant == application.tenant,
        }
    }

    /// Whether all applications are there.
    pub(super) fn reaches_everything(&self) -> bool {
        self.reach == Reach::Everything
    }

    /// When the token was made that is good for one application; 0 for others.
    pub(super) fn issued_at_micros(&self) -> u64 {
        match self.reach {
            Reach::Application { issued_at_micros, .. } => issued_at_micros,
            Reach::Everything | Reach::Tenant(_) => 0,
        }
    }

    /// Whether the caller may do what needs a scope.
    pub(super) fn may(&self, scope: Scope) -> bool {
        self.scopes.allow(scope)
    }

    /// How much of an endpoint's URL is shown.
    pub(super) fn urls(&self) -> UrlView {
        if self.may(Scope::Manage) { UrlView::Whole } else { UrlView::Origin }
    }

    /// Where the server was asked.
    pub(super) fn host(&self) -> &str {
        &self.host
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = super::refusal::Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| super::refusal::Refusal::internal("a route without a caller"))
    }
}
