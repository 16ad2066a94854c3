//! What a tenant may ask for, and all of them together.

use eventrelay_server::auth::Scope;
use eventrelay_server::quota::{QuotaOptions, TenantQuotaOptions};

use crate::api_keys::{self, Admittance};
use crate::support::TestServer;

const EVENT: &str = r#"{"type":"t","source":"/s"}"#;

async fn limited(quotas: QuotaOptions) -> TestServer {
    TestServer::start_admitting(Admittance { quotas, ..Default::default() }, |_| {}).await
}

#[tokio::test]
async fn requests_over_the_rate_are_told_when_to_come_again() {
    let server = limited(QuotaOptions { tenant_requests_per_second: Some(2), ..Default::default() }).await;
    let mut client = server.connect().await;
    for _ in 0..2 {
        assert_eq!(client.publish(EVENT).await.status, 201);
    }
    let refused = client.publish(EVENT).await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limited"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    // Who watches the server is let in all the same.
    for path in ["/healthz", "/readyz", "/health", "/metrics"] {
        assert_eq!(client.get(path).await.status, 200, "{path}");
    }
    assert_eq!(server.log.durable_offset(), 2, "what was refused was stored");
}

#[tokio::test]
async fn a_batch_counts_by_its_events() {
    let server = limited(QuotaOptions { events_per_second: Some(3), ..Default::default() }).await;
    let mut client = server.connect().await;
    assert_eq!(client.publish(&format!("[{EVENT},{EVENT}]")).await.status, 201);
    let refused = client.publish(&format!("[{EVENT},{EVENT}]")).await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limited"));
    assert_eq!(client.publish(EVENT).await.status, 201);
    assert_eq!(server.log.durable_offset(), 3);
}

#[tokio::test]
async fn one_tenant_over_its_quota_is_nothing_to_another() {
    let own = TenantQuotaOptions { requests_per_second: Some(1), ..Default::default() };
    let quotas = QuotaOptions { tenants: [("greedy".to_owned(), own)].into(), ..Default::default() };
    let server = TestServer::start_admitting(Admittance { keys_required: true, quotas }, |_| {}).await;
    let mut client = server.connect().await;
    let mut statuses = Vec::new();
    for tenant in ["greedy", "modest"] {
        let key = api_keys::create(&server.api_keys, tenant, &[Scope::Publish]).await;
        for _ in 0..2 {
            client
                .send(format!(
                    "POST /v1/events HTTP/1.1\r\nHost: x\r\nX-Api-Key: {}\r\nContent-Type: application/json\r\n\
                     Content-Length: {}\r\n\r\n{EVENT}",
                    key.expose(),
                    EVENT.len()
                ))
                .await;
            statuses.push(client.answer().await.status);
        }
    }
    assert_eq!(statuses, [201, 429, 201, 201]);
}

#[tokio::test]
async fn a_tenant_has_so_many_event_streams_and_no_more() {
    let server = limited(QuotaOptions { tenant_open_streams: Some(1), ..Default::default() }).await;
    let mut first = server.connect().await;
    first.send("GET /v1/events/stream HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(first.read_head().await.starts_with("HTTP/1.1 200"));
    let second = server.connect().await.get("/v1/events/stream").await;
    assert_eq!((second.status, second.code().as_str()), (429, "too_many_streams"));
}
