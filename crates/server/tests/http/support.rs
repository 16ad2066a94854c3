//! A server to test, and a client that can be as rude as a test needs.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use eventrelay_delivery::{Engine, EngineOptions, Target};
use eventrelay_event::{StoredEvent, Timestamp};
use eventrelay_ingest::{PublishLimits, Publisher, PublisherMetrics};
use eventrelay_log::disk::{DurableWrites, RealDisk};
use eventrelay_log::{Log, Options};
use eventrelay_server::auth::ApiKeys;
use eventrelay_server::http::{CompatOptions, HttpMetrics, HttpServer, ServerOptions, Services};
use eventrelay_server::tls::Certificates;
use eventrelay_server::{
    Configuration, ConfigurationProblem, DeliveriesUnreadable, Delivery, DeliveryState, Drained,
    SubscriptionHealth, SubscriptionsHealth,
};
use eventrelay_state::Subscription;
use prometheus_client::registry::Registry;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::api_keys::{self, Admittance};

/// Longer than anything that a test waits for; reached only when the server hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Subscriptions that are whatever a test says.
#[derive(Default)]
pub(crate) struct FakeSubscriptions(pub(crate) Mutex<Vec<SubscriptionHealth>>);

impl SubscriptionsHealth for FakeSubscriptions {
    fn subscriptions(&self) -> Vec<SubscriptionHealth> {
        self.0.lock().unwrap().clone()
    }

    /// Each of them has the event when it is healthy, and never will when it is not.
    fn deliveries_of(&self, event: &StoredEvent) -> Result<Vec<Delivery>, DeliveriesUnreadable> {
        let state = |healthy| match healthy {
            true => DeliveryState::Delivered,
            false => DeliveryState::Dead {
                attempts: 2,
                dead_at: Timestamp(event.append_time_micros()),
                error: "410".to_owned(),
            },
        };
        let subscriptions = self.subscriptions().into_iter();
        Ok(subscriptions.map(|it| Delivery { subscription: it.name, state: state(it.healthy) }).collect())
    }
}

/// A configuration that shows one key, and takes what says nothing else.
#[derive(Debug)]
pub(crate) struct FakeConfiguration;

impl Configuration for FakeConfiguration {
    fn effective(&self) -> Value {
        serde_json::json!({"data_directory": "./data"})
    }

    fn problems_of(&self, toml: &str) -> Vec<ConfigurationProblem> {
        let wrong = (!toml.is_empty()).then(|| "there is no such key".to_owned());
        wrong
            .map(|message| ConfigurationProblem { key: Some(toml.trim().to_owned()), message })
            .into_iter()
            .collect()
    }
}

/// A running server.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) log: Log,
    pub(crate) subscriptions: Arc<FakeSubscriptions>,
    pub(crate) api_keys: Arc<ApiKeys>,
    #[allow(dead_code, reason = "only the tests of TLS have some")]
    pub(crate) certificates: Option<Certificates>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<Drained>,
    _directory: tempfile::TempDir,
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut ServerOptions)) -> Self {
        Self::start_asking_for_keys(false, change).await
    }

    /// A server whose clients have to show keys, if so.
    pub(crate) async fn start_asking_for_keys(
        keys_required: bool,
        change: impl FnOnce(&mut ServerOptions),
    ) -> Self {
        Self::start_admitting(Admittance { keys_required, ..Default::default() }, change).await
    }

    /// A server that lets in who it is told to, and so many.
    pub(crate) async fn start_admitting(
        admittance: Admittance,
        change: impl FnOnce(&mut ServerOptions),
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut log_options = Options::new(directory.path().to_owned());
        (log_options.segment_bytes, log_options.max_commit_bytes) = (4 << 20, 1 << 20);
        let log = tokio::task::spawn_blocking(move || {
            Log::open(Arc::new(RealDisk::new(DurableWrites::Buffered)), log_options).unwrap()
        });
        let log = log.await.unwrap();
        let mut options =
            ServerOptions { listen: "127.0.0.1:0".parse().unwrap(), ..ServerOptions::default() };
        change(&mut options);
        let mut registry = Registry::default();
        let metrics = HttpMetrics::default();
        metrics.register(&mut registry);
        let subscriptions = Arc::new(FakeSubscriptions::default());
        let (api_keys, state) = api_keys::open(directory.path(), &log, admittance).await;
        let targets = Arc::new(|_: &Subscription, _| Ok(Target::Pull));
        let engine =
            Engine::start(log.clone(), state.clone(), Vec::new(), targets, EngineOptions::default()).await;
        let accounts = api_keys::open_accounts(state.clone()).await;
        let services = Services {
            api_keys: Arc::clone(&api_keys),
            accounts,
            state,
            configuration: Arc::new(FakeConfiguration),
            publisher: Arc::new(Publisher::new(
                log.clone(),
                PublishLimits::default(),
                PublisherMetrics::default(),
            )),
            log: log.clone(),
            subscriptions: Arc::clone(&subscriptions) as Arc<dyn SubscriptionsHealth>,
            consumers: eventrelay_delivery::pull::Consumers::default(),
            engine: Arc::new(engine.unwrap()),
            compat: CompatOptions::default(),
            registry: Arc::new(registry),
            metrics,
        };
        let (server, address) = HttpServer::bind(&options, services).unwrap();
        let certificates = server.certificates();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(server.run(async move {
            let _ = stopped.await;
        }));
        let stop = Some(stop);
        Self { address, log, subscriptions, api_keys, certificates, stop, running, _directory: directory }
    }

    pub(crate) async fn connect(&self) -> Client {
        Client::connect(self.address).await
    }

    /// Tells the server to stop.
    pub(crate) fn begin_shutdown(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits for the server to have stopped.
    pub(crate) async fn stopped(self) -> Drained {
        tokio::time::timeout(PATIENCE, self.running).await.expect("the server stops").unwrap()
    }

    /// Checks that nothing was stored, and that a well-formed publish still works.
    pub(crate) async fn assert_unharmed(&self) {
        assert_eq!(self.log.durable_offset(), 0, "something was stored");
        let answer = self.connect().await.publish(r#"{"type":"t","source":"/s"}"#).await;
        assert_eq!((answer.status, self.log.durable_offset()), (201, 1), "{answer:?}");
    }
}

/// An answer, as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.split("\r\n").skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The problem's code, having checked that it is one.
    #[track_caller]
    pub(crate) fn code(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        let code = problem["code"].as_str().unwrap().to_owned();
        assert_eq!(problem["type"], format!("urn:eventrelay:problem:{code}"));
        code
    }
}

/// A client that writes what it is told, byte by byte.
pub(crate) struct Client {
    socket: TcpStream,
    received: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Self { socket, received: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Sends without minding that the server may have hung up.
    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.socket.write_all(bytes.as_ref()).await.is_ok()
    }

    pub(crate) async fn finish_sending(&mut self) {
        self.socket.shutdown().await.unwrap();
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        self.answer().await
    }

    pub(crate) async fn publish(&mut self, json: impl AsRef<[u8]>) -> Answer {
        self.post("Content-Type: application/json\r\n", json).await
    }

    /// Posts to the events; `headers` are whole lines.
    pub(crate) async fn post(&mut self, headers: &str, body: impl AsRef<[u8]>) -> Answer {
        self.send(post(headers, body)).await;
        self.answer().await
    }

    /// Reads one answer with its body.
    pub(crate) async fn answer(&mut self) -> Answer {
        let head = self.read_head().await;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let mut answer = Answer { status, head, body: Vec::new() };
        let length: usize = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        while self.received.len() < length {
            assert!(self.fill().await > 0, "the answer ends early: {answer:?}");
        }
        answer.body = self.received.drain(..length).collect();
        answer
    }

    /// Reads an answer's head, up to the empty line.
    pub(crate) async fn read_head(&mut self) -> String {
        let head = self.read_past(b"\r\n\r\n").await;
        String::from_utf8(head).unwrap().trim_end().to_owned()
    }

    /// Reads up to and with `end`.
    pub(crate) async fn read_past(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(place) = self.received.windows(end.len()).position(|window| window == end) {
                return self.received.drain(..place + end.len()).collect();
            }
            let text = String::from_utf8_lossy(&self.received).into_owned();
            assert!(self.fill().await > 0, "the connection ended before its answer, after {text:?}");
        }
    }

    /// Reads so many bytes.
    pub(crate) async fn read_exactly(&mut self, count: usize) -> Vec<u8> {
        while self.received.len() < count {
            assert!(self.fill().await > 0, "the connection ended within its answer");
        }
        self.received.drain(..count).collect()
    }

    /// Both directions, to be used at once.
    pub(crate) fn split(&mut self) -> (ReceivingHalf<'_>, SendingHalf<'_>) {
        let (reading, writing) = self.socket.split();
        (
            ReceivingHalf { socket: reading, received: std::mem::take(&mut self.received) },
            SendingHalf(writing),
        )
    }

    /// Reads until the server closes or a chunked answer ends.
    pub(crate) async fn until_closed_or_chunk_end(&mut self) -> Vec<u8> {
        while !self.received.ends_with(b"0\r\n\r\n") && self.fill().await > 0 {}
        std::mem::take(&mut self.received)
    }

    /// Waits until the server closes, and gives what it still said.
    pub(crate) async fn until_closed(&mut self) -> Vec<u8> {
        while self.fill().await > 0 {}
        std::mem::take(&mut self.received)
    }

    async fn fill(&mut self) -> usize {
        let read = self.socket.read_buf(&mut self.received);
        match tokio::time::timeout(PATIENCE, read).await.expect("an answer") {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => 0,
            Err(error) => panic!("{error}"),
        }
    }
}

/// What a client receives.
pub(crate) struct ReceivingHalf<'a> {
    socket: tokio::net::tcp::ReadHalf<'a>,
    received: Vec<u8>,
}

impl ReceivingHalf<'_> {
    /// Reads until a chunked answer ends.
    pub(crate) async fn until_chunk_end(&mut self) -> Vec<u8> {
        while !self.received.ends_with(b"0\r\n\r\n") {
            let read = self.socket.read_buf(&mut self.received);
            let count = tokio::time::timeout(PATIENCE, read).await.expect("an answer").unwrap();
            assert!(count > 0, "the connection ended within its answer");
        }
        std::mem::take(&mut self.received)
    }
}

/// What a client sends.
pub(crate) struct SendingHalf<'a>(tokio::net::tcp::WriteHalf<'a>);

impl SendingHalf<'_> {
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }
}

/// A publish with `headers`, which are whole lines.
pub(crate) fn post(headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}
