//! `Subscribe`, health and reflection.

use eventrelay_server::proto::v1;
use eventrelay_server::proto::v1::subscribe_request::Start;
use prost_types::Timestamp;
use tonic::{Code, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use super::support::{TestServer, code, event, publish, within};

async fn offsets(stream: &mut Streaming<v1::SubscribeResponse>, count: usize) -> Vec<u64> {
    let mut offsets = Vec::new();
    while offsets.len() < count {
        let answer = within(stream.message()).await.unwrap().unwrap();
        offsets.extend(answer.events.iter().map(|event| event.offset));
    }
    offsets
}

fn from(start: Option<Start>) -> v1::SubscribeRequest {
    v1::SubscribeRequest { start }
}

#[tokio::test]
async fn a_subscriber_starts_where_it_asks_to_and_sees_what_comes() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    publish(&mut client, vec![event("a"), event("b"), event("c")]).await.unwrap();
    let id = publish(&mut client, vec![event("d")]).await.unwrap().remove(0).id;
    let last = client.get_event(v1::GetEventRequest { id }).await.unwrap().into_inner().event.unwrap();
    let starts = [
        (Some(Start::Earliest(())), vec![0, 1, 2, 3, 4]),
        (Some(Start::Offset(2)), vec![2, 3, 4]),
        (Some(Start::Offset(4)), vec![4]),
        (Some(Start::Time(last.received_at.unwrap())), vec![3, 4]),
        (Some(Start::Time(Timestamp { seconds: i64::MAX, nanos: 0 })), vec![4]),
        (None, vec![4]),
    ];
    let mut streams = Vec::new();
    for (start, expected) in starts {
        let opened = within(client.subscribe(from(start))).await.unwrap().into_inner();
        streams.push((opened, expected, start));
    }
    publish(&mut client, vec![event("e")]).await.unwrap();
    for (mut stream, expected, start) in streams {
        assert_eq!(offsets(&mut stream, expected.len()).await, expected, "{start:?}");
    }
}

#[tokio::test]
async fn a_start_beyond_the_log_is_refused() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let bad_time = Start::Time(Timestamp { seconds: 0, nanos: -1 });
    for start in [Start::Offset(1), Start::Offset(u64::MAX), bad_time] {
        let status = client.subscribe(from(Some(start))).await.unwrap_err();
        assert_eq!((status.code(), code(&status).as_str()), (Code::OutOfRange, "invalid_start"));
    }
}

#[tokio::test]
async fn a_subscriber_too_many_is_refused_until_another_leaves() {
    let server = TestServer::start_with(|options| options.max_subscribe_streams = 1).await;
    let mut client = server.client().await;
    let first = client.subscribe(from(None)).await.unwrap();
    let status = client.subscribe(from(None)).await.unwrap_err();
    assert_eq!((status.code(), code(&status).as_str()), (Code::ResourceExhausted, "too_many_streams"));
    drop(first);
    within(async {
        while client.subscribe(from(None)).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_long_log_comes_in_many_answers_and_whole() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    for _ in 0..5 {
        let large = v1::Event { data: Some(v1::event::Data::Binary(vec![7; 1000].into())), ..event("t") };
        publish(&mut client, vec![large; 100]).await.unwrap();
    }
    let mut stream = client.subscribe(from(Some(Start::Earliest(())))).await.unwrap().into_inner();
    let first = within(stream.message()).await.unwrap().unwrap();
    assert!(first.events.len() < 200, "one answer held {} events", first.events.len());
    let rest = offsets(&mut stream, 500 - first.events.len()).await;
    assert_eq!(rest.first().copied(), Some(first.events.len() as u64));
    assert_eq!((rest.last(), rest.is_sorted()), (Some(&499), true));
}

#[tokio::test]
async fn health_follows_the_log() {
    let server = TestServer::start().await;
    let mut client = HealthClient::new(server.channel().await);
    let request = |service: &str| HealthCheckRequest { service: service.to_owned() };
    let mut watching = client.watch(request("")).await.unwrap().into_inner();
    let serving = i32::from(ServingStatus::Serving);
    assert_eq!(within(watching.message()).await.unwrap().unwrap().status, serving);
    for service in ["", "eventrelay.v1.EventRelay", "event.EventService", "ingestpb.Ingestor"] {
        assert_eq!(client.check(request(service)).await.unwrap().into_inner().status, serving, "{service}");
    }
    let status = client.check(request("no.Such")).await.unwrap_err();
    assert_eq!((status.code(), code(&status).as_str()), (Code::NotFound, "not_found"));

    let log = server.log.clone();
    tokio::task::spawn_blocking(move || log.close()).await.unwrap();
    let not_serving = i32::from(ServingStatus::NotServing);
    assert_eq!(client.check(request("")).await.unwrap().into_inner().status, not_serving);
    assert_eq!(within(watching.message()).await.unwrap().unwrap().status, not_serving);
}

#[tokio::test]
async fn reflection_lists_every_service() {
    let server = TestServer::start().await;
    let mut client = ServerReflectionClient::new(server.channel().await);
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let answer = client.server_reflection_info(futures_util::stream::iter([request])).await.unwrap();
    let answer = within(answer.into_inner().message()).await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
    let mut names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "event.EventService",
            "eventrelay.v1.EventRelay",
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "ingestpb.Ingestor",
        ]
    );
}
