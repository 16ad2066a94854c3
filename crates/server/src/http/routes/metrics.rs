//! `GET /metrics`: everything that the process counts, as Prometheus text.

use http::Response;
use http::header::{CONTENT_TYPE, HeaderValue};
use prometheus_client::encoding::text::encode;

use crate::http::body::Body;
use crate::http::problem::Problem;
use crate::http::service::Shared;

/// The format that `encode` writes: OpenMetrics, which Prometheus prefers.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(crate) fn show(shared: &Shared) -> Result<Response<Body>, Problem> {
    let mut text = String::with_capacity(16 * 1024);
    encode(&mut text, &shared.registry).map_err(|error| Problem::internal(error.to_string()))?;
    let mut response = Response::new(Body::full(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(OPEN_METRICS));
    Ok(response)
}
