//! A webhook delivery system: its clients publish events, manage webhooks, and look at what became of them; so does its
//! dashboard.
//!
//! | | |
//! |---|---|
//! | `POST`, `GET /api/events`, `GET /api/events/{id}` | [`events`] |
//! | `POST`, `GET /api/webhooks`, `GET`, `PUT`, `PATCH`, `DELETE /api/webhooks/{id}` | [`endpoints`] |
//! | `GET /api/dlq`, `POST /api/dlq/{id}/retry`, `DELETE /api/dlq/{id}` | [`dead_letters`] |
//! | `GET /api/metrics` | [`metrics`] |
//!
//! Its webhooks are the tenant's subscriptions with a sink of the kind `webhook`, whoever made them. Lists are
//! `{data, next}`, as in our own API: `?limit=` at most 250 and `?cursor=`.

mod dead_letters;
mod endpoints;
mod events;
mod metrics;

use eventrelay_state::SubscriptionRecord;
use utoipa_axum::router::OpenApiRouter;

use crate::auth::Access;
use crate::http::control::reading;
use crate::http::control::resources::Resources;
use crate::http::problem::Problem;

/// How many subscriptions are read together.
const PAGE_SUBSCRIPTIONS: u32 = 250;

pub(super) fn routes() -> OpenApiRouter<Resources> {
    OpenApiRouter::new()
        .merge(events::routes())
        .merge(endpoints::routes())
        .merge(dead_letters::routes())
        .merge(metrics::routes())
}

fn is_webhook(record: &SubscriptionRecord) -> bool {
    record.spec.sink.as_ref().is_some_and(|sink| sink.kind == eventrelay_sinks::webhook::KIND)
}

/// At most so many of the tenant's webhooks whose names come behind `after`, by name.
async fn webhooks_after(
    resources: &Resources,
    access: &Access,
    after: &str,
    most: usize,
) -> Result<Vec<SubscriptionRecord>, Problem> {
    let (tenant, mut after) = (access.tenant().clone(), after.to_owned());
    let read = move |state: &eventrelay_state::State| {
        let mut webhooks = Vec::new();
        loop {
            let page = state.subscriptions_of(tenant.as_str(), &after, PAGE_SUBSCRIPTIONS)?;
            let Some(last) = page.last() else { return Ok(webhooks) };
            after.clone_from(&last.spec.name);
            webhooks.extend(page.into_iter().filter(is_webhook).take(most - webhooks.len()));
            if webhooks.len() >= most {
                return Ok(webhooks);
            }
        }
    };
    reading::state(resources, read).await
}
