//! `/v1/keys`: makes, shows, lists and revokes API keys. Who has the scope
//! `tenant_admin` has those of its tenant, and gives no key more than it may do itself; `admin` has all.

use std::time::Duration;

use axum::extract::State;
use axum::response::IntoResponse;
use eventrelay_event::{Tenant, Timestamp};
use eventrelay_state::{ApiKeyRecord, StateError};
use http::StatusCode;
use http::header::LOCATION;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::author::RequestAuthor;
use super::caller::Caller;
use super::json::Json;
use super::page::{Listed, Page};
use super::path::Path;
use super::query::Query;
use super::refusals::{beyond_own_scopes, of_state};
use super::resources::Resources;
use crate::auth::{Access, ApiKeys, NewApiKey, Scope, Scopes};
use crate::http::problem::Problem;

const MAX_NAME_CHARS: usize = 128;
const MAX_LIFETIME_SECONDS: u64 = 100 * 366 * 24 * 3600;

/// What a new API key is to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewKey {
    /// What its owner calls it.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    name: String,
    /// What it may do: `publish`, `read`, `consume`, `manage`, `tenant_admin`, `admin`.
    #[schema(value_type = Vec<ScopeName>, min_items = 1)]
    scopes: Vec<String>,
    /// Whose events it is for. Where nothing is said it is `default`, or the tenant of who makes it without the scope `admin`.
    #[schema(min_length = 1, max_length = 64, pattern = "^[a-z0-9_-]+$")]
    tenant: Option<String>,
    /// When it ends by itself; never where nothing is said.
    #[schema(minimum = 1, maximum = 3_162_240_000u64)]
    expires_in_seconds: Option<u64>,
}

/// One kind of thing that a key may do.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[allow(dead_code, reason = "the names, for the documentation")]
enum ScopeName {
    Publish,
    Read,
    Consume,
    Manage,
    TenantAdmin,
    Admin,
}

/// An API key, but for what it says.
#[derive(Serialize, ToSchema)]
struct Key {
    /// Names it; no secret.
    #[schema(examples("key_0123456789abcdef"))]
    id: String,
    /// The key itself, in the answer to its making only.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// What its owner calls it.
    name: String,
    /// Whose events it is for.
    tenant: String,
    /// What it may do.
    scopes: Vec<String>,
    /// When it was made.
    #[schema(format = DateTime)]
    created_at: String,
    /// When it ends by itself, if it does.
    #[schema(required = true, format = DateTime)]
    expires_at: Option<String>,
    /// When it was last used.
    #[schema(required = true, format = DateTime)]
    last_used_at: Option<String>,
    /// When it was revoked, if it was.
    #[schema(required = true, format = DateTime)]
    revoked_at: Option<String>,
}

impl Key {
    fn of(record: ApiKeyRecord) -> Self {
        let time = |micros| Timestamp(micros).to_string();
        Self {
            id: record.id,
            key: None,
            name: record.name,
            tenant: record.tenant.to_string(),
            scopes: record.scopes,
            created_at: time(record.created_at_micros),
            expires_at: record.expires_at_micros.map(time),
            last_used_at: record.last_used_at_micros.map(time),
            revoked_at: record.revoked_at_micros.map(time),
        }
    }
}

pub(super) fn routes() -> OpenApiRouter<Resources> {
    OpenApiRouter::new().routes(routes!(create_key, list_keys)).routes(routes!(get_key, revoke_key))
}

/// Make an API key
///
/// What it says is shown in this answer and never again.
#[utoipa::path(
    post, path = "/v1/keys", tag = "keys", security(("bearer" = ["tenant_admin"])),
    request_body(content = NewKey, example = json!({"name": "the shop", "scopes": ["publish"], "tenant": "acme"})),
    responses((status = 201, description = "The key", body = Key,
               headers(("location" = String, description = "Where it is shown"))),
              (status = 409, description = "The tenant has too many"))
)]
async fn create_key(
    State(resources): State<Resources>,
    Caller(access): Caller,
    RequestAuthor(author): RequestAuthor,
    Json(wanted): Json<NewKey>,
) -> Result<impl IntoResponse, Problem> {
    let own = if access.allows(Scope::Admin) { Tenant::default() } else { access.tenant().clone() };
    let new = checked(wanted, own)?;
    if !access.reaches(&new.tenant) || !access.scopes().include(new.scopes) {
        return Err(beyond_own_scopes());
    }
    if !resources.api_keys.has_room_for(&new.tenant) {
        let title = "The tenant has too many API keys";
        return Err(Problem::new(StatusCode::CONFLICT, "too_many_keys", title).detail("Revoke some first"));
    }
    let created = resources.api_keys.create(new, &author).await;
    let (key, record) = created.map_err(|error| of_state(&error))?;
    tracing::info!(id = record.id, tenant = %record.tenant, scopes = ?record.scopes, "an API key was made");
    let location = [(LOCATION, format!("/v1/keys/{}", record.id))];
    let shown = Key { key: Some(key.expose().to_owned()), ..Key::of(record) };
    Ok((StatusCode::CREATED, location, Json(shown)))
}

/// List API keys
///
/// All of them, the revoked ones too, by id; but for what they say.
#[utoipa::path(
    get, path = "/v1/keys", tag = "keys", security(("bearer" = ["tenant_admin"])), params(Page),
    responses((status = 200, description = "A page of them", body = Listed<Key>))
)]
async fn list_keys(
    State(resources): State<Resources>,
    Caller(access): Caller,
    Query(page): Query<Page>,
) -> Result<Json<Listed<Key>>, Problem> {
    let after = page.cursor.map_or_else(String::new, |cursor| cursor.0);
    let one_more = u32::try_from(page.limit.items() + 1).unwrap_or(u32::MAX);
    let tenant = (!access.allows(Scope::Admin)).then(|| access.tenant().clone());
    let found = read(&resources, move |keys| keys.list_after(tenant.as_ref(), &after, one_more)).await?;
    Ok(Json(Listed::new(found, page.limit, |record| record.id.clone()).map(Key::of)))
}

/// Show an API key
#[utoipa::path(
    get, path = "/v1/keys/{id}", tag = "keys", security(("bearer" = ["tenant_admin"])),
    params(("id" = String, Path, description = "The key's id", example = "key_0123456789abcdef",
            extensions(("x-example-from" = json!({"operation": "create_key", "pattern": "key_[0-9a-f]{16}"}))))),
    responses((status = 200, description = "The key, but for what it says", body = Key))
)]
async fn get_key(
    State(resources): State<Resources>,
    Caller(access): Caller,
    Path(id): Path<String>,
) -> Result<Json<Key>, Problem> {
    find(&resources, &access, id).await.map(|record| Json(Key::of(record)))
}

/// Revoke an API key
///
/// It is good for nothing from then on.
#[utoipa::path(
    delete, path = "/v1/keys/{id}", tag = "keys", security(("bearer" = ["tenant_admin"])),
    params(("id" = String, Path, description = "The key's id", example = "key_0123456789abcdef",
            extensions(("x-example-from" = json!({"operation": "create_key", "pattern": "key_[0-9a-f]{16}"}))))),
    responses((status = 204, description = "It is revoked"))
)]
async fn revoke_key(
    State(resources): State<Resources>,
    Caller(access): Caller,
    RequestAuthor(author): RequestAuthor,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let record = find(&resources, &access, id.clone()).await?;
    if !access.scopes().include(Scopes::of_names(&record.scopes)) {
        return Err(beyond_own_scopes());
    }
    if !resources.api_keys.revoke(record, &author).await.map_err(|error| of_state(&error))? {
        return Err(absent());
    }
    tracing::info!(id, "an API key was revoked");
    Ok(StatusCode::NO_CONTENT)
}

/// The key of an id, unless it is one that the caller has nothing to do with.
async fn find(resources: &Resources, access: &Access, id: String) -> Result<ApiKeyRecord, Problem> {
    let found = read(resources, move |keys| keys.find(&id)).await?;
    found.filter(|record| access.reaches(&record.tenant)).ok_or_else(absent)
}

/// Reads the store, which blocks.
async fn read<T: Send + 'static>(
    resources: &Resources,
    work: impl FnOnce(&ApiKeys) -> Result<T, StateError> + Send + 'static,
) -> Result<T, Problem> {
    let api_keys = std::sync::Arc::clone(&resources.api_keys);
    let read = tokio::task::spawn_blocking(move || work(&api_keys)).await;
    read.map_err(|error| Problem::internal(error.to_string()))?.map_err(|error| of_state(&error))
}

fn absent() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "key_not_found", "There is no such API key")
}

fn checked(create: NewKey, own_tenant: Tenant) -> Result<NewApiKey, Problem> {
    if !(1..=MAX_NAME_CHARS).contains(&create.name.chars().count())
        || create.name.chars().any(char::is_control)
    {
        return Err(invalid(
            "name",
            format!("must be 1 to {MAX_NAME_CHARS} characters, none of them a control"),
        ));
    }
    let scopes = create.scopes.iter().map(|name| name.parse::<Scope>()).collect::<Result<Scopes, _>>();
    let scopes = scopes.map_err(|error| invalid("scopes", error.to_string()))?;
    if scopes.names().next().is_none() {
        return Err(invalid("scopes", "must name one at least".to_owned()));
    }
    let tenant = create.tenant.as_deref().map_or(Ok(own_tenant), Tenant::parse);
    let tenant = tenant.map_err(|error| invalid("tenant", error.to_string()))?;
    if create.expires_in_seconds.is_some_and(|seconds| !(1..=MAX_LIFETIME_SECONDS).contains(&seconds)) {
        return Err(invalid("expires_in_seconds", format!("must be 1 to {MAX_LIFETIME_SECONDS}")));
    }
    let lifetime = create.expires_in_seconds.map(Duration::from_secs);
    Ok(NewApiKey { name: create.name, tenant, scopes, lifetime })
}

fn invalid(field: &str, detail: String) -> Problem {
    let title = "This is no request for an API key";
    Problem::new(StatusCode::BAD_REQUEST, "invalid_key_request", title)
        .detail(detail)
        .field(Some(field.to_owned()))
}
