//! Answers of requests with an idempotency key: kept over a restart, for as long and as many as is said.

#![allow(clippy::unwrap_used, reason = "a test's way to fail")]

mod support;

use eventrelay_event::Tenant;
use eventrelay_state::{AnswerRecord, RequestName};
use support::{EMPTY_LOG, Home};

fn name(tenant: &str, key: &str) -> RequestName {
    let tenant = Tenant::parse(tenant).unwrap();
    RequestName {
        tenant,
        idempotency_key: key.to_owned(),
        method: "POST".to_owned(),
        path: "/v1/keys".to_owned(),
    }
}

fn answer(at: u64) -> AnswerRecord {
    let headers = vec![("location".to_owned(), format!("/{at}"))];
    AnswerRecord { fingerprint: [3; 32], status: 201, headers, body: b"{}".to_vec(), answered_at_micros: at }
}

#[tokio::test]
async fn an_answer_is_there_after_a_restart_for_its_own_request_until_its_time_has_passed() {
    let home = Home::new();
    let state = home.open(EMPTY_LOG).unwrap();
    state.keep_answer(name("acme", "k"), answer(100), 0).await.unwrap();
    state.close().await;

    let state = home.open(EMPTY_LOG).unwrap();
    assert_eq!(state.answer(&name("acme", "k"), 100).unwrap(), Some(answer(100)));
    assert_eq!(state.answer(&name("acme", "k"), 101).unwrap(), None, "its time has passed");
    assert_eq!(state.answer(&name("other", "k"), 0).unwrap(), None, "another tenant's key is another key");
    let elsewhere = RequestName { path: "/v1/other".to_owned(), ..name("acme", "k") };
    assert_eq!(state.answer(&elsewhere, 0).unwrap(), None);
    state.keep_answer(name("other", "new"), answer(500), 101).await.unwrap();
    assert_eq!(state.answer(&name("acme", "k"), 0).unwrap(), None, "it is forgotten when another is kept");
}

#[tokio::test]
async fn a_tenant_with_many_answers_forgets_its_own_oldest() {
    let home = Home::new();
    let state = home.open(EMPTY_LOG).unwrap();
    state.keep_answer(name("quiet", "k"), answer(1), 0).await.unwrap();
    for at in 10..1_011 {
        state.keep_answer(name("busy", &at.to_string()), answer(at), 0).await.unwrap();
    }
    assert_eq!(state.answer(&name("busy", "10"), 0).unwrap(), None);
    assert!(state.answer(&name("busy", "11"), 0).unwrap().is_some());
    assert!(state.answer(&name("quiet", "k"), 0).unwrap().is_some());
}
