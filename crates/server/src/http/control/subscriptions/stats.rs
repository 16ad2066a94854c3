//! How a subscription stands, and what came of its attempts lately.

use std::time::Duration;

use axum::extract::State;
use eventrelay_delivery::{ActivityWindow, BreakerState, SubscriptionStatus};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::control::caller::Caller;
use crate::http::control::json::Json;
use crate::http::control::path::Path;
use crate::http::control::resources::Resources;
use crate::http::control::{reading, refusals};
use crate::http::problem::Problem;

/// How a subscription stands now, and what came of its attempts over the last hour and day. Counted in memory: a restart begins
/// anew.
#[derive(Serialize, ToSchema)]
struct Stats {
    /// Every offset below it is settled, or waits for a retry.
    cursor: u64,
    /// How many events of the log are at or past the cursor; not all of them need be for this subscription.
    lag_events: u64,
    /// How long ago the event at the cursor was accepted.
    lag_seconds: f64,
    /// Whether the target counts as down: `closed` (it does not), `half_open` (it is being tried) or `open`.
    breaker: &'static str,
    /// Calls of the sink that are on their way.
    in_flight_calls: u64,
    /// Deliveries that wait for a retry.
    retrying: u64,
    /// Events that wait for an earlier one of their key.
    waiting_for_key: u64,
    /// Events that consumers have leased.
    leased_events: u64,
    /// Dead letters.
    dead_letters: u64,
    /// The last 60 minutes.
    last_hour: Window,
    /// The last 24 hours.
    last_day: Window,
}

/// What came of the attempts of a time.
#[derive(Serialize, ToSchema)]
struct Window {
    /// Deliveries that succeeded.
    delivered: u64,
    /// Attempts that failed and are made again.
    retried: u64,
    /// Deliveries that were given up.
    dead: u64,
    /// Deliveries a second, on average.
    delivered_per_second: f64,
    /// The share of attempts that succeeded; null where there were none.
    #[schema(required = true)]
    success_ratio: Option<f64>,
    /// How long calls took, within a factor of two; null where there were none.
    #[schema(required = true)]
    latency_p50_ms: Option<f64>,
    /// The same for 95 of 100.
    #[schema(required = true)]
    latency_p95_ms: Option<f64>,
    /// The same for 99 of 100.
    #[schema(required = true)]
    latency_p99_ms: Option<f64>,
}

impl Window {
    fn of(window: &ActivityWindow) -> Self {
        let milliseconds = |latency: Option<Duration>| latency.map(|latency| latency.as_secs_f64() * 1000.0);
        Self {
            delivered: window.delivered,
            retried: window.retried,
            dead: window.dead,
            delivered_per_second: window.delivered_per_second,
            success_ratio: window.success_ratio,
            latency_p50_ms: milliseconds(window.latency_p50),
            latency_p95_ms: milliseconds(window.latency_p95),
            latency_p99_ms: milliseconds(window.latency_p99),
        }
    }
}

pub(super) fn routes() -> OpenApiRouter<Resources> {
    OpenApiRouter::new().routes(routes!(get_subscription_stats))
}

/// Show a subscription's figures
#[utoipa::path(
    get, path = "/v1/subscriptions/{name}/stats", tag = "subscriptions", security(("bearer" = ["read"])),
    params(("name" = String, Path, description = "Its name", example = "billing")),
    responses((status = 200, description = "The figures", body = Stats),
              (status = 409, description = "It does not run"))
)]
async fn get_subscription_stats(
    State(resources): State<Resources>,
    Caller(access): Caller,
    Path(name): Path<String>,
) -> Result<Json<Stats>, Problem> {
    let tenant = access.tenant().as_str();
    let figures = resources.engine.subscription(tenant, &name).zip(resources.engine.activity(tenant, &name));
    let Some((status, activity)) = figures else {
        reading::subscription(&resources, &access, &name).await?;
        return Err(refusals::subscription_not_running());
    };
    Ok(Json(stats(&status, Window::of(&activity.hour), Window::of(&activity.day))))
}

fn stats(status: &SubscriptionStatus, last_hour: Window, last_day: Window) -> Stats {
    Stats {
        cursor: status.cursor,
        lag_events: status.lag_events,
        lag_seconds: status.lag_seconds,
        breaker: match status.breaker {
            BreakerState::Closed => "closed",
            BreakerState::HalfOpen => "half_open",
            BreakerState::Open => "open",
        },
        in_flight_calls: status.in_flight_calls,
        retrying: status.retrying,
        waiting_for_key: status.waiting_for_key,
        leased_events: status.leased_events,
        dead_letters: status.dead_letters,
        last_hour,
        last_day,
    }
}
