//! The trace of a call: kept with its events, unless they bring their own.

use std::collections::BTreeMap;

use eventrelay_server::proto::event::EventRequest;
use eventrelay_server::proto::event::event_service_client::EventServiceClient;
use eventrelay_server::proto::ingestpb::LogEvent;
use eventrelay_server::proto::ingestpb::ingestor_client::IngestorClient;
use eventrelay_server::proto::v1;
use eventrelay_server::proto::v1::subscribe_request::Start;
use tonic::Request;

use super::support::{TestServer, event, within};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn traced<T>(traceparent: &'static str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("traceparent", traceparent.parse().unwrap());
    request.metadata_mut().insert("tracestate", "a=b".parse().unwrap());
    request
}

fn own() -> v1::Event {
    v1::Event { headers: headers(&[("traceparent", "own")]), ..event("t") }
}

fn headers(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The headers of everything in the log.
async fn stored(server: &TestServer) -> Vec<BTreeMap<String, String>> {
    let start = Some(Start::Earliest(()));
    let mut stream =
        server.client().await.subscribe(v1::SubscribeRequest { start }).await.unwrap().into_inner();
    let mut stored = Vec::new();
    while (stored.len() as u64) < server.log.durable_offset() {
        let answer = within(stream.message()).await.unwrap().unwrap();
        stored.extend(answer.events.into_iter().map(|event| event.event.unwrap().headers));
    }
    stored
}

#[tokio::test]
async fn a_call_gives_its_trace_to_events_that_have_none() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let publish = |events| v1::PublishRequest { events };
    client.publish(traced(PARENT, publish(vec![event("t"), own()]))).await.unwrap();
    client.publish(traced("00-none", publish(vec![event("t")]))).await.unwrap();
    let mut jobs = EventServiceClient::new(server.channel().await);
    jobs.ingest_event(traced(PARENT, EventRequest::default())).await.unwrap();
    let given = headers(&[("traceparent", PARENT), ("tracestate", "a=b")]);
    assert_eq!(
        stored(&server).await,
        [given.clone(), headers(&[("traceparent", "own")]), headers(&[]), given]
    );
}

#[tokio::test]
async fn a_stream_gives_its_trace_to_all_its_events_that_have_none() {
    let server = TestServer::start().await;
    let message = |sequence, events| v1::PublishStreamRequest { sequence, events };
    let messages = [message(1, vec![event("t"), own()]), message(2, vec![event("t")])];
    let request = traced(PARENT, futures_util::stream::iter(messages));
    let mut answers = server.client().await.publish_stream(request).await.unwrap().into_inner();
    while within(answers.message()).await.unwrap().is_some() {}
    let logs = LogEvent { timestamp: 7, ..LogEvent::default() };
    let request = traced(PARENT, futures_util::stream::iter([logs]));
    let mut ingestor = IngestorClient::new(server.channel().await);
    let mut answers = ingestor.stream_logs(request).await.unwrap().into_inner();
    while within(answers.message()).await.unwrap().is_some() {}

    let given = headers(&[("traceparent", PARENT), ("tracestate", "a=b")]);
    let mut with_time = given.clone();
    with_time.insert("timestamp".to_owned(), "7".to_owned());
    assert_eq!(stored(&server).await, [given.clone(), headers(&[("traceparent", "own")]), given, with_time]);
}
