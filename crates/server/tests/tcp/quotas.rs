//! What a tenant may send.

use eventrelay_server::quota::QuotaOptions;

use crate::api_keys::Admittance;
use crate::support::{TestServer, frame, line};

async fn limited(quotas: QuotaOptions) -> TestServer {
    let admittance = Admittance { quotas, ..Default::default() };
    TestServer::start_admitting(admittance, 1 << 20, |_| {}).await
}

#[tokio::test]
async fn frames_over_the_rate_are_refused_and_the_connection_goes_on() {
    let server = limited(QuotaOptions { tenant_events_per_second: Some(1), ..Default::default() }).await;
    let mut client = server.connect().await;
    client.send(frame("within")).await;
    assert_eq!(client.receive(1).await, [0]);
    client.send(frame("over")).await;
    assert_eq!(client.receive(1).await, [4]);
    assert_eq!(server.log.durable_offset(), 1, "what was refused was stored");
    server.until_metrics_say("eventrelay_tcp_refused_total{code=\"rate_limited\"} 1").await;
    // It is a rate: what is refused now is taken later, on the same connection.
    loop {
        client.send(frame("later")).await;
        if client.receive(1).await == [0] {
            break;
        }
    }
    assert_eq!(server.log.durable_offset(), 2);
}

#[tokio::test]
async fn a_line_over_the_rate_is_told_when_to_come_again() {
    let server = limited(QuotaOptions { requests_per_second: Some(1), ..Default::default() }).await;
    let mut client = server.connect_lines().await;
    client.send(line("")).await;
    assert_eq!(client.receive_line().await["offset"], 0);
    client.send(line("")).await;
    let refusal = client.receive_line().await;
    assert_eq!((&refusal["code"], &refusal["retry_after"]), (&"rate_limited".into(), &1.into()));
}

#[tokio::test]
async fn a_tenant_has_so_many_connections_and_no_more() {
    let server = limited(QuotaOptions { tenant_open_streams: Some(1), ..Default::default() }).await;
    let mut first = server.connect().await;
    first.send(frame("one")).await;
    assert_eq!(first.receive(1).await, [0]);
    let mut second = server.connect().await;
    assert_eq!(second.until_closed_after_finish().await, [4]);
    assert_eq!(first.until_closed_after_finish().await, b"");
    server.until_metrics_say("eventrelay_tcp_connections 0").await;
    server.assert_unharmed(1).await;
}
