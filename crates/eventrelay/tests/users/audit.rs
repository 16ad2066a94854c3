//! Every change is told, with what was before and after, and without a secret.

use serde_json::{Value, json};

use crate::world::{PASSWORD, World};

fn told(world: &World, query: &str) -> Vec<Value> {
    let answer = world.ask("GET", &format!("/v1/audit-log{query}"), &Value::Null);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["data"].as_array().unwrap().clone()
}

#[test]
fn every_change_is_told_with_what_was_before_and_after_and_without_a_secret() {
    let world = World::start("failures_before_lockout = 1");
    let id = world.user("acme", "ann@example.com", "admin");
    let ann = world.log_in("acme", "ann@example.com");
    let user = json!({"email": "bob@example.com", "role": "viewer", "password": "canary of bob himself"});
    let bob = ann.ask("POST", "/v1/users", &user).json();
    let bob = format!("/v1/users/{}", bob["id"].as_str().unwrap());
    let stale = ann.ask_with(
        "PATCH",
        &bob,
        &[("x-csrf-token", &ann.csrf_token), ("if-match", "\"7\"")],
        &json!({"name": "B"}),
    );
    assert_eq!(stale.status, 412, "{stale:?}");
    let change = json!({"role": "operator", "password": "another canary of bob"});
    assert_eq!(ann.ask("PATCH", &bob, &change).header("etag"), Some("\"2\""));
    assert_eq!(ann.ask("DELETE", &bob, &Value::Null).status, 204);
    let key = ann.ask("POST", "/v1/keys", &json!({"name": "shop", "scopes": ["publish"]})).json();
    let key_id = key["id"].as_str().unwrap();
    assert_eq!(ann.ask("DELETE", &format!("/v1/keys/{key_id}"), &Value::Null).status, 204);
    assert_eq!(ann.ask("DELETE", "/v1/session", &Value::Null).status, 204);
    assert_eq!(world.try_log_in("acme", "ann@example.com", "canary that is wrong").status, 401);

    let changes = told(&world, "?tenant=acme");
    let actions: Vec<&str> = changes.iter().map(|change| change["action"].as_str().unwrap()).collect();
    let expected = [
        "user.lock",
        "session.delete",
        "api_key.revoke",
        "api_key.create",
        "user.delete",
        "user.update",
        "user.create",
        "session.create",
        "user.create",
    ];
    assert_eq!(actions, expected, "a change that was refused is none");
    let by_ann = json!({"kind": "user", "id": id, "name": "ann@example.com"});
    for (change, action) in changes.iter().zip(actions) {
        let actor = &change["actor"];
        match action {
            "user.lock" => assert_eq!(actor["kind"], "system"),
            _ if change["id"] == changes.last().unwrap()["id"] => assert_eq!(actor["id"], "bootstrap"),
            _ => assert_eq!(actor, &by_ann, "{change}"),
        }
        assert!(change["request_id"].is_string() && change["client_address"] == "127.0.0.1", "{change}");
    }
    let update = &changes[5];
    assert_eq!((&update["before"]["role"], &update["after"]["role"]), (&json!("viewer"), &json!("operator")));
    assert_eq!(
        (&update["before"]["password"], &update["after"]["password"]),
        (&json!("set"), &json!("changed"))
    );
    assert_eq!((&changes[4]["before"]["role"], &changes[4]["after"]), (&json!("operator"), &Value::Null));
    assert_eq!((&changes[3]["before"], &changes[3]["after"]["scopes"]), (&Value::Null, &json!(["publish"])));

    let token = ann.cookie.split_once('=').unwrap().1;
    let all = format!("{:?}", told(&world, "?limit=250"));
    for secret in
        [PASSWORD, "canary", "argon2", token, &ann.csrf_token, key["key"].as_str().unwrap(), &world.bootstrap]
    {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
    let mut world = world;
    let said = world.relay.everything_said();
    for secret in ["canary", "argon2", token, &ann.csrf_token] {
        assert!(!said.contains(secret), "{secret} in {said}");
    }
}

#[test]
fn tenants_are_told_and_changes_are_found_by_what_is_asked_for() {
    let world = World::start("");
    let made = world.ask("POST", "/v1/tenants", &json!({"name": "acme", "metadata": {"team": "shop"}}));
    assert_eq!((made.status, made.header("etag")), (201, Some("\"1\"")), "{made:?}");
    assert_eq!(world.ask("POST", "/v1/tenants", &json!({"name": "acme"})).status, 409);
    let changed = world.ask("PATCH", "/v1/tenants/acme", &json!({"display_name": "Acme"})).json();
    assert_eq!((&changed["display_name"], &changed["metadata"]["team"]), (&json!("Acme"), &json!("shop")));
    let id = world.user("acme", "ann@example.com", "viewer");
    let full = world.ask("DELETE", "/v1/tenants/acme", &Value::Null);
    assert_eq!((full.status, full.json()["code"].as_str()), (409, Some("tenant_not_empty")), "{full:?}");
    assert_eq!(world.ask("DELETE", &format!("/v1/users/{id}"), &Value::Null).status, 204);
    assert_eq!(world.ask("DELETE", "/v1/tenants/acme", &Value::Null).status, 204);
    assert_eq!(world.ask("GET", "/v1/tenants/acme", &Value::Null).status, 404);
    assert_eq!(world.ask("DELETE", "/v1/tenants/default", &Value::Null).status, 409);

    let update = &told(&world, "?action=tenant.update")[0];
    assert_eq!(
        (&update["before"]["display_name"], &update["after"]["display_name"]),
        (&json!(""), &json!("Acme"))
    );
    assert_eq!(told(&world, "?resource_kind=tenant").len(), 3);
    assert_eq!(told(&world, "?resource_kind=user&resource_name=ann@example.com").len(), 2);
    assert_eq!(told(&world, "?actor=bootstrap&actor_kind=api_key").len(), 5);
    assert_eq!(told(&world, "?actor_kind=user").len(), 0);
    let at = update["at"].as_str().unwrap();
    let later = told(&world, &format!("?from={at}"));
    let earlier = told(&world, &format!("?to={at}"));
    assert_eq!((later.len(), earlier.len()), (4, 1));
    let first = world.ask("GET", "/v1/audit-log?limit=2", &Value::Null).json();
    let next = first["next"].as_str().unwrap();
    let second = told(&world, &format!("?limit=2&cursor={next}"));
    assert_eq!(second[0]["action"], "user.create", "{second:?}");
    assert_eq!(world.ask("GET", "/v1/audit-log?colour=red", &Value::Null).status, 400);
}
