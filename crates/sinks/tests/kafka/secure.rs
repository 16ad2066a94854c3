//! TLS and log-ins, by a broker and a TLS server that were not written here.

use eventrelay_sinks::CheckError;
use serde_json::{Value, json};

use crate::components::Component;
use crate::foreign::Client;
use crate::sinks::{batch, deliver, deliver_all, retry, sink};

fn ca_file(kafka: &Component) -> String {
    kafka.directory().join("ca.pem").display().to_string()
}

/// The password of the user `relay`.
const PASSWORD: &str = "pencil, ü = 1";

/// Comes in by PLAIN.
fn client(kafka: &Component) -> Client {
    Client::to(&kafka.address().to_string())
        .with("security.protocol", "SASL_SSL")
        .with("ssl.ca.location", &ca_file(kafka))
        .with("sasl.mechanism", "PLAIN")
        .with("sasl.username", "admin")
        .with("sasl.password", "admin")
}

fn settings(kafka: &Component, mechanism: &str, password: &str) -> Value {
    json!({
        "tls": {"ca_file": ca_file(kafka)},
        "sasl": {"mechanism": mechanism, "user": "relay", "password": password},
        "timeout_ms": 4000,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn scram_and_plain_let_us_in_by_tls() {
    let Some(kafka) = Component::start("kafka-tls") else { return };
    let brokers = kafka.address().to_string();
    client(&kafka).create_topic("orders", 1);
    let mut sent = 0;
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let sink = sink(&brokers, &settings(&kafka, mechanism, PASSWORD));
        assert_eq!(sink.check().await, Ok(()), "{mechanism}");
        deliver_all(&sink, &batch(sent..sent + 10)).await;
        sent += 10;
        sink.close().await;
    }
    let mut numbers: Vec<_> =
        client(&kafka).consume("orders", 30).iter().map(crate::foreign::Found::number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..30).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_and_not_shown() {
    let Some(kafka) = Component::start("kafka-tls") else { return };
    client(&kafka).create_topic("orders", 1);
    let wrong = sink(&kafka.address().to_string(), &settings(&kafka, "SCRAM-SHA-256", "canary"));
    let error = wrong.check().await.unwrap_err();
    assert!(matches!(error, CheckError::Forbidden(_) | CheckError::Unreachable(_)), "{error}");
    let outcomes = deliver(&wrong, &batch(0..1)).await;
    for said in [error.to_string(), retry(&outcomes[0]).to_owned()] {
        assert!(said.contains("refuses the user or the password") && !said.contains("canary"), "{said}");
    }
    // The password is put right, and what waited arrives.
    let right = sink(&kafka.address().to_string(), &settings(&kafka, "SCRAM-SHA-256", PASSWORD));
    deliver_all(&right, &batch(0..1)).await;
    wrong.close().await;
    right.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_prove_to_be_the_broker_gets_no_password_and_no_event() {
    let Some(kafka) = Component::start("kafka-tls") else { return };
    let brokers = kafka.address().to_string();
    let mut public_authorities = settings(&kafka, "PLAIN", "canary");
    public_authorities["tls"] = json!({});
    let sink_of = |settings: &Value| sink(&brokers, settings);
    let distrustful = sink_of(&public_authorities);
    let Err(CheckError::Unreachable(said)) = distrustful.check().await else { panic!("it was believed") };
    assert!(said.contains("the TLS handshake failed") && !said.contains("canary"), "{said}");
    let outcomes = deliver(&distrustful, &batch(0..1)).await;
    assert!(retry(&outcomes[0]).contains("the TLS handshake failed"), "{outcomes:?}");

    let mut without_login = settings(&kafka, "PLAIN", "x");
    without_login.as_object_mut().unwrap().remove("sasl");
    let stranger = sink_of(&without_login);
    assert!(stranger.check().await.is_err(), "it asks for a log-in");
    distrustful.close().await;
    stranger.close().await;
}
