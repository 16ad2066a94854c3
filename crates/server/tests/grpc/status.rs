//! `GetStatus`, of both contracts.

use eventrelay_event::{Tenant, Timestamp};
use eventrelay_server::DeliveryState;
use eventrelay_server::auth::{Author, NewApiKey, Scope};
use eventrelay_server::proto::event::event_service_client::EventServiceClient;
use eventrelay_server::proto::event::{EventRequest, StatusRequest};
use eventrelay_server::proto::v1;
use eventrelay_server::proto::v1::delivery::State;
use tonic::{Code, Request};

use super::support::{TestServer, code, event, publish};

fn retrying() -> DeliveryState {
    let next_attempt_at = Timestamp(1_500_000);
    DeliveryState::Retrying { attempts: 2, next_attempt_at, error: "503".to_owned() }
}

fn dead() -> DeliveryState {
    DeliveryState::Dead { attempts: 3, dead_at: Timestamp(2_000_000), error: "410".to_owned() }
}

fn set(server: &TestServer, states: Option<Vec<DeliveryState>>) {
    *server.subscriptions.0.lock().unwrap() = states;
}

#[tokio::test]
async fn an_event_tells_what_became_of_it_for_each_subscription() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let receipt = publish(&mut client, vec![event("t"), event("t")]).await.unwrap().remove(1);
    set(&server, Some(vec![DeliveryState::Pending, retrying(), DeliveryState::Delivered, dead()]));
    let request = v1::GetStatusRequest { id: receipt.id.clone() };
    let status = client.get_status(request).await.unwrap().into_inner();
    let time = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
    let states = [
        State::Pending(()),
        State::Retrying(v1::Retrying {
            attempts: 2,
            next_attempt_at: time(1, 500_000_000),
            error: "503".to_owned(),
        }),
        State::Delivered(()),
        State::Dead(v1::Dead { attempts: 3, dead_at: time(2, 0), error: "410".to_owned() }),
    ];
    let delivery = |(place, state)| v1::Delivery { subscription: format!("s{place}"), state: Some(state) };
    assert_eq!(
        status,
        v1::GetStatusResponse {
            id: receipt.id,
            offset: 1,
            status: v1::EventStatus::Processing.into(),
            deliveries: states.into_iter().enumerate().map(delivery).collect(),
        }
    );
}

#[tokio::test]
async fn both_contracts_have_the_same_status_for_it() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let mut jobs = EventServiceClient::new(server.channel().await);
    let ingested = jobs.ingest_event(EventRequest::default()).await.unwrap().into_inner();
    for (states, status, job_status) in [
        (vec![], v1::EventStatus::Done, "done"),
        (vec![DeliveryState::Delivered], v1::EventStatus::Done, "done"),
        (vec![DeliveryState::Pending], v1::EventStatus::Processing, "processing"),
        (vec![dead(), retrying()], v1::EventStatus::Processing, "processing"),
        (vec![dead(), DeliveryState::Delivered], v1::EventStatus::Failed, "failed"),
    ] {
        set(&server, Some(states));
        let request = v1::GetStatusRequest { id: ingested.job_id.clone() };
        assert_eq!(client.get_status(request).await.unwrap().into_inner().status(), status);
        let request = StatusRequest { job_id: ingested.job_id.clone() };
        assert_eq!(jobs.get_status(request).await.unwrap().into_inner().status, job_status);
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_what_cannot_be_read_is_a_refusal() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let mut jobs = EventServiceClient::new(server.channel().await);
    let id = publish(&mut client, vec![event("t")]).await.unwrap().remove(0).id;
    set(&server, None);
    for absent in ["", "no id", "01992b3c-0000-7000-8000-000000000063"] {
        let status = client.get_status(v1::GetStatusRequest { id: absent.to_owned() }).await.unwrap_err();
        assert_eq!((status.code(), code(&status).as_str()), (Code::NotFound, "event_not_found"));
        let answer = jobs.get_status(StatusRequest { job_id: absent.to_owned() }).await.unwrap();
        assert_eq!(answer.into_inner().status, "not found", "{absent}");
    }
    let status = client.get_status(v1::GetStatusRequest { id: id.clone() }).await.unwrap_err();
    assert_eq!((status.code(), code(&status).as_str()), (Code::Unavailable, "state_unreadable"));
    assert!(!status.message().contains("secret"), "{status:?}");
    let status = jobs.get_status(StatusRequest { job_id: id }).await.unwrap_err();
    assert_eq!((status.code(), code(&status).as_str()), (Code::Unavailable, "state_unreadable"));
}

#[tokio::test]
async fn a_status_is_for_readers_of_the_same_tenant() {
    let server = TestServer::start_asking_for_keys(true, |_| {}).await;
    let mut client = server.client().await;
    let mut jobs = EventServiceClient::new(server.channel().await);
    let mut keys = Vec::new();
    for (tenant, scope) in [("a", Scope::Publish), ("a", Scope::Read), ("b", Scope::Read)] {
        let (tenant, scopes) = (Tenant::parse(tenant).unwrap(), [scope].into_iter().collect());
        let new = NewApiKey { name: "test".to_owned(), tenant, scopes, lifetime: None };
        keys.push(server.api_keys.create(new, &Author::system()).await.unwrap().0);
    }
    fn with<T>(key: &eventrelay_server::auth::ApiKey, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("x-api-key", key.expose().parse().unwrap());
        request
    }
    let ingested = jobs.ingest_event(with(&keys[0], EventRequest::default())).await.unwrap();
    let id = ingested.into_inner().job_id;
    let (status, job) = (|| v1::GetStatusRequest { id: id.clone() }, || StatusRequest { job_id: id.clone() });

    let refused = client.get_status(with(&keys[0], status())).await.unwrap_err();
    assert_eq!((refused.code(), code(&refused).as_str()), (Code::PermissionDenied, "missing_scope"));
    let refused = jobs.get_status(with(&keys[0], job())).await.unwrap_err();
    assert_eq!((refused.code(), code(&refused).as_str()), (Code::PermissionDenied, "missing_scope"));

    assert_eq!(client.get_status(with(&keys[1], status())).await.unwrap().into_inner().offset, 0);
    assert_eq!(jobs.get_status(with(&keys[1], job())).await.unwrap().into_inner().status, "done");

    let refused = client.get_status(with(&keys[2], status())).await.unwrap_err();
    assert_eq!((refused.code(), code(&refused).as_str()), (Code::NotFound, "event_not_found"));
    assert_eq!(jobs.get_status(with(&keys[2], job())).await.unwrap().into_inner().status, "not found");
}
