//! Which operation of the control plane a request is for, and what it needs: read from the OpenAPI document, so that what is
//! documented and what holds cannot differ.

use http::Method;
use serde_json::Value;

use super::document::Document;
use crate::auth::Scope;
use crate::http::metrics::{HttpMetrics, RouteHandles};

/// The methods that a path can have.
const METHODS: [(Method, &str, &str); 5] = [
    (Method::DELETE, "delete", "DELETE"),
    (Method::GET, "get", "GET"),
    (Method::PATCH, "patch", "PATCH"),
    (Method::POST, "post", "POST"),
    (Method::PUT, "put", "PUT"),
];

/// The same, as OpenAPI names them.
pub(super) const METHOD_NAMES: [&str; 5] = ["delete", "get", "patch", "post", "put"];

/// Something that can be done to a resource.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    method: Method,
    scope: Option<Scope>,
    takes_body: bool,
    takes_query: bool,
    handles: RouteHandles,
}

impl Operation {
    /// What a key must be good for; none: it is for everybody.
    pub(crate) fn scope(&self) -> Option<Scope> {
        self.scope
    }

    pub(crate) fn takes_body(&self) -> bool {
        self.takes_body
    }

    /// Whether there are parameters of the query. Which, its handler knows.
    pub(crate) fn takes_query(&self) -> bool {
        self.takes_query
    }

    pub(crate) fn handles(&self) -> &RouteHandles {
        &self.handles
    }
}

/// What a path and a method lead to.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    Operation(&'a Operation),
    /// The methods that the resource has here.
    WrongMethod(Vec<&'static str>),
    Unknown,
}

/// All of them, by their paths.
#[derive(Debug, Default)]
pub(crate) struct Operations(matchit::Router<Vec<Operation>>);

impl Operations {
    pub(in crate::http) fn new(document: &Document, metrics: &HttpMetrics) -> Self {
        let mut operations = Self::default();
        for path in document.control_paths() {
            let of_path = METHODS.into_iter().filter_map(|(method, name, label)| {
                let described = document.control_operation(path, name)?;
                Some(Operation {
                    method,
                    scope: scope_of(described),
                    takes_body: described.get("requestBody").is_some(),
                    takes_query: has_query(described),
                    handles: metrics.handles(path.to_owned().into(), label),
                })
            });
            if let Err(error) = operations.0.insert(path, of_path.collect()) {
                // axum's router has the same rules, and has taken it.
                tracing::error!(path, %error, "an operation cannot be reached");
            }
        }
        operations
    }

    /// Finds what is meant. `HEAD` goes where `GET` goes.
    pub(crate) fn find(&self, method: &Method, path: &str) -> Found<'_> {
        let Ok(matched) = self.0.at(path) else { return Found::Unknown };
        let wanted = if method == Method::HEAD { &Method::GET } else { method };
        match matched.value.iter().find(|operation| operation.method == wanted) {
            Some(operation) => Found::Operation(operation),
            None => Found::WrongMethod(allowed(matched.value)),
        }
    }
}

fn allowed(operations: &[Operation]) -> Vec<&'static str> {
    let has = |method: &Method| operations.iter().any(|operation| operation.method == method);
    let own = METHODS.into_iter().filter(|(method, ..)| has(method)).map(|(_, _, label)| label);
    own.chain(has(&Method::GET).then_some("HEAD")).collect()
}

fn has_query(described: &Value) -> bool {
    let parameters = described.get("parameters").and_then(Value::as_array);
    parameters.into_iter().flatten().any(|parameter| parameter["in"] == "query")
}

/// What `security` says. What says nothing clear is for administrators.
fn scope_of(described: &Value) -> Option<Scope> {
    let alternatives = described.get("security").and_then(Value::as_array);
    if alternatives.is_some_and(Vec::is_empty) {
        return None;
    }
    let names = alternatives.and_then(|all| all.first()).and_then(|first| first.get("bearer"));
    let name = names.and_then(|names| names.get(0)).and_then(Value::as_str);
    Some(name.and_then(|name| name.parse().ok()).unwrap_or(Scope::Admin))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_does_not_say_whom_it_is_for_is_for_administrators() {
        assert_eq!(scope_of(&json!({})), Some(Scope::Admin));
        assert_eq!(scope_of(&json!({"security": [{"bearer": ["typo"]}]})), Some(Scope::Admin));
        assert_eq!(scope_of(&json!({"security": [{"bearer": []}]})), Some(Scope::Admin));
        assert_eq!(scope_of(&json!({"security": [{"bearer": ["read"]}]})), Some(Scope::Read));
        assert_eq!(scope_of(&json!({"security": []})), None);
    }

    #[test]
    fn paths_and_methods_lead_to_operations() {
        let (_, described) = super::super::routes().split_for_parts();
        let operations = Operations::new(&Document::new(described), &HttpMetrics::default());
        let allow = |method: Method, path| match operations.find(&method, path) {
            Found::WrongMethod(mut methods) => {
                methods.sort_unstable();
                Some(methods.join(", "))
            }
            Found::Operation(_) => None,
            Found::Unknown => Some(String::new()),
        };
        assert_eq!(allow(Method::GET, "/v1/keys"), None);
        assert_eq!(allow(Method::HEAD, "/v1/keys/key_1"), None);
        assert_eq!(allow(Method::PUT, "/v1/keys").as_deref(), Some("GET, HEAD, POST"));
        assert_eq!(allow(Method::POST, "/v1/keys/key_1").as_deref(), Some("DELETE, GET, HEAD"));
        for path in ["/v1/keys/", "/v1/keys/a/b", "//v1/keys", "/V1/keys", "*", "/v1/keysx"] {
            assert_eq!(allow(Method::GET, path).as_deref(), Some(""), "{path}");
        }
    }
}
