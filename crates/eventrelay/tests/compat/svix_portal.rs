//! What the users of one application can do with its tokens, and what not.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::call;
use crate::harness::receiver::{Receiver, Reply};
use crate::harness::{RelayProcess, SMALL_LOG, http, poll};

const CONFIGURATION: &str = "[egress]\nallow_private_addresses = true\n[delivery]\ncheckpoint_interval_ms = 10\n\
                             [compat]\nsvix_jwt_secret = \"0123456789abcdef\"\n";

/// Who asks: everybody where no keys are asked for, or who has a token.
struct Client<'a> {
    relay: &'a RelayProcess,
    authorization: Option<String>,
}

impl Client<'_> {
    fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let headers: Vec<(&str, &str)> =
            self.authorization.iter().map(|token| ("authorization", token.as_str())).collect();
        call(self.relay.http(), method, path, &headers, &body)
    }

    #[track_caller]
    fn asked(&self, method: &str, path: &str, body: &Value, status: u16) -> Value {
        let (answered, body) = self.ask(method, path, body);
        assert_eq!(answered, status, "{body}");
        body
    }

    /// Somebody with a new token of the application `acme`.
    fn portal(&self, read_only: bool) -> Client<'_> {
        let wanted = json!({ "readOnly": read_only });
        let access = self.asked("POST", "/api/v1/auth/app-portal-access/acme", &wanted, 200);
        Client {
            relay: self.relay,
            authorization: Some(format!("Bearer {}", access["token"].as_str().unwrap())),
        }
    }
}

fn start(directory: &std::path::Path) -> RelayProcess {
    RelayProcess::start(directory, &format!("{SMALL_LOG}\n{CONFIGURATION}"))
}

#[test]
fn an_applications_users_get_nothing_from_before_it_was_made() {
    let directory = tempfile::tempdir().unwrap();
    let relay = start(directory.path());
    let operator = Client { relay: &relay, authorization: None };
    let got = Arc::new(Mutex::new(Vec::<Value>::new()));
    let kept = Arc::clone(&got);
    let receiver = Receiver::start(move |request| {
        kept.lock().unwrap().push(serde_json::from_slice(&request.body).unwrap());
        Reply::Status(200)
    });
    let application = json!({"name": "Acme", "uid": "acme"});
    let message = |number: u32| json!({"eventType": "a", "payload": {"n": number}});
    operator.asked("POST", "/api/v1/app", &application, 201);
    operator.asked("POST", "/api/v1/app/acme/msg", &message(1), 202);
    operator.asked("DELETE", "/api/v1/app/acme", &Value::Null, 204);
    operator.asked("POST", "/api/v1/app", &application, 201);
    operator.asked("POST", "/api/v1/app/acme/msg", &message(2), 202);

    let portal = operator.portal(false);
    let endpoint = portal.asked("POST", "/api/v1/app/acme/endpoint", &json!({"url": receiver.url("/")}), 201);
    let path = format!("/api/v1/app/acme/endpoint/{}", endpoint["id"].as_str().unwrap());
    for task in ["bulk-replay", "replay-missing"] {
        let since = json!({"since": "1970-01-01T00:00:00Z"});
        let begun = portal.asked("POST", &format!("{path}/{task}"), &since, 202);
        let task = format!("/api/v1/background-task/{}", begun["id"].as_str().unwrap());
        poll::until("the task to be finished", || {
            (operator.ask("GET", &task, &Value::Null).1["status"] == "finished").then_some(())
        });
    }
    let got = got.lock().unwrap();
    assert!(!got.is_empty() && got.iter().all(|payload| payload["n"] == 2), "{got:?}");
}

#[test]
fn who_may_only_read_sees_no_way_in_and_who_may_not_publish_says_nothing_of_his_own() {
    let directory = tempfile::tempdir().unwrap();
    let relay = start(directory.path());
    let operator = Client { relay: &relay, authorization: None };
    operator.asked("POST", "/api/v1/app", &json!({"name": "Acme", "uid": "acme"}), 201);
    let receiver = Receiver::start(|_| Reply::Status(200));
    let new = json!({"url": receiver.url("/hook/canary-in-the-path")});
    let endpoint = operator.asked("POST", "/api/v1/app/acme/endpoint", &new, 201);
    let path = format!("/api/v1/app/acme/endpoint/{}", endpoint["id"].as_str().unwrap());
    let headers = json!({"headers": {"x-webhook-token": "canary-in-a-header"}});
    operator.asked("PUT", &format!("{path}/headers"), &headers, 204);

    let (reader, manager) = (operator.portal(true), operator.portal(false));
    let headers_path = format!("{path}/headers");
    for path in ["/api/v1/app/acme/endpoint", path.as_str(), headers_path.as_str()] {
        let seen = reader.asked("GET", path, &Value::Null, 200).to_string();
        assert!(!seen.contains("canary"), "{path}: {seen}");
        let seen = manager.asked("GET", path, &Value::Null, 200).to_string();
        assert!(seen.contains("canary"), "{path}: {seen}");
    }
    assert_eq!(
        reader.asked("GET", &headers_path, &Value::Null, 200)["sensitive"],
        json!(["x-webhook-token"])
    );

    let example = format!("{path}/send-example");
    let forged = json!({"eventType": "order.paid", "payload": {"amount": 99_999}});
    manager.asked("POST", &example, &forged, 403);
    manager.asked("POST", &example, &json!({"eventType": "order.paid"}), 202);
    operator.asked("POST", &example, &forged, 202);
    let many = json!({"eventType": "a", "channels": vec!["q"; 11]});
    manager.asked("POST", "/api/v1/app/acme/msg/precheck/active", &many, 422);

    // A token is nothing without its application.
    operator.asked("DELETE", "/api/v1/app/acme", &Value::Null, 204);
    reader.asked("GET", "/api/v1/app/acme/endpoint", &Value::Null, 404);
    let entries =
        operator.asked("GET", "/v1/audit-log?action=application.token&tenant=acme", &Value::Null, 200);
    assert_eq!(entries["data"].as_array().map(Vec::len), Some(2), "{entries}");
}

#[test]
fn paths_keep_to_the_rules_of_methods() {
    let directory = tempfile::tempdir().unwrap();
    let relay = start(directory.path());
    let head = http::send(relay.http(), "HEAD", "/api/v1/health", &[], "");
    assert_eq!((head.status, head.body.as_str()), (204, ""));
    let wrong = http::send(relay.http(), "PUT", "/api/v1/app", &[], "{}");
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("GET, HEAD, POST")), "{wrong:?}");
}
