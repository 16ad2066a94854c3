//! A schema of a type of events, compiled, and what of a payload does not fit it.
//!
//! Draft 7 where the schema names none. Patterns are those of an engine that takes linear time, so they have neither look-around nor
//! back references. What else a schema or a payload could take without end is bounded by [`super::schema_graph`].

use jsonschema::{Draft, PatternOptions, ValidationError, Validator};
use serde_json::Value;

use super::schema_graph::SchemaGraph;

/// The most bytes of a schema, as JSON.
const MAX_SCHEMA_BYTES: usize = 64 * 1024;
/// The most bytes of a compiled pattern, and of its automaton.
const PATTERN_BYTES: usize = 64 * 1024;
const AUTOMATON_BYTES: usize = 256 * 1024;
/// The most that a payload may cost.
const MAX_COST: u64 = 5_000_000;
/// The most that a payload may cost for its errors to be named one by one: all of them are found before the first is told.
const MAX_NAMED_COST: u64 = 20_000;
/// The most that a payload may cost that is checked at once: less than a millisecond.
const MAX_QUICK_COST: u64 = 10_000;
/// The most errors that are told, and the most of each.
const MAX_ERRORS: usize = 10;
const MAX_WHY_CHARS: usize = 200;
const MAX_STEP_CHARS: usize = 100;

/// A schema that payloads can be checked against.
#[derive(Debug)]
pub(super) struct Schema {
    validator: Validator,
    graph: SchemaGraph,
}

/// Something in a payload that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Misfit {
    /// Where it is in the payload.
    pub(super) path: Vec<String>,
    /// What it should be. It does not quote the payload.
    pub(super) why: String,
}

/// Why a schema cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SchemaError {
    #[error("must be at most {MAX_SCHEMA_BYTES} bytes")]
    TooLong,
    #[error("must have fewer parts, counting those that references name each time")]
    TooManyParts,
    #[error("is nested too deeply")]
    TooDeep,
    #[error("leads from a value to itself in a circle")]
    Circular,
    #[error("has a reference to nothing in this schema: {reference}")]
    Reference { reference: String },
    #[error("has a schema of another $id in it: {id}")]
    Nested { id: String },
    #[error("is no JSON schema: {why}")]
    Invalid { why: String },
}

impl Schema {
    /// Compiles a schema. May take some milliseconds.
    ///
    /// # Errors
    /// When it is none, or not within the limits.
    pub(super) fn new(schema: &Value) -> Result<Self, SchemaError> {
        let text = schema.to_string();
        if text.len() > MAX_SCHEMA_BYTES {
            return Err(SchemaError::TooLong);
        }
        let graph = SchemaGraph::new(schema)?;
        let patterns = PatternOptions::regex().size_limit(PATTERN_BYTES).dfa_size_limit(AUTOMATON_BYTES);
        let mut options = jsonschema::options().with_pattern_options(patterns).offline();
        if schema.get("$schema").is_none() {
            options = options.with_draft(Draft::Draft7);
        }
        let validator = options.build(schema).map_err(|error| SchemaError::Invalid { why: told(&error) })?;
        Ok(Self { validator, graph })
    }

    /// How large it is, for who keeps it.
    pub(super) fn parts(&self) -> u64 {
        self.graph.parts()
    }

    /// Whether a payload is checked at once.
    pub(super) fn is_quick(&self, payload: &Value) -> bool {
        self.graph.cost(payload, MAX_QUICK_COST).is_some()
    }

    /// What does not fit; at most [`MAX_ERRORS`], and only that it does not fit where finding more would take too long.
    pub(super) fn check(&self, payload: &Value) -> Result<(), Vec<Misfit>> {
        let whole = |why: &str| Err(vec![Misfit { path: Vec::new(), why: why.to_owned() }]);
        match self.graph.cost(payload, MAX_COST) {
            None => whole("is too large to be checked against the schema of its event type"),
            Some(_) if self.validator.is_valid(payload) => Ok(()),
            Some(cost) if cost > MAX_NAMED_COST => whole("does not fit the schema of its event type"),
            Some(_) => Err(self
                .validator
                .iter_errors(payload)
                .take(MAX_ERRORS)
                .map(|error| misfit(&error))
                .collect()),
        }
    }
}

fn misfit(error: &ValidationError<'_>) -> Misfit {
    let path = error.instance_path().as_str().split('/').skip(1);
    let step = |step: &str| cut(step.replace("~1", "/").replace("~0", "~"), MAX_STEP_CHARS);
    Misfit { path: path.map(step).collect(), why: told(error) }
}

/// An error's words, without the value that they are about.
fn told(error: &ValidationError<'_>) -> String {
    cut(error.masked_with("the value").to_string(), MAX_WHY_CHARS)
}

fn cut(mut text: String, max_chars: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(max_chars) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use serde_json::json;

    use super::*;

    #[allow(clippy::needless_pass_by_value, reason = "so that tests write them in place")]
    fn misfits(schema: Value, payload: Value) -> Vec<(String, String)> {
        let checked = Schema::new(&schema).unwrap().check(&payload);
        checked.err().into_iter().flatten().map(|misfit| (misfit.path.join(" "), misfit.why)).collect()
    }

    #[allow(clippy::needless_pass_by_value, reason = "so that tests write them in place")]
    fn places(schema: Value, payload: Value) -> Vec<String> {
        misfits(schema, payload).into_iter().map(|(path, _)| path).collect()
    }

    #[test]
    fn what_does_not_fit_is_told_by_its_path_and_without_the_payload() {
        let schema = json!({"properties": {"orders": {"items": {"required": ["id"], "properties": {"a/b~": {"type": "integer"}}}},
                                           "state": {"enum": ["paid"]}}});
        assert_eq!(misfits(schema.clone(), json!({"orders": [{"id": 1, "a/b~": 2}], "more": null})), []);
        let found = misfits(schema, json!({"orders": [{"id": 1}, {"a/b~": "canary"}], "state": "canary"}));
        let mut found_at: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
        found_at.sort_unstable();
        assert_eq!(found_at, ["orders 1", "orders 1 a/b~", "state"]);
        assert!(found.iter().all(|(_, why)| !why.contains("canary") && !why.is_empty()), "{found:?}");
    }

    #[test]
    fn a_schema_is_of_draft_7_unless_it_says_otherwise() {
        // `prefixItems` is of 2020-12; a list of `items` is of draft 7.
        let older = json!({"items": [{"type": "integer"}], "prefixItems": [{"type": "null"}]});
        assert_eq!(places(older.clone(), json!([1])), [""; 0]);
        assert_eq!(places(older, json!(["x"])), ["0"]);
        let newer = json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "prefixItems": [{"type": "null"}]});
        assert_eq!(places(newer, json!([1])), ["0"]);
        let named =
            json!({"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "integer"}]});
        assert_eq!(places(named, json!(["x"])), ["0"]);
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        for wrong in [
            json!({"type": "txt"}),
            json!({"properties": []}),
            json!({"required": "id"}),
            json!({"pattern": "("}),
            json!({"pattern": "(?=a)b"}),
            json!({"patternProperties": {"(a)\\1": {}}}),
            json!({"pattern": "(a{100}){100}"}),
            json!({"$schema": "http://127.0.0.1:1/mine"}),
            json!({"description": "x".repeat(MAX_SCHEMA_BYTES)}),
        ] {
            assert!(Schema::new(&wrong).is_err(), "{}", cut(wrong.to_string(), 80));
        }
    }

    #[test]
    fn errors_are_few_and_short() {
        let schema = json!({"additionalProperties": {"enum": ["x".repeat(1000)]}});
        let payload: serde_json::Map<String, Value> =
            (0..50).map(|n| (format!("{n}{}", "é".repeat(500)), json!(n))).collect();
        let found = misfits(schema, Value::Object(payload));
        assert_eq!(found.len(), MAX_ERRORS);
        for (path, why) in found {
            assert!(path.chars().count() <= MAX_STEP_CHARS + 1 && why.chars().count() <= MAX_WHY_CHARS + 1);
        }
        let many = json!({"list": (0..30_000).collect::<Vec<u32>>()});
        let found = misfits(json!({"properties": {"list": {"items": {"type": "string"}}}}), many);
        assert_eq!(found, [(String::new(), "does not fit the schema of its event type".to_owned())]);
    }

    #[test]
    fn nothing_takes_long() {
        let tree = json!({"anyOf": [{"properties": {"a": {"$ref": "#"}}, "required": ["z"]},
                                    {"properties": {"a": {"$ref": "#"}}, "required": ["y"]}]});
        let deep = (0..60).fold(json!({}), |inner, _| json!({"a": inner}));
        let backtracking = json!({"properties": {"a": {"pattern": "^(a+)+$"}}});
        let unique = json!({"properties": {"a": {"uniqueItems": true}}});
        let items: Vec<Value> = (0..50_000).map(|n| json!({"n": [n]})).collect();
        for (schema, payload) in [
            (tree, deep),
            (backtracking, json!({"a": format!("{}b", "a".repeat(100_000))})),
            (unique, json!({"a": items})),
        ] {
            let started = Instant::now();
            let _ = Schema::new(&schema).unwrap().check(&payload);
            assert!(started.elapsed() < Duration::from_secs(10), "{:?}: {schema}", started.elapsed());
        }
    }
}
