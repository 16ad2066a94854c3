//! `/api/v1/app`: applications. Each is a tenant: the one that is called like the uid, if that is a tenant's name and no other
//! application is that tenant, else one of its own.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::response::IntoResponse;
use eventrelay_event::{Tenant, Timestamp};
use eventrelay_state::{NewSvixApplication, SvixApplication, SvixChangeError};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::caller::Caller;
use super::ids;
use super::json::{Json, Patched, patched};
use super::list::{List, Wanted};
use super::parameters::Parameters;
use super::refusal::Refusal;
use super::resources::Resources;
use super::routes::Routes;
use crate::auth::{Author, Scope};
use crate::http::control::author::RequestAuthor;

const MAX_NAME_CHARS: usize = 256;
/// The most notes, and the most characters of one's name and value.
const MAX_METADATA: usize = 50;
const MAX_METADATA_CHARS: usize = 1024;

pub(super) fn routes() -> Routes<Resources> {
    let one = "/api/v1/app/{app_id}";
    Routes::new()
        .post("/api/v1/app", Scope::Admin, create)
        .get("/api/v1/app", Scope::Admin, list)
        .get(one, Scope::Read, get)
        .put(one, Scope::Admin, put)
        .patch(one, Scope::Admin, patch)
        .delete(one, Scope::Admin, delete)
}

/// What an application is to be.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApplicationIn {
    name: String,
    pub(super) uid: Option<String>,
    #[serde(alias = "rateLimit")]
    throttle_rate: Option<u32>,
    #[serde(default)]
    metadata: Option<BTreeMap<String, String>>,
}

impl ApplicationIn {
    /// The same under another uid.
    pub(super) fn called(self, uid: String) -> Self {
        Self { uid: Some(uid), ..self }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApplicationPatch {
    name: Option<String>,
    #[serde(default, deserialize_with = "patched")]
    uid: Patched<String>,
    #[serde(default, alias = "rateLimit", deserialize_with = "patched")]
    throttle_rate: Patched<u32>,
    metadata: Option<BTreeMap<String, String>>,
}

/// An application as it is shown. Rates have two names, for SDKs of different versions.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ApplicationOut {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    throttle_rate: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit: Option<u32>,
    metadata: BTreeMap<String, String>,
    created_at: String,
    updated_at: String,
}

impl ApplicationOut {
    fn of(application: SvixApplication) -> Self {
        Self {
            id: application.id,
            uid: application.uid,
            name: application.name,
            throttle_rate: application.throttle_rate,
            rate_limit: application.throttle_rate,
            metadata: application.metadata,
            created_at: Timestamp(application.created_at_micros).to_string(),
            updated_at: Timestamp(application.updated_at_micros).to_string(),
        }
    }
}

async fn create(
    State(resources): State<Resources>,
    RequestAuthor(author): RequestAuthor,
    parameters: Parameters,
    Json(wanted): Json<ApplicationIn>,
) -> Result<impl IntoResponse, Refusal> {
    if parameters.flag("get_if_exists", false)?
        && let Some(uid) = wanted.uid.clone()
        && let Some(known) = resources.read(move |state| state.svix_application(&uid)).await?
    {
        return Ok((StatusCode::OK, Json(ApplicationOut::of(known))));
    }
    let made = make(&resources, &author, wanted).await?;
    Ok((StatusCode::CREATED, Json(ApplicationOut::of(made))))
}

/// Makes an application.
///
/// # Errors
/// When a field is wrong, its uid is taken, or it cannot be stored.
pub(super) async fn make(
    resources: &Resources,
    author: &Author,
    wanted: ApplicationIn,
) -> Result<SvixApplication, Refusal> {
    let ApplicationIn { name, uid, throttle_rate, metadata } = wanted;
    let metadata = metadata.unwrap_or_default();
    check(&name, uid.as_deref(), throttle_rate, &metadata)?;
    let own = Tenant::parse(&format!("app_{:032x}", rand::random::<u128>()));
    let called = uid.as_deref().and_then(|uid| Tenant::parse(uid).ok());
    let new = NewSvixApplication {
        id: ids::application(),
        uid,
        tenants: called.into_iter().chain(own.ok()).collect(),
        name,
        throttle_rate,
        metadata,
        start_offset: resources.log.durable_offset(),
    };
    let state = resources.state().clone();
    let create = async move { state.create_svix_application(new).await };
    let made = noted(resources, author, "application.create", create).await?;
    tracing::info!(application = made.id, tenant = %made.tenant, "an application was made");
    Ok(made)
}

fn check(
    name: &str,
    uid: Option<&str>,
    throttle_rate: Option<u32>,
    metadata: &BTreeMap<String, String>,
) -> Result<(), Refusal> {
    if !(1..=MAX_NAME_CHARS).contains(&name.chars().count()) {
        return Err(Refusal::invalid("name", format!("must have 1 to {MAX_NAME_CHARS} characters")));
    }
    if let Some(uid) = uid {
        ids::check_name("uid", uid)?;
    }
    if throttle_rate == Some(0) {
        return Err(Refusal::invalid("throttleRate", "must be at least 1"));
    }
    let is_long = |text: &String| text.chars().count() > MAX_METADATA_CHARS;
    if metadata.len() > MAX_METADATA || metadata.iter().any(|(name, value)| is_long(name) || is_long(value)) {
        let why =
            format!("must have at most {MAX_METADATA} entries of at most {MAX_METADATA_CHARS} characters");
        return Err(Refusal::invalid("metadata", why));
    }
    Ok(())
}

async fn list(
    State(resources): State<Resources>,
    parameters: Parameters,
) -> Result<Json<List<ApplicationOut>>, Refusal> {
    let wanted = Wanted::of(&parameters)?;
    let page = wanted.by_name(parameters.is_descending(false)?);
    let found = resources.read(move |state| state.svix_applications(&page)).await?;
    let page = List::new(found, &wanted, |application| application.id.clone());
    Ok(Json(page.map(ApplicationOut::of)))
}

async fn get(
    State(resources): State<Resources>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<ApplicationOut>, Refusal> {
    Ok(Json(ApplicationOut::of(resources.application(&caller, name).await?)))
}

async fn put(
    State(resources): State<Resources>,
    RequestAuthor(author): RequestAuthor,
    Path(name): Path<String>,
    Json(wanted): Json<ApplicationIn>,
) -> Result<impl IntoResponse, Refusal> {
    let looked_for = name.clone();
    let Some(known) = resources.read(move |state| state.svix_application(&looked_for)).await? else {
        if name.starts_with(ids::APPLICATION) {
            return Err(Refusal::not_found());
        }
        // It is made under the uid that it was looked for.
        let uid = Some(wanted.uid.clone().unwrap_or(name));
        let made = make(&resources, &author, ApplicationIn { uid, ..wanted }).await?;
        return Ok((StatusCode::CREATED, Json(ApplicationOut::of(made))));
    };
    let metadata = wanted.metadata.unwrap_or_default();
    check(&wanted.name, wanted.uid.as_deref(), wanted.throttle_rate, &metadata)?;
    let changed = SvixApplication {
        name: wanted.name,
        uid: wanted.uid,
        throttle_rate: wanted.throttle_rate,
        metadata,
        ..known
    };
    let changed = update(&resources, &author, changed).await?;
    Ok((StatusCode::OK, Json(ApplicationOut::of(changed))))
}

/// Stores what has been changed of an application.
///
/// # Errors
/// When its uid is taken, or it cannot be stored.
pub(super) async fn update(
    resources: &Resources,
    author: &Author,
    application: SvixApplication,
) -> Result<SvixApplication, Refusal> {
    let state = resources.state().clone();
    let update = async move { state.update_svix_application(application).await };
    noted(resources, author, "application.update", update).await
}

/// Changes an application, has its endpoints keep to the rate that is stored from then on, and notes it; all of it also when nobody
/// waits for it any more.
async fn noted(
    resources: &Resources,
    author: &Author,
    action: &'static str,
    change: impl Future<Output = Result<SvixApplication, SvixChangeError>> + Send + 'static,
) -> Result<SvixApplication, Refusal> {
    let (by, author) = (resources.clone(), author.clone());
    let done = async move {
        let changed = change.await?;
        by.engine.keep_stored_rate(changed.tenant.to_string()).await?;
        by.note(&author, action, &changed.tenant, &changed.id, Some(shown(&changed))).await?;
        Ok(changed)
    };
    resources.engine.finish(done).await?
}

/// What the audit log says of an application.
fn shown(application: &SvixApplication) -> Value {
    json!({"name": application.name, "uid": application.uid, "throttle_rate": application.throttle_rate,
           "metadata": application.metadata, "tokens_after_micros": application.tokens_after_micros})
}

async fn patch(
    State(resources): State<Resources>,
    caller: Caller,
    RequestAuthor(author): RequestAuthor,
    Path(name): Path<String>,
    Json(patch): Json<ApplicationPatch>,
) -> Result<Json<ApplicationOut>, Refusal> {
    let mut application = resources.application(&caller, name).await?;
    application.name = patch.name.unwrap_or(application.name);
    application.uid = patch.uid.unwrap_or(application.uid);
    application.throttle_rate = patch.throttle_rate.unwrap_or(application.throttle_rate);
    application.metadata = patch.metadata.unwrap_or(application.metadata);
    let SvixApplication { name, uid, throttle_rate, metadata, .. } = &application;
    check(name, uid.as_deref(), *throttle_rate, metadata)?;
    Ok(Json(ApplicationOut::of(update(&resources, &author, application).await?)))
}

/// Its endpoints go with it. Events stay in the log, and are no messages of an application that is made after it.
async fn delete(
    State(resources): State<Resources>,
    caller: Caller,
    RequestAuthor(author): RequestAuthor,
    Path(name): Path<String>,
) -> Result<StatusCode, Refusal> {
    let application = resources.application(&caller, name).await?;
    loop {
        let endpoints = resources.endpoints(&application).await?;
        if endpoints.is_empty() {
            break;
        }
        for endpoint in &endpoints {
            super::endpoint_routes::remove(&resources, &author, endpoint).await?;
        }
    }
    let (by, gone) = (resources.clone(), application.clone());
    let done = async move {
        by.state().delete_svix_application(gone.id.clone()).await?;
        by.engine.keep_stored_rate(gone.tenant.to_string()).await?;
        by.note(&author, "application.delete", &gone.tenant, &gone.id, None).await
    };
    resources.engine.finish(done).await??;
    tracing::info!(application = application.id, tenant = %application.tenant, "an application was deleted");
    Ok(StatusCode::NO_CONTENT)
}
