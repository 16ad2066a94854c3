//! With one tenant's key, everything of another's is not there.

use serde_json::json;

use crate::harness::{RelayProcess, poll, run, stdout};
use crate::world::{Client, Hook, configuration};

/// A relay that asks for keys, and who may do everything.
fn start(directory: &std::path::Path) -> (RelayProcess, Client) {
    let bootstrap = run(directory, ["keys", "generate"]);
    let bootstrap = stdout(&bootstrap).trim().to_owned();
    std::fs::write(directory.join("bootstrap.key"), &bootstrap).unwrap();
    let more = "[auth]\nrequired = true\nbootstrap_key_file = \"bootstrap.key\"\n";
    let relay = RelayProcess::start(directory, &configuration(more));
    let root = Client { server: relay.http(), key: Some(bootstrap) };
    (relay, root)
}

/// Who may do everything but administer, in one tenant.
fn member(root: &Client, tenant: &str) -> Client {
    let scopes = ["publish", "read", "consume", "manage"];
    let made = root.post(201, "/v1/keys", &json!({"name": tenant, "scopes": scopes, "tenant": tenant}));
    Client { server: root.server, key: Some(made["key"].as_str().unwrap().to_owned()) }
}

#[test]
fn a_tenant_is_deleted_with_deliveries_queued_and_nothing_of_it_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let (mut relay, root) = start(directory.path());
    let (owner, neighbour) = (member(&root, "acme"), member(&root, "other"));
    let (hook, theirs) = (Hook::start(), Hook::start());
    hook.answer(503);
    let patient = json!({"retry": {"max_attempts": 1000, "initial_backoff_ms": 1, "max_backoff_ms": 5}});
    owner.subscribe("billing", &hook, &patient);
    neighbour.subscribe("billing", &theirs, &json!({}));
    owner.publish("order.created", 0..20);
    poll::until("some tries", || (hook.seen().len() > 5).then_some(()));
    assert_eq!(root.refusal(409, "DELETE", "/v1/tenants/acme", None), "tenant_not_empty");
    root.expect(204, "DELETE", "/v1/tenants/acme?cascade=true", None);
    hook.forget();
    assert_eq!(owner.ask("GET", "/v1/subscriptions", None).status, 401, "its keys are good for nothing");
    assert_eq!(root.refusal(404, "GET", "/v1/tenants/acme", None), "tenant_not_found");
    let metrics = root.ask("GET", "/metrics", None).body;
    assert!(!metrics.contains("tenant=\"acme\"") && metrics.contains("tenant=\"other\""), "{metrics}");
    let ids = neighbour.publish("order.created", 0..1);
    theirs.wait_for(&ids);
    assert!(hook.seen().is_empty(), "nothing is tried any more");
    let said = relay.everything_said();
    assert!(!said.contains("cannot save"), "{said}");
    assert!(relay.terminate().success());
}

#[test]
fn another_tenants_everything_answers_as_what_is_absent_does() {
    let directory = tempfile::tempdir().unwrap();
    let (_relay, root) = start(directory.path());
    let (owner, stranger) = (member(&root, "acme"), member(&root, "other"));
    let hook = Hook::start();
    owner.subscribe("billing", &hook, &json!({}));
    let delivered = owner.publish("order.created", 0..1).remove(0);
    hook.wait_for(std::slice::from_ref(&delivered));
    hook.answer(400);
    let dead = owner.publish("order.created", 1..2).remove(0);
    poll::until("a dead letter", || {
        (owner.get("/v1/subscriptions/billing/stats")["dead_letters"] == 1).then_some(())
    });
    owner.post(202, "/v1/subscriptions/billing/replays", &json!({"from": "latest"}));
    let attempts = owner.get("/v1/subscriptions/billing/attempts");
    let attempt = attempts["data"][0]["id"].as_i64().unwrap();

    let empty = json!({});
    let base = "/v1/subscriptions/billing";
    let requests = [
        ("GET", base.to_owned(), None),
        ("PUT", base.to_owned(), Some(json!({"sink": {"kind": "webhook", "url": hook.url()}}))),
        ("PATCH", base.to_owned(), Some(json!({"sink": {"url": "https://example.com/"}}))),
        ("DELETE", base.to_owned(), None),
        ("POST", format!("{base}/pause"), None),
        ("POST", format!("{base}/resume"), None),
        ("POST", format!("{base}/enable"), None),
        ("POST", format!("{base}/test"), Some(empty.clone())),
        ("GET", format!("{base}/secret"), None),
        ("POST", format!("{base}/secret/rotate"), Some(empty.clone())),
        ("GET", format!("{base}/stats"), None),
        ("GET", format!("{base}/deliveries"), None),
        ("POST", format!("{base}/deliveries/{delivered}/retry"), None),
        ("GET", format!("{base}/attempts"), None),
        ("GET", format!("{base}/attempts/{attempt}"), None),
        ("GET", format!("{base}/dead-letters"), None),
        ("GET", format!("{base}/dead-letters/{dead}"), None),
        ("DELETE", format!("{base}/dead-letters/{dead}"), None),
        ("POST", format!("{base}/dead-letters/{dead}/redrive"), None),
        ("POST", format!("{base}/dead-letters/redrive"), Some(empty.clone())),
        ("POST", format!("{base}/dead-letters/discard"), Some(json!({"filter": {}}))),
        ("GET", format!("{base}/replays"), None),
        ("POST", format!("{base}/replays"), Some(json!({"from": "earliest"}))),
        ("GET", format!("{base}/replays/1"), None),
        ("POST", format!("{base}/replays/1/cancel"), None),
        ("POST", format!("{base}/seek"), Some(json!({"to": "latest"}))),
        ("POST", format!("{base}/pull"), Some(empty)),
        ("GET", format!("/v1/events/{delivered}"), None),
        ("GET", format!("/v1/events/{delivered}/status"), None),
        ("GET", format!("/v1/events/{delivered}/deliveries"), None),
        ("GET", format!("/v1/events/{delivered}/attempts"), None),
        ("GET", "/v1/events?subscription=billing".to_owned(), None),
    ];
    for (method, path, body) in &requests {
        // The same request for what nobody has answers in the same way.
        let absent_path = path
            .replace("billing", "nobodys")
            .replace(&delivered, &absent(&delivered))
            .replace(&dead, &absent(&dead));
        let foreign = stranger.ask(method, path, body.as_ref());
        let nobodys = stranger.ask(method, &absent_path, body.as_ref());
        assert_eq!(foreign.status, 404, "{method} {path}: {foreign:?}");
        assert_eq!((foreign.status, &foreign.body), (nobodys.status, &nobodys.body), "{method} {path}");
    }
    for list in ["/v1/subscriptions", "/v1/events"] {
        assert_eq!(stranger.get(list)["data"], json!([]), "{list}");
    }
    let page = stranger.ask("GET", "/v1/keys", None);
    assert_eq!(page.status, 403, "{page:?}");
    // Nothing of it has done anything.
    assert_eq!(owner.get(base)["status"], "running");
    assert_eq!(owner.get(&format!("{base}/stats"))["dead_letters"], 1);
    assert_eq!(owner.get(&format!("{base}/replays"))["data"].as_array().unwrap().len(), 1);
}

/// An id that nobody's event has.
fn absent(id: &str) -> String {
    format!("{}{}", &id[..id.len() - 4], "ffff")
}

#[test]
fn two_tenants_files_of_one_name_are_two() {
    let directory = tempfile::tempdir().unwrap();
    let (_relay, root) = start(directory.path());
    let file = json!({"name": "archive", "sink": {"kind": "file", "directory": "archive"}});
    for tenant in ["acme", "other"] {
        let member = member(&root, tenant);
        member.post(201, "/v1/subscriptions", &file);
        let ids = member.publish("order.created", 0..3);
        let folder = directory.path().join("data/files").join(tenant).join("archive");
        let written = poll::until("its files", || {
            let files = std::fs::read_dir(&folder).ok()?.filter_map(Result::ok);
            let text: String = files.filter_map(|file| std::fs::read_to_string(file.path()).ok()).collect();
            (text.lines().count() >= 3).then_some(text)
        });
        assert!(ids.iter().all(|id| written.contains(id)) && written.lines().count() == 3, "{written}");
    }
}

#[test]
fn a_key_that_may_do_more_is_not_ones_own_to_revoke() {
    let directory = tempfile::tempdir().unwrap();
    let (_relay, root) = start(directory.path());
    let key =
        |scope: &str| root.post(201, "/v1/keys", &json!({"name": "k", "scopes": [scope], "tenant": "acme"}));
    let (lesser, greater, least) = (key("tenant_admin"), key("admin"), key("read"));
    let lesser = Client { server: root.server, key: Some(lesser["key"].as_str().unwrap().to_owned()) };
    let path = |key: &serde_json::Value| format!("/v1/keys/{}", key["id"].as_str().unwrap());
    assert_eq!(lesser.refusal(403, "DELETE", &path(&greater), None), "beyond_own_scopes");
    lesser.expect(204, "DELETE", &path(&least), None);
    root.expect(204, "DELETE", &path(&greater), None);
}
