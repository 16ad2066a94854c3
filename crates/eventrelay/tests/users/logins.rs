//! From the first user to a logout; what a cookie alone cannot do; waits after failures; sessions that end.

use serde_json::{Value, json};

use crate::harness::{poll, stderr, stdout};
use crate::world::{PASSWORD, World, code};

#[test]
fn from_the_first_user_to_a_logout() {
    let world = World::start("");
    let create = ["users", "create", "--email", "Ann@Example.com", "--role", "admin"];
    let created = world.command(&create, &format!("{PASSWORD}\n"));
    assert!(created.status.success(), "{created:?}");
    let id = stdout(&created).trim().to_owned();
    let short =
        world.command(&["users", "create", "--email", "b@example.com", "--role", "viewer"], "short\n");
    assert!(stderr(&short).contains("password") && short.status.code() == Some(6), "{short:?}");
    let list = world.command(&["users", "list"], "");
    assert!(stdout(&list).contains(&id) && stdout(&list).contains("ann@example.com"), "{list:?}");

    let answer = world.try_log_in("default", "ann@example.com", PASSWORD);
    let cookie = answer.header("set-cookie").unwrap();
    for attribute in ["eventrelay_session=", "Path=/", "Max-Age=43200", "HttpOnly", "SameSite=Strict"] {
        assert!(cookie.split("; ").any(|part| part.starts_with(attribute)), "{attribute}: {cookie}");
    }
    assert!(!cookie.contains("Secure") && answer.header("cache-control") == Some("no-store"), "{answer:?}");
    let ann = world.log_in("default", "ann@example.com");
    let shown = ann.ask("GET", "/v1/session", &Value::Null).json();
    assert_eq!((&shown["user"]["id"], &shown["csrf_token"]), (&json!(id), &json!(ann.csrf_token)));
    assert_eq!(shown["scopes"].as_array().unwrap().last(), Some(&json!("admin")));

    // A kill forgets no session, and a logout ends only its own.
    let other = world.log_in("default", "ann@example.com");
    let world = world.kill_and_restart();
    let [ann, other] = [ann, other].map(|mut browser| {
        browser.server = world.address();
        browser
    });
    let over = ann.ask("DELETE", "/v1/session", &Value::Null);
    assert_eq!(over.status, 204, "{over:?}");
    assert!(over.header("set-cookie").unwrap().contains("Max-Age=0"), "{over:?}");
    let after = ann.ask("GET", "/v1/session", &Value::Null);
    assert_eq!((after.status, code(&after).as_str()), (401, "unauthenticated"));
    assert_eq!(other.ask("GET", "/v1/session", &Value::Null).status, 200);

    let reset = world.command(&["users", "set-password", &id], "another canary horse\n");
    assert!(reset.status.success(), "{reset:?}");
    assert_eq!(other.ask("GET", "/v1/session", &Value::Null).status, 401, "a new password ends all sessions");
    assert_eq!(world.try_log_in("default", "ann@example.com", PASSWORD).status, 401);
    assert_eq!(world.try_log_in("default", "ann@example.com", "another canary horse").status, 200);
    assert!(world.command(&["users", "delete", &id, "--yes"], "").status.success());
    assert_eq!(world.try_log_in("default", "ann@example.com", "another canary horse").status, 401);
}

#[test]
fn a_cookie_alone_changes_nothing() {
    let world = World::start("");
    world.user("default", "ann@example.com", "admin");
    let ann = world.log_in("default", "ann@example.com");
    let tenant = json!({"name": "made-by-cookie"});
    let own = format!("http://{}", world.address());
    let token = ("x-csrf-token", ann.csrf_token.as_str());
    for (headers, expected) in [
        (vec![], "csrf_token_required"),
        (vec![("origin", own.as_str())], "csrf_token_required"),
        (vec![("x-csrf-token", "x")], "csrf_token_required"),
        (vec![token, ("origin", "http://evil.example")], "forbidden_origin"),
        (vec![token, ("sec-fetch-site", "cross-site")], "forbidden_origin"),
    ] {
        let answer = ann.ask_with("POST", "/v1/tenants", &headers, &tenant);
        assert_eq!((answer.status, code(&answer).as_str()), (403, expected), "{headers:?}");
        let publish = ann.ask_with("POST", "/v1/events", &headers, &json!({"type": "t", "source": "/s"}));
        assert_eq!((publish.status, code(&publish).as_str()), (403, expected), "{headers:?}");
        assert_eq!(ann.ask_with("DELETE", "/v1/session", &headers, &Value::Null).status, 403, "{headers:?}");
    }
    assert_eq!(ann.ask("GET", "/v1/tenants/made-by-cookie", &Value::Null).status, 404);
    let headers = [token, ("origin", own.as_str()), ("sec-fetch-site", "same-origin")];
    assert_eq!(ann.ask_with("POST", "/v1/tenants", &headers, &tenant).status, 201);
    // A key is no cookie: no page of another site can have a browser send it.
    assert_eq!(world.ask("DELETE", "/v1/tenants/made-by-cookie", &Value::Null).status, 204);
    // Nor can another site's page log its visitor in as somebody else.
    let login = json!({"email": "ann@example.com", "password": PASSWORD});
    let answer = ann.ask_with("POST", "/v1/session", &[("origin", "http://evil.example")], &login);
    assert_eq!((answer.status, code(&answer).as_str()), (403, "forbidden_origin"));
}

#[test]
fn after_failures_the_next_login_waits_and_after_another_twice_as_long() {
    let world = World::start("failures_before_lockout = 2\nfirst_lockout_ms = 1000");
    world.user("acme", "ann@example.com", "viewer");
    let wrong = || world.try_log_in("acme", "ann@example.com", "wrong");
    let right = || world.try_log_in("acme", "ann@example.com", PASSWORD);
    for _ in 0..2 {
        let answer = wrong();
        assert_eq!((answer.status, code(&answer).as_str()), (401, "invalid_credentials"));
    }
    let locked = right();
    assert_eq!((locked.status, code(&locked).as_str()), (429, "too_many_failed_logins"));
    assert_eq!(locked.header("retry-after"), Some("1"));
    // Another user is not his to lock out, and a tenant's user is not another tenant's.
    world.user("other", "ann@example.com", "viewer");
    world.log_in("other", "ann@example.com");

    poll::until("the wait is over", || (wrong().status == 401).then_some(()));
    let locked = right();
    assert_eq!((locked.status, locked.header("retry-after")), (429, Some("2")), "{locked:?}");
    poll::until("that wait is over", || (right().status == 200).then_some(()));
    assert_eq!(wrong().status, 401, "a login forgets what failed");
    assert_eq!(right().status, 200);
}

#[test]
fn a_session_ends_by_itself() {
    let world = World::start("session_lifetime_seconds = 2\nsession_idle_timeout_seconds = 2");
    world.user("acme", "ann@example.com", "viewer");
    let ann = world.log_in("acme", "ann@example.com");
    let look = || ann.ask("GET", "/v1/session", &Value::Null).status;
    assert_eq!(look(), 200);
    poll::until("the session has expired", || (look() == 401).then_some(()));
}

#[test]
fn behind_a_proxy_that_speaks_tls_the_cookie_asks_for_it() {
    let world = World::start("always_secure_cookie = true");
    world.user("acme", "ann@example.com", "viewer");
    let answer = world.try_log_in("acme", "ann@example.com", PASSWORD);
    let cookie = answer.header("set-cookie").unwrap();
    assert!(cookie.starts_with("__Host-eventrelay_session=") && cookie.ends_with("; Secure"), "{cookie}");
    let ann = world.log_in("acme", "ann@example.com");
    assert_eq!(ann.ask("GET", "/v1/session", &Value::Null).status, 200);
    let mut plain = ann;
    plain.cookie = plain.cookie.replace("__Host-", "");
    assert_eq!(plain.ask("GET", "/v1/session", &Value::Null).status, 401, "anybody could have set that one");
}
