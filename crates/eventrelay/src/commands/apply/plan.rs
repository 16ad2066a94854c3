//! What has to be done so that the server has what the file declares.
//!
//! ```text
//!  written ── defaults, one form ──▶ stored ── without secrets ──▶ shown ─┐
//!                                                                         ├── differences, field by field
//!  server  ── GET, without its standing ──────────────────────────────────┘
//! ```
//!
//! Both sides are compared as the API shows them, so what cannot be seen, a secret, is no difference. What is not seen is not
//! sent either: `[redacted]` goes back in its place, and the server keeps what it has. The secrets that the server made for a
//! webhook whose declaration has none are kept in the same way.

use std::collections::BTreeSet;

use eventrelay_sinks::{REDACTED, UrlView, redacted};
use serde::Serialize;
use serde_json::{Map, Value};

use super::declarations::Declaration;

/// What a subscription shows that nobody declares.
const STANDING: [&str; 6] = ["origin", "status", "status_reason", "revision", "created_at", "updated_at"];
/// What a webhook declares when it says something of its secrets.
const SECRETS: [&str; 4] = ["secrets", "secrets_file", "secrets_env", "unsigned"];
/// What a rotation leaves behind.
const EXPIRING_SECRETS: &str = "expiring_secrets";

/// Everything, in the order in which it is done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) create: Vec<Creation>,
    pub(super) change: Vec<Change>,
    pub(super) unchanged: Vec<String>,
    pub(super) delete: Vec<Deletion>,
}

#[derive(Debug)]
pub(super) struct Creation {
    pub(super) name: String,
    pub(super) body: Value,
}

#[derive(Debug)]
pub(super) struct Change {
    pub(super) name: String,
    /// The revision that it was compared with.
    pub(super) revision: u64,
    pub(super) body: Value,
    pub(super) fields: Vec<Field>,
}

#[derive(Debug)]
pub(super) struct Deletion {
    pub(super) name: String,
    pub(super) revision: u64,
}

/// A field that is to become another; null where it is not there.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Field {
    pub(super) field: String,
    pub(super) before: Value,
    pub(super) after: Value,
}

/// What else is wanted.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wishes {
    pub(super) prune: bool,
    pub(super) send_secrets: bool,
}

/// A subscription that the file would change, and that the server has from its own configuration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is declared in the server's configuration: change it there, or leave it out here")]
pub(super) struct DeclaredElsewhere(pub(super) String);

impl Plan {
    /// Compares the file with all that the server has.
    pub(super) fn new(
        declared: &[Declaration],
        known: &[Map<String, Value>],
        wishes: Wishes,
    ) -> Result<Self, DeclaredElsewhere> {
        let mut plan = Self::default();
        for declaration in declared {
            let found = known.iter().find(|known| text(known, "name") == declaration.name);
            match found {
                Some(known) => plan.compare(declaration, known, wishes)?,
                None => plan.create.push(Creation {
                    name: declaration.name.clone(),
                    body: declaration.written.clone().into(),
                }),
            }
        }
        if wishes.prune {
            let names: BTreeSet<&str> =
                declared.iter().map(|declaration| declaration.name.as_str()).collect();
            let gone = known
                .iter()
                .filter(|known| text(known, "origin") == "api" && !names.contains(text(known, "name")));
            plan.delete.extend(
                gone.map(|known| Deletion {
                    name: text(known, "name").to_owned(),
                    revision: revision(known),
                }),
            );
        }
        Ok(plan)
    }

    fn compare(
        &mut self,
        declaration: &Declaration,
        known: &Map<String, Value>,
        wishes: Wishes,
    ) -> Result<(), DeclaredElsewhere> {
        let name = declaration.name.clone();
        let declared_part = known.iter().filter(|(member, _)| {
            !STANDING.contains(&member.as_str())
                && (*member != "tenant" || declaration.stored.contains_key("tenant"))
        });
        let before: Value = declared_part.map(|(member, value)| (member.clone(), value.clone())).collect();
        let mut stored = Value::Object(declaration.stored.clone());
        let mut body = Value::Object(declaration.written.clone());
        keep_made_secrets(&mut stored, &before);
        keep_made_secrets(&mut body, &before);
        let after = shown(stored);
        let mut fields = Vec::new();
        differences("", &before, &after, &mut fields);
        if wishes.send_secrets {
            secrets_of("", &declaration.written.clone().into(), &after, &mut fields);
        } else {
            keep_hidden(&mut body["sink"], &before["sink"], &after["sink"]);
        }
        if body["sink"].is_null()
            && let Some(members) = body.as_object_mut()
        {
            members.remove("sink");
        }
        if fields.is_empty() {
            self.unchanged.push(name);
            return Ok(());
        }
        if text(known, "origin") != "api" {
            return Err(DeclaredElsewhere(name));
        }
        self.change.push(Change { name, revision: revision(known), body, fields });
        Ok(())
    }

    /// Whether the server has what the file declares.
    pub(super) fn is_empty(&self) -> bool {
        self.create.is_empty() && self.change.is_empty() && self.delete.is_empty()
    }
}

fn text<'a>(members: &'a Map<String, Value>, name: &str) -> &'a str {
    members.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn revision(known: &Map<String, Value>) -> u64 {
    known.get("revision").and_then(Value::as_u64).unwrap_or_default()
}

/// As the API would show it.
fn shown(mut declaration: Value) -> Value {
    if let Some(Value::Object(settings)) = declaration.get_mut("sink") {
        *settings = redacted(settings, UrlView::Whole);
    }
    declaration
}

/// What the server made for a webhook, and the file says nothing of.
fn keep_made_secrets(declaration: &mut Value, known: &Value) {
    let Some(Value::Object(settings)) = declaration.get_mut("sink") else { return };
    let Some(Value::Object(known)) = known.get("sink") else { return };
    if text(settings, "kind") != "webhook" || text(known, "kind") != "webhook" {
        return;
    }
    let says_something = SECRETS.iter().any(|name| settings.contains_key(*name));
    let kept = [("secrets", !says_something), (EXPIRING_SECRETS, !settings.contains_key(EXPIRING_SECRETS))];
    for (name, is_kept) in kept {
        if let Some(value) = known.get(name).filter(|_| is_kept) {
            settings.insert(name.to_owned(), value.clone());
        }
    }
}

/// Puts `[redacted]` wherever both sides hide something in the same place.
fn keep_hidden(body: &mut Value, before: &Value, after: &Value) {
    match (body, before, after) {
        (body, Value::String(before), Value::String(after)) if before == REDACTED && after == REDACTED => {
            *body = REDACTED.into();
        }
        (Value::Object(body), Value::Object(before), Value::Object(after)) => {
            for (name, value) in body {
                if let (Some(before), Some(after)) = (before.get(name), after.get(name)) {
                    keep_hidden(value, before, after);
                }
            }
        }
        // Another number of them: which is which cannot be told.
        (Value::Array(body), Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            for (value, (before, after)) in body.iter_mut().zip(before.iter().zip(after)) {
                keep_hidden(value, before, after);
            }
        }
        _ => {}
    }
}

fn differences(path: &str, before: &Value, after: &Value, found: &mut Vec<Field>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
            for name in names {
                let of = |members: &Map<String, Value>| members.get(name).cloned().unwrap_or_default();
                differences(&joined(path, name), &of(before), &of(after), found);
            }
        }
        (before, after) if before == after => {}
        (before, after) => {
            found.push(Field { field: path.to_owned(), before: before.clone(), after: after.clone() });
        }
    }
}

/// The secrets that the file has.
fn secrets_of(path: &str, written: &Value, shown: &Value, found: &mut Vec<Field>) {
    match (written, shown) {
        (Value::Object(written), Value::Object(shown)) => {
            for (name, value) in written {
                secrets_of(&joined(path, name), value, shown.get(name).unwrap_or(&Value::Null), found);
            }
        }
        (Value::Array(written), Value::Array(shown)) => {
            for (place, (value, shown)) in written.iter().zip(shown).enumerate() {
                secrets_of(&joined(path, &place.to_string()), value, shown, found);
            }
        }
        (written, Value::String(shown)) if shown == REDACTED && written != REDACTED => {
            let after = "as in the file".into();
            found.push(Field { field: path.to_owned(), before: REDACTED.into(), after });
        }
        _ => {}
    }
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

#[cfg(test)]
mod tests;
