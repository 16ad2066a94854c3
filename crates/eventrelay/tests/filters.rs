//! Filters and transforms by the built binary: what is refused at the start, what arrives, and the test of a filter over HTTP.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

mod harness;

use std::fs;

use serde_json::{Value, json};

use harness::receiver::{Receiver, Reply};
use harness::{RelayProcess, SMALL_LOG, http, poll, run, stderr};

#[test]
fn a_bad_expression_is_refused_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let text =
        "[[subscriptions]]\nname = 'a'\nsink = { kind = 'stdout' }\nfilter = { cel = 'data.x >> 1' }\n";
    fs::write(directory.path().join("relay.toml"), text).unwrap();
    let output = run(directory.path(), ["config", "check", "relay.toml"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = stderr(&output);
    assert!(said.contains("line 1, column 9: expected a value, found `>`"), "{said}");
}

#[test]
fn what_matches_arrives_transformed_and_the_rest_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let (received, arrived) = std::sync::mpsc::channel();
    let receiver = Receiver::start(move |request| {
        received.send(request.body.clone()).unwrap();
        Reply::Status(204)
    });
    let configuration = format!(
        "{SMALL_LOG}\n[egress]\nallow_private_addresses = true\n[[subscriptions]]\nname = \"large\"\n\
         filter = {{ types = [\"order.*\"], cel = \"data.amount > 100\" }}\ntransform = \"{{'total': data.amount}}\"\n\
         sink = {{ kind = \"webhook\", url = \"{}\", unsigned = true }}\n",
        receiver.url("/large")
    );
    let relay = RelayProcess::start(directory.path(), &configuration);
    let publish = |amount: Value| {
        let event = json!({ "type": "order.created", "source": "/shop", "data": { "amount": amount } });
        http::publish(relay.http(), &event.to_string()).json()["id"].as_str().unwrap().to_owned()
    };
    let small = publish(json!(50));
    let large = publish(json!(150));
    let odd = publish(json!("many"));
    let status = |id: &str| http::get(relay.http(), &format!("/v1/events/{id}/status")).json();
    poll::until("the large order to arrive", || (status(&large)["status"] == "done").then_some(()));
    let dead = poll::until("the odd one to be dead", || {
        let status = status(&odd);
        (status["status"] == "failed").then_some(status)
    });
    assert!(
        dead["deliveries"][0]["error"].as_str().unwrap().contains("`>` does not take a string"),
        "{dead}"
    );
    assert_eq!(status(&small)["deliveries"], json!([]), "it is for nobody");
    let stored = http::get(relay.http(), &format!("/v1/events/{large}")).json();
    assert_eq!(stored["data"], json!({ "amount": 150 }), "the log has the event as it was published");
    let sent: Vec<Value> = arrived.try_iter().map(|body| serde_json::from_slice(&body).unwrap()).collect();
    assert!(
        !sent.is_empty() && sent.iter().all(|body| body.to_string().contains("\"total\":150")),
        "{sent:?}"
    );

    let test =
        |asked: Value| http::post(relay.http(), "/v1/filters/test", "application/json", &asked.to_string());
    let asked =
        |cel: &str| json!({ "filter": { "cel": cel }, "transform": "{'t': data.amount}", "event_id": large });
    let answer = test(asked("data.amount > 100")).json();
    assert_eq!(
        (&answer["matches"], &answer["transformed"]),
        (&json!(true), &json!({ "t": 150 })),
        "{answer}"
    );
    let answer = test(asked("data.amount > 200")).json();
    assert_eq!((&answer["matches"], &answer["because"]), (&json!(false), &json!("cel")), "{answer}");
    let answer = test(asked("data.amount > 'x'")).json();
    let error = json!({ "part": "filter", "reason": "failed", "message": "`>` does not take an int and a string", "line": 1, "column": 13 });
    assert_eq!((&answer["matches"], &answer["error"]), (&Value::Null, &error), "{answer}");
    let answer = test(asked("data.amount >")).json();
    assert_eq!(
        (&answer["error"]["reason"], &answer["error"]["column"]),
        (&json!("invalid"), &json!(14)),
        "{answer}"
    );
    let event = json!({ "type": "order.created", "source": "/shop", "data": { "a": [1, 2] } });
    let answer = test(json!({ "filter": { "types": ["user.*"] }, "event": event })).json();
    assert_eq!((&answer["matches"], &answer["because"]), (&json!(false), &json!("types")), "{answer}");
    assert_eq!(test(json!({ "filter": {} })).json()["code"], "invalid_filter_test");
    assert_eq!(test(json!({ "event": { "type": "t" } })).json()["code"], "missing_field");
    let nobody = "00000000-0000-7000-8000-000000000000";
    assert_eq!(test(json!({ "event_id": nobody })).json()["code"], "event_not_found");
}
