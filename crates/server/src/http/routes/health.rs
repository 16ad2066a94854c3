//! How the relay is: for people and dashboards (`/health`), for who restarts it (`/healthz`), and for who sends it
//! events (`/readyz`).
//!
//! `GET /health` always answers 200 while the process can answer at all, and says the rest in its body:
//!
//! ```json
//! {"status": "ok", "components": {
//!   "log": {"status": "ok", "oldest_offset": 0, "durable_offset": 17, "bytes": 134217728, "hard_limit_crossed": false},
//!   "disk": {"status": "ok"},
//!   "subscriptions": [{"name": "orders", "status": "running", "healthy": true, "lag_events": 0}]}}
//! ```
//!
//! `status` is `ok`; `degraded` when a subscription is not healthy or retention had to drop what one needed; or
//! `unavailable` when the log takes no events.

use eventrelay_log::Status;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use crate::health::SubscriptionHealth;
use crate::http::body::Body;
use crate::http::problem::Problem;
use crate::http::service::Shared;

/// How the relay is.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Health {
    /// `ok`, `degraded` or `unavailable`.
    status: &'static str,
    /// How each part is.
    components: Components,
}

/// The parts of a relay.
#[derive(Serialize, ToSchema)]
#[schema(as = HealthComponents)]
pub(in crate::http) struct Components {
    /// Where events are kept.
    log: LogHealth,
    /// What the log is on.
    disk: DiskHealth,
    /// By name.
    subscriptions: Vec<SubscriptionHealth>,
}

/// How the log is.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct LogHealth {
    /// `ok`, `disk_full`, `poisoned` or `closed`.
    status: &'static str,
    /// What is wrong, for people.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// The first offset that retention has left.
    oldest_offset: u64,
    /// All events below it are on the disk.
    durable_offset: u64,
    /// What it takes on the disk.
    bytes: u64,
    /// Whether retention had to drop what a subscription needed.
    hard_limit_crossed: bool,
}

/// How the disk is.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct DiskHealth {
    /// `ok` or `full`.
    status: &'static str,
}

/// Whether something is so.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Liveness {
    /// `ok`.
    status: &'static str,
}

/// `GET /health`
pub(crate) fn health(shared: &Shared) -> Response<Body> {
    let log = &shared.log;
    let (log_status, why) = match log.status() {
        Status::Writable => ("ok", None),
        Status::DiskFull => ("disk_full", None),
        Status::Poisoned { why } => ("poisoned", Some(why.to_string())),
        Status::Closed => ("closed", None),
    };
    let hard_limit_crossed = log.hard_limit_crossed();
    let subscriptions = shared.subscriptions.subscriptions();
    let status = if log_status != "ok" {
        "unavailable"
    } else if hard_limit_crossed || subscriptions.iter().any(|subscription| !subscription.healthy) {
        "degraded"
    } else {
        "ok"
    };
    let health = Health {
        status,
        components: Components {
            log: LogHealth {
                status: log_status,
                why,
                oldest_offset: log.oldest_offset(),
                durable_offset: log.durable_offset(),
                bytes: log.bytes(),
                hard_limit_crossed,
            },
            disk: DiskHealth { status: if log_status == "disk_full" { "full" } else { "ok" } },
            subscriptions,
        },
    };
    json(&health)
}

/// `GET /healthz`: the process is alive.
pub(crate) fn live() -> Response<Body> {
    json(&Liveness { status: "ok" })
}

/// `GET /readyz`: events are taken.
pub(crate) fn ready(shared: &Shared) -> Result<Response<Body>, Problem> {
    let not_ready = |code, title| Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, title);
    match shared.log.status() {
        Status::Writable => Ok(json(&Liveness { status: "ok" })),
        Status::DiskFull => Err(not_ready("disk_full", "The disk is full")),
        Status::Poisoned { why } => {
            Err(not_ready("log_poisoned", "The log takes no events until a restart").detail(why.to_string()))
        }
        Status::Closed => Err(not_ready("shutting_down", "The server is shutting down")),
    }
}

fn json(value: &impl Serialize) -> Response<Body> {
    let body = match serde_json::to_vec(value) {
        Ok(body) => body,
        Err(error) => return Problem::internal(error.to_string()).into_response(),
    };
    let mut response = Response::new(Body::full(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
