//! `/v1/config`: what the server was told, and whether a configuration could be used. Needs the scope `admin`.

use axum::extract::{Request, State};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::json::{self, Json};
use super::resources::Resources;
use crate::http::problem::Problem;

const TOML: &str = "application/toml";

/// A configuration file.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    /// Its text.
    toml: String,
}

/// Whether a configuration could be used.
#[derive(Serialize, ToSchema)]
struct Verdict {
    /// Whether nothing is wrong with it.
    valid: bool,
    /// All that is.
    problems: Vec<ConfigProblem>,
}

/// One thing that is wrong with a configuration.
#[derive(Serialize, ToSchema)]
struct ConfigProblem {
    /// The key; left out where it is about the whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, examples("log.segment_bytes"))]
    key: Option<String>,
    /// What is wrong, and what would be right.
    message: String,
}

pub(super) fn routes() -> OpenApiRouter<Resources> {
    OpenApiRouter::new().routes(routes!(get_config)).routes(routes!(validate_config))
}

/// Show the configuration
///
/// What holds, with every default. Of what could be a secret it shows `[redacted]`.
#[utoipa::path(
    get, path = "/v1/config", tag = "config", security(("bearer" = ["admin"])),
    responses((status = 200, description = "By section, as in the file", body = Object))
)]
async fn get_config(State(resources): State<Resources>) -> Json<Value> {
    Json(resources.configuration.effective())
}

/// Check a configuration
///
/// Whether a server could start with this file alone. Nothing is changed.
#[utoipa::path(
    post, path = "/v1/config/validate", tag = "config", security(("bearer" = ["admin"])),
    request_body(content(
        (ConfigFile = "application/json", example = json!({"toml": "[log]\nsegment_bytes = 1048576\nmax_commit_bytes = 262144\n"})),
        (String = "application/toml", example = "[log]\nsegment_bytes = 1048576\n"),
    )),
    responses((status = 200, description = "What is wrong with it", body = Verdict))
)]
async fn validate_config(
    State(resources): State<Resources>,
    request: Request,
) -> Result<Json<Verdict>, Problem> {
    let toml = text_of(request).await?;
    let configuration = resources.configuration;
    let checked = tokio::task::spawn_blocking(move || configuration.problems_of(&toml)).await;
    let problems = checked.map_err(|error| Problem::internal(error.to_string()))?;
    let shown =
        |problem: crate::ConfigurationProblem| ConfigProblem { key: problem.key, message: problem.message };
    Ok(Json(Verdict { valid: problems.is_empty(), problems: problems.into_iter().map(shown).collect() }))
}

/// The file, however it came.
async fn text_of(request: Request) -> Result<String, Problem> {
    json::check_is_not_compressed(request.headers())?;
    let name = json::media_type(request.headers());
    match name.as_deref() {
        None | Some("application/json") => {
            let file: ConfigFile = json::parse(&json::whole_body(request).await?)?;
            Ok(file.toml)
        }
        Some(TOML) => {
            let body = json::whole_body(request).await?;
            String::from_utf8(body.into()).map_err(|error| json::invalid_utf8(&error))
        }
        Some(_) => Err(json::unsupported_content_type(
            "This operation takes `application/toml` or `application/json`",
        )),
    }
}
