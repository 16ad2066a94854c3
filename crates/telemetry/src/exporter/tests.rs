//! The export against a collector of a few lines.

use std::io::Read;
use std::net::SocketAddr;

use eventrelay_event::{Event, TRACEPARENT, Tenant};
use prost::Message;
use rustls::RootCertStore;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::proto::collector::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use crate::{Compression, Door, HeaderText, Spans};

/// Longer than anything takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// What the collector does with a request.
#[derive(Clone)]
enum Reply {
    /// Answers with a status line's rest, more headers and a body.
    Answer(&'static str, Vec<u8>),
    /// Never answers.
    Hang,
}

/// A request as it came.
struct Received {
    head: String,
    spans: usize,
}

struct FakeCollector {
    address: SocketAddr,
    received: mpsc::Receiver<Received>,
    _task: AbortOnDropHandle<()>,
}

impl FakeCollector {
    /// Gives these answers, one after the other, and the last of them again and again.
    async fn start(replies: Vec<Reply>) -> Self {
        Self::start_with(replies, None).await
    }

    async fn start_with(replies: Vec<Reply>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, received) = mpsc::channel(100);
        let task = tokio::spawn(async move {
            let mut replies = replies.into_iter().peekable();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                match &tls {
                    None => serve(stream, &mut replies, &sender).await,
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => serve(stream, &mut replies, &sender).await,
                        Err(_not_believed) => {}
                    },
                }
            }
        });
        Self { address, received, _task: AbortOnDropHandle::new(task) }
    }

    fn options(&self) -> TelemetryOptions {
        options(&format!("http://{}", self.address))
    }

    async fn next(&mut self) -> Received {
        timeout(DEADLINE, self.received.recv()).await.unwrap().unwrap()
    }
}

fn options(endpoint: &str) -> TelemetryOptions {
    TelemetryOptions {
        otlp_endpoint: Some(endpoint.to_owned()),
        export_interval_ms: 10,
        ..TelemetryOptions::default()
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    replies: &mut std::iter::Peekable<std::vec::IntoIter<Reply>>,
    received: &mpsc::Sender<Received>,
) {
    while let Some((head, body)) = read_request(&mut stream).await {
        let body = if head.contains("content-encoding: gzip") {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&*body).read_to_end(&mut plain).unwrap();
            plain
        } else {
            body
        };
        let request = ExportTraceServiceRequest::decode(&*body).unwrap();
        let spans = request.resource_spans[0].scope_spans[0].spans.len();
        received.send(Received { head, spans }).await.unwrap();
        let reply = replies.peek().cloned().unwrap();
        if replies.len() > 1 {
            replies.next();
        }
        match reply {
            Reply::Answer(status, body) => {
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
            }
            // Until the client gives up, which ends the connection.
            Reply::Hang => drop(stream.read(&mut [0]).await),
        }
    }
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    let mut body = bytes.split_off(end);
    while body.len() < length {
        assert!(stream.read_buf(&mut body).await.unwrap() > 0);
    }
    Some((head, body))
}

fn push(spans: &Spans, count: usize) {
    let mut event = Event::new(Tenant::default(), "t".to_owned(), "/s".to_owned());
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    event.headers.push((TRACEPARENT.to_owned(), traceparent.to_owned()));
    for _ in 0..count {
        let mut publish = spans.publish(Door::Http, &Tenant::default());
        publish.events(std::slice::from_ref(&event));
        publish.accepted();
    }
}

fn start(options: &TelemetryOptions) -> (Spans, Exporter, TelemetryMetrics) {
    let metrics = TelemetryMetrics::default();
    let (spans, exporter) = crate::start(options, metrics.clone()).unwrap();
    (spans, exporter.unwrap(), metrics)
}

#[track_caller]
fn assert_counted(metrics: &TelemetryMetrics, lines: &[&str]) {
    let shown = metrics.shown();
    let counted: Vec<&str> = shown
        .lines()
        .filter_map(|line| line.strip_prefix("eventrelay_telemetry_"))
        .filter(|line| !line.ends_with(" 0"))
        .collect();
    assert_eq!(counted, lines);
}

fn ok() -> Reply {
    Reply::Answer("200 OK", Vec::new())
}

#[tokio::test]
async fn a_batch_is_sent_when_it_is_full_and_the_rest_at_the_end() {
    let mut collector = FakeCollector::start(vec![ok()]).await;
    let (spans, exporter, metrics) =
        start(&TelemetryOptions { max_batch_spans: 2, export_interval_ms: 3_600_000, ..collector.options() });
    push(&spans, 3);
    let first = collector.next().await;
    assert_eq!(first.spans, 2);
    assert!(first.head.starts_with("post /v1/traces http/1.1\r\n"), "{}", first.head);
    assert!(first.head.contains("content-type: application/x-protobuf\r\n"), "{}", first.head);
    exporter.shutdown().await;
    assert_eq!(collector.next().await.spans, 1);
    push(&spans, 1);
    assert_counted(&metrics, &["exported_spans_total 3", "dropped_spans_total{reason=\"shutdown\"} 1"]);
}

#[tokio::test]
async fn a_lone_span_is_sent_when_its_time_has_come() {
    let mut collector = FakeCollector::start(vec![ok()]).await;
    let (spans, exporter, metrics) = start(&collector.options());
    for _ in 0..2 {
        push(&spans, 1);
        assert_eq!(collector.next().await.spans, 1);
    }
    exporter.shutdown().await;
    assert_counted(&metrics, &["exported_spans_total 2"]);
}

#[tokio::test]
async fn a_request_has_the_configured_headers_and_compression() {
    let mut collector = FakeCollector::start(vec![ok()]).await;
    let headers = [("Authorization".to_owned(), HeaderText::new("Bearer canary".to_owned()))].into();
    let compressed = TelemetryOptions {
        otlp_headers: headers,
        otlp_compression: Compression::Gzip,
        ..collector.options()
    };
    let (spans, exporter, _) = start(&compressed);
    push(&spans, 5);
    let request = collector.next().await;
    assert!(request.head.contains("authorization: bearer canary\r\n"), "{}", request.head);
    assert!(request.head.contains("content-encoding: gzip\r\n"), "{}", request.head);
    exporter.shutdown().await;
}

#[tokio::test]
async fn what_the_collector_cannot_take_now_is_sent_again() {
    let busy = Reply::Answer("503 -\r\nRetry-After: 0", Vec::new());
    let slow_down = Reply::Answer("429 -", Vec::new());
    let mut collector = FakeCollector::start(vec![busy, slow_down, ok()]).await;
    let (spans, exporter, metrics) = start(&collector.options());
    push(&spans, 1);
    for _ in 0..3 {
        assert_eq!(collector.next().await.spans, 1);
    }
    push(&spans, 1);
    assert_eq!(collector.next().await.spans, 1);
    exporter.shutdown().await;
    assert_counted(&metrics, &["exported_spans_total 2", "failed_exports_total 2"]);
}

#[tokio::test]
async fn what_the_collector_refuses_is_not_sent_again() {
    for status in ["400 -", "500 -", "307 -\r\nLocation: /elsewhere"] {
        let mut collector = FakeCollector::start(vec![Reply::Answer(status, Vec::new()), ok()]).await;
        let (spans, exporter, metrics) = start(&collector.options());
        push(&spans, 1);
        assert_eq!(collector.next().await.spans, 1);
        push(&spans, 1);
        assert_eq!(collector.next().await.spans, 1);
        exporter.shutdown().await;
        let refused = "dropped_spans_total{reason=\"export_failed\"} 1";
        assert_counted(&metrics, &["exported_spans_total 1", refused, "failed_exports_total 1"]);
    }
}

#[tokio::test]
async fn spans_that_the_collector_rejects_are_counted() {
    let partial = ExportTracePartialSuccess { rejected_spans: 2, error_message: "too long".to_owned() };
    let answer = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    let mut collector = FakeCollector::start(vec![Reply::Answer("200 OK", answer)]).await;
    let (spans, exporter, metrics) = start(&TelemetryOptions { max_batch_spans: 5, ..collector.options() });
    push(&spans, 5);
    let mut sent = 0;
    while sent < 5 {
        sent += collector.next().await.spans;
    }
    exporter.shutdown().await;
    assert!(metrics.shown().contains("dropped_spans_total{reason=\"rejected\"} 2"), "{}", metrics.shown());
}

#[tokio::test]
async fn the_end_does_not_wait_for_a_collector_that_hangs() {
    let mut collector = FakeCollector::start(vec![Reply::Hang]).await;
    let (spans, exporter, metrics) = start(&TelemetryOptions { otlp_timeout_ms: 300, ..collector.options() });
    push(&spans, 1);
    collector.next().await;
    push(&spans, 2);
    let began = Instant::now();
    exporter.shutdown().await;
    assert!(began.elapsed() < MAX_FLUSH, "{:?}", began.elapsed());
    let shown = metrics.shown();
    let dropped: u64 = shown
        .lines()
        .filter(|line| line.starts_with("eventrelay_telemetry_dropped_spans_total{"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(dropped, 3, "{shown}");
}

/// In virtual time, which passes while nothing else can be done.
#[tokio::test(start_paused = true)]
async fn a_dead_collector_costs_its_spans_and_the_task_goes_on() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let (spans, exporter, metrics) = start(&TelemetryOptions { max_queued_spans: 4, ..options(&endpoint) });
    for given_up in 1..=2 {
        push(&spans, 1);
        let line = format!("dropped_spans_total{{reason=\"export_failed\"}} {given_up}\n");
        let dropped = async {
            while !metrics.shown().contains(&line) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(Duration::from_mins(10), dropped).await.unwrap();
        assert!(metrics.shown().contains(&format!("failed_exports_total {}\n", 5 * given_up)));
    }
    exporter.shutdown().await;
}

#[tokio::test]
async fn a_collector_is_spoken_to_over_tls_when_its_certificate_is_believed() {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate = certified.cert.der().clone();
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let mut collector =
        FakeCollector::start_with(vec![ok()], Some(TlsAcceptor::from(Arc::new(config)))).await;
    let options = options(&format!("https://localhost:{}", collector.address.port()));

    let publicly_believed = Collector::new(&options).unwrap().unwrap();
    let error = publicly_believed.send(Bytes::new()).await.unwrap_err();
    assert!(error.is_temporary() && error.to_string().contains("certificate"), "{error}");

    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let believing = Collector::believing(&options, roots).unwrap().unwrap();
    let metrics = TelemetryMetrics::default();
    let (spans, queued) = Spans::new(10, metrics.clone());
    let exporter = Exporter::start(&options, believing, queued, metrics.clone());
    push(&spans, 1);
    assert_eq!(collector.next().await.spans, 1);
    exporter.shutdown().await;
    assert_counted(&metrics, &["exported_spans_total 1"]);
}
