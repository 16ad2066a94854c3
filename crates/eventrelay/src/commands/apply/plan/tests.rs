//! Plans without a server.

use serde_json::json;

use super::*;

fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        other => panic!("{other}"),
    }
}

fn declared(value: Value) -> Declaration {
    Declaration::new(members(value)).unwrap()
}

/// What the API shows of a declaration that it has taken.
fn known(declaration: Value, made: Value) -> Map<String, Value> {
    let Value::Object(mut known) = shown(Value::Object(declared(declaration).stored)) else { panic!() };
    known.insert("tenant".to_owned(), "acme".into());
    if let (Some(Value::Object(sink)), Value::Object(made)) = (known.get_mut("sink"), made) {
        sink.extend(made);
    }
    known.extend(members(json!({
        "origin": "api", "status": "running", "status_reason": null, "revision": 7,
        "created_at": "2026-01-31T12:00:00Z", "updated_at": "2026-01-31T12:00:00Z"})));
    known
}

fn plan(declarations: &[Declaration], known: &[Map<String, Value>]) -> Plan {
    Plan::new(declarations, known, Wishes::default()).unwrap()
}

fn webhook(more: Value) -> Value {
    let mut sink = json!({"kind": "webhook", "url": "https://example.com/hooks"});
    sink.as_object_mut().unwrap().extend(members(more));
    json!({"name": "a", "sink": sink})
}

#[test]
fn what_the_server_has_is_left_alone() {
    for declaration in [
        json!({"name": "a"}),
        json!({"name": "a", "filter": {"types": ["order.*"]}, "start": {"time": "2026-01-31T13:00:00+01:00"}}),
        webhook(json!({"secrets": ["whsec_1"], "headers": {"authorization": "Bearer x"}})),
    ] {
        let plan = plan(&[declared(declaration.clone())], &[known(declaration.clone(), json!({}))]);
        assert!(plan.is_empty() && plan.unchanged == ["a"], "{declaration}: {plan:?}");
    }
}

#[test]
fn a_member_that_is_left_out_goes_back_to_its_default() {
    let known = known(json!({"name": "a", "max_in_flight": 3, "retry": {"max_attempts": 5}}), json!({}));
    let plan = plan(&[declared(json!({"name": "a", "max_in_flight": 4}))], &[known]);
    let change = &plan.change[0];
    let fields: Vec<(&str, &Value, &Value)> =
        change.fields.iter().map(|field| (field.field.as_str(), &field.before, &field.after)).collect();
    assert_eq!(
        fields,
        [("max_in_flight", &json!(3), &json!(4)), ("retry.max_attempts", &json!(5), &json!(12))]
    );
    assert_eq!((change.revision, &change.body), (7, &json!({"name": "a", "max_in_flight": 4})));
}

#[test]
fn secrets_are_no_difference_and_stay_what_they_are() {
    let secrets = json!({"secrets": ["whsec_1"], "headers": {"authorization": "Bearer x"}});
    let known = known(webhook(secrets.clone()), json!({}));
    let mut wanted = webhook(secrets);
    wanted["sink"]["secrets"] = json!(["whsec_2"]);
    let declaration = declared(wanted.clone());
    assert!(plan(std::slice::from_ref(&declaration), std::slice::from_ref(&known)).is_empty());

    wanted["max_in_flight"] = json!(5);
    wanted["sink"]["headers"]["x-new"] = json!("canary");
    let changed = plan(&[declared(wanted)], std::slice::from_ref(&known));
    let change = &changed.change[0];
    assert_eq!(change.body["sink"]["secrets"], json!([REDACTED]));
    assert_eq!(change.body["sink"]["headers"], json!({"authorization": REDACTED, "x-new": "canary"}));
    assert!(!format!("{:?}", change.fields).contains("canary"), "{:?}", change.fields);

    let wishes = Wishes { send_secrets: true, ..Wishes::default() };
    let sent = Plan::new(&[declaration], &[known], wishes).unwrap();
    assert_eq!(sent.change[0].body["sink"]["secrets"], json!(["whsec_2"]));
    assert!(!format!("{:?}", sent.change[0].fields).contains("whsec"), "{sent:?}");
}

#[test]
fn secrets_that_the_server_made_are_kept() {
    let made =
        json!({"secrets": [REDACTED], "expiring_secrets": [{"secret": REDACTED, "expires_at_seconds": 9}]});
    let known = known(webhook(json!({})), made.clone());
    let same = plan(&[declared(webhook(json!({})))], std::slice::from_ref(&known));
    assert!(same.is_empty(), "{same:?}");
    let changed = plan(&[declared(webhook(json!({"timeout_ms": 5})))], std::slice::from_ref(&known));
    let sink = &changed.change[0].body["sink"];
    assert_eq!((&sink["secrets"], &sink["expiring_secrets"]), (&made["secrets"], &made["expiring_secrets"]));
    // One that says otherwise is believed.
    let unsigned = plan(&[declared(webhook(json!({"unsigned": true})))], &[known]);
    assert_eq!(unsigned.change[0].body["sink"].get("secrets"), None);
}

#[test]
fn only_what_the_api_made_is_pruned_and_only_when_asked() {
    let old = known(json!({"name": "old"}), json!({}));
    let mut configured = known(json!({"name": "configured"}), json!({}));
    configured.insert("origin".to_owned(), "configuration".into());
    let known = [old, configured];
    assert!(plan(&[], &known).is_empty());
    let wishes = Wishes { prune: true, ..Wishes::default() };
    let pruned = Plan::new(&[], &known, wishes).unwrap();
    let names: Vec<&str> = pruned.delete.iter().map(|deletion| deletion.name.as_str()).collect();
    assert_eq!(names, ["old"]);

    let same = plan(&[declared(json!({"name": "configured"}))], &known);
    assert!(same.is_empty());
    let other = [declared(json!({"name": "configured", "max_in_flight": 2}))];
    let refused = Plan::new(&other, &known, Wishes::default()).unwrap_err();
    assert_eq!(refused, DeclaredElsewhere("configured".to_owned()));
}
