//! The file that is applied: `[[subscriptions]]`, as in the configuration, and nothing else.

use std::collections::BTreeSet;
use std::path::Path;

use eventrelay_state::Subscription;
use serde_json::{Map, Value};

use crate::document;
use crate::exit::Failure;

/// A subscription as the file declares it.
#[derive(Debug, Clone)]
pub(super) struct Declaration {
    pub(super) name: String,
    /// What the file says.
    pub(super) written: Map<String, Value>,
    /// What the server makes of that: every default filled in, every value in its one form.
    pub(super) stored: Map<String, Value>,
}

impl Declaration {
    /// Checks what can be checked here, so that a mistake is found before anything is changed.
    pub(super) fn new(written: Map<String, Value>) -> Result<Self, String> {
        let name = written.get("name").and_then(Value::as_str).unwrap_or("without a name").to_owned();
        let invalid = |why: &dyn std::fmt::Display| format!("subscription `{name}`: {why}");
        let read = serde_json::from_value::<Subscription>(Value::Object(written.clone()));
        let subscription = read.map_err(|error| invalid(&error))?;
        subscription.validate().map_err(|error| error.to_string())?;
        let stored = serde_json::to_value(&subscription).map_err(|error| invalid(&error))?;
        let Value::Object(mut stored) = stored else { return Err(invalid(&"it is no table")) };
        if !written.contains_key("tenant") {
            // It is the API key's, and not the default.
            stored.remove("tenant");
        }
        Ok(Self { name: subscription.name, written, stored })
    }
}

/// Reads a file. What it does not declare may be deleted, so a misspelt table must not pass for none.
pub(super) fn read(path: &Path) -> Result<Vec<Declaration>, Failure> {
    of_document(document::read(path)?).map_err(|why| Failure::usage(format!("{}: {why}", path.display())))
}

fn of_document(document: Value) -> Result<Vec<Declaration>, String> {
    let Value::Object(mut members) = document else { return Err("expected a document".to_owned()) };
    let declared = members.remove("subscriptions");
    if let Some(name) = members.keys().next() {
        return Err(format!("`{name}` cannot be applied: only [[subscriptions]] can"));
    }
    let Some(Value::Array(declared)) = declared else {
        return Err("expected [[subscriptions]], or `subscriptions = []`".to_owned());
    };
    let mut names = BTreeSet::new();
    let each = declared.into_iter().map(|item| {
        let Value::Object(written) = item else { return Err("a subscription is a table".to_owned()) };
        let declaration = Declaration::new(written)?;
        match names.insert(declaration.name.clone()) {
            true => Ok(declaration),
            false => Err(format!("there is more than one subscription `{}`", declaration.name)),
        }
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_mistake_is_found_before_anything_is_changed() {
        let fails = |document: Value| of_document(document).unwrap_err();
        assert!(fails(json!({"subscription": []})).contains("`subscription`"));
        assert!(fails(json!({})).contains("[[subscriptions]]"));
        let twice = json!({"subscriptions": [{"name": "a"}, {"name": "a"}]});
        assert!(fails(twice).contains("more than one"));
        assert!(fails(json!({"subscriptions": [{"name": "a", "colour": 1}]})).contains("colour"));
        assert!(fails(json!({"subscriptions": [{"name": "A"}]})).contains("name"));
        assert_eq!(of_document(json!({"subscriptions": []})).unwrap().len(), 0);
    }
}
