//! What all operations of the control plane have alike.

use eventrelay_server::auth::{ApiKey, Scope};
use serde_json::json;

use crate::api_keys;
use crate::support::{Answer, Client, TestServer};

async fn ask(client: &mut Client, line: &str, headers: &str, body: &str) -> Answer {
    let length = body.len();
    let head = format!("{line} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {length}\r\n\r\n");
    client.send(format!("{head}{body}")).await;
    client.answer().await
}

fn assert_is(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{answer:?}");
    assert!(answer.header("x-request-id").is_some(), "{answer:?}");
}

const KEY: &str = r#"{"name":"shop","scopes":["publish"]}"#;

#[tokio::test]
async fn what_does_not_exist_is_not_found_and_a_wrong_method_is_told_the_right_ones() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    for path in ["/v1/nothing", "/v1/keys/a/b", "/v1/keys/", "/docs/"] {
        assert_is(&ask(&mut client, &format!("GET {path}"), "", "").await, 404, "not_found");
    }
    for (line, allow) in [("PUT /v1/keys", "GET, HEAD, POST"), ("PATCH /v1/keys/key_1", "DELETE, GET, HEAD")]
    {
        let answer = ask(&mut client, line, "", "").await;
        assert_is(&answer, 405, "method_not_allowed");
        assert_eq!(answer.header("allow"), Some(allow), "{line}");
    }
}

#[tokio::test]
async fn a_page_of_another_origin_cannot_reach_an_operation() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    for line in ["GET /v1/keys", "POST /v1/keys", "GET /v1/openapi.json"] {
        let answer = ask(&mut client, line, "Origin: http://evil.example\r\n", KEY).await;
        assert_is(&answer, 403, "forbidden_origin");
    }
    assert_eq!(ask(&mut client, "GET /v1/keys", "", "").await.json()["data"], json!([]));
}

#[tokio::test]
async fn a_body_is_bounded_and_of_the_form_that_is_documented() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    let line = "POST /v1/keys";
    assert_is(&ask(&mut client, line, "", "{").await, 400, "malformed_json");
    let unknown = ask(&mut client, line, "", r#"{"name":"x","scopes":[],"colour":1}"#).await;
    assert_is(&unknown, 400, "invalid_body");
    assert_eq!(unknown.json()["field"], "colour");
    let text = ask(&mut client, line, "Content-Type: text/plain\r\n", KEY).await;
    assert_is(&text, 415, "unsupported_content_type");
    let zipped = ask(&mut client, line, "Content-Encoding: gzip\r\n", KEY).await;
    assert_is(&zipped, 415, "unsupported_content_encoding");
    let head = format!("{line} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", (1 << 20) + 1);
    client.send(head).await;
    assert_is(&client.answer().await, 413, "body_too_large");
}

#[tokio::test]
async fn a_list_comes_in_pages_that_have_everything_once() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    let mut made = Vec::new();
    for _ in 0..5 {
        let answer = ask(&mut client, "POST /v1/keys", "", KEY).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        assert_eq!(answer.header("location"), Some(format!("/v1/keys/{id}").as_str()));
        made.push(id);
    }
    made.sort_unstable();
    let (mut listed, mut query) = (Vec::new(), "limit=2".to_owned());
    loop {
        let page = ask(&mut client, &format!("GET /v1/keys?{query}"), "", "").await.json();
        let items = page["data"].as_array().unwrap();
        assert!(items.len() <= 2, "{page}");
        listed.extend(items.iter().map(|key| key["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        query = format!("limit=2&cursor={next}");
    }
    assert_eq!(listed, made);
    for query in ["limit=0", "limit=251", "limit=1&limit=1", "cursor=!", "colour=1"] {
        let refused = ask(&mut client, &format!("GET /v1/keys?{query}"), "", "").await;
        assert_is(&refused, 400, "invalid_query");
    }
    assert_is(&ask(&mut client, "GET /v1/config?colour=1", "", "").await, 400, "invalid_query");
}

#[tokio::test]
async fn one_resource_is_shown_also_to_who_asks_for_its_head_alone() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    let made = ask(&mut client, "POST /v1/keys", "", KEY).await.json();
    let line = format!("/v1/keys/{}", made["id"].as_str().unwrap());
    let shown = ask(&mut client, &format!("GET {line}"), "", "").await;
    assert_eq!((shown.status, &shown.json()["name"], shown.json().get("key")), (200, &json!("shop"), None));
    client.send(format!("HEAD {line} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
    let head = client.read_head().await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    // The connection goes on where the body would have been.
    assert_is(&ask(&mut client, "GET /v1/keys/key_0", "", "").await, 404, "key_not_found");
}

#[tokio::test]
async fn the_api_describes_itself_to_everybody() {
    let server = TestServer::start_asking_for_keys(true, |_| {}).await;
    let mut client = server.connect().await;
    let document = ask(&mut client, "GET /v1/openapi.json", "", "").await;
    assert_eq!((document.status, document.header("content-type")), (200, Some("application/json")));
    let document = document.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let create = &document["paths"]["/v1/keys"]["post"];
    assert_eq!(create["security"][0], json!({"bearer": ["tenant_admin"]}));
    assert_eq!(document["components"]["schemas"]["NewKey"]["additionalProperties"], json!(false));
    assert_is(&ask(&mut client, "GET /v1/keys", "", "").await, 401, "unauthenticated");
}

#[tokio::test]
async fn operations_are_counted_by_their_templates() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    ask(&mut client, "GET /v1/keys/secret_name", "", "").await;
    let metrics = ask(&mut client, "GET /metrics", "", "").await;
    let metrics = String::from_utf8(metrics.body).unwrap();
    let counted = r#"eventrelay_http_requests_total{route="/v1/keys/{id}",method="GET",status="4xx"} 1"#;
    assert!(metrics.contains(counted) && !metrics.contains("secret_name"), "{metrics}");
    assert!(metrics.contains(r#"eventrelay_http_problems_total{code="key_not_found"} 1"#), "{metrics}");
}

#[tokio::test]
async fn a_repeated_request_is_done_once_and_answered_the_same() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    let named = "Idempotency-Key: make-the-key\r\n";
    let first = ask(&mut client, "POST /v1/keys", named, KEY).await;
    assert_eq!((first.status, first.header("idempotent-replayed")), (201, None));
    let again = ask(&mut client, "POST /v1/keys", named, KEY).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (201, Some("true")));
    assert_eq!((&again.body, again.header("location")), (&first.body, first.header("location")));
    assert_eq!(again.header("content-type"), Some("application/json"));
    let listed = ask(&mut client, "GET /v1/keys", "", "").await.json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1, "{listed}");

    let other = ask(&mut client, "POST /v1/keys", named, r#"{"name":"other","scopes":["read"]}"#).await;
    assert_is(&other, 422, "idempotency_key_reused");
    // Elsewhere it is another key.
    let elsewhere = ask(&mut client, "POST /v1/config/validate", named, r#"{"toml":""}"#).await;
    assert_eq!((elsewhere.status, elsewhere.header("idempotent-replayed")), (200, None));
    let bad = ask(&mut client, "POST /v1/keys", "Idempotency-Key: a b\r\n", KEY).await;
    assert_is(&bad, 400, "invalid_idempotency_key");
}

#[tokio::test]
async fn requests_of_one_name_that_come_together_do_their_work_once() {
    let server = TestServer::start().await;
    let named = "Idempotency-Key: together\r\n";
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut client = server.connect().await;
        asking.spawn(async move { ask(&mut client, "POST /v1/keys", named, KEY).await });
    }
    let answers = asking.join_all().await;
    for answer in &answers {
        assert!(answer.status == 201 || answer.code() == "idempotency_key_in_use", "{answer:?}");
    }
    let mut client = server.connect().await;
    let listed = ask(&mut client, "GET /v1/keys", "", "").await.json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1, "{listed}");
}

#[tokio::test]
async fn an_answer_is_not_repeated_to_whose_key_is_not_for_the_operation() {
    let server = TestServer::start_asking_for_keys(true, |_| {}).await;
    let mut client = server.connect().await;
    let with = |key: &ApiKey| format!("Idempotency-Key: k\r\nX-Api-Key: {}\r\n", key.expose());
    let admin = api_keys::create(&server.api_keys, "acme", &[Scope::Admin]).await;
    let reader = api_keys::create(&server.api_keys, "acme", &[Scope::Read]).await;
    assert_eq!(ask(&mut client, "POST /v1/keys", &with(&admin), KEY).await.status, 201);
    assert_is(&ask(&mut client, "POST /v1/keys", &with(&reader), KEY).await, 403, "missing_scope");
    // Another tenant's names are its own.
    let other = api_keys::create(&server.api_keys, "other", &[Scope::Admin]).await;
    let answer = ask(&mut client, "POST /v1/keys", &with(&other), KEY).await;
    assert_eq!((answer.status, answer.header("idempotent-replayed")), (201, None));
}

#[tokio::test]
async fn a_configuration_is_shown_and_others_are_checked_in_either_form() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    let shown = ask(&mut client, "GET /v1/config", "", "").await;
    assert_eq!((shown.status, shown.json()), (200, json!({"data_directory": "./data"})));
    let line = "POST /v1/config/validate";
    assert_eq!(
        ask(&mut client, line, "", r#"{"toml":""}"#).await.json(),
        json!({"valid": true, "problems": []})
    );
    let toml = ask(&mut client, line, "Content-Type: application/toml\r\n", "colour").await;
    let problem = json!({"key": "colour", "message": "there is no such key"});
    assert_eq!(toml.json(), json!({"valid": false, "problems": [problem]}));
    let text = ask(&mut client, line, "Content-Type: text/plain\r\n", "colour").await;
    assert_is(&text, 415, "unsupported_content_type");
}
