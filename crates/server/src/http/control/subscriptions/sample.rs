//! A sample delivery, with the whole exchange.

use axum::extract::State;
use eventrelay_delivery::Sampled;
use eventrelay_event::Event;
use eventrelay_sinks::{Attempt, Outcome};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::control::caller::Caller;
use crate::http::control::exchange::ExchangeShown;
use crate::http::control::json::Json;
use crate::http::control::path::Path;
use crate::http::control::refusals;
use crate::http::control::resources::Resources;
use crate::http::problem::Problem;
use crate::http::routes::filters::one_event;

/// What is to be delivered.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SampleRequest {
    /// An event in our own form; a made-up one of the type `eventrelay.sample` where nothing is said.
    #[schema(value_type = Option<Object>)]
    event: Option<Box<RawValue>>,
}

/// What came of a sample.
#[derive(Serialize, ToSchema)]
struct SampleAnswer {
    /// `delivered`, `retry` or `reject` (the target was given it, and answered so), `gone` (it wants nothing more), `timed_out`,
    /// `ready` or `not_ready` (the target takes only what is in the log, so it was looked at), or `no_target` (consumers pull).
    outcome: &'static str,
    /// What went wrong, for people.
    #[schema(required = true)]
    reason: Option<String>,
    /// How long it took.
    #[schema(required = true)]
    took_ms: Option<f64>,
    /// What was sent and what came back, where the sink tells it.
    #[schema(required = true)]
    exchange: Option<ExchangeShown>,
}

pub(super) fn routes() -> OpenApiRouter<Resources> {
    OpenApiRouter::new().routes(routes!(test_subscription))
}

/// Deliver a sample
///
/// Gives the target one event that is in no log, and shows the whole exchange. Filter and transform are left aside; nothing is
/// retried, and no cursor moves. It works while the subscription is paused.
#[utoipa::path(
    post, path = "/v1/subscriptions/{name}/test", tag = "subscriptions", security(("bearer" = ["manage"])),
    params(("name" = String, Path, description = "Its name", example = "billing")),
    request_body(content = SampleRequest, example = json!({"event": {"type": "order.created", "source": "/shop", "data": {"order": 1}}})),
    responses((status = 200, description = "What came of it", body = SampleAnswer),
              (status = 409, description = "It does not run; or this `Idempotency-Key` is in use"))
)]
async fn test_subscription(
    State(resources): State<Resources>,
    Caller(access): Caller,
    Path(name): Path<String>,
    Json(request): Json<SampleRequest>,
) -> Result<Json<SampleAnswer>, Problem> {
    let event = match &request.event {
        Some(event) => one_event(event.get(), &access, &resources.publisher.limits().events)?,
        None => Event::new(access.tenant().clone(), "eventrelay.sample".to_owned(), "/eventrelay".to_owned()),
    };
    let sampled = resources.engine.try_sample(access.tenant().as_str(), &name, &event).await;
    Ok(Json(shown(sampled.map_err(|error| refusals::of_control(&error))?)))
}

fn shown(sampled: Sampled) -> SampleAnswer {
    let answer = |outcome, reason| SampleAnswer { outcome, reason, took_ms: None, exchange: None };
    match sampled {
        Sampled::Tried(attempt) => tried(*attempt),
        Sampled::TimedOut(timeout) => {
            answer("timed_out", Some(format!("no answer within {} ms", timeout.as_millis())))
        }
        Sampled::Checked(Ok(())) => answer("ready", None),
        Sampled::Checked(Err(error)) => answer("not_ready", Some(error.to_string())),
        Sampled::NoTarget => answer("no_target", None),
    }
}

fn tried(attempt: Attempt) -> SampleAnswer {
    let (outcome, reason) = match attempt.outcome {
        Outcome::Delivered => ("delivered", None),
        Outcome::Retry { why, .. } => ("retry", Some(why)),
        Outcome::Reject { why } => ("reject", Some(why)),
        Outcome::Gone { why } => ("gone", Some(why)),
    };
    let exchange = ExchangeShown::of_attempt(attempt.exchange.as_deref(), attempt.response.as_ref());
    SampleAnswer { outcome, reason, took_ms: Some(attempt.took.as_secs_f64() * 1000.0), exchange }
}
