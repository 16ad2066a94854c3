//! `GET /v1/audit-log`: who changed what, and when. Who has the scope `tenant_admin` sees what was changed in its tenant, `admin`
//! all of it.

use axum::extract::State;
use eventrelay_event::{Tenant, Timestamp};
use eventrelay_state::{ActorKind, AuditQuery, AuditRecord};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::Caller;
use super::json::Json;
use super::page::{Cursor, Listed, PageLimit};
use super::query::{Query, invalid};
use super::reading;
use super::resources::Resources;
use super::time::Time;
use crate::auth::Scope;
use crate::http::problem::Problem;

/// Which changes to look for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ChangeFilter {
    /// In one tenant.
    #[param(min_length = 1, max_length = 64, pattern = "^[a-z0-9_-]+$")]
    tenant: Option<String>,
    /// Made at this time or later, in RFC 3339.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Time>,
    /// Made before this time, in RFC 3339.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Time>,
    /// Made by somebody of this id or name.
    actor: Option<String>,
    /// Made by this kind of actor.
    #[param(value_type = Option<ActorKindName>)]
    actor_kind: Option<String>,
    /// What was done, such as `user.update`.
    action: Option<String>,
    /// The kind of thing that was changed, such as `user`.
    resource_kind: Option<String>,
    /// Which one: a user's email address, a key's id, the name of anything else.
    resource_name: Option<String>,
    /// How many items the page has at most.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 250, default = 50)]
    limit: PageLimit,
    /// Where the page begins: the `next` of the one before it.
    #[param(value_type = Option<String>, max_length = 1024)]
    cursor: Option<Cursor<u64>>,
}

/// Who makes changes.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[allow(dead_code, reason = "the names, for the documentation")]
enum ActorKindName {
    ApiKey,
    User,
    Anonymous,
    Configuration,
    System,
}

/// Who made a change.
#[derive(Serialize, ToSchema)]
struct ChangeActor {
    /// What kind.
    #[schema(value_type = ActorKindName)]
    kind: &'static str,
    /// Of a key or a user; else empty.
    id: String,
    /// What it is called.
    name: String,
}

/// What was changed.
#[derive(Serialize, ToSchema)]
struct ChangedResource {
    /// What kind of thing.
    kind: String,
    /// Which one.
    name: String,
}

/// A change.
#[derive(Serialize, ToSchema)]
struct AuditLogEntry {
    /// Later changes have larger numbers.
    id: u64,
    /// When it was made.
    #[schema(format = DateTime)]
    at: String,
    /// Whose thing was changed.
    tenant: String,
    /// Who made it.
    actor: ChangeActor,
    /// What was done.
    #[schema(examples("user.update"))]
    action: String,
    /// What was changed.
    resource: ChangedResource,
    /// What it was, but for secrets; null where it was not there.
    #[schema(required = true, value_type = Option<Object>)]
    before: Option<Value>,
    /// What it became, but for secrets; null where it is gone.
    #[schema(required = true, value_type = Option<Object>)]
    after: Option<Value>,
    /// The request that made it, as `x-request-id` names it.
    #[schema(required = true)]
    request_id: Option<String>,
    /// Where that came from.
    #[schema(required = true)]
    client_address: Option<String>,
}

impl AuditLogEntry {
    fn of(record: AuditRecord) -> Self {
        let entry = record.entry;
        // What was written is JSON. What is not is shown all the same: this is the last place to hide something.
        let document = |text: String| serde_json::from_str(&text).unwrap_or(Value::String(text));
        Self {
            id: record.id,
            at: Timestamp(entry.at_micros).to_string(),
            tenant: entry.tenant.to_string(),
            actor: ChangeActor { kind: entry.actor_kind.name(), id: entry.actor_id, name: entry.actor_name },
            action: entry.action,
            resource: ChangedResource { kind: entry.resource_kind, name: entry.resource_name },
            before: entry.before.map(document),
            after: entry.after.map(document),
            request_id: entry.request_id,
            client_address: entry.client_address,
        }
    }
}

pub(super) fn routes() -> OpenApiRouter<Resources> {
    OpenApiRouter::new().routes(routes!(list_audit_log))
}

/// List changes
///
/// Newest first. Of each tenant the newest 100,000 are kept.
#[utoipa::path(
    get, path = "/v1/audit-log", tag = "audit log", security(("bearer" = ["tenant_admin"])), params(ChangeFilter),
    responses((status = 200, description = "A page of them", body = Listed<AuditLogEntry>))
)]
async fn list_audit_log(
    State(resources): State<Resources>,
    Caller(access): Caller,
    Query(filter): Query<ChangeFilter>,
) -> Result<Json<Listed<AuditLogEntry>>, Problem> {
    let limit = filter.limit;
    let mut query = checked(filter)?;
    if !access.allows(Scope::Admin) {
        // Another tenant's changes are not there.
        if query.tenant.as_ref().is_some_and(|tenant| tenant != access.tenant()) {
            return Ok(Json(Listed::new(Vec::new(), limit, |entry: &AuditLogEntry| entry.id)));
        }
        query.tenant = Some(access.tenant().clone());
    }
    let found = reading::from(&resources.accounts.state, move |state| state.audit_log(&query)).await?;
    Ok(Json(Listed::new(found, limit, |record| record.id).map(AuditLogEntry::of)))
}

fn checked(filter: ChangeFilter) -> Result<AuditQuery, Problem> {
    let named = |name: &str| Some(name.to_owned());
    let tenant = filter.tenant.as_deref().map(Tenant::parse).transpose();
    let actor_kind = match filter.actor_kind.as_deref().map(ActorKind::from_name) {
        Some(None) => return Err(invalid("no such kind of actor".to_owned(), named("actor_kind"))),
        kind => kind.flatten(),
    };
    Ok(AuditQuery {
        tenant: tenant.map_err(|error| invalid(error.to_string(), named("tenant")))?,
        from_micros: filter.from.map(|Time(time)| time.0),
        to_micros: filter.to.map(|Time(time)| time.0),
        actor: filter.actor,
        actor_kind,
        action: filter.action,
        resource_kind: filter.resource_kind,
        resource_name: filter.resource_name,
        // A number is never as large as that one, so a page that begins there begins at the newest.
        before_id: filter.cursor.map(|cursor| cursor.0.min(i64::MAX.unsigned_abs())),
        limit: u32::try_from(filter.limit.items() + 1).unwrap_or(u32::MAX),
    })
}
