//! What the API of Svix's SDKs does beyond what the SDKs' own tests ask: schemas, repeats, rates, and what it calls itself.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::call;
use crate::harness::receiver::{Receiver, Reply};
use crate::harness::{RelayProcess, SMALL_LOG, poll, run, stdout};

const OPEN: &str = "[egress]\nallow_private_addresses = true\n[delivery]\ncheckpoint_interval_ms = 10\n";

fn start(directory: &Path, more: &str) -> RelayProcess {
    RelayProcess::start(directory, &format!("{SMALL_LOG}\n{OPEN}\n{more}"))
}

fn post(relay: &RelayProcess, path: &str, body: &Value) -> (u16, Value) {
    call(relay.http(), "POST", path, &[], &body.to_string())
}

fn message(relay: &RelayProcess, event_type: &str, payload: &Value) -> (u16, Value) {
    post(relay, "/api/v1/app/acme/msg", &json!({"eventType": event_type, "payload": payload}))
}

fn with_application(relay: &RelayProcess) {
    assert_eq!(post(relay, "/api/v1/app", &json!({"name": "Acme", "uid": "acme"})).0, 201);
}

fn described(relay: &RelayProcess, name: &str, schemas: &Value) -> (u16, Value) {
    let path = format!("/api/v1/event-type/{name}");
    let body = json!({"description": "d", "schemas": schemas});
    call(relay.http(), "PUT", &path, &[], &body.to_string())
}

#[test]
fn a_message_fits_the_newest_schema_of_its_type() {
    let directory = tempfile::tempdir().unwrap();
    let relay = start(directory.path(), "");
    with_application(&relay);
    let order = |id: &Value| json!({"order": {"lines": [{"id": id}]}});
    let schema = |id: &str| {
        json!({"type": "object", "properties": {"order": {"properties": {"lines": {"items": {"$ref": "#/definitions/line"}}}}},
               "definitions": {"line": {"required": ["id"], "properties": {"id": {"type": id}}}}})
    };
    let two = json!({"1": schema("boolean"), "2": schema("integer"), "10": schema("string")});
    assert_eq!(described(&relay, "order.created", &two).0, 201);

    assert_eq!(message(&relay, "order.created", &order(&json!("a"))).0, 202);
    let (status, refusal) = message(&relay, "order.created", &order(&json!(7)));
    assert_eq!(status, 422);
    let told = refusal["detail"].as_array().unwrap();
    assert_eq!(told.len(), 1, "{refusal}");
    assert_eq!(told[0]["loc"], json!(["body", "payload", "order", "lines", "0", "id"]));
    assert_eq!(told[0]["type"], "value_error");
    assert!(told[0]["msg"].as_str().unwrap().contains("string"), "{refusal}");
    let (_, list) = call(relay.http(), "GET", "/api/v1/app/acme/msg", &[], "");
    assert_eq!(list["data"].as_array().unwrap().len(), 1, "what was refused is no message");

    // Also a large payload, which is checked elsewhere.
    let lines = |last: Value| {
        let many = (0..2_000).map(|n| json!({"id": n.to_string()})).chain([json!({"id": last})]);
        json!({"order": {"lines": many.collect::<Vec<_>>()}})
    };
    assert_eq!(message(&relay, "order.created", &lines(json!("z"))).0, 202);
    assert_eq!(message(&relay, "order.created", &lines(json!(1))).0, 422);

    // A type that nobody has described is accepted, and so is what comes through another door.
    assert_eq!(message(&relay, "order.unheard-of", &json!({"x": 1})).0, 202);
    let event = json!({"type": "order.created", "source": "/shop", "data": order(&json!(7))}).to_string();
    let json_body = [("Content-Type", "application/json")];
    assert_eq!(call(relay.http(), "POST", "/v1/events", &json_body, &event).0, 201);

    // A change counts for the next message.
    assert_eq!(described(&relay, "order.created", &json!({"11": schema("integer")})).0, 200);
    assert_eq!(message(&relay, "order.created", &order(&json!(7))).0, 202);
    assert_eq!(message(&relay, "order.created", &order(&json!("a"))).0, 422);
    assert_eq!(call(relay.http(), "DELETE", "/api/v1/event-type/order.created", &[], "").0, 204);
    assert_eq!(message(&relay, "order.created", &order(&json!("a"))).0, 202, "it is archived");
}

#[test]
fn a_schema_stays_in_its_document_and_within_its_limits() {
    let directory = tempfile::tempdir().unwrap();
    let relay = start(directory.path(), "");
    with_application(&relay);
    let asked = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&asked);
    let outside = Receiver::start(move |_| {
        *counted.lock().unwrap() += 1;
        Reply::Status(200)
    });
    for schema in [
        json!({"properties": {"a": {"$ref": outside.url("/schema.json")}}}),
        json!({"$schema": outside.url("/meta.json")}),
        json!({"$ref": "file:///etc/hostname"}),
        json!({"$ref": "#"}),
        json!({"type": "txt"}),
        json!({"pattern": "(a+)+(?!b)"}),
        json!({"description": "x".repeat(70_000)}),
        json!(7),
    ] {
        let (status, refusal) = described(&relay, "a.b", &json!({"1": schema}));
        assert_eq!(status, 422, "{refusal}");
        assert_eq!(refusal["detail"][0]["loc"], json!(["body", "schemas", "1"]));
    }
    assert_eq!(*asked.lock().unwrap(), 0, "nothing is fetched");
    let many: serde_json::Map<String, Value> = (0..21).map(|n| (n.to_string(), json!(true))).collect();
    assert_eq!(described(&relay, "a.b", &Value::Object(many)).0, 422);

    let hostile = json!({"1": {"properties": {"a": {"pattern": "^(a|a)*(a|a)*$"}},
                               "anyOf": [{"properties": {"n": {"$ref": "#"}}, "required": ["y"]},
                                         {"properties": {"n": {"$ref": "#"}}, "required": ["z"]}]}});
    assert_eq!(described(&relay, "a.b", &hostile).0, 201);
    let deep = (0..60).fold(json!({"a": "x"}), |inner, _| json!({"n": inner}));
    let started = Instant::now();
    assert_eq!(message(&relay, "a.b", &deep).0, 422);
    assert_eq!(message(&relay, "a.b", &json!({"a": format!("{}b", "a".repeat(500_000)), "y": 1})).0, 422);
    assert_eq!(
        message(&relay, "a.b", &json!({"a": "a".repeat(1 << 20), "y": 1})).0,
        422,
        "too large to be checked"
    );
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn the_check_can_be_switched_off() {
    let directory = tempfile::tempdir().unwrap();
    let relay = start(directory.path(), "[compat]\nsvix_schema_check = false\n");
    with_application(&relay);
    assert_eq!(described(&relay, "a.b", &json!({"1": {"required": ["x"]}})).0, 201);
    assert_eq!(message(&relay, "a.b", &json!({})).0, 202);
}

#[test]
fn a_repeat_makes_nothing_twice_also_after_a_crash() {
    let directory = tempfile::tempdir().unwrap();
    let relay = start(directory.path(), "");
    with_application(&relay);
    let (path, key) = ("/api/v1/app/acme/endpoint", [("idempotency-key", "auto_1")]);
    let wanted = json!({"url": "https://example.com/hook"}).to_string();
    let (status, made) = call(relay.http(), "POST", path, &key, &wanted);
    assert_eq!(status, 201, "{made}");
    assert_eq!(call(relay.http(), "POST", path, &key, &wanted), (201, made.clone()));
    relay.kill();
    let relay = start(directory.path(), "");
    assert_eq!(call(relay.http(), "POST", path, &key, &wanted), (201, made.clone()));
    let (_, list) = call(relay.http(), "GET", path, &[], "");
    assert_eq!(list["data"], json!([made]));

    let other = json!({"url": "https://example.com/other"}).to_string();
    let (status, refusal) = call(relay.http(), "POST", path, &key, &other);
    assert_eq!((status, &refusal["code"]), (409, &json!("conflict")), "{refusal}");
    let (status, refusal) = call(relay.http(), "POST", path, &[("idempotency-key", "a b")], &wanted);
    assert_eq!((status, &refusal["detail"][0]["loc"]), (422, &json!(["header", "idempotency-key"])));
    assert_eq!(call(relay.http(), "POST", path, &[("idempotency-key", "auto_2")], &wanted).0, 201);
    // What was refused is refused again, and a message keeps to the idempotency of events.
    let wrong = json!({"url": "nowhere"}).to_string();
    let first = call(relay.http(), "POST", path, &[("idempotency-key", "auto_3")], &wrong);
    assert_eq!(
        (first.0, call(relay.http(), "POST", path, &[("idempotency-key", "auto_3")], &wrong)),
        (422, first)
    );
    let (path, sent) = ("/api/v1/app/acme/msg", json!({"eventType": "a", "payload": {"n": 1}}).to_string());
    let (status, message) = call(relay.http(), "POST", path, &key, &sent);
    assert_eq!((status, call(relay.http(), "POST", path, &key, &sent)), (202, (202, message)));
    let other = json!({"eventType": "a", "payload": {"n": 2}}).to_string();
    assert_eq!(call(relay.http(), "POST", path, &key, &other).0, 409);
}

#[test]
fn an_answer_is_for_who_asked() {
    let directory = tempfile::tempdir().unwrap();
    let bootstrap = stdout(&run(directory.path(), ["keys", "generate"])).trim().to_owned();
    std::fs::write(directory.path().join("bootstrap.key"), &bootstrap).unwrap();
    let relay = start(
        directory.path(),
        "[auth]\nrequired = true\nbootstrap_key_file = \"bootstrap.key\"\n[compat]\nsvix_jwt_secret = \"0123456789abcdef\"\n",
    );
    let asked = |key: &str, path: &str, repeat: &str, body: &Value| {
        let authorization = format!("Bearer {key}");
        let headers = [
            ("authorization", authorization.as_str()),
            ("idempotency-key", repeat),
            ("content-type", "application/json"),
        ];
        call(relay.http(), "POST", path, &headers, &body.to_string())
    };
    let app = asked(&bootstrap, "/api/v1/app", "k1", &json!({"name": "Acme", "uid": "acme"}));
    assert_eq!(app.0, 201, "{app:?}");
    let endpoint =
        asked(&bootstrap, "/api/v1/app/acme/endpoint", "k2", &json!({"url": "https://example.com/"})).1;
    let rotate = format!("/api/v1/app/acme/endpoint/{}/secret/rotate", endpoint["id"].as_str().unwrap());
    let key = |name: &str| {
        let wanted = json!({"name": name, "tenant": "acme", "scopes": ["manage"]});
        asked(&bootstrap, "/v1/keys", name, &wanted).1["key"].as_str().unwrap().to_owned()
    };
    let (one, other) = (key("one"), key("other"));
    let (status, secret) = asked(&one, &rotate, "k3", &json!({}));
    assert_eq!(status, 200, "{secret}");
    assert_eq!(asked(&one, &rotate, "k3", &json!({})), (200, secret.clone()));
    let (status, refusal) = asked(&other, &rotate, "k3", &json!({}));
    assert_eq!((status, &refusal["code"]), (409, &json!("conflict")), "{refusal}");
    let access = asked(&bootstrap, "/api/v1/auth/app-portal-access/acme", "k4", &json!({})).1;
    let (status, refusal) = asked(access["token"].as_str().unwrap(), &rotate, "k3", &json!({}));
    assert_eq!(
        (status, &refusal["code"]),
        (409, &json!("conflict")),
        "a token's asker is another one too: {refusal}"
    );
}

#[test]
fn the_server_is_called_what_it_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let secret = "[compat]\nsvix_jwt_secret = \"0123456789abcdef\"\n";
    let url = |relay: &RelayProcess| {
        let access = post(relay, "/api/v1/auth/app-portal-access/acme", &json!({})).1;
        access["url"].as_str().unwrap().split('#').next().unwrap().to_owned()
    };
    let relay = start(directory.path(), secret);
    with_application(&relay);
    assert_eq!(url(&relay), format!("http://{}/", relay.http()));
    relay.kill();
    let public = "[http]\npublic_url = \"https://relay.example/events/\"\n";
    let relay = start(directory.path(), &format!("{public}{secret}"));
    assert_eq!(url(&relay), "https://relay.example/events/");
    relay.kill();
    let wrong = public.replacen("/events/", "/?a=b", 1);
    std::fs::write(directory.path().join("eventrelay.toml"), wrong).unwrap();
    let refused = run(directory.path(), ["serve"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("public_url"), "{said}");
}

#[test]
fn all_endpoints_of_an_application_keep_to_its_rate_together() {
    let directory = tempfile::tempdir().unwrap();
    let relay = start(directory.path(), "");
    with_application(&relay);
    let arrived = Arc::new(Mutex::new(Vec::new()));
    let times = Arc::clone(&arrived);
    let receiver = Receiver::start(move |_| {
        times.lock().unwrap().push(Instant::now());
        Reply::Status(200)
    });
    for path in ["/one", "/two"] {
        let endpoint = json!({"url": receiver.url(path)});
        assert_eq!(post(&relay, "/api/v1/app/acme/endpoint", &endpoint).0, 201);
    }
    let rate = |per_second: Value| {
        let body = json!({ "throttleRate": per_second }).to_string();
        assert_eq!(call(relay.http(), "PATCH", "/api/v1/app/acme", &[], &body).0, 200);
    };
    rate(json!(10));
    for number in 0..15 {
        assert_eq!(message(&relay, "a", &json!({"n": number})).0, 202);
    }
    let all = |count: usize| {
        poll::until("the deliveries", || {
            Some(arrived.lock().unwrap().clone()).filter(|arrived| arrived.len() >= count)
        })
    };
    let arrived_at = all(30);
    let took = *arrived_at.last().unwrap() - arrived_at[0];
    // 29 more at 10 a second, of which each endpoint may be one ahead.
    assert!(took > Duration::from_millis(2_500), "{took:?}");
    rate(Value::Null);
    let started = Instant::now();
    for number in 0..15 {
        assert_eq!(message(&relay, "a", &json!({"n": number})).0, 202);
    }
    all(60);
    assert!(started.elapsed() < Duration::from_millis(2_500), "{:?}", started.elapsed());

    // A rate ends with the tenant.
    rate(json!(1));
    assert_eq!(call(relay.http(), "DELETE", "/v1/tenants/acme?cascade=true", &[], "").0, 204);
    with_application(&relay);
    assert_eq!(post(&relay, "/api/v1/app/acme/endpoint", &json!({"url": receiver.url("/one")})).0, 201);
    let started = Instant::now();
    for number in 0..5 {
        assert_eq!(message(&relay, "a", &json!({"n": number})).0, 202);
    }
    all(65);
    assert!(started.elapsed() < Duration::from_millis(2_500), "{:?}", started.elapsed());
}

#[test]
fn an_endpoint_is_told_of_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let relay = start(directory.path(), "[compat]\nsvix_retry_schedule_ms = [1]\n");
    with_application(&relay);
    let told = Arc::new(Mutex::new(Vec::<Value>::new()));
    let into = Arc::clone(&told);
    let receiver = Receiver::start(move |request| match request.path.as_str() {
        "/operators" => {
            into.lock().unwrap().push(serde_json::from_slice(&request.body).unwrap());
            Reply::Status(200)
        }
        "/gone" => Reply::Status(410),
        _ => Reply::Status(500),
    });
    let endpoint = |path: &str, types: &Value| {
        let body = json!({"url": receiver.url(path), "eventTypes": types});
        let (status, made) = post(&relay, "/api/v1/app/acme/endpoint", &body);
        assert_eq!(status, 201, "{made}");
    };
    endpoint("/operators", &json!(["eventrelay.dead_letter.created", "eventrelay.subscription.disabled"]));
    endpoint("/failing", &json!(["order.created"]));
    endpoint("/gone", &json!(["order.paid"]));
    let of = |what: fn(&Value) -> bool| {
        poll::until("being told", || told.lock().unwrap().iter().find(|told| what(told)).cloned())
    };
    assert_eq!(message(&relay, "order.created", &json!({})).0, 202);
    let exhausted = of(|told| told["event_type"] == "order.created");
    assert_eq!(exhausted["attempts"], 2, "{exhausted}");
    assert_eq!(message(&relay, "order.paid", &json!({})).0, 202);
    let disabled = of(|told| told["event_type"].is_null());
    assert_ne!(disabled["subscription"], exhausted["subscription"], "{disabled}");
    assert!(disabled["subscription"].as_str().unwrap().starts_with("ep_"), "{disabled}");
}
