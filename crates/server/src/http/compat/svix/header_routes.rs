//! `/api/v1/app/{app}/endpoint/{endpoint}/headers`: what is added to each request. Values of those that hold secrets are not shown,
//! and none to who may not change them.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::caller::Caller;
use super::endpoint;
use super::endpoint_routes::edit;
use super::json::Json;
use super::refusal::Refusal;
use super::resources::Resources;
use super::routes::Routes;
use crate::auth::{Author, Scope};
use crate::http::control::author::RequestAuthor;

pub(super) fn routes() -> Routes<Resources> {
    let path = "/api/v1/app/{app_id}/endpoint/{endpoint_id}/headers";
    Routes::new().get(path, Scope::Read, get).put(path, Scope::Manage, put).patch(path, Scope::Manage, patch)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HeadersIn {
    headers: BTreeMap<String, Option<String>>,
    #[serde(default)]
    delete_headers: Vec<String>,
}

#[derive(Debug, Serialize)]
struct HeadersOut {
    headers: BTreeMap<String, String>,
    sensitive: Vec<String>,
}

async fn get(
    State(resources): State<Resources>,
    caller: Caller,
    Path((app, name)): Path<(String, String)>,
) -> Result<Json<HeadersOut>, Refusal> {
    let application = resources.application(&caller, app).await?;
    let (_, record) = resources.endpoint(&application, name).await?;
    let (hidden, headers): (BTreeMap<_, _>, BTreeMap<_, _>) = endpoint::headers(&record.spec)
        .into_iter()
        .partition(|(name, _)| !caller.may(Scope::Manage) || endpoint::is_sensitive(name));
    Ok(Json(HeadersOut { headers, sensitive: hidden.into_keys().collect() }))
}

async fn put(
    State(resources): State<Resources>,
    caller: Caller,
    RequestAuthor(author): RequestAuthor,
    Path(names): Path<(String, String)>,
    Json(wanted): Json<HeadersIn>,
) -> Result<StatusCode, Refusal> {
    change(&resources, &caller, &author, names, |_| merged(BTreeMap::new(), &wanted)).await
}

/// A header with null goes, as one that is named in `deleteHeaders`.
async fn patch(
    State(resources): State<Resources>,
    caller: Caller,
    RequestAuthor(author): RequestAuthor,
    Path(names): Path<(String, String)>,
    Json(wanted): Json<HeadersIn>,
) -> Result<StatusCode, Refusal> {
    change(&resources, &caller, &author, names, |known| merged(known, &wanted)).await
}

async fn change(
    resources: &Resources,
    caller: &Caller,
    author: &Author,
    (app, name): (String, String),
    changed: impl Fn(BTreeMap<String, String>) -> BTreeMap<String, String>,
) -> Result<StatusCode, Refusal> {
    let application = resources.application(caller, app).await?;
    let (endpoint, _) = resources.endpoint(&application, name).await?;
    edit(resources, author, &endpoint, |spec| {
        let headers = changed(endpoint::headers(spec));
        endpoint::set(spec, "headers", json!(headers));
        Ok(())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Names of headers are alike in capitals and small letters.
fn merged(known: BTreeMap<String, String>, wanted: &HeadersIn) -> BTreeMap<String, String> {
    let is_named = |name: &String| {
        let mut named = wanted.headers.keys().chain(&wanted.delete_headers);
        named.any(|other| other.eq_ignore_ascii_case(name))
    };
    let kept = known.into_iter().filter(|(name, _)| !is_named(name));
    let new = wanted.headers.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
    kept.chain(new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_replaces_adds_and_takes_away() {
        let known = [("x-a", "1"), ("x-b", "2"), ("x-c", "3"), ("x-d", "4")];
        let known = known.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let wanted = json!({"headers": {"X-A": "5", "x-b": null, "x-e": "6"}, "deleteHeaders": ["x-C"]});
        let merged = merged(known, &serde_json::from_value(wanted).unwrap());
        let shown: Vec<_> = merged.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(shown, ["X-A=5", "x-d=4", "x-e=6"]);
    }
}
