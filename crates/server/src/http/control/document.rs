//! The OpenAPI 3.1 document: derived from the handlers by utoipa, and completed here with what all operations have alike, so
//! that a handler's documentation says only what is its own.
//!
//! Added to every operation:
//! - `security` with both ways to show a key; the scope `admin` where nothing is said;
//! - the problems that anything can be answered with; 404 where the path names something; 413 and 415 where there is a body;
//! - for a `POST` of the control plane the header `Idempotency-Key`, and the problems that come with it;
//! - the header `x-request-id` of every answer.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use super::hot_path::HotPath;
use super::operations::METHOD_NAMES;

/// What there is beside operations.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "EventRelay",
        description = "A durable event relay: events are taken over HTTP, gRPC and TCP, kept in a log, and delivered to \
                       every matching subscription at least once.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    servers((url = "/", description = "This server"))
)]
struct Base;

/// The document, whole.
#[derive(Debug, Default)]
pub(crate) struct Document {
    value: Value,
    /// Which of it is the control plane's, as (path, method in lower case).
    control: BTreeSet<(String, String)>,
    json: Bytes,
}

impl Document {
    /// Completes what the control plane's handlers say of themselves.
    pub(in crate::http) fn new(control: utoipa::openapi::OpenApi) -> Self {
        let mut whole = Base::openapi();
        let control_operations = operations_of(&to_value(&control));
        whole.merge(control);
        whole.merge(HotPath::openapi());
        let mut value = to_value(&whole);
        complete(&mut value, &control_operations);
        let json = serde_json::to_vec(&value).map_or_else(|_| Bytes::new(), Bytes::from);
        Self { value, control: control_operations, json }
    }

    /// Rendered.
    pub(super) fn json(&self) -> Bytes {
        self.json.clone()
    }

    /// All operations, as (path, method in lower case, what is said of it), by path.
    pub(super) fn operations(&self) -> impl Iterator<Item = (&str, &str, &Value)> {
        let paths = self.value["paths"].as_object().into_iter().flatten();
        paths.flat_map(|(path, item)| {
            let of_method = |method: &&'static str| Some((path.as_str(), *method, item.get(*method)?));
            METHOD_NAMES.iter().filter_map(of_method)
        })
    }

    /// The operation of an id.
    pub(super) fn find(&self, id: &str) -> Option<(&str, &str, &Value)> {
        self.operations().find(|(_, _, operation)| operation["operationId"] == id)
    }

    /// A schema, or what it refers to.
    pub(super) fn resolved<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let pointer = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
        pointer.and_then(|pointer| self.value.pointer(pointer)).unwrap_or(schema)
    }

    /// The paths of the control plane.
    pub(super) fn control_paths(&self) -> BTreeSet<&str> {
        self.control.iter().map(|(path, _)| path.as_str()).collect()
    }

    /// What is said of an operation of the control plane.
    pub(super) fn control_operation(&self, path: &str, method: &str) -> Option<&Value> {
        let known = self.control.contains(&(path.to_owned(), method.to_owned()));
        self.value.get("paths")?.get(path)?.get(method).filter(|_| known)
    }
}

fn to_value(document: &utoipa::openapi::OpenApi) -> Value {
    // It has no keys but strings, so it always serialises.
    serde_json::to_value(document).unwrap_or_default()
}

/// All (path, method) of a document.
fn operations_of(document: &Value) -> BTreeSet<(String, String)> {
    let paths = document.get("paths").and_then(Value::as_object);
    let each = paths.into_iter().flatten().flat_map(|(path, item)| {
        let has = |name: &&&str| item.get(**name).is_some();
        METHOD_NAMES.iter().filter(has).map(|name| (path.clone(), (*name).to_owned())).collect::<Vec<_>>()
    });
    each.collect()
}

fn complete(document: &mut Value, control: &BTreeSet<(String, String)>) {
    document["components"]["securitySchemes"] = security_schemes();
    document["components"]["schemas"]["Problem"] = problem_schema();
    for (path, item) in members(&mut document["paths"]) {
        for (method, operation) in members(item) {
            if METHOD_NAMES.contains(&method.as_str()) {
                let is_control = control.contains(&(path.clone(), method.clone()));
                complete_operation(path, method, operation, is_control);
            }
        }
    }
}

fn complete_operation(path: &str, method: &str, operation: &mut Value, is_control: bool) {
    let scope = scope_of(operation);
    operation["security"] = match &scope {
        Some(scope) => json!([{"bearer": [scope]}, {"api_key": [scope]}, {"session": [scope]}]),
        None => json!([]),
    };
    let mut problems = vec![
        ("400", "The request makes no sense"),
        ("403", "Not for this caller: the key lacks the scope, or the request came through a web page"),
        ("500", "The server failed"),
        ("503", "The server cannot do it now: see `Retry-After`"),
    ];
    if scope.is_some() {
        problems.push(("401", "An API key that is good, or a login, is needed"));
        problems.push(("429", "A quota is used up: see `Retry-After`"));
    }
    if path.contains('{') {
        problems.push(("404", "There is no such thing, or it is another tenant's"));
    }
    if operation.get("requestBody").is_some() {
        problems.push(("408", "The body took too long"));
        problems.push(("413", "The body is too large"));
        problems.push(("415", "The body has another form"));
    }
    if is_control && method == "post" {
        problems.push(("409", "A request with this `Idempotency-Key` is under way"));
        problems.push(("422", "Another request had this `Idempotency-Key`"));
        add_if_absent(operation, "parameters", json!([]));
        if let Some(parameters) = operation["parameters"].as_array_mut() {
            parameters.push(idempotency_key());
        }
    }
    for (status, description) in problems {
        add_if_absent(&mut operation["responses"], status, json!({ "description": description }));
    }
    let is_for_browsers = operation.get("x-browser").is_some();
    for (status, response) in members(&mut operation["responses"]) {
        complete_response(status, response);
        if is_for_browsers && status.starts_with(['4', '5']) {
            response["content"]["text/html"] = json!({"schema": {"type": "string"}});
        }
    }
}

/// The scope that is named; `admin` where none is; none where it is said to be for everybody.
fn scope_of(operation: &Value) -> Option<String> {
    let alternatives = operation.get("security").and_then(Value::as_array);
    let first = alternatives.and_then(|all| all.first());
    if first.and_then(Value::as_object).is_some_and(Map::is_empty) {
        return None;
    }
    let scope = first.and_then(|first| first["bearer"].get(0)).and_then(Value::as_str);
    Some(scope.unwrap_or("admin").to_owned())
}

fn complete_response(status: &str, response: &mut Value) {
    let is_problem = status.starts_with(['4', '5']);
    if is_problem {
        let schema = json!({"$ref": "#/components/schemas/Problem"});
        add_if_absent(response, "content", json!({"application/problem+json": {"schema": schema}}));
    }
    response["headers"]["x-request-id"] = json!({
        "description": "The request's own, or one made for it", "required": true,
        "schema": {"type": "string", "minLength": 1, "maxLength": 128}});
    if matches!(status, "429" | "503") {
        let wait = json!({"description": "Seconds", "schema": {"type": "integer", "minimum": 1}});
        add_if_absent(&mut response["headers"], "retry-after", wait);
    }
}

fn idempotency_key() -> Value {
    json!({"name": "Idempotency-Key", "in": "header", "required": false,
           "description": "The client's name for this request: it is done once, and a repeat gets the same answer for 24 hours",
           "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"}})
}

fn security_schemes() -> Value {
    json!({
        "bearer": {"type": "http", "scheme": "bearer",
                   "description": "`Authorization: Bearer er_…`. Asked for where `auth.required` is on"},
        "api_key": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "The same key in a header of its own"},
        "session": {"type": "apiKey", "in": "cookie", "name": "eventrelay_session",
                    "description": "Set by `POST /v1/session`; over TLS it is `__Host-eventrelay_session`. A change also needs the \
                                    header `x-csrf-token`"},
    })
}

/// What [`crate::http::problem`] renders.
fn problem_schema() -> Value {
    json!({
        "type": "object",
        "description": "What is wrong (RFC 9457). `code` is stable, `detail` is for people and may change",
        "required": ["type", "title", "status", "code"],
        "properties": {
            "type": {"type": "string", "format": "uri", "examples": ["urn:eventrelay:problem:not_found"]},
            "title": {"type": "string"},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"type": "string"},
            "code": {"type": "string", "pattern": "^[a-z0-9_]+$"},
            "index": {"type": "integer", "minimum": 0, "description": "The place of the event in its batch, from 0"},
            "field": {"type": "string", "description": "Which field, header or parameter it is about"},
            "retry_after": {"type": "integer", "minimum": 1, "description": "Seconds, as in `Retry-After`"},
            "oldest_offset": {"type": "integer", "minimum": 0},
        },
        "additionalProperties": false,
    })
}

/// What an object consists of.
fn members(value: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    value.as_object_mut().into_iter().flatten()
}

fn add_if_absent(value: &mut Value, name: &str, member: Value) {
    if value.get(name).is_none() {
        value[name] = member;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_whole() {
        let (_, described) = super::super::routes().split_for_parts();
        let document = Document::new(described);
        let mut ids = std::collections::HashSet::new();
        for (path, method) in operations_of(&document.value) {
            let operation = &document.value["paths"][&path][&method];
            let name = format!("{method} {path}");
            for field in ["operationId", "summary"] {
                assert!(
                    operation[field].as_str().is_some_and(|text| !text.is_empty()),
                    "{name} has no {field}"
                );
            }
            assert!(operation["tags"][0].is_string(), "{name} has no tag");
            assert!(ids.insert(operation["operationId"].clone()), "two operations are called as {name}");
            assert!(operation["security"].is_array(), "{name}");
            let has_success = |status: &String| status.starts_with(['2', '3']);
            assert!(operation["responses"].as_object().unwrap().keys().any(has_success), "{name}");
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let described = parameter["description"].is_string() && parameter["schema"].is_object();
                assert!(described, "{name}: {parameter}");
                if parameter["in"] == "path" {
                    assert!(!parameter["example"].is_null(), "{name}: {parameter}");
                }
            }
            if let Some(body) = operation["requestBody"]["content"].as_object() {
                let has_example =
                    |content: &Value| content.get("example").is_some() || content.get("examples").is_some();
                assert!(body.values().any(has_example), "{name} has no example of its body");
            }
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let (_, described) = super::super::routes().split_for_parts();
        let document = Document::new(described).value;
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
