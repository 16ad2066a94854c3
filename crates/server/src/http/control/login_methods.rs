//! `/v1/login-methods`: what a login page has to offer.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::json::Json;
use super::resources::Resources;

/// Where a browser goes to log in with the provider.
pub(super) const LOGIN_URL: &str = "/v1/oidc/login";

/// The ways to log in.
#[derive(Serialize, ToSchema)]
struct LoginMethods {
    /// Whether users log in with a password: `POST /v1/session`.
    password: bool,
    /// The OpenID Connect provider; null where there is none.
    #[schema(required = true)]
    oidc: Option<OidcLogin>,
}

/// A provider to log in with.
#[derive(Serialize, ToSchema)]
struct OidcLogin {
    /// What a button says.
    #[schema(examples("OpenID Connect"))]
    name: String,
    /// Where it leads. With `?return_to=` and a path, that is where the login goes on to.
    #[schema(examples("/v1/oidc/login"))]
    login_url: &'static str,
}

pub(super) fn routes() -> OpenApiRouter<Resources> {
    OpenApiRouter::new().routes(routes!(get_login_methods))
}

/// Show the ways to log in
#[utoipa::path(
    get, path = "/v1/login-methods", tag = "session", security(()),
    responses((status = 200, description = "The ways to log in", body = LoginMethods))
)]
async fn get_login_methods(State(resources): State<Resources>) -> Json<LoginMethods> {
    let oidc = resources.accounts.oidc.as_ref();
    let oidc = oidc.map(|oidc| OidcLogin { name: oidc.name().to_owned(), login_url: LOGIN_URL });
    Json(LoginMethods { password: true, oidc })
}
