//! What a tenant may send.

use std::time::Duration;

use eventrelay_server::proto::v1;
use eventrelay_server::proto::v1::publish_result::Outcome;
use eventrelay_server::quota::QuotaOptions;
use tonic::Code;
use tonic_types::StatusExt;

use super::api_keys::Admittance;
use super::support::{TestServer, code, event, publish};

async fn limited(quotas: QuotaOptions) -> TestServer {
    TestServer::start_admitting(Admittance { quotas, ..Default::default() }, |_| {}).await
}

#[tokio::test]
async fn calls_over_the_rate_are_told_when_to_come_again() {
    let server = limited(QuotaOptions { tenant_requests_per_second: Some(1), ..Default::default() }).await;
    let mut client = server.client().await;
    publish(&mut client, vec![event("t")]).await.unwrap();
    let status = publish(&mut client, vec![event("t")]).await.unwrap_err();
    assert_eq!((status.code(), code(&status).as_str()), (Code::ResourceExhausted, "rate_limited"));
    let wait = status.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
    assert_eq!(server.log.durable_offset(), 1, "what was refused was stored");
}

#[tokio::test]
async fn a_streams_messages_over_the_rate_are_refused_one_by_one() {
    let server = limited(QuotaOptions { tenant_events_per_second: Some(2), ..Default::default() }).await;
    let mut client = server.client().await;
    let message = |sequence| v1::PublishStreamRequest { sequence, events: vec![event("t"), event("t")] };
    let messages = futures_util::stream::iter((1..=2).map(message));
    let mut answers = client.publish_stream(messages).await.unwrap().into_inner();
    let mut results = Vec::new();
    while let Some(answer) = answers.message().await.unwrap() {
        results.extend(answer.results);
    }
    assert!(matches!(&results[0].outcome, Some(Outcome::Stored(stored)) if stored.receipts.len() == 2));
    let Some(Outcome::Refused(refusal)) = &results[1].outcome else { panic!("{results:?}") };
    assert_eq!(refusal.code, "rate_limited");
    assert!(refusal.retry_after_ms.is_some_and(|wait| wait > 0));
}

#[tokio::test]
async fn a_tenant_has_so_many_streams_and_no_more() {
    let server = limited(QuotaOptions { tenant_open_streams: Some(1), ..Default::default() }).await;
    let mut client = server.client().await;
    let _open = client.subscribe(v1::SubscribeRequest { start: None }).await.unwrap();
    let status = client.subscribe(v1::SubscribeRequest { start: None }).await.unwrap_err();
    assert_eq!((status.code(), code(&status).as_str()), (Code::ResourceExhausted, "too_many_streams"));
    publish(&mut client, vec![event("t")]).await.unwrap();
}
