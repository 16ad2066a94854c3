//! The export of traces: what a collector and a receiver get, and that neither's trouble is the publishers'.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

mod harness;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver as Hearing, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use harness::collector::{self, Collector, Span};
use harness::connection::Connection;
use harness::receiver::{Receiver, Reply};
use harness::{DEADLINE, RelayProcess, SMALL_LOG, eventrelay, http, poll};
use rustix::process::Signal;

const EVENT: &[u8] = br#"{"type":"order.created","source":"/shop","data":{"order":1}}"#;
const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT_ID: &str = "b7ad6b7169203331";
const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// A webhook and what it heard: the `traceparent` of each request.
struct Hook {
    receiver: Receiver,
    heard: Hearing<String>,
}

impl Hook {
    /// Answers the first requests as it is told, and then well.
    fn start(first: &'static [u16]) -> Self {
        let (sender, heard) = channel();
        let sender = Mutex::new(sender);
        let count = AtomicUsize::new(0);
        let receiver = Receiver::start(move |request| {
            let traceparent = request.header("traceparent").unwrap_or("none").to_owned();
            sender.lock().unwrap().send(traceparent).unwrap();
            let place = count.fetch_add(1, Ordering::SeqCst);
            Reply::Status(first.get(place).copied().unwrap_or(204))
        });
        Self { receiver, heard }
    }

    fn next(&self) -> String {
        self.heard.recv_timeout(DEADLINE).unwrap()
    }

    fn subscription(&self) -> String {
        let url = self.receiver.url("/hook");
        format!(
            "[egress]\nallow_private_addresses = true\n[[subscriptions]]\nname = \"hook\"\norder = \"strict\"\n\
             retry = {{ initial_backoff_ms = 1 }}\nsink = {{ kind = \"webhook\", url = \"{url}\", unsigned = true }}\n"
        )
    }
}

fn start(configuration: &str) -> (RelayProcess, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    (RelayProcess::start(directory.path(), &format!("{SMALL_LOG}\n{configuration}")), directory)
}

fn publish(relay: &RelayProcess, traceparent: &str) -> http::Answer {
    publish_body(relay, traceparent, EVENT)
}

fn publish_body(relay: &RelayProcess, traceparent: &str, body: &[u8]) -> http::Answer {
    let headers = [("Content-Type", "application/json"), ("traceparent", traceparent)];
    Connection::open(relay.http()).unwrap().post("/v1/events", &headers, body).unwrap()
}

#[track_caller]
fn assert_below_the_caller(span: &Span, name: &str, kind: u64) {
    assert_eq!((span.name.as_str(), span.kind), (name, kind), "{span:?}");
    assert_eq!((span.trace_id.as_str(), span.parent_id.as_str()), (TRACE_ID, PARENT_ID), "{span:?}");
    assert!(span.started_nanos > 0 && span.ended_nanos >= span.started_nanos, "{span:?}");
    assert_eq!((span.service.as_str(), span.attribute("eventrelay.tenant")), ("tested", "default"));
}

#[test]
fn a_publish_and_its_delivery_are_spans_and_the_receiver_is_below_the_delivery() {
    let (collector, hook) = (Collector::start(), Hook::start(&[]));
    let (relay, _directory) = start(&(collector.configuration("") + &hook.subscription()));
    let receipt = publish(&relay, SAMPLED);
    assert_eq!(receipt.status, 201, "{receipt:?}");
    let heard = hook.next();

    let spans = collector.wait_for(2);
    let [published, delivered] = &spans[..] else { panic!("{spans:?}") };
    assert_below_the_caller(published, "publish", 2);
    assert_eq!(published.attribute("eventrelay.door"), "http");
    assert_eq!(published.attribute("eventrelay.event.count"), "1");
    assert_eq!(published.attribute("cloudevents.event_type"), "order.created");
    assert_eq!(published.attribute("eventrelay.outcome"), "accepted");
    assert_below_the_caller(delivered, "deliver", 3);
    assert_eq!(delivered.attribute("messaging.destination.subscription.name"), "hook");
    assert_eq!(delivered.attribute("messaging.message.id"), receipt.json()["id"].as_str().unwrap());
    assert_eq!(delivered.attribute("eventrelay.sink.kind"), "webhook");
    assert_eq!(delivered.attribute("eventrelay.delivery.attempt"), "1");
    assert_eq!(delivered.attribute("eventrelay.outcome"), "delivered");
    assert_eq!(delivered.attribute("http.response.status_code"), "204");
    assert!(!published.is_error && !delivered.is_error);
    assert_ne!(published.span_id, delivered.span_id);
    assert_eq!(heard, format!("00-{TRACE_ID}-{}-01", delivered.span_id));
}

#[test]
fn what_the_caller_does_not_record_is_not_exported_and_goes_on_unchanged() {
    let (collector, hook) = (Collector::start(), Hook::start(&[]));
    let (relay, _directory) = start(&(collector.configuration("") + &hook.subscription()));
    for traceparent in [UNSAMPLED, "no trace"] {
        assert_eq!(publish(&relay, traceparent).status, 201);
    }
    assert_eq!((hook.next().as_str(), hook.next().as_str()), (UNSAMPLED, "none"));
    // Spans keep their order, so those of the others would have come before.
    assert_eq!(publish(&relay, SAMPLED).status, 201);
    collector.wait_for(2);
    assert_eq!(relay.terminate().code(), Some(0));
    assert_eq!(collector.spans().len(), 2, "{:?}", collector.spans());
}

#[test]
fn with_no_collector_a_trace_goes_on_unchanged() {
    let hook = Hook::start(&[]);
    let (relay, _directory) = start(&hook.subscription());
    assert_eq!(publish(&relay, SAMPLED).status, 201);
    assert_eq!(hook.next(), SAMPLED);
}

#[test]
fn every_attempt_has_a_span_and_failures_say_why() {
    let (collector, hook) = (Collector::start(), Hook::start(&[500]));
    let (relay, _directory) = start(&(collector.configuration("") + &hook.subscription()));
    assert_eq!(publish_body(&relay, SAMPLED, b"{").status, 400);
    assert_eq!(publish(&relay, SAMPLED).status, 201);
    let spans = collector.wait_for(4);
    let [refused, published, failed, delivered] = &spans[..] else { panic!("{spans:?}") };
    assert_below_the_caller(refused, "publish", 2);
    assert!(refused.is_error && !published.is_error, "{spans:?}");
    assert_eq!(refused.attribute("eventrelay.outcome"), "malformed_json");
    assert_eq!(refused.attribute("error.type"), "malformed_json");
    assert!(failed.is_error && !delivered.is_error, "{spans:?}");
    assert_eq!(
        (failed.attribute("eventrelay.outcome"), failed.attribute("eventrelay.delivery.attempt")),
        ("retry", "1")
    );
    assert_eq!(failed.attribute("http.response.status_code"), "500");
    assert_eq!(delivered.attribute("eventrelay.delivery.attempt"), "2");
    // Each receiver's span is below its own attempt's.
    assert_eq!(hook.next(), format!("00-{TRACE_ID}-{}-01", failed.span_id));
    assert_eq!(hook.next(), format!("00-{TRACE_ID}-{}-01", delivered.span_id));
}

#[test]
fn lines_over_tcp_are_publishes_of_their_own() {
    let collector = Collector::start();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("eventrelay.toml"),
        format!("{SMALL_LOG}{}", collector.configuration("")),
    )
    .unwrap();
    let mut command = eventrelay(directory.path());
    command.args(["serve", "--http-listen", "127.0.0.1:0", "--tcp-lines-listen", "127.0.0.1:0"]);
    let mut relay = RelayProcess::spawn(command).unwrap();
    let line = relay.wait_for_line(|line| line.contains("for lines of JSON")).unwrap();
    let address = line.split("tcp://").nth(1).unwrap().split(' ').next().unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    let line = |id: &str, data: u8, traceparent: &str| {
        format!(
            "{{\"type\":\"t\",\"source\":\"/s\",\"id\":\"{id}\",\"data\":{data},\
             \"headers\":{{\"traceparent\":\"{traceparent}\"}}}}\n"
        )
    };
    // The second reuses the first one's id for another event, in one batch with it.
    let lines =
        line("1", 1, SAMPLED) + &line("1", 2, SAMPLED) + &line("2", 1, UNSAMPLED) + &line("3", 1, SAMPLED);
    client.write_all(lines.as_bytes()).unwrap();
    let answers = BufReader::new(&client).lines().take(4).collect::<Result<Vec<_>, _>>().unwrap();
    assert!(answers[1].contains("idempotency_key_reused"), "{answers:?}");
    let spans = collector.wait_for(3);
    assert_eq!(relay.terminate().code(), Some(0));
    let outcomes: Vec<&str> = spans.iter().map(|span| span.attribute("eventrelay.outcome")).collect();
    assert_eq!(outcomes, ["accepted", "idempotency_key_reused", "accepted"]);
    for span in &spans {
        assert_below_the_caller(span, "publish", 2);
        assert_eq!(
            (span.attribute("eventrelay.door"), span.attribute("eventrelay.event.count")),
            ("tcp", "1")
        );
    }
    assert_eq!(collector.spans().len(), 3);
}

#[test]
fn a_collector_that_is_busy_gets_the_spans_later() {
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let collector = Collector::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), move |_| {
        Reply::Status(if counted.fetch_add(1, Ordering::SeqCst) < 2 { 503 } else { 200 })
    });
    let (mut relay, _directory) = start(&collector.configuration(""));
    assert_eq!(publish(&relay, SAMPLED).status, 201);
    assert_below_the_caller(&collector.wait_for(1)[0], "publish", 2);
    assert_eq!(requests.load(Ordering::SeqCst), 3);
    relay.wait_for_line(|line| line.contains("the collector takes traces again")).unwrap();
    assert_eq!(warnings(&mut relay), 1);
}

#[test]
fn a_collector_that_is_down_is_warned_about_once_and_gets_spans_when_it_is_back() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (mut relay, _directory) = start(&collector::configuration(address, ""));
    for failures in 1..=3 {
        assert_eq!(publish(&relay, SAMPLED).status, 201);
        poll::until("an export fails", || {
            let failed = metric(&relay, "eventrelay_telemetry_failed_exports_total");
            (failed >= failures).then_some(())
        });
    }
    let collector = Collector::start_at(address, |_| Reply::Status(200));
    assert_eq!(publish(&relay, SAMPLED).status, 201);
    collector.wait_for(1);
    relay.wait_for_line(|line| line.contains("the collector takes traces again")).unwrap();
    assert_eq!(warnings(&mut relay), 1);
}

#[test]
fn a_collector_that_hangs_holds_up_neither_publishers_nor_the_end() {
    let (hold, held) = channel::<()>();
    let held = Mutex::new(held);
    let collector = Collector::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), move |_| {
        // Until the test is over.
        let _ = held.lock().map(|held| held.recv());
        Reply::HangUp
    });
    let more = "otlp_timeout_ms = 3600000\nmax_queued_spans = 10\nmax_batch_spans = 5";
    let (mut relay, _directory) = start(&collector.configuration(more));
    let mut connection = Connection::open(relay.http()).unwrap();
    let headers = [("Content-Type", "application/json"), ("traceparent", SAMPLED)];
    for _ in 0..100 {
        assert_eq!(connection.post("/v1/events", &headers, EVENT).unwrap().status, 201);
    }
    let full = "eventrelay_telemetry_dropped_spans_total{reason=\"queue_full\"}";
    let dropped = metric(&relay, full);
    assert!((80..=95).contains(&dropped), "{dropped}");
    let began = Instant::now();
    relay.signal(Signal::TERM);
    assert!(relay.ends_within(Duration::from_secs(30)), "after {:?}", began.elapsed());
    assert_eq!(relay.wait().code(), Some(0));
    let said = relay.everything_said();
    assert!(said.contains("stopped before all traces were exported"), "{said}");
    drop(hold);
}

/// A metric's value; 0 where there is none.
fn metric(relay: &RelayProcess, name: &str) -> u64 {
    let page = http::get(relay.http(), "/metrics").body;
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse().unwrap())
}

fn warnings(relay: &mut RelayProcess) -> usize {
    relay.everything_said().matches("traces cannot be exported").count()
}
