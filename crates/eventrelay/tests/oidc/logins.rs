//! Logins that succeed: linking, the session afterwards, users that are made, roles that follow a claim, and what the audit log tells.

use serde_json::{Value, json};

use crate::harness::http::send;
use crate::issuer::CLIENT_SECRET;
use crate::world::{PASSWORD, World, cookie, refusal, set_cookies, verified};

#[test]
fn from_the_login_page_to_a_logout() {
    let mut world = World::start("");
    let id = world.user("default", "ann@example.com", "operator");
    let methods = world.get("/v1/login-methods", &[]).json();
    assert_eq!(
        methods,
        json!({"password": true, "oidc": {"name": "Example", "login_url": "/v1/oidc/login"}})
    );

    let begun = world.get("/v1/oidc/login?return_to=/subscriptions%3Fa=%22b", &[]);
    assert_eq!((begun.status, begun.header("cache-control")), (303, Some("no-store")), "{begun:?}");
    let set = set_cookies(&begun);
    assert!(set.len() == 1 && set[0].ends_with("; Path=/; Max-Age=600; HttpOnly; SameSite=Lax"), "{set:?}");
    let login = cookie(&begun, "eventrelay_login");
    let query =
        world.issuer.log_in(begun.header("location").unwrap(), verified("ann-at-issuer", "Ann@Example.com"));
    let back = world.come_back(&query, &login);
    assert_eq!(back.status, 200, "{back:?}");
    assert!(back.body.contains("content=\"0;url=/subscriptions?a=&quot;b\""), "{}", back.body);
    assert!(!back.body.contains("<script"), "{}", back.body);
    for (name, value) in [
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("content-type", "text/html; charset=utf-8"),
    ] {
        assert_eq!(back.header(name), Some(value), "{back:?}");
    }
    assert!(back.header("content-security-policy").unwrap().starts_with("default-src 'none'"), "{back:?}");
    let set = set_cookies(&back);
    assert!(set.len() == 2 && set[0].ends_with("HttpOnly; SameSite=Strict"), "{set:?}");
    assert!(set[1].starts_with("eventrelay_login=; Path=/; Max-Age=0;"), "{set:?}");

    let session = cookie(&back, "eventrelay_session");
    let shown = world.get("/v1/session", &[("cookie", &session)]).json();
    assert_eq!((&shown["user"]["id"], &shown["user"]["role"]), (&json!(id), &json!("operator")));
    assert_eq!(world.get("/v1/subscriptions", &[("cookie", &session)]).status, 200);

    // What has been used is good for nothing, with the cookie and without.
    assert_eq!(refusal(&world.come_back(&query, "")), (400, "oidc_state_mismatch".to_owned()));
    assert_eq!(refusal(&world.come_back(&query, &login)), (401, "oidc_login_failed".to_owned()));

    let csrf = shown["csrf_token"].as_str().unwrap();
    let headers = [("cookie", session.as_str()), ("x-csrf-token", csrf)];
    assert_eq!(send(world.address(), "DELETE", "/v1/session", &headers, "").status, 204);
    assert_eq!(world.get("/v1/session", &[("cookie", &session)]).status, 401);

    // Neither the password nor the link is lost.
    let body = json!({"email": "ann@example.com", "password": PASSWORD}).to_string();
    let by_password =
        send(world.address(), "POST", "/v1/session", &[("content-type", "application/json")], &body);
    assert_eq!(by_password.status, 200, "{by_password:?}");
    let again = world.logged_in(json!({"sub": "ann-at-issuer", "email": "married@example.com"}));
    assert_eq!((&again["user"]["id"], &again["user"]["email"]), (&json!(id), &json!("ann@example.com")));

    let links = world.told("user.link");
    assert_eq!((links.len(), &links[0]["actor"]["kind"]), (1, &json!("system")), "{links:?}");
    assert_eq!(
        (&links[0]["before"]["oidc"], &links[0]["after"]["oidc"]["subject"]),
        (&Value::Null, &json!("ann-at-issuer"))
    );
    assert_eq!(links[0]["client_address"], "127.0.0.1");
    let methods: Vec<Value> =
        world.told("session.create").iter().map(|entry| entry["after"]["method"].clone()).collect();
    assert_eq!(methods, [json!("oidc"), json!("password"), json!("oidc")]);
    let token = session.split_once('=').unwrap().1;
    let said = world.relay.everything_said();
    for secret in [CLIENT_SECRET, "canary", token, "code-1", &login] {
        assert!(!said.contains(secret), "{secret} in {said}");
    }
    let shown = world.ask("GET", "/v1/config", &Value::Null).json();
    assert_eq!(shown["auth"]["oidc"]["client_secret_file"], "oidc.secret");
    assert!(!shown.to_string().contains("canary"), "{shown}");
}

#[test]
fn users_are_made_where_that_is_asked_for() {
    let world = World::start("tenant = \"acme\"\ncreate_users = true\ndefault_role = \"viewer\"");
    world.user("default", "ann@example.com", "admin");
    let made = world.logged_in(verified("s-1", "Ann@example.com"));
    let user = &made["user"];
    assert_eq!(
        (&user["tenant"], &user["email"]),
        (&json!("acme"), &json!("ann@example.com")),
        "not the other tenant's"
    );
    assert_eq!((&user["role"], &user["name"]), (&json!("viewer"), &json!("Ann Example")));
    let again = world.logged_in(verified("s-1", "ann@example.com"));
    assert_eq!(again["user"]["id"], user["id"]);
    let told = world.told("user.create");
    assert_eq!(
        (told.len(), &told[0]["actor"]["kind"], &told[0]["after"]["password"]),
        (2, &json!("system"), &json!("none"))
    );
    // Roles are given here: what somebody changes stays.
    let path = format!("/v1/users/{}", user["id"].as_str().unwrap());
    assert_eq!(world.ask("PATCH", &path, &json!({"role": "operator"})).status, 200);
    assert_eq!(world.logged_in(verified("s-1", "ann@example.com"))["user"]["role"], "operator");
    // Somebody else with the address of a user who has an identity is not that user.
    assert_eq!(
        refusal(&world.log_in(verified("s-2", "ann@example.com"))),
        (403, "oidc_user_refused".to_owned())
    );
}

#[test]
fn a_role_follows_its_claim_and_ends_what_the_one_before_allowed() {
    let world = World::start(
        "create_users = true\nrole_claim = \"realm_access.roles\"\n[auth.oidc.roles]\nstaff = \"viewer\"\nboss = \"admin\"",
    );
    let with = |roles: Value| {
        let mut claims = verified("s-1", "ann@example.com");
        claims["realm_access"] = json!({ "roles": roles });
        claims
    };
    let first = world.log_in(with(json!(["boss", "x", "staff"])));
    let session = cookie(&first, "eventrelay_session");
    let role =
        |session: &str| world.get("/v1/session", &[("cookie", session)]).json()["user"]["role"].clone();
    assert_eq!(role(&session), "admin", "the most powerful of those that count");
    assert_eq!(world.logged_in(with(json!(["boss"])))["user"]["role"], "admin");
    assert_eq!(world.told("user.update").len(), 0, "nothing has changed");
    assert_eq!(world.logged_in(with(json!("staff")))["user"]["role"], "viewer");
    assert_eq!(world.get("/v1/session", &[("cookie", &session)]).status, 401, "it was an admin's");
    let told = world.told("user.update");
    assert_eq!((told.len(), &told[0]["actor"]["kind"]), (1, &json!("system")));
    assert_eq!((&told[0]["before"]["role"], &told[0]["after"]["role"]), (&json!("admin"), &json!("viewer")));
    for none in [json!([]), json!(["other"]), json!("Staff"), json!(null)] {
        let refused = world.log_in(with(none.clone()));
        assert_eq!(refusal(&refused), (403, "oidc_user_refused".to_owned()), "{none}");
    }
    assert_eq!(world.told("user.update").len(), 1, "who is refused is not changed");
}

#[test]
fn what_the_token_does_not_say_the_userinfo_endpoint_does() {
    let world = World::start("");
    world.user("default", "ann@example.com", "viewer");
    world
        .issuer
        .set_userinfo(json!({"sub": "somebody else", "email": "ann@example.com", "email_verified": true}));
    assert_eq!(refusal(&world.log_in(json!({"sub": "s-1"}))), (401, "oidc_login_failed".to_owned()));
    world.issuer.set_userinfo(verified("s-1", "ann@example.com"));
    assert_eq!(world.logged_in(json!({"sub": "s-1"}))["user"]["email"], "ann@example.com");
}
