//! The login of a connection where API keys are asked for.

use eventrelay_server::auth::{ApiKey, Author, Scope};

use crate::api_keys::{self, Admittance};
use crate::support::{TestServer, frame, line};

async fn guarded() -> TestServer {
    guarded_with(|_| {}).await
}

async fn guarded_with(change: impl FnOnce(&mut eventrelay_server::tcp::TcpOptions)) -> TestServer {
    let admittance = Admittance { keys_required: true, ..Default::default() };
    TestServer::start_admitting(admittance, 1 << 20, change).await
}

async fn key(server: &TestServer, tenant: &str, scopes: &[Scope]) -> ApiKey {
    api_keys::create(&server.api_keys, tenant, scopes).await
}

fn login_line(key: &ApiKey) -> String {
    format!("{{\"api_key\":\"{}\"}}\n", key.expose())
}

#[tokio::test]
async fn a_connection_that_begins_with_a_key_publishes_for_its_tenant() {
    let server = guarded().await;
    let (acme, other) =
        (key(&server, "acme", &[Scope::Publish]).await, key(&server, "other", &[Scope::Publish]).await);
    // Events need not wait for the answer to the login.
    let mut client = server.connect().await;
    client.send([frame(acme.expose()), frame("first"), frame("second")].concat()).await;
    assert_eq!(client.receive(3).await, [0, 0, 0]);
    let mut lines = server.connect_lines().await;
    lines.send(format!("{}{}", login_line(&other), line(""))).await;
    assert_eq!(lines.receive_line().await, serde_json::json!({"tenant": "other"}));
    assert_eq!(lines.receive_line().await["offset"], 2);
    let tenants: Vec<_> = (0..3).map(|offset| server.stored(offset).tenant().to_owned()).collect();
    assert_eq!(tenants, ["acme", "acme", "other"]);
    assert_eq!(server.stored(0).data().unwrap().1, "first");
}

#[tokio::test]
async fn without_a_good_key_nothing_is_taken_and_the_connection_ends() {
    let server = guarded().await;
    let reader = key(&server, "acme", &[Scope::Read]).await;
    let stranger = ApiKey::generate();
    for wrong in
        [frame("an event"), frame(stranger.expose()), frame(""), frame(reader.expose()), frame([0xff; 9])]
    {
        let mut client = server.connect().await;
        assert!(client.try_send([wrong, frame("more")].concat()).await);
        assert_eq!(client.until_closed_after_finish().await, [8], "one answer, and the end");
    }
    // Nobody gets memory for a large payload before it has shown a key.
    let mut client = server.connect().await;
    client.send(frame([b'x'; 300])).await;
    assert_eq!(client.until_closed_after_finish().await, [2]);
    for (wrong, code) in [
        (line(""), "unauthenticated"),
        (login_line(&stranger), "unauthenticated"),
        (login_line(&reader), "missing_scope"),
        ("{\"api_key\":7}\n".to_owned(), "unauthenticated"),
        ("GET / HTTP/1.1\r\n".to_owned(), "not_an_object"),
    ] {
        let mut client = server.connect_lines().await;
        client.send(wrong).await;
        assert_eq!(client.receive_line().await["code"], code);
        assert_eq!(client.until_closed_after_finish().await, b"");
    }
    assert_eq!(server.log.durable_offset(), 0, "something was stored");
}

#[tokio::test]
async fn who_does_not_log_in_in_time_is_cut_off() {
    let server = guarded_with(|options| options.login_timeout_ms = 50).await;
    let mut silent = server.connect().await;
    let mut slow = server.connect().await;
    slow.send([5, 0]).await;
    assert_eq!(silent.until_closed().await, b"");
    assert_eq!(slow.until_closed().await, b"");
    server.until_metrics_say("eventrelay_tcp_ended_connections_total{reason=\"login_timeout\"} 2").await;
}

#[tokio::test]
async fn a_key_that_is_revoked_ends_what_was_begun_with_it() {
    let server = guarded().await;
    let key = key(&server, "acme", &[Scope::Publish]).await;
    let mut client = server.connect().await;
    client.send([frame(key.expose()), frame("before")].concat()).await;
    assert_eq!(client.receive(2).await, [0, 0]);
    let key = server.api_keys.list().unwrap().remove(0);
    assert!(server.api_keys.revoke(key, &Author::system()).await.unwrap());
    client.send(frame("after")).await;
    assert_eq!(client.until_closed_after_finish().await, [8]);
    assert_eq!(server.log.durable_offset(), 1);
}
