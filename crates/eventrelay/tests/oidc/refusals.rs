//! Whom the provider knows, and who is not let in; and what does not come from a login that was begun in the same browser.

use serde_json::{Value, json};

use crate::harness::http::send;
use crate::world::{World, refusal, set_cookies, verified};

const REFUSED: (u16, &str) = (403, "oidc_user_refused");
const FAILED: (u16, &str) = (401, "oidc_login_failed");
const MISMATCH: (u16, &str) = (400, "oidc_state_mismatch");

#[track_caller]
fn assert_refused(answer: &crate::harness::http::Answer, (status, code): (u16, &str)) {
    assert_eq!(refusal(answer), (status, code.to_owned()));
    assert!(set_cookies(answer).iter().all(|cookie| !cookie.starts_with("eventrelay_session")), "{answer:?}");
}

#[test]
fn who_is_not_known_verified_and_enabled_is_refused() {
    let world = World::start("");
    let ann = world.user("default", "ann@example.com", "admin");
    world.user("acme", "bob@example.com", "viewer");
    for (why, claims) in [
        ("nobody has the address", verified("s-1", "nobody@example.com")),
        ("it is another tenant's user", verified("s-1", "bob@example.com")),
        ("not verified", json!({"sub": "s-1", "email": "ann@example.com", "email_verified": false})),
        ("a text is not true", json!({"sub": "s-1", "email": "ann@example.com", "email_verified": "true"})),
        ("nothing is said of it", json!({"sub": "s-1", "email": "ann@example.com"})),
    ] {
        println!("{why}");
        assert_refused(&world.log_in(claims), REFUSED);
    }
    assert_eq!(world.told("user.link").len() + world.told("session.create").len(), 0);

    let path = format!("/v1/users/{ann}");
    assert_eq!(world.ask("PATCH", &path, &json!({"disabled": true})).status, 200);
    assert_refused(&world.log_in(verified("s-1", "ann@example.com")), REFUSED);
    assert_eq!(world.told("user.link").len(), 0, "who is disabled is not linked");
    assert_eq!(world.ask("PATCH", &path, &json!({"disabled": false})).status, 200);
    world.logged_in(verified("s-1", "ann@example.com"));
    assert_refused(&world.log_in(verified("s-2", "ann@example.com")), REFUSED);
    assert_eq!(world.ask("PATCH", &path, &json!({"disabled": true})).status, 200);
    assert_refused(&world.log_in(verified("s-1", "ann@example.com")), REFUSED);
}

#[test]
fn an_address_is_trusted_where_that_is_set_and_nothing_is_said_against_it() {
    let world = World::start("trust_email = true");
    world.user("default", "ann@example.com", "viewer");
    for word in [json!(false), json!("true"), json!(null)] {
        let claims = json!({"sub": "s-1", "email": "ann@example.com", "email_verified": word});
        assert_refused(&world.log_in(claims), REFUSED);
    }
    let session = world.logged_in(json!({"sub": "s-1", "email": "ann@example.com"}));
    assert_eq!(session["user"]["email"], "ann@example.com");
}

#[test]
fn nobody_is_logged_in_by_what_another_browser_began() {
    let world = World::start("");
    world.user("default", "ann@example.com", "viewer");
    let (own, other) = (world.begin(), world.begin());
    let ann = || verified("s-1", "ann@example.com");
    let query = world.issuer.log_in(&other.location, ann());
    assert_refused(&world.come_back(&query, &own.cookie), MISMATCH);
    assert_refused(&world.come_back(&query, ""), MISMATCH);
    assert_refused(&world.come_back(&query, &format!("{}; {}", other.cookie, own.cookie)), MISMATCH);
    assert_refused(&world.come_back(&query, &other.cookie.replace('.', "..")), MISMATCH);
    assert_refused(&world.come_back("code=code-1", &own.cookie), MISMATCH);
    assert_refused(&world.come_back("code=code-1&state=", &own.cookie), MISMATCH);
    let (_, state) = query.split_once("state=").unwrap();
    let state = state.split('&').next().unwrap();
    // Another provider's answer, whose code must not be sent to ours; and one that has none.
    let elsewhere = format!("code=code-1&state={state}&iss=https://evil.example");
    assert_refused(&world.come_back(&elsewhere, &other.cookie), FAILED);
    assert_refused(&world.come_back(&format!("state={state}"), &other.cookie), FAILED);
    let denied = world.come_back(&format!("state={state}&error=access_denied"), &other.cookie);
    assert_refused(&denied, FAILED);
    assert!(denied.body.contains("access_denied"), "{denied:?}");
    let odd = world.come_back(&format!("state={state}&error=%3Cscript%3E"), &other.cookie);
    assert!(odd.status == 401 && !odd.body.contains("script"), "{odd:?}");
    // After all of that the code is as good as before.
    assert_eq!(world.come_back(&query, &other.cookie).status, 200);
}

#[test]
fn a_token_of_another_login_client_or_time_is_refused() {
    let world = World::start("");
    world.user("default", "ann@example.com", "viewer");
    for (name, value) in [
        ("nonce", json!("of another login")),
        ("aud", json!("another client")),
        ("iss", json!("https://evil.example")),
        ("exp", json!(1_700_000_000)),
        ("iat", json!(4_000_000_000_u64)),
    ] {
        let mut claims = verified("s-1", "ann@example.com");
        claims[name] = value;
        println!("{name}");
        assert_refused(&world.log_in(claims), FAILED);
    }
    world.logged_in(verified("s-1", "ann@example.com"));
}

#[test]
fn codes_cannot_be_guessed_for_long() {
    let world = World::start("[auth.login]\naddress_failures_before_lockout = 3\nfirst_lockout_ms = 600000");
    world.user("default", "ann@example.com", "viewer");
    for _ in 0..10 {
        assert_refused(&world.come_back("code=guessed&state=guessed", ""), MISMATCH);
    }
    for _ in 0..3 {
        let login = world.begin();
        let query = world.issuer.log_in(&login.location, json!({"sub": "s-1"}));
        let guessed = query.replace("code=code-", "code=guessed-");
        assert_refused(&world.come_back(&guessed, &login.cookie), FAILED);
    }
    let locked = world.log_in(verified("s-1", "ann@example.com"));
    assert_eq!(refusal(&locked), (429, "too_many_failed_logins".to_owned()));
    assert!(locked.header("retry-after").is_some(), "{locked:?}");
    // It is the same count as that of passwords.
    let body = json!({"email": "ann@example.com", "password": crate::world::PASSWORD}).to_string();
    let headers = [("content-type", "application/json")];
    assert_eq!(send(world.address(), "POST", "/v1/session", &headers, &body).status, 429);
}

#[test]
fn a_login_goes_on_to_this_server_alone() {
    let world = World::start("");
    for path in [
        "https://evil.example",
        "//evil.example",
        "/%5Cevil.example",
        "/%09/evil.example",
        "/%0A/evil.example",
        "%20//evil.example",
        "/..//evil.example",
        "javascript:alert(1)",
        "evil.example",
        "/v1/oidc/login",
        "",
    ] {
        let answer = world.get(&format!("/v1/oidc/login?return_to={path}"), &[]);
        assert_eq!(refusal(&answer), (400, "invalid_query".to_owned()), "{path}");
        assert_eq!((answer.json()["field"].as_str(), set_cookies(&answer).len()), (Some("return_to"), 0));
    }
    for query in ["next=/", "return_to=/&return_to=/x"] {
        assert_eq!(world.get(&format!("/v1/oidc/login?{query}"), &[]).status, 400, "{query}");
    }
    assert_eq!(world.ask("GET", "/v1/audit-log", &Value::Null).status, 200);
}
