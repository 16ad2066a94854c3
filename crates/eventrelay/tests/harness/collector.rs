//! An OpenTelemetry collector as far as tests need one: it takes spans over OTLP/HTTP and keeps them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use super::poll;
use super::protobuf::Message;
use super::receiver::{Receiver, Reply, Request};

/// A span as it came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Span {
    pub(crate) service: String,
    pub(crate) trace_id: String,
    pub(crate) span_id: String,
    pub(crate) parent_id: String,
    pub(crate) name: String,
    /// 2 is a server's, 3 a client's, 4 a producer's.
    pub(crate) kind: u64,
    pub(crate) started_nanos: u64,
    pub(crate) ended_nanos: u64,
    /// Numbers as decimals.
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) is_error: bool,
}

impl Span {
    /// An attribute; empty where it is absent.
    pub(crate) fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

/// Listens until it is dropped.
#[derive(Debug)]
pub(crate) struct Collector {
    receiver: Receiver,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    /// Takes everything.
    pub(crate) fn start() -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), |_| Reply::Status(200))
    }

    /// Lets `reply` decide on each request, and keeps the spans of those that it answers with 200.
    pub(crate) fn start_at(
        address: SocketAddr,
        reply: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let spans = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&spans);
        let receiver = Receiver::start_at(address, move |request| {
            assert_eq!(request.path, "/v1/traces");
            assert_eq!(request.header("content-type"), Some("application/x-protobuf"));
            let reply = reply(request);
            if reply == Reply::Status(200) {
                kept.lock().unwrap().extend(spans_of(&request.body));
            }
            reply
        });
        Self { receiver, spans }
    }

    /// What the server's configuration is to have; `more` are further keys of the section.
    pub(crate) fn configuration(&self, more: &str) -> String {
        configuration(self.receiver.address(), more)
    }

    /// Waits until there are so many spans, and gives them in the order of their beginnings.
    pub(crate) fn wait_for(&self, count: usize) -> Vec<Span> {
        let mut spans = poll::until(&format!("{count} spans"), || {
            let spans = self.spans.lock().unwrap();
            (spans.len() >= count).then(|| spans.clone())
        });
        spans.sort_by_key(|span| span.started_nanos);
        spans
    }

    /// The spans that there are.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap().clone()
    }
}

/// The section that has a server export to this address.
pub(crate) fn configuration(collector: SocketAddr, more: &str) -> String {
    format!(
        "[telemetry]\notlp_endpoint = \"http://{collector}\"\nexport_interval_ms = 20\nservice_name = \"tested\"\n{more}\n"
    )
}

/// The spans of an `ExportTraceServiceRequest`.
fn spans_of(body: &[u8]) -> Vec<Span> {
    let mut spans = Vec::new();
    for resource_spans in Message::read(body).all(1).map(Message::read) {
        let resource = attributes(&Message::read(resource_spans.bytes(1)), 1);
        for scope_spans in resource_spans.all(2).map(Message::read) {
            spans.extend(scope_spans.all(2).map(|span| span_of(span, &resource["service.name"])));
        }
    }
    spans
}

fn span_of(bytes: &[u8], service: &str) -> Span {
    let span = Message::read(bytes);
    Span {
        service: service.to_owned(),
        trace_id: hex(span.bytes(1)),
        span_id: hex(span.bytes(2)),
        parent_id: hex(span.bytes(4)),
        name: span.text(5),
        kind: span.number(6),
        started_nanos: span.number(7),
        ended_nanos: span.number(8),
        attributes: attributes(&span, 9),
        is_error: Message::read(span.bytes(15)).number(3) == 2,
    }
}

fn attributes(message: &Message<'_>, number: u64) -> BTreeMap<String, String> {
    let pairs = message.all(number).map(|pair| {
        let pair = Message::read(pair);
        let value = Message::read(pair.bytes(2));
        let text = value.text(1);
        (pair.text(1), if text.is_empty() { value.number(3).to_string() } else { text })
    });
    pairs.collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
