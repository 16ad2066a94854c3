//! A webhook delivery system's clients and its dashboard.

use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::call;
use crate::harness::receiver::{Receiver, Reply};
use crate::harness::{RelayProcess, SMALL_LOG, poll, run, stdout};

const OPEN: &str = "[egress]\nallow_private_addresses = true\n[delivery]\ncheckpoint_interval_ms = 10\n";

/// A receiver that answers with a status, and keeps the signatures that it saw.
fn receiver(status: &Arc<AtomicU16>) -> (Receiver, Arc<Mutex<Vec<String>>>) {
    let (status, seen) = (Arc::clone(status), Arc::new(Mutex::new(Vec::new())));
    let kept = Arc::clone(&seen);
    let receiver = Receiver::start(move |request| {
        kept.lock().unwrap().push(request.header("webhook-signature").unwrap_or_default().to_owned());
        Reply::Status(status.load(Ordering::SeqCst))
    });
    (receiver, seen)
}

fn start(directory: &Path) -> RelayProcess {
    RelayProcess::start(directory, &format!("{SMALL_LOG}\n{OPEN}"))
}

#[test]
fn webhooks_are_managed_and_get_signed_events() {
    let directory = tempfile::tempdir().unwrap();
    let relay = start(directory.path());
    let server = relay.http();
    let (receiver, seen) = receiver(&Arc::new(AtomicU16::new(204)));
    let made = json!({"url": receiver.url("/hook"), "event_types": ["order.*"], "secret": "a-secret-of-24-bytes-ok!"});
    let (status, webhook) = call(server, "POST", "/api/webhooks", &[], &made.to_string());
    assert_eq!((status, &webhook["is_active"]), (201, &json!(true)), "{webhook}");
    // What nobody pulls is no webhook's, and holds up no event.
    let json_body = [("content-type", "application/json")];
    assert_eq!(call(server, "POST", "/v1/subscriptions", &json_body, r#"{"name": "jobs"}"#).0, 201);
    let path = format!("/api/webhooks/{}", webhook["id"].as_str().unwrap());
    assert_eq!(call(server, "GET", &path, &[], ""), (200, webhook.clone()));
    assert_eq!(call(server, "GET", "/api/webhooks", &[], "").1, json!({"data": [webhook], "next": null}));
    assert_eq!(call(server, "POST", "/api/webhooks", &[], "{}").0, 400);

    let event = json!({"type": "order.created", "payload": {"order": 1}}).to_string();
    let (status, event) = call(server, "POST", "/api/events", &[("Idempotency-Key", "e-1")], &event);
    assert_eq!(
        (status, &event["status"], &event["event_type"]),
        (201, &json!("pending"), &json!("order.created"))
    );
    let event_path = format!("/api/events/{}", event["id"].as_str().unwrap());
    let shown = poll::until("the delivery", || {
        let (_, shown) = call(server, "GET", &event_path, &[], "");
        (shown["status"] == "delivered").then_some(shown)
    });
    assert_eq!(shown["deliveries"], json!([{"webhook_id": webhook["id"], "state": "delivered"}]));
    assert!(seen.lock().unwrap()[0].starts_with("v1,"), "{seen:?}");
    for status in ["failed", "pending"] {
        let (_, list) = call(server, "GET", &format!("/api/events?status={status}"), &[], "");
        assert_eq!(list, json!({"data": [], "next": null}), "{status}");
    }
    assert_eq!(call(server, "GET", "/api/events?status=lost", &[], "").0, 400);
    let (_, list) = call(server, "GET", "/api/events?limit=1&status=delivered", &[], "");
    assert_eq!((&list["data"][0]["id"], &list["data"][0]["payload"]), (&event["id"], &json!({"order": 1})));

    let (status, paused) = call(server, "PATCH", &path, &[], r#"{"active": false}"#);
    assert_eq!((status, &paused["is_active"], &paused["url"]), (200, &json!(false), &webhook["url"]));
    assert_eq!(call(server, "PUT", &path, &[], "{}").0, 400, "a whole webhook has a url");
    let whole = json!({"url": receiver.url("/other")}).to_string();
    let (status, replaced) = call(server, "PUT", &path, &[], &whole);
    assert_eq!((status, &replaced["event_types"], &replaced["is_active"]), (200, &json!([]), &json!(true)));
    assert_eq!(replaced["secret"], webhook["secret"], "it keeps its own");
    assert_eq!(call(server, "DELETE", &path, &[], "").0, 204);
    assert_eq!(call(server, "GET", &path, &[], "").0, 404);
}

#[test]
fn dead_letters_are_listed_retried_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let status = Arc::new(AtomicU16::new(400));
    let (receiver, _) = receiver(&status);
    let subscription = format!(
        "[[subscriptions]]\nname = \"flaky\"\nretry = {{ max_attempts = 1 }}\n\
         sink = {{ kind = \"webhook\", url = \"{}\", unsigned = true }}\n",
        receiver.url("/hook")
    );
    let relay = RelayProcess::start(directory.path(), &format!("{SMALL_LOG}\n{OPEN}\n{subscription}"));
    let server = relay.http();
    for number in 0..3 {
        let event = json!({"event_type": "order.created", "data": number}).to_string();
        assert_eq!(call(server, "POST", "/api/events", &[], &event).0, 201);
    }
    let letters = poll::until("three dead letters", || {
        let (_, list) = call(server, "GET", "/api/dlq", &[], "");
        Some(list["data"].as_array().unwrap().clone()).filter(|letters| letters.len() == 3)
    });
    let (_, page) = call(server, "GET", "/api/dlq?limit=2", &[], "");
    assert_eq!(page["data"], json!(letters[..2]));
    let (_, rest) =
        call(server, "GET", &format!("/api/dlq?cursor={}", page["next"].as_str().unwrap()), &[], "");
    assert_eq!(rest, json!({"data": letters[2..], "next": null}));
    assert_eq!((&letters[0]["webhook_id"], &letters[0]["payload"]), (&json!("flaky"), &json!(2)));

    let payloads = |query: &str| {
        let (_, list) = call(server, "GET", &format!("/api/events?{query}"), &[], "");
        let events = list["data"].as_array().unwrap().iter();
        events.map(|event| event["payload"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(payloads("status=failed"), [2, 1, 0], "the newest first");
    assert!(payloads("status=pending").is_empty());

    let figures = call(server, "GET", "/api/metrics", &[], "").1;
    assert_eq!((&figures["dead_letters"], &figures["success_rate"]), (&json!(3), &json!(0.0)), "{figures}");
    assert_eq!(figures["events"]["total"], 3);
    assert_eq!(
        (&figures["webhooks"][0]["id"], &figures["webhooks"][0]["dead"]),
        (&json!("flaky"), &json!(3))
    );

    status.store(204, Ordering::SeqCst);
    let path = |letter: &Value| format!("/api/dlq/{}", letter["id"].as_str().unwrap());
    let retry = format!("{}/retry", path(&letters[0]));
    assert_eq!(call(server, "POST", &retry, &[], "").0, 202);
    poll::until("the retry's delivery", || {
        let (_, list) = call(server, "GET", "/api/dlq", &[], "");
        (list["data"] == json!(letters[1..])).then_some(())
    });
    assert_eq!(call(server, "POST", &retry, &[], "").0, 404);
    assert_eq!(call(server, "DELETE", &path(&letters[1]), &[], "").0, 204);
    assert_eq!(call(server, "DELETE", &path(&letters[1]), &[], "").0, 404);
}

#[test]
fn keys_have_scopes_here_too_and_what_is_switched_off_is_not_there() {
    let directory = tempfile::tempdir().unwrap();
    let key = stdout(&run(directory.path(), ["keys", "generate"])).trim().to_owned();
    std::fs::write(directory.path().join("bootstrap.key"), &key).unwrap();
    let configuration = format!(
        "{SMALL_LOG}\n[auth]\nrequired = true\nbootstrap_key_file = \"bootstrap.key\"\n[compat]\ningester = false\n"
    );
    let relay = RelayProcess::start(directory.path(), &configuration);
    let server = relay.http();
    assert_eq!(call(server, "GET", "/api/metrics", &[], "").0, 401);
    assert_eq!(call(server, "GET", "/api/metrics", &[("x-api-key", &key)], "").0, 200);
    let wanted = json!({"name": "reader", "scopes": ["read"]}).to_string();
    let headers = [("x-api-key", key.as_str()), ("content-type", "application/json")];
    let (_, made) = call(server, "POST", "/v1/keys", &headers, &wanted);
    let reader = [("x-api-key", made["key"].as_str().unwrap())];
    assert_eq!(call(server, "GET", "/api/webhooks", &reader, "").0, 200);
    // How much others publish is not for who may see one tenant.
    let total = |headers: &[(&str, &str)]| {
        call(server, "GET", "/api/metrics", headers, "").1["events"]["total"].clone()
    };
    assert_eq!(total(&reader), 0);
    assert_eq!(call(server, "POST", "/v1/tenants", &headers, r#"{"name":"other"}"#).0, 201);
    assert_eq!((total(&reader), total(&headers)), (Value::Null, json!(0)));
    assert_eq!(call(server, "POST", "/api/webhooks", &reader, r#"{"url":"https://example.com/"}"#).0, 403);
    assert_eq!(call(server, "POST", "/events", &headers, "{}").0, 404);
}
