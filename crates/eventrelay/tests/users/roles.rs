//! What each role may do, and that another tenant's things are not there.

use serde_json::{Value, json};

use crate::world::{PASSWORD, World, ask_with_key, code};

/// Something to do, and who may: of viewer, operator, tenant's admin, relay's admin.
type Deed = (&'static str, &'static str, Value, [bool; 4]);

fn deeds() -> Vec<Deed> {
    let event = json!({"type": "t", "source": "/s"});
    let test = json!({"filter": {}, "event": event.clone()});
    let key = json!({"name": "k", "scopes": ["read"]});
    vec![
        ("GET", "/v1/session", Value::Null, [true; 4]),
        ("POST", "/v1/filters/test", test, [true; 4]),
        ("POST", "/v1/events", event, [false, true, true, true]),
        ("POST", "/v1/subscriptions/none/pull", json!({}), [false, true, true, true]),
        ("POST", "/v1/keys", key, [false, false, true, true]),
        ("GET", "/v1/keys", Value::Null, [false, false, true, true]),
        ("DELETE", "/v1/keys/key_x", Value::Null, [false, false, true, true]),
        ("GET", "/v1/users", Value::Null, [false, false, true, true]),
        ("POST", "/v1/users", json!({}), [false, false, true, true]),
        ("DELETE", "/v1/users/user_x", Value::Null, [false, false, true, true]),
        ("GET", "/v1/audit-log", Value::Null, [false, false, true, true]),
        ("GET", "/v1/tenants", Value::Null, [false, false, false, true]),
        ("POST", "/v1/tenants", json!({}), [false, false, false, true]),
        ("PATCH", "/v1/tenants/acme", json!({}), [false, false, false, true]),
        ("DELETE", "/v1/tenants/nothing", Value::Null, [false, false, false, true]),
        ("GET", "/metrics", Value::Null, [false, false, false, true]),
        ("GET", "/health", Value::Null, [false, false, false, true]),
    ]
}

#[test]
fn each_role_may_do_what_it_is_for() {
    let world = World::start("");
    let roles = [("acme", "viewer"), ("acme", "operator"), ("acme", "admin"), ("default", "admin")];
    for (place, (tenant, role)) in roles.into_iter().enumerate() {
        let email = format!("{role}@example.com");
        world.user(tenant, &email, role);
        let browser = world.log_in(tenant, &email);
        for (method, path, body, allowed) in deeds() {
            let answer = browser.ask(method, path, &body);
            let is_refused = answer.status == 403 && code(&answer) == "missing_scope";
            assert_eq!(!is_refused, allowed[place], "{role} of {tenant}: {method} {path}: {answer:?}");
            assert!(!matches!(answer.status, 401 | 500..), "{role} of {tenant}: {method} {path}: {answer:?}");
        }
    }
}

#[test]
fn a_viewer_changes_nothing_but_his_own_password() {
    let world = World::start("");
    let vic_id = world.user("acme", "vic@example.com", "viewer");
    let ann_id = world.user("acme", "ann@example.com", "viewer");
    let vic = world.log_in("acme", "vic@example.com");
    let own = format!("/v1/users/{vic_id}");
    assert_eq!(vic.ask("GET", &own, &Value::Null).json()["email"], "vic@example.com");
    for change in [json!({"role": "admin"}), json!({"name": "Boss"}), json!({"disabled": true})] {
        let answer = vic.ask("PATCH", &own, &change);
        assert_eq!((answer.status, code(&answer).as_str()), (403, "beyond_own_scopes"), "{change}");
    }
    let answer =
        vic.ask("PATCH", &format!("/v1/users/{ann_id}"), &json!({"password": "another canary horse"}));
    assert_eq!((answer.status, code(&answer).as_str()), (404, "user_not_found"));
    let new = |current: &str| json!({"password": "another canary horse", "current_password": current});
    let answer = vic.ask("PATCH", &own, &new("wrong"));
    assert_eq!((answer.status, code(&answer).as_str()), (403, "wrong_password"));
    assert_eq!(vic.ask("PATCH", &own, &new(PASSWORD)).status, 200);
    assert_eq!(world.try_log_in("acme", "vic@example.com", "another canary horse").status, 200);
}

#[test]
fn what_is_another_tenants_is_not_there() {
    let world = World::start("");
    let other_id = world.user("other", "oz@example.com", "viewer");
    let root_id = world.user("default", "root@example.com", "admin");
    world.user("acme", "boss@example.com", "admin");
    let boss = world.log_in("acme", "boss@example.com");
    let key =
        world.ask("POST", "/v1/keys", &json!({"name": "k", "scopes": ["read"], "tenant": "other"})).json();
    let key_id = key["id"].as_str().unwrap();
    for (path, expected) in [
        (format!("/v1/users/{other_id}"), "user_not_found"),
        (format!("/v1/users/{root_id}"), "user_not_found"),
        (format!("/v1/keys/{key_id}"), "key_not_found"),
    ] {
        for method in ["GET", "DELETE"] {
            let answer = boss.ask(method, &path, &Value::Null);
            assert_eq!((answer.status, code(&answer).as_str()), (404, expected), "{method} {path}");
        }
    }
    for (path, members) in [("/v1/users", 1), ("/v1/users?tenant=other", 0), ("/v1/keys", 0)] {
        let listed = boss.ask("GET", path, &Value::Null).json();
        assert_eq!(listed["data"].as_array().unwrap().len(), members, "{path}: {listed}");
    }
    let told = boss.ask("GET", "/v1/audit-log", &Value::Null).json();
    let told = told["data"].as_array().unwrap();
    assert!(!told.is_empty() && told.iter().all(|change| change["tenant"] == "acme"), "{told:?}");
    let others = boss.ask("GET", "/v1/audit-log?tenant=other", &Value::Null).json();
    assert_eq!(others["data"], json!([]));

    // Nor does he give what he does not have: to a user, to a key, or by way of a key.
    for (path, body) in [
        ("/v1/users", json!({"email": "a@b", "role": "viewer", "tenant": "other"})),
        ("/v1/users", json!({"email": "a@b", "role": "admin", "tenant": "default"})),
        ("/v1/keys", json!({"name": "k", "scopes": ["admin"]})),
        ("/v1/keys", json!({"name": "k", "scopes": ["read"], "tenant": "other"})),
    ] {
        let answer = boss.ask("POST", path, &body);
        assert_eq!((answer.status, code(&answer).as_str()), (403, "beyond_own_scopes"), "{path} {body}");
    }
    let made = boss.ask("POST", "/v1/keys", &json!({"name": "k", "scopes": ["tenant_admin"]})).json();
    assert_eq!(made["tenant"], "acme");
    let made = made["key"].as_str().unwrap();
    let ask = |body: &Value| ask_with_key(world.address(), made, "POST", "/v1/keys", body);
    assert_eq!(ask(&json!({"name": "k", "scopes": ["publish"]})).status, 201);
    assert_eq!(code(&ask(&json!({"name": "k", "scopes": ["admin"]}))), "beyond_own_scopes");
}
