//! Who may do what: keys, scopes, and tenants that do not see each other.

use std::time::Duration;

use eventrelay_event::Tenant;
use eventrelay_server::auth::{ApiKey, Author, NewApiKey, Scope};
use serde_json::{Value, json};

use crate::support::{Answer, Client, TestServer};

const EVENT: &str = r#"{"type":"t","source":"/s","id":"1"}"#;

async fn guarded() -> TestServer {
    TestServer::start_asking_for_keys(true, |_| {}).await
}

/// A key of a tenant.
async fn key(server: &TestServer, tenant: &str, scopes: &[Scope]) -> ApiKey {
    lasting_key(server, tenant, scopes, None).await
}

async fn lasting_key(
    server: &TestServer,
    tenant: &str,
    scopes: &[Scope],
    lifetime: Option<Duration>,
) -> ApiKey {
    let (tenant, scopes) = (Tenant::parse(tenant).unwrap(), scopes.iter().copied().collect());
    let new = NewApiKey { name: "test".to_owned(), tenant, scopes, lifetime };
    server.api_keys.create(new, &Author::system()).await.unwrap().0
}

async fn request(client: &mut Client, line: &str, key: Option<&ApiKey>, body: &str) -> Answer {
    let key = key.map_or_else(String::new, |key| format!("Authorization: Bearer {}\r\n", key.expose()));
    let length = body.len();
    // The name is not a loopback one, as it is where others reach the server.
    let head = format!(
        "{line} HTTP/1.1\r\nHost: relay.example\r\n{key}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    client.send(format!("{head}{body}")).await;
    client.answer().await
}

#[tokio::test]
async fn without_a_good_key_there_is_nothing_but_signs_of_life() {
    let server = guarded().await;
    let mut client = server.connect().await;
    let stranger = ApiKey::generate();
    let expired = lasting_key(&server, "default", &[Scope::Admin], Some(Duration::ZERO)).await;
    for line in [
        "POST /v1/events",
        "GET /v1/events/x",
        "GET /v1/events/x/status",
        "GET /v1/events/stream",
        "GET /health",
        "GET /metrics",
        "GET /v1/keys",
        "POST /v1/keys",
        "DELETE /v1/keys/x",
    ] {
        for key in [None, Some(&stranger), Some(&expired)] {
            let answer = request(&mut client, line, key, EVENT).await;
            assert_eq!((answer.status, answer.code().as_str()), (401, "unauthenticated"), "{line}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
    }
    assert_eq!(server.log.durable_offset(), 0, "something was stored");
    for line in ["GET /healthz", "GET /readyz"] {
        assert_eq!(request(&mut client, line, None, "").await.status, 200, "{line}");
    }
}

#[tokio::test]
async fn a_key_is_good_for_its_scopes_alone() {
    let server = guarded().await;
    let mut client = server.connect().await;
    let lines = ["POST /v1/events", "GET /v1/events/x", "GET /metrics", "GET /v1/keys"];
    for (scope, allowed) in
        [(Scope::Publish, &lines[..1]), (Scope::Read, &lines[1..2]), (Scope::Admin, &lines[..])]
    {
        let key = key(&server, "default", &[scope]).await;
        for line in lines {
            let answer = request(&mut client, line, Some(&key), EVENT).await;
            if allowed.contains(&line) {
                assert!(![401, 403].contains(&answer.status), "{scope:?} {line}: {answer:?}");
            } else {
                assert_eq!(
                    (answer.status, answer.code().as_str()),
                    (403, "missing_scope"),
                    "{scope:?} {line}"
                );
            }
        }
    }
}

#[tokio::test]
async fn tenants_do_not_see_or_touch_each_other() {
    let server = guarded().await;
    let mut client = server.connect().await;
    let acme = key(&server, "acme", &[Scope::Publish, Scope::Read]).await;
    let other = key(&server, "other", &[Scope::Publish, Scope::Read]).await;
    let first = request(&mut client, "POST /v1/events", Some(&acme), EVENT).await.json();
    let second = request(&mut client, "POST /v1/events", Some(&other), EVENT).await.json();
    assert_eq!(
        (&first["duplicate"], &second["duplicate"]),
        (&false.into(), &false.into()),
        "one tenant's id is not another's"
    );

    let path =
        |receipt: &Value, rest: &str| format!("GET /v1/events/{}{rest}", receipt["id"].as_str().unwrap());
    for rest in ["", "/status"] {
        assert_eq!(request(&mut client, &path(&first, rest), Some(&acme), "").await.status, 200);
        let foreign = request(&mut client, &path(&first, rest), Some(&other), "").await;
        let absent = json!({"id": "00000000-0000-7000-8000-000000000000"});
        let absent = request(&mut client, &path(&absent, rest), Some(&other), "").await;
        assert_eq!(
            (foreign.status, foreign.body),
            (404, absent.body),
            "another's event answers as one that is not there"
        );
    }

    let mut stream = server.connect().await;
    stream
        .send(format!(
            "GET /v1/events/stream?from=earliest HTTP/1.1\r\nHost: h\r\nX-Api-Key: {}\r\n\r\n",
            other.expose()
        ))
        .await;
    stream.read_head().await;
    stream.read_past(b"\r\n").await;
    let shown: Value = serde_json::from_slice(&stream.read_past(b"\n").await).unwrap();
    assert_eq!((&shown["id"], &shown["tenant"]), (&second["id"], &"other".into()));
}

#[tokio::test]
async fn keys_are_made_listed_and_revoked_and_a_stream_ends_with_its_key() {
    let server = guarded().await;
    let mut client = server.connect().await;
    let admin = key(&server, "default", &[Scope::Admin]).await;
    let wanted = r#"{"name":"shop","scopes":["read"],"tenant":"acme","expires_in_seconds":3600}"#;
    let made = request(&mut client, "POST /v1/keys", Some(&admin), wanted).await;
    assert_eq!((made.status, made.header("cache-control")), (201, Some("no-store")));
    let made = made.json();
    let reader = ApiKey::parse(made["key"].as_str().unwrap()).unwrap();
    assert!(made["expires_at"].as_str().unwrap() > made["created_at"].as_str().unwrap(), "{made}");

    let mut stream = server.connect().await;
    let head = format!("GET /v1/events/stream HTTP/1.1\r\nHost: h\r\nX-Api-Key: {}\r\n\r\n", reader.expose());
    stream.send(head).await;
    assert!(stream.read_head().await.starts_with("HTTP/1.1 200"));

    let listed = request(&mut client, "GET /v1/keys", Some(&admin), "").await;
    assert!(!String::from_utf8_lossy(&listed.body).contains(reader.expose()), "a key is shown once");
    let listed = listed.json();
    let shown = listed["data"].as_array().unwrap().iter().find(|key| key["id"] == made["id"]).unwrap();
    assert_eq!((&shown["tenant"], &shown["scopes"]), (&"acme".into(), &json!(["read"])));
    assert!(shown["last_used_at"].is_string(), "{shown}");

    let line = format!("DELETE /v1/keys/{}", made["id"].as_str().unwrap());
    assert_eq!(request(&mut client, &line, Some(&admin), "").await.status, 204);
    assert_eq!(request(&mut client, &line, Some(&admin), "").await.code(), "key_not_found");
    assert_eq!(request(&mut client, "GET /v1/events/x", Some(&reader), "").await.status, 401);
    let rest = stream.until_closed_or_chunk_end().await;
    assert!(rest.ends_with(b"0\r\n\r\n"), "the stream goes on without its key: {rest:?}");

    let refused =
        request(&mut client, "POST /v1/keys", Some(&admin), r#"{"name":"x","scopes":["root"]}"#).await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "invalid_key_request"));
    assert_eq!(refused.json()["field"], "scopes");
}

#[tokio::test]
async fn where_keys_are_not_asked_for_web_pages_are_still_kept_out() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    let answer = request(&mut client, "POST /v1/events", None, EVENT).await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "forbidden_host"));
    let stranger = ApiKey::generate();
    let head = format!("GET /health HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: {}\r\n\r\n", stranger.expose());
    client.send(head).await;
    assert_eq!(client.answer().await.code(), "unauthenticated", "a key that is shown must be good");
}
