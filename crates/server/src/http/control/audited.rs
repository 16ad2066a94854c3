//! What the audit log says of changes of subscriptions and of what becomes of their deliveries.
//!
//! A change of a declaration is written with its entry. What moves deliveries (a seek, a replay, …) has its entry first: the
//! order is that of the log, and an entry whose change then failed says what was asked for.

use eventrelay_state::{AuditEntry, Subscription};
use serde_json::Value;

use super::refusals;
use super::resources::Resources;
use crate::auth::{Access, Author, Change};
use crate::http::problem::Problem;

/// A change of a declaration: what it was, and what it is to be.
pub(crate) fn declaration(
    author: &Author,
    action: &'static str,
    before: Option<&Subscription>,
    after: Option<&Subscription>,
) -> Option<AuditEntry> {
    let either = after.or(before)?;
    Some(author.entry(Change {
        action,
        tenant: &either.tenant,
        resource_name: &either.name,
        before: before.map(shown),
        after: after.map(shown),
    }))
}

/// A change that is no declaration, of a subscription.
pub(crate) fn of_subscription(
    access: &Access,
    author: &Author,
    action: &'static str,
    name: &str,
    after: Option<Value>,
) -> AuditEntry {
    author.entry(Change { action, tenant: access.tenant(), resource_name: name, before: None, after })
}

/// Notes what is about to be done.
pub(crate) async fn note(resources: &Resources, entry: AuditEntry) -> Result<(), Problem> {
    let noted = resources.engine.state().append_audit_entry(entry).await;
    noted.map_err(|error| refusals::of_state(&error))
}

/// Without its secrets.
fn shown(spec: &Subscription) -> Value {
    let mut spec = spec.clone();
    if let Some(sink) = &mut spec.sink {
        sink.settings = eventrelay_sinks::redacted(&sink.settings, eventrelay_sinks::UrlView::Origin);
    }
    // It was read from JSON.
    serde_json::to_value(spec).unwrap_or_default()
}
