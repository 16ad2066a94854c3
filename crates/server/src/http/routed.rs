//! From an axum router's answer to one of ours: all that routers answer is there at once.

use axum::extract::Request;
use http::Response;
use http_body_util::BodyExt;
use tower_service::Service;

use super::body::Body;
use super::problem::Problem;

/// What a router answers.
pub(crate) async fn answer(router: &axum::Router, request: Request) -> Result<Response<Body>, Problem> {
    // A clone is a reference.
    let answered = router.clone().call(request).await;
    let (parts, body) = answered.unwrap_or_else(|never| match never {}).into_parts();
    let body = body.collect().await.map_err(|error| Problem::internal(error.to_string()))?;
    Ok(Response::from_parts(parts, Body::full(body.to_bytes())))
}
