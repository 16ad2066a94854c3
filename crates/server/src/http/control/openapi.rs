//! `GET /v1/openapi.json`: the API for programs.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::resources::Resources;

pub(super) fn routes() -> OpenApiRouter<Resources> {
    OpenApiRouter::new().routes(routes!(get_openapi))
}

/// The API as an OpenAPI 3.1 document
#[utoipa::path(
    get, path = "/v1/openapi.json", tag = "documentation", security(()),
    responses((status = 200, description = "The document", body = Object))
)]
async fn get_openapi(State(resources): State<Resources>) -> Response {
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-cache")];
    (headers, resources.document.json()).into_response()
}
