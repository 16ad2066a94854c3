//! From a body to a declaration: whose it is, its secrets, and what a patch makes of it.

use eventrelay_event::Tenant;
use eventrelay_sinks::{restore, webhook};
use eventrelay_state::Subscription;
use serde_json::{Map, Value, json};

use crate::http::control::refusals::invalid_subscription;
use crate::http::problem::Problem;

/// Reads a declaration of the caller's tenant, of the name in the path where there is one. A body may repeat both.
pub(super) fn parse(
    mut members: Map<String, Value>,
    tenant: &Tenant,
    name: Option<&str>,
) -> Result<Subscription, Problem> {
    let belongs = |member: Option<&Value>, wanted: &str| member.is_none_or(|value| value == wanted);
    if !belongs(members.get("tenant"), tenant.as_str()) {
        let why = format!("tenant must be the API key's own, `{tenant}`, or left out");
        return Err(invalid_subscription(why, Some("tenant".to_owned())));
    }
    members.insert("tenant".to_owned(), tenant.as_str().into());
    if let Some(name) = name {
        if !belongs(members.get("name"), name) {
            let why = "name cannot be changed: make another subscription".to_owned();
            return Err(invalid_subscription(why, Some("name".to_owned())));
        }
        members.insert("name".to_owned(), name.into());
    }
    let spec: Subscription = serde_path_to_error::deserialize(Value::Object(members)).map_err(|error| {
        let path = error.path().to_string();
        invalid_subscription(error.into_inner().to_string(), (path != ".").then_some(path))
    })?;
    let checked = spec.validate();
    checked.map_err(|error| {
        invalid_subscription(format!("{} {}", error.field, error.why), Some(error.field.to_owned()))
    })?;
    Ok(spec)
}

/// What a merge patch makes of a declaration.
pub(super) fn merged(spec: &Subscription, patch: &Map<String, Value>) -> Result<Map<String, Value>, Problem> {
    let stored = serde_json::to_value(spec).map_err(|error| Problem::internal(error.to_string()))?;
    let Value::Object(mut members) = stored else {
        return Err(Problem::internal("a declaration is an object"));
    };
    merge(&mut members, patch);
    Ok(members)
}

/// RFC 7396, section 2.
fn merge(target: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (name, value) in patch {
        match value {
            Value::Null => {
                target.remove(name);
            }
            Value::Object(members) => {
                let into = target.entry(name).or_insert_with(|| json!({}));
                if !into.is_object() {
                    *into = json!({});
                }
                if let Value::Object(into) = into {
                    merge(into, members);
                }
            }
            other => {
                target.insert(name.clone(), other.clone());
            }
        }
    }
}

/// What came back as it was shown is what is stored.
pub(super) fn restore_secrets(spec: &mut Subscription, stored: &Subscription) {
    if let (Some(sink), Some(stored)) = (&mut spec.sink, &stored.sink)
        && sink.kind == stored.kind
    {
        restore(&mut sink.settings, &stored.settings);
    }
}

/// A webhook signs; one that says nothing of secrets gets a new one.
pub(super) fn add_secret(spec: &mut Subscription) {
    let Some(sink) = spec.sink.as_mut().filter(|sink| sink.kind == webhook::KIND) else { return };
    let says_something = ["secrets", "secrets_file", "secrets_env", "unsigned"]
        .iter()
        .any(|field| sink.settings.contains_key(*field));
    if !says_something {
        let secret = webhook::generate_secret();
        sink.settings.insert("secrets".to_owned(), json!([secret.expose()]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn tenant() -> Tenant {
        Tenant::parse("acme").unwrap()
    }

    #[test]
    fn a_declaration_is_of_the_callers_tenant_and_the_paths_name() {
        let spec = parse(members(&json!({"name": "a"})), &tenant(), None).unwrap();
        assert_eq!(spec.tenant.as_str(), "acme");
        let spec = parse(members(&json!({"tenant": "acme"})), &tenant(), Some("a")).unwrap();
        assert_eq!(spec.name, "a");
        for (body, name, field) in [
            (json!({"name": "a", "tenant": "other"}), None, "tenant"),
            (json!({"name": "b"}), Some("a"), "name"),
            (json!({"name": "a", "colour": 1}), None, "colour"),
            (json!({"name": "a", "retry": {"max_attempts": 0}}), None, "retry.max_attempts"),
            (json!({"name": "A"}), None, "name"),
            (json!({"name": "a", "max_in_flight": 5000}), None, "max_in_flight"),
        ] {
            let problem = parse(members(&body), &tenant(), name).unwrap_err();
            assert_eq!(
                (problem.code(), problem.field_name()),
                ("invalid_subscription", Some(field)),
                "{body}"
            );
        }
    }

    #[test]
    fn a_patch_replaces_members_and_null_takes_them_away() {
        let known = parse(
            members(&json!({"name": "a", "description": "old", "max_in_flight": 3,
                             "sink": {"kind": "webhook", "url": "https://example.com/", "secrets": ["whsec_1"]}})),
            &tenant(),
            None,
        );
        let known = known.unwrap();
        let patch = members(&json!({"description": null, "retry": {"max_attempts": 4},
                                    "sink": {"url": "https://example.org/", "secrets": ["[redacted]"]}}));
        let mut spec = parse(merged(&known, &patch).unwrap(), &tenant(), Some("a")).unwrap();
        restore_secrets(&mut spec, &known);
        assert_eq!(
            (spec.description.as_str(), spec.max_in_flight.get(), spec.retry.max_attempts.get()),
            ("", 3, 4)
        );
        let settings = spec.sink.unwrap().settings;
        assert_eq!(settings["url"], "https://example.org/");
        assert_eq!(settings["secrets"], json!(["whsec_1"]));
    }

    #[test]
    fn only_a_webhook_that_says_nothing_of_secrets_gets_one() {
        let with = |sink: Value| {
            let mut spec = parse(members(&json!({"name": "a", "sink": sink})), &tenant(), None).unwrap();
            add_secret(&mut spec);
            spec.sink.unwrap().settings.get("secrets").cloned()
        };
        let made = with(json!({"kind": "webhook", "url": "https://example.com/"})).unwrap();
        assert!(made[0].as_str().unwrap().starts_with("whsec_"));
        assert_eq!(with(json!({"kind": "webhook", "url": "https://example.com/", "unsigned": true})), None);
        assert_eq!(with(json!({"kind": "stdout"})), None);
    }
}
