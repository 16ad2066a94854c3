//! How the relay says that it is.

use eventrelay_server::SubscriptionHealth;

use crate::support::TestServer;

fn subscription(healthy: bool) -> SubscriptionHealth {
    let status = if healthy { "running" } else { "paused" };
    SubscriptionHealth {
        name: "orders".to_owned(),
        status: status.to_owned(),
        healthy,
        lag_events: 3,
        why: None,
    }
}

#[tokio::test]
async fn health_names_every_component() {
    let server = TestServer::start().await;
    server.subscriptions.0.lock().unwrap().push(subscription(true));
    let mut client = server.connect().await;
    client.publish(r#"{"type":"t","source":"/s"}"#).await;
    let health = client.get("/health").await.json();
    assert_eq!(health["status"], "ok");
    let components = &health["components"];
    assert_eq!(
        (&components["log"]["status"], &components["log"]["durable_offset"]),
        (&"ok".into(), &1.into())
    );
    assert_eq!(components["subscriptions"][0]["lag_events"], 3);

    server.subscriptions.0.lock().unwrap().push(subscription(false));
    assert_eq!(client.get("/health").await.json()["status"], "degraded");
}

#[tokio::test]
async fn a_log_that_takes_nothing_is_alive_but_not_ready() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    assert_eq!(client.get("/readyz").await.status, 200);
    let log = server.log.clone();
    tokio::task::spawn_blocking(move || log.close()).await.unwrap();
    let ready = client.get("/readyz").await;
    assert_eq!((ready.status, ready.code().as_str()), (503, "shutting_down"));
    assert_eq!(client.get("/health").await.json()["status"], "unavailable");
    assert_eq!(client.get("/healthz").await.status, 200);
    let publish = client.publish(r#"{"type":"t","source":"/s"}"#).await;
    assert_eq!((publish.status, publish.code().as_str()), (503, "shutting_down"));
    assert!(publish.header("retry-after").is_some());
}

#[tokio::test]
async fn metrics_count_requests_by_route_and_outcome() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    client.publish(r#"{"type":"t","source":"/s"}"#).await;
    client.publish("{").await;
    client.get("/nothing").await;
    let answer = client.get("/metrics").await;
    assert!(answer.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    let text = String::from_utf8(answer.body).unwrap();
    for line in [
        r#"eventrelay_http_requests_total{route="/v1/events",method="POST",status="2xx"} 1"#,
        r#"eventrelay_http_requests_total{route="/v1/events",method="POST",status="4xx"} 1"#,
        r#"eventrelay_http_requests_total{route="unknown",method="other",status="4xx"} 1"#,
        r#"eventrelay_http_problems_total{code="not_found"} 1"#,
        "eventrelay_http_request_body_bytes_total 27",
        "eventrelay_http_connections 1",
        r#"eventrelay_http_request_duration_seconds_count{route="/v1/events",method="POST"} 2"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}
