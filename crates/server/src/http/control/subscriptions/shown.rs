//! A subscription as the API shows it: its declaration without secrets, and what it is doing.

use eventrelay_delivery::RunState;
use eventrelay_sinks::{UrlView, redacted};
use eventrelay_state::{Lifecycle, SubscriptionRecord};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

use super::schema::{SubscriptionDeclaration, object_of};
use crate::auth::{Access, Scope};
use crate::http::control::resources::Resources;
use crate::http::control::time::Time;

/// A subscription: its declaration with all defaults, and what it is doing. Secrets are `[redacted]`; of URLs only who may
/// manage subscriptions sees more than the origin.
#[derive(Serialize)]
pub(crate) struct SubscriptionShown {
    #[serde(flatten)]
    declaration: Map<String, Value>,
    #[serde(flatten)]
    standing: Standing,
}

/// What is known of a subscription beside its declaration.
#[derive(Serialize, ToSchema)]
struct Standing {
    /// Who declares it: `configuration` (it is changed in the file) or `api`.
    origin: &'static str,
    /// What it is doing: `running`, `paused`, `disabled` (its target wants nothing more), `damaged`, `filter_stopped`, `stopped`
    /// (it cannot be started: change or delete it) or `orphaned` (the file no longer declares it).
    status: &'static str,
    /// Why it is not running, where there is more to say.
    #[schema(required = true)]
    status_reason: Option<String>,
    /// How often it has been changed, from 1: its `ETag`.
    revision: u64,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Time,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Time,
}

impl PartialSchema for SubscriptionShown {
    fn schema() -> RefOr<Schema> {
        let mut shown = object_of(SubscriptionDeclaration::schema(), Standing::schema());
        shown.additional_properties = None;
        shown.into()
    }
}

impl ToSchema for SubscriptionShown {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        SubscriptionDeclaration::schemas(schemas);
    }
}

impl SubscriptionShown {
    pub(crate) fn of(resources: &Resources, access: &Access, record: &SubscriptionRecord) -> Self {
        let urls = if access.allows(Scope::Manage) { UrlView::Whole } else { UrlView::Origin };
        let (status, status_reason) = status(resources, record);
        Self {
            declaration: shown_declaration(record, urls),
            standing: Standing {
                origin: record.origin.name(),
                status,
                status_reason,
                revision: record.revision,
                created_at: Time::of_micros(record.created_at_micros),
                updated_at: Time::of_micros(record.updated_at_micros),
            },
        }
    }
}

fn shown_declaration(record: &SubscriptionRecord, urls: UrlView) -> Map<String, Value> {
    let mut spec = record.spec.clone();
    if let Some(sink) = &mut spec.sink {
        sink.settings = redacted(&sink.settings, urls);
    }
    match serde_json::to_value(spec) {
        Ok(Value::Object(members)) => members,
        // A declaration was read from JSON, and is an object.
        Ok(_) | Err(_) => Map::new(),
    }
}

fn status(resources: &Resources, record: &SubscriptionRecord) -> (&'static str, Option<String>) {
    let running = resources.engine.subscription(record.spec.tenant.as_str(), &record.spec.name);
    match (running, &record.lifecycle) {
        (_, Lifecycle::Orphaned) => ("orphaned", None),
        (Some(status), _) => (status.run_state.name(), reason(status.run_state)),
        (None, _) => (RunState::Stopped.name(), None),
    }
}

fn reason(state: RunState) -> Option<String> {
    match state {
        RunState::Disabled { reason } => Some(reason),
        RunState::Damaged { why } | RunState::FilterStopped { why } => Some(why),
        RunState::Running | RunState::Paused | RunState::Stopped => None,
    }
}
