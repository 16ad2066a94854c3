//! What a schema asks of the validator, known before it is asked: which subschemas look at which values.
//!
//! A subschema is a node. An edge leads to a subschema that looks at the same value (`allOf`, `$ref`, …) or at a part of it
//! (`properties`, `items`, …):
//!
//! ```text
//!  {"properties": {"user": {"$ref": "#/$defs/user"}}}      root ──user──▶ {"$ref"} ──same──▶ user
//! ```
//!
//! A small schema can be endless work: one that leads to itself at the same value, twenty definitions of which each names the next
//! twice, a tree that is looked at twice on every level. So references are followed here first: they stay in the document,
//! none leads in a circle without going into the value, and [`SchemaGraph::cost`] counts what a payload would take.

use std::collections::{BTreeMap, HashMap};

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::schema::SchemaError;

/// How many parts a schema has when each reference is replaced by what it names.
const MAX_PARTS: u64 = 20_000;
/// How deep it is then, where it does not lead back to itself.
const MAX_DEPTH: usize = 128;
/// What a pattern counts, which takes memory and time to compile.
const PATTERN_PARTS: u64 = 100;
/// How deep a payload may lead the validator, which recurses.
const MAX_NESTED: usize = 256;
/// How much of a text a pattern looks at for the cost of a part.
const TEXT_BYTES: u64 = 8;

/// A schema's subschemas. They are numbered so that edges to the same value lead to higher numbers.
#[derive(Debug)]
pub(super) struct SchemaGraph {
    nodes: Vec<Node>,
    root: usize,
    parts: u64,
}

#[derive(Debug, Default)]
struct Node {
    /// How many JSON values it has itself.
    parts: u64,
    patterns: u64,
    /// How often its edges to the same value are followed.
    times: u64,
    same: Vec<usize>,
    /// To a member of this name.
    members: HashMap<String, usize>,
    /// To every member or item.
    all: Vec<usize>,
}

/// How often a node looks at a value, and how deep the validator is then.
#[derive(Debug, Clone, Copy)]
struct Visits {
    count: u64,
    nested: usize,
}

impl SchemaGraph {
    /// # Errors
    /// When a reference leaves the document or names nothing in it, or there are too many parts.
    pub(super) fn new(schema: &Value) -> Result<Self, SchemaError> {
        stays_one(schema)?;
        let mut builder = Builder { document: schema, numbers: HashMap::new(), nodes: Vec::new() };
        let root = builder.node(schema)?;
        let order = in_order(&builder.nodes)?;
        let mut nodes: Vec<(usize, Node)> = order.iter().copied().zip(builder.nodes).collect();
        nodes.sort_unstable_by_key(|(number, _)| *number);
        let mut nodes: Vec<Node> = nodes.into_iter().map(|(_, node)| node).collect();
        for node in &mut nodes {
            let members = node.members.values_mut();
            node.same
                .iter_mut()
                .chain(&mut node.all)
                .chain(members)
                .for_each(|target| *target = order[*target]);
        }
        let mut graph = Self { nodes, root: order[root], parts: 0 };
        graph.parts = graph.expanded(graph.root, 0, &mut HashMap::new())?;
        Ok(graph)
    }

    /// How many parts it has when each reference is replaced by what it names: what it takes of memory.
    pub(super) fn parts(&self) -> u64 {
        self.parts
    }

    fn expanded(
        &self,
        number: usize,
        depth: usize,
        known: &mut HashMap<usize, Option<u64>>,
    ) -> Result<u64, SchemaError> {
        match known.get(&number) {
            Some(Some(parts)) => return Ok(*parts),
            // It is on the way here: it leads to itself, and is compiled once.
            Some(None) => return Ok(1),
            None => {}
        }
        if depth > MAX_DEPTH {
            return Err(SchemaError::TooDeep);
        }
        known.insert(number, None);
        let node = &self.nodes[number];
        let mut parts = node.parts + node.patterns * PATTERN_PARTS;
        for target in node.targets() {
            parts += self.expanded(target, depth + 1, known)?;
            if parts > MAX_PARTS {
                return Err(SchemaError::TooManyParts);
            }
        }
        known.insert(number, Some(parts));
        Ok(parts)
    }

    /// How many parts are compared with values to check `value`; none if they are more than `most`, or it leads too deep.
    pub(super) fn cost(&self, value: &Value, most: u64) -> Option<u64> {
        let mut spent = 0;
        let first = BTreeMap::from([(self.root, Visits { count: 1, nested: 1 })]);
        self.spend(value, first, most, &mut spent)?;
        Some(spent)
    }

    /// Adds what looking at `value`, and at what is in it, takes.
    fn spend(
        &self,
        value: &Value,
        mut visited: BTreeMap<usize, Visits>,
        most: u64,
        spent: &mut u64,
    ) -> Option<()> {
        let mut looking = Vec::with_capacity(visited.len());
        while let Some((number, visits)) = visited.pop_first() {
            let node = &self.nodes[number];
            let each = node.parts + node.patterns * (1 + text_bytes(value) / TEXT_BYTES);
            *spent = spent.saturating_add(visits.count.saturating_mul(each));
            if *spent > most || visits.nested > MAX_NESTED {
                return None;
            }
            looking.push((node, visits));
            let next = Visits { count: visits.count.saturating_mul(node.times), nested: visits.nested + 1 };
            node.same.iter().for_each(|target| add(&mut visited, *target, next));
        }
        looking.retain(|(node, _)| !node.all.is_empty() || !node.members.is_empty());
        let mut go = |name: Option<&str>, part: &Value| {
            let mut visited = BTreeMap::new();
            for (node, visits) in &looking {
                let next = Visits { nested: visits.nested + 1, ..*visits };
                let named = name.and_then(|name| node.members.get(name));
                node.all.iter().chain(named).for_each(|target| add(&mut visited, *target, next));
            }
            *spent = spent.saturating_add(looking.len() as u64);
            self.spend(part, visited, most, spent)
        };
        match value {
            Value::Object(members) => members.iter().try_for_each(|(name, member)| go(Some(name), member)),
            Value::Array(items) => items.iter().try_for_each(|item| go(None, item)),
            _ => Some(()),
        }
    }
}

fn add(visited: &mut BTreeMap<usize, Visits>, number: usize, more: Visits) {
    let known = visited.entry(number).or_insert(Visits { count: 0, nested: 0 });
    known.count = known.count.saturating_add(more.count);
    known.nested = known.nested.max(more.nested);
}

/// How much of a value patterns look at.
fn text_bytes(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.len() as u64,
        Value::Object(members) => members.keys().map(|name| name.len() as u64 + TEXT_BYTES).sum(),
        _ => 0,
    }
}

impl Node {
    fn targets(&self) -> impl Iterator<Item = usize> {
        self.same.iter().chain(&self.all).chain(self.members.values()).copied()
    }
}

/// A number for each node, such that edges to the same value lead upwards.
fn in_order(nodes: &[Node]) -> Result<Vec<usize>, SchemaError> {
    let mut waits_for = vec![0_usize; nodes.len()];
    nodes.iter().flat_map(|node| &node.same).for_each(|target| waits_for[*target] += 1);
    let mut free: Vec<usize> = (0..nodes.len()).filter(|node| waits_for[*node] == 0).collect();
    let (mut order, mut given) = (vec![0; nodes.len()], 0);
    while let Some(node) = free.pop() {
        order[node] = given;
        given += 1;
        for target in &nodes[node].same {
            waits_for[*target] -= 1;
            if waits_for[*target] == 0 {
                free.push(*target);
            }
        }
    }
    if given < nodes.len() {
        return Err(SchemaError::Circular);
    }
    Ok(order)
}

struct Builder<'a> {
    document: &'a Value,
    /// By their address: a subschema that is named twice is one node.
    numbers: HashMap<*const Value, usize>,
    nodes: Vec<Node>,
}

impl<'a> Builder<'a> {
    /// The number of a subschema, which is looked at if it is new.
    fn node(&mut self, schema: &'a Value) -> Result<usize, SchemaError> {
        let mut waiting = Vec::new();
        let first = self.number(schema, &mut waiting);
        while let Some((number, schema)) = waiting.pop() {
            let mut node = Node { times: 1, ..Node::default() };
            match schema {
                Value::Object(keywords) => self.read(keywords, &mut node, &mut waiting)?,
                _ => node.parts = values(schema),
            }
            self.nodes[number] = node;
        }
        Ok(first)
    }

    fn number(&mut self, schema: &'a Value, waiting: &mut Vec<(usize, &'a Value)>) -> usize {
        *self.numbers.entry(std::ptr::from_ref(schema)).or_insert_with(|| {
            self.nodes.push(Node::default());
            waiting.push((self.nodes.len() - 1, schema));
            self.nodes.len() - 1
        })
    }

    fn read(
        &mut self,
        keywords: &'a Map<String, Value>,
        node: &mut Node,
        waiting: &mut Vec<(usize, &'a Value)>,
    ) -> Result<(), SchemaError> {
        node.parts = 1;
        for (keyword, value) in keywords {
            match (keyword.as_str(), value) {
                ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(reference)) => {
                    for target in named(self.document, reference)? {
                        node.same.push(self.number(target, waiting));
                    }
                }
                ("allOf" | "anyOf" | "oneOf" | "not" | "if" | "then" | "else", value) => {
                    node.same.extend(listed(value).map(|schema| self.number(schema, waiting)));
                }
                ("dependentSchemas" | "dependencies", Value::Object(schemas)) => {
                    node.same.extend(schemas.values().map(|schema| self.number(schema, waiting)));
                }
                ("properties", Value::Object(schemas)) => {
                    let members =
                        schemas.iter().map(|(name, schema)| (name.clone(), self.number(schema, waiting)));
                    node.members.extend(members);
                }
                ("patternProperties", Value::Object(schemas)) => {
                    node.patterns += schemas.len() as u64;
                    node.all.extend(schemas.values().map(|schema| self.number(schema, waiting)));
                }
                (
                    "additionalProperties"
                    | "items"
                    | "prefixItems"
                    | "additionalItems"
                    | "contains"
                    | "propertyNames",
                    value,
                ) => node.all.extend(listed(value).map(|schema| self.number(schema, waiting))),
                ("unevaluatedProperties" | "unevaluatedItems", value) => {
                    // What it says nothing of is found by asking all others again.
                    node.times = 3;
                    node.all.extend(listed(value).map(|schema| self.number(schema, waiting)));
                }
                ("pattern", Value::String(_)) => node.patterns += 1,
                ("$defs" | "definitions", Value::Object(_)) => {}
                (_, data) => node.parts += values(data),
            }
        }
        Ok(())
    }
}

/// A schema, or those of a list.
fn listed(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice).iter()
}

/// How many values there are.
fn values(value: &Value) -> u64 {
    1 + children(value).map(values).sum::<u64>()
}

/// Whether the document is one schema: references in another one with an `$id` of its own would be that one's. Draft 4 writes `id`.
fn stays_one(document: &Value) -> Result<(), SchemaError> {
    let is_draft_4 = document["$schema"].as_str().is_some_and(|draft| draft.contains("draft-04"));
    let keyword = if is_draft_4 { "id" } else { "$id" };
    let mut waiting: Vec<&Value> = children(document).collect();
    while let Some(value) = waiting.pop() {
        match value.get(keyword) {
            Some(Value::String(id)) if !id.starts_with('#') => {
                return Err(SchemaError::Nested { id: id.clone() });
            }
            _ => waiting.extend(children(value)),
        }
    }
    Ok(())
}

fn children(value: &Value) -> impl Iterator<Item = &Value> {
    let members = value.as_object().into_iter().flat_map(Map::values);
    value.as_array().into_iter().flatten().chain(members)
}

/// What a reference names. An anchor that several have may be any of them.
fn named<'a>(document: &'a Value, reference: &str) -> Result<Vec<&'a Value>, SchemaError> {
    let unknown = || SchemaError::Reference { reference: reference.to_owned() };
    let fragment = reference.strip_prefix('#').ok_or_else(unknown)?;
    let fragment = percent_decode_str(fragment).decode_utf8().map_err(|_| unknown())?;
    if fragment.is_empty() || fragment.starts_with('/') {
        return document.pointer(&fragment).map(|found| vec![found]).ok_or_else(unknown);
    }
    let mut found = Vec::new();
    anchored(document, &fragment, &mut found);
    if found.is_empty() { Err(unknown()) } else { Ok(found) }
}

fn anchored<'a>(value: &'a Value, anchor: &str, found: &mut Vec<&'a Value>) {
    let is = |keyword| value.get(keyword).and_then(Value::as_str);
    let is_called = is("$anchor") == Some(anchor) || is("$dynamicAnchor") == Some(anchor);
    if is_called || is("$id").and_then(|id| id.strip_prefix('#')) == Some(anchor) {
        found.push(value);
    }
    children(value).for_each(|child| anchored(child, anchor, found));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cost(schema: &Value, payload: &Value) -> Option<u64> {
        SchemaGraph::new(schema).unwrap().cost(payload, 1_000_000)
    }

    #[test]
    fn references_stay_in_the_document_and_do_not_turn_in_place() {
        let refused = |schema: Value| SchemaGraph::new(&schema).unwrap_err();
        for outside in ["http://127.0.0.1:1/x", "file:///etc/passwd", "other.json#/a", "#/nothing", "#nobody"]
        {
            let error = refused(json!({"properties": {"a": {"$ref": outside}}}));
            assert!(matches!(error, SchemaError::Reference { .. }), "{outside}: {error}");
        }
        assert!(matches!(refused(json!({"$ref": "#"})), SchemaError::Circular));
        let turning = json!({"$defs": {"a": {"not": {"$ref": "#/$defs/b"}}, "b": {"anyOf": [{"$ref": "#/$defs/a"}]}},
                             "$ref": "#/$defs/a", "items": {"$ref": "#/$defs/b"}});
        assert!(matches!(refused(turning), SchemaError::Circular));
        let other = json!({"items": {"$id": "https://example.com/other", "$ref": "#/x"}});
        assert!(matches!(refused(other), SchemaError::Nested { .. }));
        let good = json!({"$id": "https://example.com/root", "definitions": {"a b": {"$id": "#one", "type": "null"}},
                          "properties": {"x": {"$ref": "#/definitions/a%20b"}, "y": {"$ref": "#one"}, "$ref": {"$ref": "#"}}});
        SchemaGraph::new(&good).unwrap();
    }

    #[test]
    fn a_short_schema_that_is_a_large_one_is_found_out() {
        let doubling = |last: usize, by: &str| {
            let definitions: Map<String, Value> = (0..last)
                .map(|n| {
                    let next = json!({"$ref": format!("#/$defs/{}", n + 1)});
                    (n.to_string(), json!({by: [next.clone(), next]}))
                })
                .chain([(last.to_string(), json!({"type": "object"}))])
                .collect();
            json!({"$defs": definitions, "$ref": "#/$defs/0"})
        };
        SchemaGraph::new(&doubling(5, "allOf")).unwrap();
        for by in ["allOf", "anyOf", "prefixItems"] {
            assert!(matches!(SchemaGraph::new(&doubling(20, by)), Err(SchemaError::TooManyParts)), "{by}");
        }
        let patterns: Vec<Value> = (0..300).map(|n| json!({"pattern": format!("a{n}")})).collect();
        assert!(matches!(SchemaGraph::new(&json!({"allOf": patterns})), Err(SchemaError::TooManyParts)));
        let deep = (0..200).fold(json!({}), |inner, _| json!({"not": inner}));
        assert!(matches!(SchemaGraph::new(&deep), Err(SchemaError::TooDeep)));
    }

    #[test]
    fn the_cost_is_what_a_payload_leads_to() {
        let flat =
            json!({"properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "integer"}});
        assert_eq!(cost(&flat, &json!({})), Some(1));
        assert_eq!(cost(&flat, &json!({"b": 1})), Some(4));
        assert_eq!(cost(&flat, &json!({"a": "x"})), Some(6), "both may look at it");
        let tree = json!({"type": "object", "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}});
        let deep = |levels| (0..levels).fold(json!({}), |inner, _| json!({"left": inner}));
        assert_eq!(cost(&tree, &deep(0)), Some(2));
        assert_eq!(cost(&tree, &deep(50)), Some(2 + 50 * 4));
        let twice = json!({"oneOf": [{"properties": {"left": {"$ref": "#"}}}, {"properties": {"left": {"$ref": "#"}}}]});
        assert!(cost(&twice, &deep(5)).is_some());
        assert_eq!(cost(&twice, &deep(50)), None, "it doubles on every level");
        assert!(cost(&json!({"pattern": "a"}), &json!("x".repeat(10_000))).unwrap() > 300);
    }

    #[test]
    fn asking_again_what_is_not_evaluated_is_counted() {
        let nested = |levels| {
            (0..levels).fold(json!({}), |inner, _| json!({"unevaluatedProperties": false, "anyOf": [inner]}))
        };
        assert!(cost(&nested(3), &json!({"a": 1})).is_some());
        assert_eq!(cost(&nested(30), &json!({"a": 1})), None);
    }
}
