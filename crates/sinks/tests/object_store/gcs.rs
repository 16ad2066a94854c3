//! Google Cloud Storage, of which no server is to be had here: its log-in by a server of the tests' own, its requests by S3's
//! protocol, which its XML API resembles so far that moto takes them. Conditions it knows by another header, which moto ignores.

use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value, json};

use crate::broker_events::{batch, deliver, deliver_all, loopback, owner, retried};
use crate::components::Component;
use crate::http_receiver::{Receiver, Reply};
use crate::stores::{bucket, lines, sink_in};

/// Gives a token to who asks for one.
async fn log_in() -> Receiver {
    let token = json!({"access_token": "canary", "expires_in": 3600, "token_type": "Bearer"});
    let json = "content-type: application/json\r\n";
    Receiver::always(Reply::with_body("200 OK", json, &token.to_string())).await
}

fn settings(store: &Component, log_in: &Receiver, exactly_once: bool) -> Value {
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let account = json!({
        "type": "service_account",
        "client_email": "relay@example.iam.gserviceaccount.com",
        "private_key_id": "1",
        "private_key": key.serialize_pem(),
        "token_uri": format!("http://{}/token", log_in.address),
    });
    let gcs = json!({
        "bucket": "events",
        "endpoint": format!("http://{}", store.address()),
        "service_account_key": account.to_string(),
    });
    json!({"gcs": gcs, "exactly_once": exactly_once})
}

#[tokio::test]
async fn objects_are_written_with_a_token_for_the_service_account() {
    let Some(store) = Component::start("s3-moto") else { return };
    let log_in = log_in().await;
    let sink = sink_in(&loopback(), &owner(), &settings(&store, &log_in, false));
    deliver_all(&sink, &batch("order.created", 0..20)).await;
    let objects = bucket(store.address());
    let lines: Vec<_> = objects.iter().flat_map(|(key, bytes)| lines(key, bytes)).collect();
    let offsets: Vec<_> = lines.iter().map(|line| line["offset"].as_u64().unwrap()).collect();
    assert_eq!(offsets, (0..20).collect::<Vec<_>>());
    sink.close().await;
}

#[tokio::test]
async fn a_store_that_ignores_its_condition_is_found_out() {
    let Some(store) = Component::start("s3-moto") else { return };
    let log_in = log_in().await;
    let sink = sink_in(&loopback(), &owner(), &settings(&store, &log_in, true));
    let outcomes = deliver(&sink, &batch("order.created", 0..2)).await;
    assert!(outcomes.iter().all(|it| retried(it).contains("the store ignores")), "{outcomes:?}");
    sink.close().await;
}
