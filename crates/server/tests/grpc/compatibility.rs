//! The contracts of others, whose clients must keep working.

use eventrelay_server::proto::event::EventRequest;
use eventrelay_server::proto::event::event_service_client::EventServiceClient;
use eventrelay_server::proto::ingestpb::LogEvent;
use eventrelay_server::proto::ingestpb::ingestor_client::IngestorClient;
use eventrelay_server::proto::v1;

use super::support::{TestServer, within};

async fn stored(server: &TestServer, id: String) -> v1::Event {
    let found = server.client().await.get_event(v1::GetEventRequest { id }).await.unwrap();
    found.into_inner().event.unwrap().event.unwrap()
}

#[tokio::test]
async fn a_job_tracked_ingester_gets_the_same_job_for_the_same_event() {
    let server = TestServer::start().await;
    let mut client = EventServiceClient::new(server.channel().await);
    let request = |id: &str, payload: &str| EventRequest {
        event_id: id.to_owned(),
        payload: payload.to_owned(),
        timestamp: 1_700_000_000,
    };
    let first = client.ingest_event(request("1", r#"{"a":1}"#)).await.unwrap().into_inner();
    let again = client.ingest_event(request("1", r#"{"a":1}"#)).await.unwrap().into_inner();
    let text = client.ingest_event(request("2", "hello")).await.unwrap().into_inner();
    assert!(first.accepted && again.accepted && text.accepted);
    assert_eq!(first.job_id, again.job_id);
    assert_eq!(server.log.durable_offset(), 2);

    let event = stored(&server, first.job_id).await;
    assert_eq!((event.r#type.as_str(), event.source.as_str()), ("event", "/event.EventService"));
    assert_eq!(event.id.as_deref(), Some("1"));
    assert_eq!(event.headers["timestamp"], "1700000000");
    assert_eq!(event.data, Some(v1::event::Data::Json(r#"{"a":1}"#.to_owned())));
    assert_eq!(stored(&server, text.job_id).await.data, Some(v1::event::Data::Text("hello".to_owned())));

    let reused = client.ingest_event(request("1", "other")).await.unwrap().into_inner();
    assert!(!reused.accepted && reused.message.starts_with("idempotency_key_reused: "), "{reused:?}");
    assert_eq!(reused.job_id, "");
}

#[tokio::test]
async fn a_job_tracked_ingester_need_not_fill_anything_in() {
    let server = TestServer::start().await;
    let mut client = EventServiceClient::new(server.channel().await);
    for payload in ["", "\0", "\"\u{1}"] {
        let request = EventRequest { payload: payload.to_owned(), ..EventRequest::default() };
        let answer = client.ingest_event(request).await.unwrap().into_inner();
        assert!(answer.accepted, "{payload:?}: {answer:?}");
    }
}

#[tokio::test]
async fn a_streaming_relay_gets_one_answer_for_each_message_in_order() {
    let server = TestServer::start().await;
    let mut client = IngestorClient::new(server.channel().await);
    let message =
        |id: &str, data: &'static [u8]| LogEvent { id: id.to_owned(), data: data.into(), timestamp: -5 };
    let messages = [
        message("1", b"\x00\xff"),
        message("2", b""),
        message("1", b"\x00\xff"),
        message("1", b"another"),
        message("", b"x"),
    ];
    let mut answers =
        within(client.stream_logs(futures_util::stream::iter(messages))).await.unwrap().into_inner();
    let mut acks = Vec::new();
    while let Some(ack) = within(answers.message()).await.unwrap() {
        acks.push(ack.ok);
    }
    assert_eq!(acks, [true, true, true, false, true]);
    assert_eq!(server.log.durable_offset(), 3);

    let start = Some(v1::subscribe_request::Start::Earliest(()));
    let mut stream =
        server.client().await.subscribe(v1::SubscribeRequest { start }).await.unwrap().into_inner();
    let first = within(stream.message()).await.unwrap().unwrap().events.remove(0).event.unwrap();
    assert_eq!((first.r#type.as_str(), first.source.as_str()), ("log", "/ingestpb"));
    assert_eq!(first.data, Some(v1::event::Data::Binary(vec![0, 255].into())));
    assert_eq!(first.headers["timestamp"], "-5");
}
