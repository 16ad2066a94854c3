//! Over gRPC.

use eventrelay_server::proto::v1;
use eventrelay_server::proto::v1::consume_request::Request;
use eventrelay_server::proto::v1::consume_response::Response;
use eventrelay_server::proto::v1::event_relay_client::EventRelayClient;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::transport::Endpoint;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;

use super::*;
use crate::harness::{DEADLINE, poll};

/// A stream that is open.
struct Consumer {
    requests: mpsc::Sender<v1::ConsumeRequest>,
    answers: Streaming<v1::ConsumeResponse>,
}

fn request(request: Request) -> v1::ConsumeRequest {
    v1::ConsumeRequest { request: Some(request) }
}

fn begin(subscription: &str, max_in_flight: u32, lease_ms: u64) -> Request {
    Request::Start(v1::ConsumeStart { subscription: subscription.to_owned(), max_in_flight, lease_ms })
}

impl Consumer {
    async fn open(server: SocketAddr, first: Request) -> Result<Self, Status> {
        let channel = Endpoint::from_shared(format!("http://{server}")).unwrap().connect().await.unwrap();
        let mut client = EventRelayClient::new(channel);
        let (requests, mut receiver) = mpsc::channel(16);
        requests.send(request(first)).await.unwrap();
        let stream = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context));
        let answers = timeout(DEADLINE, client.consume(stream)).await.unwrap()?.into_inner();
        Ok(Self { requests, answers })
    }

    async fn send(&self, change: Request) {
        self.requests.send(request(change)).await.unwrap();
    }

    async fn next(&mut self) -> Result<Response, Status> {
        let answer = timeout(DEADLINE, self.answers.message()).await.unwrap()?;
        Ok(answer.unwrap().response.unwrap())
    }

    /// So many events, and nothing else between.
    async fn events(&mut self, count: usize) -> Vec<v1::LeasedEvent> {
        let mut events = Vec::new();
        while events.len() < count {
            match self.next().await.unwrap() {
                Response::Events(more) => events.extend(more.events),
                Response::Results(results) => panic!("nothing was asked: {results:?}"),
            }
        }
        assert_eq!(events.len(), count);
        events
    }

    /// The results of a change, and the events that came before them.
    async fn change(&mut self, change: Request) -> (Vec<v1::LeaseOutcome>, Vec<v1::LeasedEvent>) {
        self.send(change).await;
        let mut events = Vec::new();
        loop {
            match self.next().await.unwrap() {
                Response::Events(more) => events.extend(more.events),
                Response::Results(results) => {
                    return (results.results.iter().map(v1::LeaseResult::outcome).collect(), events);
                }
            }
        }
    }
}

fn leases(events: &[v1::LeasedEvent]) -> Vec<String> {
    events.iter().map(|event| event.lease.clone()).collect()
}

fn ack(events: &[v1::LeasedEvent]) -> Request {
    Request::Ack(v1::AckLeases { leases: leases(events) })
}

fn attempts(events: &[v1::LeasedEvent]) -> Vec<(u64, u32)> {
    events.iter().map(|event| (event.event.as_ref().unwrap().offset, event.attempt)).collect()
}

fn grpc_address(relay: &mut RelayProcess) -> SocketAddr {
    let line = relay.wait_for_line(|line| line.contains("Listening on grpc://")).unwrap();
    line.split("://").nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_consumer_gets_as_many_as_it_may_hold_and_loses_them_when_it_goes() {
    let directory = tempfile::tempdir().unwrap();
    let mut relay = start(directory.path(), "start = \"earliest\"");
    let (http, grpc) = (relay.http(), grpc_address(&mut relay));
    let mut one = Consumer::open(grpc, begin("jobs", 10, 60_000)).await.unwrap();
    publish(http, 0..100);
    let first = one.events(10).await;
    assert_eq!(attempts(&first), (0..10).map(|n| (n, 1)).collect::<Vec<_>>());
    let mut other = Consumer::open(grpc, begin("jobs", 5, 60_000)).await.unwrap();
    let others = other.events(5).await;
    assert_eq!(attempts(&others), (10..15).map(|n| (n, 1)).collect::<Vec<_>>());

    let (outcomes, early) = one.change(ack(&first[..4])).await;
    assert_eq!(outcomes, [v1::LeaseOutcome::Acked; 4]);
    let more = match early.len() {
        0 => one.events(4).await,
        _ => early,
    };
    assert_eq!(attempts(&more), (15..19).map(|n| (n, 1)).collect::<Vec<_>>(), "what was settled makes room");
    let again = Request::Extend(v1::ExtendLeases { leases: leases(&first[3..5]), lease_ms: 60_000 });
    let (outcomes, _) = one.change(again).await;
    assert_eq!(outcomes, [v1::LeaseOutcome::Expired, v1::LeaseOutcome::Extended]);

    // Gone without a word.
    drop(one);
    let has_left = move || (leases_ended(http, "left") >= 10.0).then_some(());
    tokio::task::spawn_blocking(move || poll::until("the server to notice", has_left)).await.unwrap();
    let mut held = others;
    for expected in [[4, 5, 6, 7, 8], [9, 15, 16, 17, 18]] {
        let (outcomes, mut next) = other.change(ack(&held)).await;
        assert_eq!(outcomes, [v1::LeaseOutcome::Acked; 5]);
        if next.is_empty() {
            next = other.events(5).await;
        }
        assert_eq!(attempts(&next), expected.map(|offset| (offset, 2)), "at once, and before what is new");
        held = next;
    }

    // An ack over one door counts at the other, and a nack says when.
    let nacked = Request::Nack(v1::NackLeases {
        leases: leases(&held[..1]),
        delay_ms: Some(60_000),
        reason: Some("later".to_owned()),
    });
    let (outcomes, _) = other.change(nacked).await;
    assert_eq!(outcomes, [v1::LeaseOutcome::Nacked]);
    let over_http = ask(http, "ack", &json!({ "leases": leases(&held[1..]) }));
    assert_eq!(results(&over_http), ["acked"; 4]);
    let ending = tokio::task::spawn_blocking(move || relay.terminate());
    let ended = loop {
        if let Err(status) = other.next().await {
            break status;
        }
    };
    assert_eq!(ended.code(), Code::Unavailable);
    drop(other);
    assert!(ending.await.unwrap().success());
}

#[tokio::test]
async fn what_makes_no_sense_ends_the_stream_with_a_stable_code() {
    let directory = tempfile::tempdir().unwrap();
    let mut relay = start(directory.path(), "");
    let grpc = grpc_address(&mut relay);
    let code = |status: &Status| status.get_details_error_info().unwrap().reason;
    for (first, status, reason) in [
        (begin("none", 1, 1000), Code::NotFound, "subscription_not_found"),
        (begin("pushed", 1, 1000), Code::FailedPrecondition, "push_subscription"),
        (begin("jobs", 0, 1000), Code::InvalidArgument, "invalid_pull_request"),
        (begin("jobs", 1001, 1000), Code::InvalidArgument, "invalid_pull_request"),
        (begin("jobs", 1, 999), Code::InvalidArgument, "invalid_pull_request"),
        (begin("jobs", 1, u64::MAX), Code::InvalidArgument, "invalid_pull_request"),
        (ack(&[]), Code::InvalidArgument, "invalid_pull_request"),
    ] {
        let refused = Consumer::open(grpc, first).await.err().unwrap();
        assert_eq!((refused.code(), code(&refused).as_str()), (status, reason));
    }
    let too_many = Request::Ack(v1::AckLeases { leases: vec![String::new(); 1001] });
    for wrong in [Some(too_many), Some(begin("jobs", 1, 1000)), None] {
        let mut consumer = Consumer::open(grpc, begin("jobs", 1, 1000)).await.unwrap();
        consumer.requests.send(v1::ConsumeRequest { request: wrong }).await.unwrap();
        let refused = consumer.next().await.unwrap_err();
        assert_eq!(
            (refused.code(), code(&refused).as_str()),
            (Code::InvalidArgument, "invalid_pull_request")
        );
    }
    let mut consumer = Consumer::open(grpc, begin("jobs", 1, 1000)).await.unwrap();
    let strange = Request::Ack(v1::AckLeases { leases: vec!["x".to_owned(), "A".repeat(32)] });
    assert_eq!(consumer.change(strange).await.0, [v1::LeaseOutcome::Unknown; 2]);
}
