//! Who may do what: keys, scopes, and tenants that do not see each other.

use std::time::Duration;

use eventrelay_event::Tenant;
use eventrelay_server::auth::{ApiKey, Author, NewApiKey, Scope};
use eventrelay_server::proto::v1;
use tonic::{Code, Request, Status};

use super::api_keys;
use super::support::{TestServer, code, keyed};

fn new_key(tenant: &str, scopes: &[Scope]) -> NewApiKey {
    let (tenant, scopes) = (Tenant::parse(tenant).unwrap(), scopes.iter().copied().collect());
    NewApiKey { name: "test".to_owned(), tenant, scopes, lifetime: None }
}

async fn key(server: &TestServer, tenant: &str, scopes: &[Scope]) -> ApiKey {
    api_keys::create(&server.api_keys, tenant, scopes).await
}

fn with<T>(key: Option<&ApiKey>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(key) = key {
        request.metadata_mut().insert("x-api-key", key.expose().parse().unwrap());
    }
    request
}

fn told(status: &Status) -> (Code, String) {
    (status.code(), code(status))
}

#[tokio::test]
async fn a_key_lets_in_where_its_scopes_reach_and_nowhere_else() {
    let server = TestServer::start_asking_for_keys(true, |_| {}).await;
    let mut client = server.client().await;
    let publisher = key(&server, "a", &[Scope::Publish]).await;
    let publish = || v1::PublishRequest { events: vec![keyed("t", "k")] };
    for stranger in [None, Some(&ApiKey::generate())] {
        let status = client.publish(with(stranger, publish())).await.unwrap_err();
        assert_eq!(told(&status), (Code::Unauthenticated, "unauthenticated".to_owned()));
    }
    client.publish(with(Some(&publisher), publish())).await.unwrap();
    let subscribe = v1::SubscribeRequest { start: None };
    let status = client.subscribe(with(Some(&publisher), subscribe)).await.unwrap_err();
    assert_eq!(told(&status), (Code::PermissionDenied, "missing_scope".to_owned()));
    assert_eq!(server.log.durable_offset(), 1);
}

#[tokio::test]
async fn tenants_do_not_see_each_other() {
    let server = TestServer::start_asking_for_keys(true, |_| {}).await;
    let mut client = server.client().await;
    let first = key(&server, "a", &[Scope::Publish, Scope::Read]).await;
    let second = key(&server, "b", &[Scope::Publish, Scope::Read]).await;
    let publish = || v1::PublishRequest { events: vec![keyed("t", "k")] };
    let receipt =
        client.publish(with(Some(&first), publish())).await.unwrap().into_inner().receipts.remove(0);
    let other = client.publish(with(Some(&second), publish())).await.unwrap().into_inner().receipts.remove(0);
    assert!(!other.duplicate, "a key of one tenant met that of another");
    let find = || v1::GetEventRequest { id: receipt.id.clone() };
    client.get_event(with(Some(&first), find())).await.unwrap();
    let status = client.get_event(with(Some(&second), find())).await.unwrap_err();
    assert_eq!(told(&status), (Code::NotFound, "event_not_found".to_owned()));
    // Not one byte tells another's event from one that is not there.
    let absent = v1::GetEventRequest { id: "00000000-0000-7000-8000-000000000000".to_owned() };
    let absent = client.get_event(with(Some(&second), absent)).await.unwrap_err();
    let all_of = |status: &Status| {
        let mut metadata = status.metadata().clone();
        metadata.remove("date");
        (status.code(), status.message().to_owned(), status.details().to_vec(), metadata.into_headers())
    };
    assert_eq!(all_of(&status), all_of(&absent));
}

#[tokio::test]
async fn a_key_that_is_revoked_or_expired_lets_nobody_in() {
    let server = TestServer::start_asking_for_keys(true, |_| {}).await;
    let mut client = server.client().await;
    let publish = || v1::PublishRequest { events: vec![keyed("t", "k")] };
    let (revoked, record) =
        server.api_keys.create(new_key("a", &[Scope::Publish]), &Author::system()).await.unwrap();
    client.publish(with(Some(&revoked), publish())).await.unwrap();
    assert!(server.api_keys.revoke(record, &Author::system()).await.unwrap());
    let brief = NewApiKey { lifetime: Some(Duration::ZERO), ..new_key("a", &[Scope::Publish]) };
    let (expired, _) = server.api_keys.create(brief, &Author::system()).await.unwrap();
    for key in [&revoked, &expired] {
        let status = client.publish(with(Some(key), publish())).await.unwrap_err();
        assert_eq!(told(&status), (Code::Unauthenticated, "unauthenticated".to_owned()));
    }
    assert_eq!(server.log.durable_offset(), 1);
}
