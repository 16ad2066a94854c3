//! Over HTTP.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::*;
use crate::harness::connection::Connection;
use crate::harness::{eventrelay, poll, run, stdout};

#[test]
fn two_consumers_share_the_events_and_a_crash_delivers_again_what_was_leased() {
    let directory = tempfile::tempdir().unwrap();
    let relay = start(directory.path(), "start = \"earliest\"");
    let server = relay.http();
    publish(server, 0..100);
    let one = pull(server, &json!({ "max": 60, "wait_ms": 5000 }));
    let other = pull(server, &json!({ "max": 60, "wait_ms": 5000 }));
    assert_eq!((one.len(), other.len()), (60, 40));
    let all: BTreeSet<(u64, u64)> = [attempts(&one), attempts(&other)].concat().into_iter().collect();
    assert_eq!(all, (0..100).map(|n| (n, 1)).collect());
    assert_eq!(one[0]["event"]["type"], "job.made");
    assert_eq!(one[0]["purpose"], "live");
    assert_eq!(metric(server, "eventrelay_subscription_leased_events", ""), 100.0);

    let answer = ask(server, "ack", &json!({ "leases": leases(&one[..50]) }));
    assert!(results(&answer).iter().all(|result| *result == "acked"), "{answer}");
    assert_eq!(answer["results"][0]["lease"], one[0]["lease"]);
    let again = ask(server, "ack", &json!({ "leases": leases(&one[..1]) }));
    assert_eq!(results(&again), ["acked"], "its answer may have been lost");
    poll::until("the cursor to be saved", || {
        (metric(server, "eventrelay_subscription_durable_cursor", "") >= 50.0).then_some(())
    });
    relay.kill();

    let relay = start(directory.path(), "start = \"earliest\"");
    let server = relay.http();
    let stale = ask(server, "ack", &json!({ "leases": leases(&other) }));
    assert!(results(&stale).iter().all(|result| *result == "unknown"), "{stale}");
    let rest = pull(server, &json!({ "max": 1000, "wait_ms": 5000 }));
    assert_eq!(attempts(&rest), (50..100).map(|n| (n, 1)).collect::<Vec<_>>());
    ask(server, "ack", &json!({ "leases": leases(&rest) }));
    assert_eq!(pull(server, &json!({})).len(), 0);
    let id = rest[0]["event"]["id"].as_str().unwrap();
    let status = || http::get(server, &format!("/v1/events/{id}/status")).json();
    poll::until("the acknowledgement to count", || (status()["status"] == "done").then_some(()));
    assert_eq!(leases_ended(server, "acked"), 50.0);
    assert!(relay.terminate().success());
}

#[test]
fn a_lease_runs_out_is_extended_and_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let retry = "retry = { max_attempts = 3, initial_backoff_ms = 1 }\norder = \"by_key\"";
    let relay = start(directory.path(), retry);
    let server = relay.http();
    publish(server, 0..6);
    let first = pull(server, &json!({ "max": 10, "wait_ms": 5000, "lease_ms": 1000 }));
    assert_eq!(attempts(&first), [(0, 1), (1, 1), (2, 1)], "one of each key");
    let extended = ask(server, "extend", &json!({ "leases": leases(&first[..1]), "lease_ms": 60_000 }));
    assert_eq!(results(&extended), ["extended"]);
    let nacked =
        ask(server, "nack", &json!({ "leases": leases(&first[1..2]), "delay_ms": 0, "reason": "no" }));
    assert_eq!(results(&nacked), ["nacked"]);
    let begun = Instant::now();
    let mut again = Vec::new();
    while again.len() < 2 {
        again.extend(pull(server, &json!({ "max": 10, "wait_ms": 5000, "lease_ms": 60_000 })));
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "waiting ends with the lease");
    assert_eq!(attempts(&again), [(1, 2), (2, 2)]);
    let stale = ask(server, "ack", &json!({ "leases": leases(&first) }));
    assert_eq!(results(&stale), ["acked", "expired", "expired"]);
    let next = pull(server, &json!({ "max": 10, "wait_ms": 5000 }));
    assert_eq!(attempts(&next), [(3, 1)], "the key of what was acknowledged");
    ask(server, "nack", &json!({ "leases": leases(&again[..1]), "delay_ms": 0, "reason": "not yet" }));
    let last = pull(server, &json!({ "wait_ms": 5000 }));
    assert_eq!(attempts(&last), [(1, 3)]);
    ask(server, "nack", &json!({ "leases": leases(&last), "reason": "never" }));
    let id = last[0]["event"]["id"].as_str().unwrap();
    let delivery = poll::until("a dead letter", || {
        let status = http::get(server, &format!("/v1/events/{id}/status")).json();
        Some(status["deliveries"][0].clone()).filter(|delivery| delivery["state"] == "dead")
    });
    assert_eq!(delivery["error"], "gave up after 3 attempts: never");
    for (outcome, count) in [("nacked", 3.0), ("expired", 1.0), ("acked", 1.0)] {
        assert_eq!(leases_ended(server, outcome), count, "{outcome}");
    }
}

#[test]
fn a_client_that_leaves_while_it_waits_takes_nothing_and_a_shutdown_answers_who_waits() {
    let directory = tempfile::tempdir().unwrap();
    let relay = start(directory.path(), "");
    let server = relay.http();
    let waiting = |count: f64| {
        poll::until("so many to wait", || {
            (metric(server, "eventrelay_subscription_waiting_pulls", "") == count).then_some(())
        });
    };
    let body = br#"{"wait_ms":30000}"#;
    let headers = [("Content-Type", "application/json")];
    let mut leaver = Connection::open(server).unwrap();
    leaver.send_post("/v1/subscriptions/jobs/pull", &headers, body).unwrap();
    waiting(1.0);
    drop(leaver);
    waiting(0.0);
    publish(server, 0..1);
    assert_eq!(attempts(&pull(server, &json!({ "wait_ms": 5000 }))), [(0, 1)]);

    let mut patient = Connection::open(server).unwrap();
    patient.send_post("/v1/subscriptions/jobs/pull", &headers, body).unwrap();
    waiting(1.0);
    let begun = Instant::now();
    let ending = std::thread::spawn(move || relay.terminate());
    let answer = patient.receive().unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"events":[]}"#));
    assert!(ending.join().unwrap().success());
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn what_makes_no_sense_is_refused_with_a_stable_code() {
    let directory = tempfile::tempdir().unwrap();
    let relay = start(directory.path(), "");
    let server = relay.http();
    let refusal = |path: &str, body: &str| {
        let answer = http::post(server, &format!("/v1/subscriptions/{path}"), "application/json", body);
        let problem = answer.json();
        assert!(answer.head.to_ascii_lowercase().contains("application/problem+json"), "{answer:?}");
        assert_eq!(problem["status"], answer.status);
        (answer.status, problem["code"].as_str().unwrap().to_owned(), problem["field"].clone())
    };
    for action in ["pull", "ack", "nack", "extend"] {
        let body = match action {
            "pull" => "{}",
            "extend" => r#"{"leases":[],"lease_ms":1000}"#,
            _ => r#"{"leases":[]}"#,
        };
        assert_eq!(refusal(&format!("none/{action}"), body).1, "subscription_not_found");
        let (status, code, _) = refusal(&format!("pushed/{action}"), body);
        assert_eq!((status, code.as_str()), (409, "push_subscription"));
        for wrong in ["", "[]", "null", "{\"leases\":{}}", "{\"max\":\"1\"}", r#"{"a":1}"#, "\u{0}", "{"] {
            let (status, code, _) = refusal(&format!("jobs/{action}"), wrong);
            assert_eq!((status, code.as_str()), (400, "invalid_pull_request"), "{action} {wrong}");
        }
    }
    for (action, body, field) in [
        ("pull", json!({ "max": 0 }), "max"),
        ("pull", json!({ "max": 1001 }), "max"),
        ("pull", json!({ "wait_ms": 30_001 }), "wait_ms"),
        ("pull", json!({ "lease_ms": 999 }), "lease_ms"),
        ("pull", json!({ "lease_ms": u64::MAX }), "lease_ms"),
        ("extend", json!({ "leases": [], "lease_ms": 0 }), "lease_ms"),
        ("nack", json!({ "leases": [], "delay_ms": u64::MAX }), "delay_ms"),
        ("nack", json!({ "leases": [], "reason": "x".repeat(1001) }), "reason"),
        ("ack", json!({ "leases": vec![""; 1001] }), "leases"),
    ] {
        let (status, code, named) = refusal(&format!("jobs/{action}"), &body.to_string());
        assert_eq!((status, code.as_str(), named), (400, "invalid_pull_request", field.into()), "{body}");
    }
    let strange = json!({ "leases": ["", "x", "A".repeat(32), "é".repeat(16), "=".repeat(32)] });
    assert_eq!(results(&ask(server, "ack", &strange)), ["unknown"; 5]);
    assert_eq!(http::get(server, "/v1/subscriptions/jobs/pull").status, 405);
}

#[test]
fn another_tenant_sees_no_subscription_and_its_leases_settle_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let bootstrap = stdout(&run(path, ["keys", "generate"])).trim().to_owned();
    std::fs::write(path.join("bootstrap.key"), &bootstrap).unwrap();
    let subscription =
        |tenant: &str, name: &str| format!("[[subscriptions]]\nname = \"{name}\"\ntenant = \"{tenant}\"\n");
    let configuration = [
        format!("{SMALL_LOG}\n[auth]\nrequired = true\nbootstrap_key_file = \"bootstrap.key\"\n"),
        subscription("acme", "jobs"),
        subscription("acme", "private"),
        subscription("other", "jobs"),
    ]
    .concat();
    let relay = RelayProcess::start(path, &configuration);
    let key = |tenant: &str, scopes: &str| {
        let arguments = ["keys", "create", "--name", "n", "--tenant", tenant, "--scopes", scopes];
        let mut command = eventrelay(path);
        command.env("EVENTRELAY_API_KEY", &bootstrap).args(arguments).args(["--url", &relay.url()]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        format!("Bearer {}", stdout(&output).trim())
    };
    let mut connection = Connection::open(relay.http()).unwrap();
    let mut post = |key: &str, path: &str, body: &str| {
        let headers = [("Content-Type", "application/json"), ("Authorization", key)];
        let answer = connection.post(path, &headers, body.as_bytes()).unwrap();
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        (answer.status, body)
    };
    let (acme, other) = (key("acme", "publish,consume"), key("other", "consume"));
    let (status, _) = post(&acme, "/v1/events", r#"{"type":"job.made","source":"/test","data":1}"#);
    assert_eq!(status, 201);
    let (_, pulled) = post(&acme, "/v1/subscriptions/jobs/pull", r#"{"wait_ms":5000}"#);
    let lease = pulled["events"][0]["lease"].as_str().unwrap();
    let ack = json!({ "leases": [lease] }).to_string();

    let (status, problem) = post(&other, "/v1/subscriptions/private/pull", "{}");
    assert_eq!((status, &problem["code"]), (404, &"subscription_not_found".into()));
    let (_, empty) = post(&other, "/v1/subscriptions/jobs/pull", "{}");
    assert_eq!(empty["events"], json!([]), "its own subscription of that name");
    for (key, path) in [(&other, "jobs"), (&acme, "private")] {
        let (_, answer) = post(key, &format!("/v1/subscriptions/{path}/ack"), &ack);
        assert_eq!(results(&answer), ["unknown"], "{path}");
    }
    let (_, answer) = post(&acme, "/v1/subscriptions/jobs/ack", &ack);
    assert_eq!(results(&answer), ["acked"]);

    let reader = key("acme", "publish,read,manage");
    let (status, problem) = post(&reader, "/v1/subscriptions/jobs/pull", "{}");
    assert_eq!((status, &problem["code"]), (403, &"missing_scope".into()));
}
