//! `/api/v1/app/{app}/endpoint`: endpoints.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use axum::extract::{Path, State};
use axum::response::IntoResponse;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use eventrelay_delivery::ChangeError;
use eventrelay_sinks::UrlView;
use eventrelay_state::{Lifecycle, Subscription, SvixApplication, SvixEndpoint};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::caller::Caller;
use super::endpoint::{self, EndpointOut};
use super::ids;
use super::json::{Json, Patched, patched};
use super::list::{List, Wanted};
use super::parameters::Parameters;
use super::refusal::Refusal;
use super::resources::{Found, Resources};
use super::routes::Routes;
use crate::auth::{Author, Change, Scope};
use crate::http::control::audited;
use crate::http::control::author::RequestAuthor;

/// How often a change is tried while others change the same endpoint.
const MAX_TRIES: usize = 5;
/// How many random bytes a secret has.
const SECRET_BYTES: usize = 24;

pub(super) fn routes() -> Routes<Resources> {
    let (all, one) = ("/api/v1/app/{app_id}/endpoint", "/api/v1/app/{app_id}/endpoint/{endpoint_id}");
    Routes::new()
        .post(all, Scope::Manage, create)
        .get(all, Scope::Read, list)
        .get(one, Scope::Read, get)
        .put(one, Scope::Manage, put)
        .patch(one, Scope::Manage, patch)
        .delete(one, Scope::Manage, delete)
}

/// What an endpoint is to be.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct EndpointIn {
    url: String,
    uid: Option<String>,
    description: Option<String>,
    #[serde(alias = "filterTypes")]
    event_types: Option<Vec<String>>,
    channels: Option<Vec<String>>,
    disabled: Option<bool>,
    #[serde(alias = "rateLimit")]
    throttle_rate: Option<u32>,
    secret: Option<String>,
    metadata: Option<BTreeMap<String, String>>,
    headers: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct EndpointPatch {
    url: Option<String>,
    #[serde(default, deserialize_with = "patched")]
    uid: Patched<String>,
    description: Option<String>,
    #[serde(default, alias = "filterTypes", deserialize_with = "patched")]
    event_types: Patched<Vec<String>>,
    #[serde(default, deserialize_with = "patched")]
    channels: Patched<Vec<String>>,
    disabled: Option<bool>,
    #[serde(default, alias = "rateLimit", deserialize_with = "patched")]
    throttle_rate: Patched<u32>,
    #[serde(default, deserialize_with = "patched")]
    secret: Patched<String>,
    metadata: Option<BTreeMap<String, String>>,
}

impl EndpointIn {
    /// All of it in place of what there is, but for secret and headers where none are given.
    fn into_patch(self) -> EndpointPatch {
        EndpointPatch {
            url: Some(self.url),
            uid: Some(self.uid),
            description: Some(self.description.unwrap_or_default()),
            event_types: Some(self.event_types),
            channels: Some(self.channels),
            disabled: Some(self.disabled.unwrap_or(false)),
            throttle_rate: Some(self.throttle_rate),
            secret: self.secret.map(Some),
            metadata: Some(self.metadata.unwrap_or_default()),
        }
    }
}

async fn create(
    State(resources): State<Resources>,
    caller: Caller,
    RequestAuthor(author): RequestAuthor,
    Path(app): Path<String>,
    Json(wanted): Json<EndpointIn>,
) -> Result<impl IntoResponse, Refusal> {
    let application = resources.application(&caller, app).await?;
    let made = make(&resources, &author, &application, wanted).await?;
    Ok((StatusCode::CREATED, Json(EndpointOut::of(made, UrlView::Whole))))
}

async fn make(
    resources: &Resources,
    author: &Author,
    application: &SvixApplication,
    wanted: EndpointIn,
) -> Result<Found, Refusal> {
    let (id, name) = ids::endpoint();
    let secret = wanted.secret.clone().unwrap_or_else(new_secret);
    let tenant = application.tenant.as_str();
    let schedule = &resources.retry_schedule_ms;
    let mut spec = endpoint::subscription(tenant, &name, &wanted.url, &secret, schedule)?;
    if let Some(headers) = &wanted.headers {
        endpoint::set(&mut spec, "headers", json!(headers));
    }
    let lifecycle = if wanted.disabled == Some(true) { Lifecycle::Paused } else { Lifecycle::Enabled };
    let uid = wanted.uid.clone();
    uid.iter().try_for_each(|uid| ids::check_name("uid", uid))?;
    wanted.into_patch().apply(&id, &mut spec)?;
    let endpoint = SvixEndpoint {
        id: id.clone(),
        application_id: application.id.clone(),
        uid,
        tenant: tenant.to_owned(),
        subscription: name,
    };
    resources.state().create_svix_endpoint(endpoint.clone()).await?;
    let audit = audited::declaration(author, "subscription.create", None, Some(&spec));
    match resources.engine.create(spec, lifecycle, audit).await {
        Ok(record) => Ok((endpoint, record)),
        Err(error) => {
            resources.state().forget_svix_endpoint(id).await?;
            Err(error.into())
        }
    }
}

/// A secret that nobody knows yet.
pub(super) fn new_secret() -> String {
    format!("whsec_{}", STANDARD.encode(rand::random::<[u8; SECRET_BYTES]>()))
}

async fn list(
    State(resources): State<Resources>,
    caller: Caller,
    Path(app): Path<String>,
    parameters: Parameters,
) -> Result<Json<List<EndpointOut>>, Refusal> {
    let wanted = Wanted::of(&parameters)?;
    let page = wanted.by_name(parameters.is_descending(false)?);
    let application = resources.application(&caller, app).await?;
    let found = resources.read(move |state| state.svix_endpoints(&application.id, &page)).await?;
    let page = List::new(found, &wanted, |(endpoint, _)| endpoint.id.clone());
    Ok(Json(page.map(|found| EndpointOut::of(found, caller.urls()))))
}

async fn get(
    State(resources): State<Resources>,
    caller: Caller,
    Path((app, name)): Path<(String, String)>,
) -> Result<Json<EndpointOut>, Refusal> {
    let application = resources.application(&caller, app).await?;
    Ok(Json(EndpointOut::of(resources.endpoint(&application, name).await?, caller.urls())))
}

async fn put(
    State(resources): State<Resources>,
    caller: Caller,
    RequestAuthor(author): RequestAuthor,
    Path((app, name)): Path<(String, String)>,
    Json(wanted): Json<EndpointIn>,
) -> Result<impl IntoResponse, Refusal> {
    let application = resources.application(&caller, app).await?;
    match resources.endpoint(&application, name.clone()).await {
        Ok(known) => {
            let changed = change(&resources, &author, known, wanted.into_patch()).await?;
            Ok((StatusCode::OK, Json(EndpointOut::of(changed, UrlView::Whole))))
        }
        Err(Refusal::Problem(problem))
            if problem.code() == "not_found" && !name.starts_with(ids::ENDPOINT) =>
        {
            // It is made under the uid that it was looked for.
            let uid = Some(wanted.uid.clone().unwrap_or(name));
            let made = make(&resources, &author, &application, EndpointIn { uid, ..wanted }).await?;
            Ok((StatusCode::CREATED, Json(EndpointOut::of(made, UrlView::Whole))))
        }
        Err(refusal) => Err(refusal),
    }
}

async fn patch(
    State(resources): State<Resources>,
    caller: Caller,
    RequestAuthor(author): RequestAuthor,
    Path((app, name)): Path<(String, String)>,
    Json(patch): Json<EndpointPatch>,
) -> Result<Json<EndpointOut>, Refusal> {
    let application = resources.application(&caller, app).await?;
    let known = resources.endpoint(&application, name).await?;
    Ok(Json(EndpointOut::of(change(&resources, &author, known, patch).await?, UrlView::Whole)))
}

async fn change(
    resources: &Resources,
    author: &Author,
    known: Found,
    mut patch: EndpointPatch,
) -> Result<Found, Refusal> {
    let (mut endpoint, record) = known;
    // What is wrong with the rest must not leave the name changed.
    if let Some(uid) = patch.uid.take()
        && uid != endpoint.uid
    {
        uid.iter().try_for_each(|uid| ids::check_name("uid", uid))?;
        let renamed = SvixEndpoint { uid, ..endpoint.clone() };
        edit(resources, author, &endpoint, |spec| patch.apply(&endpoint.id, spec)).await?;
        let named = json!({"endpoint": endpoint.id, "uid": renamed.uid});
        let tenant = &record.spec.tenant;
        resources.note(author, "endpoint.rename", tenant, &endpoint.subscription, Some(named)).await?;
        resources.state().name_svix_endpoint(renamed.clone()).await?;
        endpoint = renamed;
    } else {
        edit(resources, author, &endpoint, |spec| patch.apply(&endpoint.id, spec)).await?;
    }
    if let Some(disabled) = patch.disabled {
        switch(resources, author, &endpoint, disabled).await?;
    }
    let (id, name) = (endpoint.application_id.clone(), endpoint.id.clone());
    let found = resources.read(move |state| state.svix_endpoint(&id, &name)).await?;
    found.ok_or_else(Refusal::not_found)
}

/// Changes an endpoint's subscription, whoever else changes it meanwhile.
pub(super) async fn edit(
    resources: &Resources,
    author: &Author,
    endpoint: &SvixEndpoint,
    change: impl Fn(&mut Subscription) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    for _ in 0..MAX_TRIES {
        let (tenant, name) = (endpoint.tenant.clone(), endpoint.subscription.clone());
        let known = resources.read(move |state| state.subscription(&tenant, &name)).await?;
        let known = known.ok_or_else(Refusal::not_found)?;
        let mut spec = known.spec.clone();
        change(&mut spec)?;
        if spec == known.spec {
            return Ok(());
        }
        let audit = audited::declaration(author, "subscription.update", Some(&known.spec), Some(&spec));
        match resources.engine.replace(spec, known.revision, audit).await {
            Ok(_) => return Ok(()),
            Err(ChangeError::RevisionChanged { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Refusal::conflict("Others change it all the time"))
}

/// Disables or enables an endpoint.
async fn switch(
    resources: &Resources,
    author: &Author,
    endpoint: &SvixEndpoint,
    disabled: bool,
) -> Result<(), Refusal> {
    let (tenant, name) = (endpoint.tenant.as_str(), endpoint.subscription.as_str());
    let key = (tenant.to_owned(), name.to_owned());
    let known = resources.read(move |state| state.subscription(&key.0, &key.1)).await?;
    let known = known.ok_or_else(Refusal::not_found)?;
    let is_disabled = known.lifecycle != Lifecycle::Enabled;
    let audit = |action| {
        let (tenant, resource_name) = (&known.spec.tenant, name);
        Some(author.entry(Change { action, tenant, resource_name, before: None, after: None }))
    };
    match (is_disabled, disabled) {
        (false, true) => resources.engine.pause(tenant, name, audit("subscription.pause")).await?,
        (true, false) => resources.engine.resume(tenant, name, audit("subscription.resume")).await?,
        (true, true) | (false, false) => {}
    }
    Ok(())
}

async fn delete(
    State(resources): State<Resources>,
    caller: Caller,
    RequestAuthor(author): RequestAuthor,
    Path((app, name)): Path<(String, String)>,
) -> Result<StatusCode, Refusal> {
    let application = resources.application(&caller, app).await?;
    remove(&resources, &author, &resources.endpoint(&application, name).await?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes an endpoint with its subscription, which may be gone already.
pub(super) async fn remove(
    resources: &Resources,
    author: &Author,
    (endpoint, record): &Found,
) -> Result<(), Refusal> {
    let audit = audited::declaration(author, "subscription.delete", Some(&record.spec), None);
    match resources.engine.delete(&endpoint.tenant, &endpoint.subscription, None, audit).await {
        Ok(()) | Err(ChangeError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl EndpointPatch {
    /// Changes what the subscription says; the uid and whether it is enabled stand elsewhere.
    fn apply(&self, endpoint_id: &str, spec: &mut Subscription) -> Result<(), Refusal> {
        if let Some(url) = &self.url {
            endpoint::set(spec, "url", Value::from(url.as_str()));
        }
        if let Some(Some(secret)) = &self.secret {
            endpoint::set(spec, "secrets", json!([endpoint::normal_secret(secret)]));
        }
        if let Some(description) = &self.description {
            spec.description.clone_from(description);
        }
        if let Some(types) = &self.event_types {
            endpoint::set_event_types(spec, types.as_deref())?;
        }
        if let Some(metadata) = &self.metadata {
            endpoint::set_metadata(spec, metadata.clone());
        }
        if let Some(channels) = &self.channels {
            endpoint::set_channels(spec, endpoint_id, channels.as_deref())?;
        }
        if let Some(rate) = &self.throttle_rate {
            let rate = rate.map(|rate| {
                NonZeroU32::new(rate).ok_or_else(|| Refusal::invalid("throttleRate", "must be at least 1"))
            });
            spec.max_events_per_second = rate.transpose()?;
        }
        Ok(())
    }
}
