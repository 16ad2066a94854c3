//! Pull subscriptions of the real server: consumers that compete, crash, and try what they must not.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

#[path = "../harness/mod.rs"]
mod harness;

mod over_grpc;
mod over_http;

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

use harness::{RelayProcess, SMALL_LOG, http};

/// A pull subscription with quick retries, and a push subscription beside it.
fn configuration(settings: &str) -> String {
    format!(
        "{SMALL_LOG}\n[delivery]\ncheckpoint_interval_ms = 10\n\
         [[subscriptions]]\nname = \"jobs\"\nfilter = {{ types = [\"job.*\"] }}\nmax_in_flight = 1000\n{settings}\n\
         [[subscriptions]]\nname = \"pushed\"\nfilter = {{ types = [\"nothing\"] }}\nsink = {{ kind = \"file\", directory = \"out\" }}\n"
    )
}

fn start(directory: &Path, settings: &str) -> RelayProcess {
    RelayProcess::start(directory, &configuration(settings))
}

/// Publishes so many jobs, with keys in turn.
fn publish(server: SocketAddr, numbers: std::ops::Range<u64>) {
    let jobs: Vec<Value> = numbers
        .map(|n| json!({ "type": "job.made", "source": "/test", "key": format!("k{}", n % 3), "data": n }))
        .collect();
    let answer = http::publish(server, &Value::from(jobs).to_string());
    assert_eq!(answer.status, 201, "{answer:?}");
}

/// Asks something of the subscription `jobs`.
fn ask(server: SocketAddr, what: &str, body: &Value) -> Value {
    let answer =
        http::post(server, &format!("/v1/subscriptions/jobs/{what}"), "application/json", &body.to_string());
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// Pulls, and gives what came.
fn pull(server: SocketAddr, body: &Value) -> Vec<Value> {
    ask(server, "pull", body)["events"].as_array().unwrap().clone()
}

/// The leases of events.
fn leases(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["lease"].as_str().unwrap()).collect()
}

/// The numbers of jobs, each with its attempt.
fn attempts(events: &[Value]) -> Vec<(u64, u64)> {
    let of = |event: &Value| (event["event"]["data"].as_u64().unwrap(), event["attempt"].as_u64().unwrap());
    events.iter().map(of).collect()
}

/// What a change said of each lease.
fn results(answer: &Value) -> Vec<&str> {
    answer["results"].as_array().unwrap().iter().map(|result| result["result"].as_str().unwrap()).collect()
}

/// How many leases of the subscription `jobs` have ended so.
fn leases_ended(server: SocketAddr, outcome: &str) -> f64 {
    metric(server, "eventrelay_leases_ended_total", &format!("outcome=\"{outcome}\""))
}

/// A metric of the subscription `jobs`, with these labels beside.
fn metric(server: SocketAddr, name: &str, labels: &str) -> f64 {
    let page = http::get(server, "/metrics").body;
    let line = page.lines().find(|line| {
        line.starts_with(&format!("{name}{{"))
            && line.contains("subscription=\"jobs\"")
            && line.contains(labels)
    });
    line.unwrap_or_else(|| panic!("no {name} in {page}")).rsplit(' ').next().unwrap().parse().unwrap()
}
