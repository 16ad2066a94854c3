//! The counters that a dashboard shows.
//!
//! ```json
//! {"events": {"total": 120, "oldest_offset": 0},
//!  "deliveries": {"pending": 0, "retrying": 1, "delivered": 117, "dead": 2}, "success_rate": 0.975, "dead_letters": 2,
//!  "webhooks": [{"id": "wh_…", "status": "running", "pending": 0, "retrying": 1, "delivered": 117, "dead": 2,
//!                "success_rate": 0.975, "latency_p50_ms": 4.0, "latency_p95_ms": 16.0}]}
//! ```
//!
//! `events.total` counts what the log has ever taken; null for who may see one tenant only, where there are others, for it would
//! tell how busy those are. `delivered` is since the start; `success_rate` is the share of attempts of the last 24 hours, null where
//! there were none. `pending` counts what is behind the cursor, for the webhook or not.

use axum::extract::State;
use eventrelay_delivery::ActivityWindow;
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::webhooks_after;
use crate::auth::Scope;
use crate::http::control::caller::Caller;
use crate::http::control::json::Json;
use crate::http::control::reading;
use crate::http::control::resources::Resources;
use crate::http::problem::Problem;

/// How many webhooks are shown one by one; all are counted.
const MAX_SHOWN: usize = 1000;

pub(super) fn routes() -> OpenApiRouter<Resources> {
    OpenApiRouter::new().routes(routes!(get_metrics))
}

#[derive(Serialize)]
struct Metrics {
    events: Events,
    deliveries: Deliveries,
    success_rate: Option<f64>,
    dead_letters: u64,
    webhooks: Vec<WebhookMetrics>,
}

#[derive(Serialize)]
struct Events {
    total: Option<u64>,
    oldest_offset: u64,
}

#[derive(Default, Clone, Copy, Serialize)]
struct Deliveries {
    pending: u64,
    retrying: u64,
    delivered: u64,
    dead: u64,
}

#[derive(Serialize)]
struct WebhookMetrics {
    id: String,
    status: &'static str,
    #[serde(flatten)]
    deliveries: Deliveries,
    success_rate: Option<f64>,
    latency_p50_ms: Option<f64>,
    latency_p95_ms: Option<f64>,
}

/// Attempts that succeeded, and all of them.
#[derive(Default, Clone, Copy)]
struct Attempts {
    good: u64,
    all: u64,
}

impl Attempts {
    fn add(&mut self, window: &ActivityWindow) {
        self.good += window.delivered;
        self.all += window.delivered + window.retried + window.dead;
    }

    fn success_rate(self) -> Option<f64> {
        (self.all > 0).then(|| self.good as f64 / self.all as f64)
    }
}

#[utoipa::path(get, path = "/api/metrics", operation_id = "webhooks_get_metrics", security(("bearer" = ["read"])),
    responses((status = 200, description = "The counters")))]
async fn get_metrics(
    State(resources): State<Resources>,
    Caller(access): Caller,
) -> Result<Json<Metrics>, Problem> {
    let (engine, tenant) = (&resources.engine, access.tenant().as_str());
    let (mut total, mut attempts, mut webhooks) = (Deliveries::default(), Attempts::default(), Vec::new());
    for record in webhooks_after(&resources, &access, "", usize::MAX).await? {
        let name = record.spec.name;
        let Some((status, activity)) = engine.subscription(tenant, &name).zip(engine.activity(tenant, &name))
        else {
            continue;
        };
        let deliveries = Deliveries {
            pending: status.lag_events,
            retrying: status.retrying,
            delivered: status.delivered,
            dead: status.dead_letters,
        };
        total.pending += deliveries.pending;
        total.retrying += deliveries.retrying;
        total.delivered += deliveries.delivered;
        total.dead += deliveries.dead;
        attempts.add(&activity.day);
        if webhooks.len() < MAX_SHOWN {
            let milliseconds = |time: std::time::Duration| time.as_secs_f64() * 1000.0;
            webhooks.push(WebhookMetrics {
                id: name,
                status: status.run_state.name(),
                deliveries,
                success_rate: activity.day.success_ratio,
                latency_p50_ms: activity.day.latency_p50.map(milliseconds),
                latency_p95_ms: activity.day.latency_p95.map(milliseconds),
            });
        }
    }
    let sees_all = access.allows(Scope::Admin)
        || reading::state(&resources, |state| Ok(state.tenants(None, 2)?.len() < 2)).await?;
    let log = &resources.log;
    let events = Events { total: sees_all.then(|| log.durable_offset()), oldest_offset: log.oldest_offset() };
    let (success_rate, dead_letters) = (attempts.success_rate(), total.dead);
    Ok(Json(Metrics { events, deliveries: total, success_rate, dead_letters, webhooks }))
}
