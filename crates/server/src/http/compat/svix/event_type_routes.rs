//! `/api/v1/event-type`: types of events, as they are described to those who make endpoints. A message may be of a type that nobody
//! has described; what is said of one that has been is in [`super::schema_check`].

use axum::extract::{Path, State};
use axum::response::IntoResponse;
use eventrelay_event::{Tenant, Timestamp};
use eventrelay_state::SvixEventType;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::ids::check_name;
use super::json::{Json, Patched, patched};
use super::list::{List, Wanted};
use super::parameters::Parameters;
use super::refusal::Refusal;
use super::resources::Resources;
use super::routes::Routes;
use super::schema::Schema;
use super::schema_check::newest_schema;
use crate::auth::{Author, Scope};
use crate::http::control::author::RequestAuthor;

const MAX_DESCRIPTION_CHARS: usize = 4096;
/// The most schemas of a type.
const MAX_VERSIONS: usize = 20;

pub(super) fn routes() -> Routes<Resources> {
    let one = "/api/v1/event-type/{event_type_name}";
    Routes::new()
        .post("/api/v1/event-type", Scope::Admin, create)
        .get("/api/v1/event-type", Scope::Read, list)
        .get(one, Scope::Read, get)
        .put(one, Scope::Admin, put)
        .patch(one, Scope::Admin, patch)
        .delete(one, Scope::Admin, delete)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventTypeIn {
    /// In the path, where one is changed.
    name: Option<String>,
    description: String,
    #[serde(default)]
    archived: Option<bool>,
    #[serde(default)]
    deprecated: Option<bool>,
    schemas: Option<Map<String, Value>>,
    group_name: Option<String>,
    feature_flags: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventTypePatch {
    description: Option<String>,
    archived: Option<bool>,
    deprecated: Option<bool>,
    #[serde(default, deserialize_with = "patched")]
    schemas: Patched<Map<String, Value>>,
    #[serde(default, deserialize_with = "patched")]
    group_name: Patched<String>,
    #[serde(default, deserialize_with = "patched")]
    feature_flags: Patched<Vec<String>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct EventTypeOut {
    name: String,
    description: String,
    archived: bool,
    deprecated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    schemas: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    feature_flags: Option<Vec<String>>,
    created_at: String,
    updated_at: String,
}

impl EventTypeOut {
    fn of(event_type: SvixEventType, with_content: bool) -> Self {
        Self {
            name: event_type.name,
            description: event_type.description,
            archived: event_type.archived,
            deprecated: event_type.deprecated,
            schemas: event_type.schemas.filter(|_| with_content),
            group_name: event_type.group_name,
            feature_flags: event_type.feature_flags,
            created_at: Timestamp(event_type.created_at_micros).to_string(),
            updated_at: Timestamp(event_type.updated_at_micros).to_string(),
        }
    }
}

/// The first example that the newest of its schemas gives.
pub(super) fn example_of(event_type: &SvixEventType) -> Option<Value> {
    let newest = newest_schema(event_type)?;
    let example = newest.get("examples").and_then(|examples| examples.get(0)).or(newest.get("example"))?;
    example.is_object().then(|| example.clone())
}

/// Whether it is what can be kept, which its schemas are if messages can be checked against each. Blocking.
fn checked(event_type: SvixEventType) -> Result<SvixEventType, Refusal> {
    check_name("name", &event_type.name)?;
    if event_type.description.chars().count() > MAX_DESCRIPTION_CHARS {
        return Err(Refusal::invalid(
            "description",
            format!("must be at most {MAX_DESCRIPTION_CHARS} characters"),
        ));
    }
    for name in event_type.group_name.iter().chain(event_type.feature_flags.iter().flatten()) {
        check_name("featureFlags", name)?;
    }
    let schemas = event_type.schemas.iter().flatten();
    if schemas.clone().count() > MAX_VERSIONS {
        return Err(Refusal::invalid("schemas", format!("must be at most {MAX_VERSIONS}")));
    }
    for (version, schema) in schemas {
        if let Err(error) = Schema::new(schema) {
            let location = ["body", "schemas", version].map(str::to_owned).to_vec();
            return Err(Refusal::invalid_at(location, error.to_string()));
        }
    }
    Ok(event_type)
}

/// Stores a type, if it can be kept.
async fn save(
    resources: &Resources,
    event_type: SvixEventType,
    must_be_new: bool,
) -> Result<SvixEventType, Refusal> {
    let event_type = resources.block(move |_| checked(event_type)).await?;
    let saved = resources.state().save_svix_event_type(event_type, must_be_new).await?;
    resources.schema_check.forget(&saved.name);
    Ok(saved)
}

fn wanted_type(name: String, wanted: EventTypeIn) -> SvixEventType {
    SvixEventType {
        name,
        description: wanted.description,
        archived: wanted.archived.unwrap_or(false),
        deprecated: wanted.deprecated.unwrap_or(false),
        schemas: wanted.schemas,
        group_name: wanted.group_name,
        feature_flags: wanted.feature_flags,
        ..SvixEventType::default()
    }
}

async fn create(
    State(resources): State<Resources>,
    RequestAuthor(author): RequestAuthor,
    Json(wanted): Json<EventTypeIn>,
) -> Result<impl IntoResponse, Refusal> {
    let name = wanted.name.clone().ok_or_else(|| Refusal::invalid("name", "is missing"))?;
    let made = save(&resources, wanted_type(name, wanted), true).await?;
    note(&resources, &author, "event_type.create", &made).await?;
    Ok((StatusCode::CREATED, Json(EventTypeOut::of(made, true))))
}

async fn list(
    State(resources): State<Resources>,
    parameters: Parameters,
) -> Result<Json<List<EventTypeOut>>, Refusal> {
    let wanted = Wanted::of(&parameters)?;
    let page = wanted.by_name(parameters.is_descending(false)?);
    let with_archived = parameters.flag("include_archived", false)?;
    let with_content = parameters.flag("with_content", false)?;
    let found = resources.read(move |state| state.svix_event_types(with_archived, &page)).await?;
    let page = List::new(found, &wanted, |event_type| event_type.name.clone());
    Ok(Json(page.map(|event_type| EventTypeOut::of(event_type, with_content))))
}

async fn find(resources: &Resources, name: String) -> Result<SvixEventType, Refusal> {
    let found = resources.read(move |state| state.svix_event_type(&name)).await?;
    found.ok_or_else(Refusal::not_found)
}

async fn get(
    State(resources): State<Resources>,
    Path(name): Path<String>,
) -> Result<Json<EventTypeOut>, Refusal> {
    Ok(Json(EventTypeOut::of(find(&resources, name).await?, true)))
}

async fn put(
    State(resources): State<Resources>,
    RequestAuthor(author): RequestAuthor,
    Path(name): Path<String>,
    Json(wanted): Json<EventTypeIn>,
) -> Result<impl IntoResponse, Refusal> {
    let known = name.clone();
    let is_known = resources.read(move |state| state.svix_event_type(&known)).await?.is_some();
    let saved = save(&resources, wanted_type(name, wanted), false).await?;
    note(&resources, &author, "event_type.update", &saved).await?;
    let status = if is_known { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(EventTypeOut::of(saved, true))))
}

async fn patch(
    State(resources): State<Resources>,
    RequestAuthor(author): RequestAuthor,
    Path(name): Path<String>,
    Json(patch): Json<EventTypePatch>,
) -> Result<Json<EventTypeOut>, Refusal> {
    let mut event_type = find(&resources, name).await?;
    event_type.description = patch.description.unwrap_or(event_type.description);
    event_type.archived = patch.archived.unwrap_or(event_type.archived);
    event_type.deprecated = patch.deprecated.unwrap_or(event_type.deprecated);
    event_type.schemas = patch.schemas.unwrap_or(event_type.schemas);
    event_type.group_name = patch.group_name.unwrap_or(event_type.group_name);
    event_type.feature_flags = patch.feature_flags.unwrap_or(event_type.feature_flags);
    let saved = save(&resources, event_type, false).await?;
    note(&resources, &author, "event_type.update", &saved).await?;
    Ok(Json(EventTypeOut::of(saved, true)))
}

/// Types are all tenants', so what is done to them is in the default tenant's audit log.
async fn note(
    resources: &Resources,
    author: &Author,
    action: &'static str,
    event_type: &SvixEventType,
) -> Result<(), Refusal> {
    let shown = json!({"description": event_type.description, "archived": event_type.archived,
                       "deprecated": event_type.deprecated, "schemas": event_type.schemas});
    resources.note(author, action, &Tenant::default(), &event_type.name, Some(shown)).await
}

/// Archives it; `expunge=true` forgets it.
async fn delete(
    State(resources): State<Resources>,
    RequestAuthor(author): RequestAuthor,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<StatusCode, Refusal> {
    let event_type = find(&resources, name).await?;
    note(&resources, &author, "event_type.delete", &event_type).await?;
    if parameters.flag("expunge", false)? {
        resources.state().delete_svix_event_type(event_type.name.clone()).await?;
        resources.schema_check.forget(&event_type.name);
    } else {
        let name = event_type.name.clone();
        let archived = SvixEventType { archived: true, ..event_type };
        // Not looked at again: what cannot be kept can still be put away.
        resources.state().save_svix_event_type(archived, false).await?;
        resources.schema_check.forget(&name);
    }
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_example_is_the_newest_schemas_first() {
        let schemas = json!({"2": {"examples": [{"n": 2}]}, "10": {"examples": [{"n": 10}]}, "9": {}});
        let event_type = SvixEventType { schemas: schemas.as_object().cloned(), ..SvixEventType::default() };
        assert_eq!(example_of(&event_type), Some(json!({"n": 10})));
        assert_eq!(example_of(&SvixEventType::default()), None);
    }
}
