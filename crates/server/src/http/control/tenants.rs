//! `/v1/tenants`: makes, shows, lists, changes and removes tenants. Needs the scope `admin`: they concern the whole relay.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::IntoResponse;
use eventrelay_event::{Tenant, Timestamp};
use eventrelay_state::{TenantRecord, TenantRemoval};
use http::StatusCode;
use http::header::{ETAG, LOCATION};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::author::RequestAuthor;
use super::caller::Caller;
use super::json::Json;
use super::page::{Listed, Page};
use super::path::Path;
use super::query::Query;
use super::reading;
use super::refusals::{of_change, of_control, of_state};
use super::resources::Resources;
use super::revision::{IfMatch, etag};
use super::tenant_contents;
use crate::auth::{Author, Change, now_micros};
use crate::http::problem::Problem;

const MAX_DISPLAY_NAME_CHARS: usize = 128;
const MAX_METADATA_ENTRIES: usize = 64;
const MAX_METADATA_BYTES: usize = 1024;

/// How a tenant is removed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Removal {
    /// Whether its subscriptions, keys and users are deleted too.
    #[serde(default)]
    #[param(value_type = Option<bool>, default = false)]
    cascade: bool,
}

/// What a new tenant is to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewTenant {
    /// Its name, which never changes.
    #[schema(min_length = 1, max_length = 64, pattern = "^[a-z0-9_-]+$")]
    name: String,
    /// What people call it.
    #[serde(default)]
    #[schema(max_length = 128)]
    display_name: String,
    /// Whatever its owner notes: at most 64 entries, each name and value at most 1024 bytes.
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

/// What is to be changed of a tenant; what is not named stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TenantChanges {
    /// What people call it.
    #[schema(max_length = 128)]
    display_name: Option<String>,
    /// All of it anew.
    metadata: Option<BTreeMap<String, String>>,
}

/// A tenant.
#[derive(Serialize, ToSchema)]
#[schema(as = Tenant)]
struct Shown {
    /// Its name.
    name: String,
    /// What people call it; may be empty.
    display_name: String,
    /// Whatever its owner notes.
    metadata: BTreeMap<String, String>,
    /// When it was made.
    #[schema(format = DateTime)]
    created_at: String,
    /// When it was last changed.
    #[schema(format = DateTime)]
    updated_at: String,
    /// How often it has been written; the `ETag`.
    revision: u64,
}

impl Shown {
    fn of(record: TenantRecord) -> Self {
        Self {
            name: record.name.to_string(),
            display_name: record.display_name,
            metadata: record.metadata,
            created_at: Timestamp(record.created_at_micros).to_string(),
            updated_at: Timestamp(record.updated_at_micros).to_string(),
            revision: record.revision,
        }
    }
}

pub(super) fn routes() -> OpenApiRouter<Resources> {
    OpenApiRouter::new().routes(routes!(create_tenant, list_tenants)).routes(routes!(
        get_tenant,
        update_tenant,
        delete_tenant
    ))
}

/// Make a tenant
///
/// One that a key or a user names is made with them.
#[utoipa::path(
    post, path = "/v1/tenants", tag = "tenants", security(("bearer" = ["admin"])),
    request_body(content = NewTenant, example = json!({"name": "globex", "display_name": "Globex", "metadata": {"team": "shop"}})),
    responses((status = 201, description = "The tenant", body = Shown,
               headers(("location" = String, description = "Where it is shown"), ("etag" = String, description = "Its revision"))),
              (status = 409, description = "There is one of this name, or a request with this `Idempotency-Key` is under way"))
)]
async fn create_tenant(
    State(resources): State<Resources>,
    RequestAuthor(author): RequestAuthor,
    Json(wanted): Json<NewTenant>,
) -> Result<impl IntoResponse, Problem> {
    let now = now_micros();
    let tenant = TenantRecord {
        name: Tenant::parse(&wanted.name).map_err(|error| invalid("name", error.to_string()))?,
        display_name: display_name(wanted.display_name)?,
        metadata: metadata(wanted.metadata)?,
        created_at_micros: now,
        updated_at_micros: now,
        revision: 1,
    };
    let audit = entry(&author, "tenant.create", None, Some(&tenant), &tenant.name);
    let created = resources.accounts.state.create_tenant(tenant.clone(), audit).await;
    if !created.map_err(|error| of_state(&error))? {
        return Err(Problem::new(StatusCode::CONFLICT, "tenant_exists", "There is a tenant of this name")
            .detail(format!("It is called {}", tenant.name)));
    }
    tracing::info!(tenant = %tenant.name, "a tenant was made");
    let location = [(LOCATION, format!("/v1/tenants/{}", tenant.name))];
    Ok((StatusCode::CREATED, location, [(ETAG, etag(1))], Json(Shown::of(tenant))))
}

/// List tenants
///
/// By name.
#[utoipa::path(
    get, path = "/v1/tenants", tag = "tenants", security(("bearer" = ["admin"])), params(Page),
    responses((status = 200, description = "A page of them", body = Listed<Shown>))
)]
async fn list_tenants(
    State(resources): State<Resources>,
    Query(page): Query<Page>,
) -> Result<Json<Listed<Shown>>, Problem> {
    let after = page.cursor.map(|cursor| cursor.0);
    let one_more = u32::try_from(page.limit.items() + 1).unwrap_or(u32::MAX);
    let list = move |state: &eventrelay_state::State| state.tenants(after.as_deref(), one_more);
    let found = reading::from(&resources.accounts.state, list).await?;
    Ok(Json(Listed::new(found, page.limit, |tenant| tenant.name.clone()).map(Shown::of)))
}

/// Show a tenant
#[utoipa::path(
    get, path = "/v1/tenants/{name}", tag = "tenants", security(("bearer" = ["admin"])),
    params(("name" = String, Path, description = "The tenant's name", example = "globex",
            extensions(("x-example-from" = json!({"operation": "create_tenant", "pattern": "globex"}))))),
    responses((status = 200, description = "The tenant", body = Shown, headers(("etag" = String, description = "Its revision"))))
)]
async fn get_tenant(
    State(resources): State<Resources>,
    Path(name): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let tenant = find(&resources, name).await?;
    Ok(([(ETAG, etag(tenant.revision))], Json(Shown::of(tenant))))
}

/// Change a tenant
#[utoipa::path(
    patch, path = "/v1/tenants/{name}", tag = "tenants", security(("bearer" = ["admin"])),
    params(("name" = String, Path, description = "The tenant's name", example = "globex",
            extensions(("x-example-from" = json!({"operation": "create_tenant", "pattern": "globex"})))),
           ("if-match" = Option<String>, Header, description = "The `ETag` that the change is for")),
    request_body(content = TenantChanges, example = json!({"display_name": "Globex Inc."})),
    responses((status = 200, description = "The tenant", body = Shown, headers(("etag" = String, description = "Its revision"))),
              (status = 412, description = "It has been changed since"))
)]
async fn update_tenant(
    State(resources): State<Resources>,
    RequestAuthor(author): RequestAuthor,
    Path(name): Path<String>,
    if_match: IfMatch,
    Json(changes): Json<TenantChanges>,
) -> Result<impl IntoResponse, Problem> {
    let before = find(&resources, name).await?;
    if_match.check(before.revision)?;
    let mut tenant = TenantRecord { updated_at_micros: now_micros(), ..before.clone() };
    if let Some(text) = changes.display_name {
        tenant.display_name = display_name(text)?;
    }
    if let Some(entries) = changes.metadata {
        tenant.metadata = metadata(entries)?;
    }
    let audit = entry(&author, "tenant.update", Some(&before), Some(&tenant), &tenant.name);
    let updated = resources.accounts.state.update_tenant(tenant.clone(), audit).await;
    if !updated.map_err(|error| of_state(&error))? {
        return Err(stale());
    }
    tenant.revision += 1;
    Ok(([(ETAG, etag(tenant.revision))], Json(Shown::of(tenant))))
}

/// Remove a tenant
///
/// One that has subscriptions, keys or users stays, unless they are to go with it (`cascade`). Its events are kept as long as all others.
#[utoipa::path(
    delete, path = "/v1/tenants/{name}", tag = "tenants", security(("bearer" = ["admin"])),
    params(("name" = String, Path, description = "The tenant's name", example = "globex",
            extensions(("x-example-from" = json!({"operation": "create_tenant", "pattern": "globex"})))),
           Removal,
           ("if-match" = Option<String>, Header, description = "The `ETag` of the tenant that is meant")),
    responses((status = 204, description = "It is gone"),
              (status = 409, description = "It has something left, or is the default tenant"),
              (status = 412, description = "It has been changed since"))
)]
async fn delete_tenant(
    State(resources): State<Resources>,
    Caller(access): Caller,
    RequestAuthor(author): RequestAuthor,
    Path(name): Path<String>,
    Query(removal): Query<Removal>,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    let tenant = find(&resources, name).await?;
    if_match.check(tenant.revision)?;
    if tenant.name == Tenant::default() {
        let title = "The default tenant stays";
        return Err(Problem::new(StatusCode::CONFLICT, "default_tenant", title));
    }
    if removal.cascade {
        tenant_contents::delete_all(&resources, &access, &author, &tenant.name).await?;
    }
    let audit = entry(&author, "tenant.delete", Some(&tenant), None, &tenant.name);
    let (by, name) = (resources.clone(), tenant.name.clone());
    let remove = async move {
        let removal = by.accounts.state.delete_tenant(name.clone(), tenant.revision, audit).await;
        let removal = removal.map_err(|error| of_state(&error))?;
        // An application that went with it may have had a rate.
        by.engine.keep_stored_rate(name.to_string()).await.map_err(|error| of_control(&error))?;
        Ok::<_, Problem>(removal)
    };
    match resources.engine.finish(remove).await.map_err(|error| of_change(&error))?? {
        TenantRemoval::Removed => Ok(StatusCode::NO_CONTENT),
        TenantRemoval::Stale => Err(stale()),
        TenantRemoval::NotEmpty { subscriptions, api_keys, users } => {
            let title = "The tenant has something left";
            Err(Problem::new(StatusCode::CONFLICT, "tenant_not_empty", title).detail(format!(
                "Subscriptions: {subscriptions}, API keys that are not revoked: {api_keys}, users: {users}"
            )))
        }
    }
}

async fn find(resources: &Resources, name: String) -> Result<TenantRecord, Problem> {
    let found = reading::from(&resources.accounts.state, move |state| state.tenant(&name)).await?;
    found.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "tenant_not_found", "There is no such tenant"))
}

fn entry(
    author: &Author,
    action: &'static str,
    before: Option<&TenantRecord>,
    after: Option<&TenantRecord>,
    name: &Tenant,
) -> eventrelay_state::AuditEntry {
    let shown =
        |tenant: &TenantRecord| json!({"display_name": tenant.display_name, "metadata": tenant.metadata});
    author.entry(Change {
        action,
        tenant: name,
        resource_name: name.as_str(),
        before: before.map(shown),
        after: after.map(shown),
    })
}

fn display_name(text: String) -> Result<String, Problem> {
    if text.chars().count() <= MAX_DISPLAY_NAME_CHARS && !text.contains(char::is_control) {
        return Ok(text);
    }
    let rule = format!("must be at most {MAX_DISPLAY_NAME_CHARS} characters, none of them a control");
    Err(invalid("display_name", rule))
}

fn metadata(entries: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Problem> {
    let fits = |text: &String| text.len() <= MAX_METADATA_BYTES;
    if entries.len() <= MAX_METADATA_ENTRIES && entries.iter().all(|(name, value)| fits(name) && fits(value))
    {
        return Ok(entries);
    }
    let rule = format!(
        "has at most {MAX_METADATA_ENTRIES} entries, each name and value at most {MAX_METADATA_BYTES} bytes"
    );
    Err(invalid("metadata", rule))
}

fn invalid(field: &str, detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_tenant", "This is no request for a tenant")
        .detail(detail)
        .field(Some(field.to_owned()))
}

fn stale() -> Problem {
    Problem::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", "It has been changed since")
}
