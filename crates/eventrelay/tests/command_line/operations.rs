//! What concerns the whole relay: tenants, keys, users, the audit log, the configuration.

use serde_json::json;

use crate::world::World;

#[test]
fn a_tenant_is_made_changed_and_deleted() {
    let world = World::start();
    let made =
        world.json(&["tenants", "create", "acme", "--display-name", "Acme", "--metadata", "team=shop"]);
    assert_eq!((&made["display_name"], &made["metadata"]), (&json!("Acme"), &json!({"team": "shop"})));
    let update = ["tenants", "update", "acme", "--display-name", "Acme Inc.", "--revision", "1"];
    assert_eq!(world.json(&update)["display_name"], "Acme Inc.");
    let (code, why) = world.failure(&update);
    assert!(code == 6 && why.contains("precondition_failed"), "{code} {why}");
    assert_eq!(world.json(&["tenants", "get", "acme"])["metadata"], json!({"team": "shop"}));
    assert!(world.said(&["tenants", "list"]).contains("Acme Inc."));
    let (code, _) = world.failure(&["tenants", "delete", "acme"]);
    assert_eq!(code, 2);
    world.json(&["keys", "create", "--name", "shop", "--scopes", "publish", "--tenant", "acme"]);
    let (code, why) = world.failure(&["tenants", "delete", "acme", "--yes"]);
    assert!(code == 6 && why.contains("tenant_not_empty"), "{code} {why}");
    world.said(&["tenants", "delete", "acme", "--cascade", "--yes"]);
    assert!(world.items(&["tenants", "list"]).iter().all(|tenant| tenant["name"] != "acme"));

    let changes = world.items(&["audit-log", "--resource-kind", "tenant", "--resource-name", "acme"]);
    let actions: Vec<&str> = changes.iter().map(|change| change["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["tenant.delete", "tenant.update", "tenant.create"]);
    assert!(world.said(&["audit-log", "--limit", "1"]).contains("tenant.delete"));
}

#[test]
fn a_key_is_made_shown_and_revoked() {
    let world = World::start();
    let made = world.json(&["keys", "create", "--name", "shop", "--scopes", "publish,read"]);
    let id = made["id"].as_str().unwrap();
    let shown = world.json(&["keys", "get", id]);
    assert_eq!((&shown["scopes"], shown.get("key")), (&json!(["publish", "read"]), None));
    world.said(&["keys", "revoke", id]);
    assert!(world.said(&["keys", "list"]).contains("revoked"));
    assert_eq!(world.items(&["users", "list"]).len(), 0);
}

#[test]
fn a_configuration_is_shown_and_checked_by_the_server() {
    let world = World::start();
    assert_eq!(world.json(&["config", "show"])["log"]["segment_bytes"], 1_048_576);
    assert!(world.said(&["config", "show"]).contains("log.segment_bytes"));
    world.write(
        "good.toml",
        "[log]\nsegment_bytes = 1048576\nmax_commit_bytes = 262144\n[publish]\nmax_event_bytes = 131072\n",
    );
    assert_eq!(world.json(&["config", "validate", "good.toml"])["valid"], true);
    world.write("bad.toml", "[log]\nsegment_bites = 1\n");
    let bad = world.run(&["config", "validate", "bad.toml"]);
    assert_eq!(bad.status.code(), Some(2), "{bad:?}");
    assert!(crate::harness::stdout(&bad).contains("log.segment_bites"), "{bad:?}");
}
