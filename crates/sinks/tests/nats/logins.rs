//! Every way to log in, and nothing of it in the log.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use eventrelay_sinks::CheckError;
use nkeys::KeyPair;
use serde_json::{Value, json};

use crate::broker_events::{batch, deliver_all, within_patience};
use crate::components::Component;
use crate::log_lines::LogLines;
use crate::raw_client::RawClient;
use crate::server;

async fn check(server: &Component, login: Value) -> Result<(), CheckError> {
    within_patience(server::sink(server, &login).check()).await
}

fn is_forbidden(result: &Result<(), CheckError>) -> bool {
    matches!(result, Err(CheckError::Forbidden(why)) if !why.contains("canary"))
}

#[tokio::test]
async fn a_password_or_a_token_may_come_from_a_file() {
    let Some(server) = server::start_with("authorization { user: relay, password: right }") else { return };
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "right\n").unwrap();
    assert_eq!(check(&server, json!({"user": "relay", "password_file": file.path()})).await, Ok(()));
    for login in [json!({}), json!({"user": "relay", "password": "canary"}), json!({"token": "canary"})] {
        let refused = check(&server, login).await;
        assert!(is_forbidden(&refused), "{refused:?}");
    }
    let Some(server) = server::start_with("authorization { token: right }") else { return };
    assert_eq!(check(&server, json!({"token_file": file.path()})).await, Ok(()));
    assert!(is_forbidden(&check(&server, json!({"token": "canary"})).await));
}

#[tokio::test]
async fn an_nkey_signs_what_the_server_asks() {
    let (known, unknown) = (KeyPair::new_user(), KeyPair::new_user());
    let users = format!("authorization {{ users = [ {{ nkey: {} }} ] }}", known.public_key());
    let Some(server) = server::start_with(&users) else { return };
    assert_eq!(check(&server, json!({"nkey_seed": known.seed().unwrap()})).await, Ok(()));
    assert!(is_forbidden(&check(&server, json!({"nkey_seed": unknown.seed().unwrap()})).await));
}

#[tokio::test]
async fn a_credentials_file_holds_a_users_word_and_its_key() {
    let (operator, account, user) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_user());
    let operator_word = word(&operator, &operator, &json!({"type": "operator", "version": 2}));
    // JetStream asks for a system account, which must not have it itself.
    let system = KeyPair::new_account();
    let words = [(&account, -1), (&system, 0)].map(|(pair, storage)| {
        let limits = json!({"subs": -1, "conn": -1, "data": -1, "payload": -1, "disk_storage": storage,
            "mem_storage": storage, "streams": -1, "consumer": -1});
        let claims = json!({"type": "account", "version": 2, "limits": limits});
        format!("{}: {}", pair.public_key(), word(&operator, pair, &claims))
    });
    let resolver = format!(
        "operator: {operator_word}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{ {} }}",
        system.public_key(),
        words.join("\n")
    );
    let Some(server) = server::start_with(&resolver) else { return };
    let credentials = |signer: &KeyPair| {
        let user_word = word(
            signer,
            &user,
            &json!({"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1}),
        );
        let seed = user.seed().unwrap();
        format!(
            "-----BEGIN NATS USER JWT-----\n{user_word}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), credentials(&account)).unwrap();
    assert_eq!(check(&server, json!({"credentials_file": file.path()})).await, Ok(()));
    let forged = credentials(&KeyPair::new_account());
    assert!(is_forbidden(&check(&server, json!({"credentials": forged})).await));
}

/// A JWT as NATS has them, signed by an nkey.
fn word(signer: &KeyPair, about: &KeyPair, what: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = json!({"typ": "JWT", "alg": "ed25519-nkey"});
    let claims = json!({"jti": "1", "iat": 1_700_000_000, "iss": signer.public_key(), "sub": about.public_key(),
        "name": "tested", "nats": what});
    let signed = format!("{}.{}", encode(&header), encode(&claims));
    let signature = URL_SAFE_NO_PAD.encode(signer.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

#[tokio::test]
async fn neither_secrets_nor_events_are_logged() {
    let log = LogLines::capture();
    let Some(server) = server::start_with("authorization { user: relay, password: canary }") else { return };
    let mut raw = RawClient::log_in(server.address(), &json!({"user": "relay", "pass": "canary"}));
    raw.create_stream("EVENTS", &["events.>"], &json!({}));
    let sink = server::sink(&server, &json!({"user": "relay", "password": "canary"}));
    deliver_all(&sink, &batch("order.created", 0..10)).await;
    sink.close().await;
    assert!(is_forbidden(&check(&server, json!({"user": "relay", "password": "another canary"})).await));
    let logged = log.text();
    assert!(logged.contains("connected"), "the log is looked at: {logged}");
    assert!(!logged.contains("canary") && !logged.contains("number"), "{logged}");
}
