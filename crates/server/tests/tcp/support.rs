//! A server to test, and a client that can be as rude as a test needs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use eventrelay_event::StoredEvent;
use eventrelay_ingest::{PublishLimits, Publisher, PublisherMetrics};
use eventrelay_log::disk::{DurableWrites, RealDisk};
use eventrelay_log::{Log, Options};
use eventrelay_server::auth::ApiKeys;
use eventrelay_server::tcp::{TcpAddresses, TcpMetrics, TcpOptions, TcpServer};
use eventrelay_server::{Drained, Listen};
use prometheus_client::registry::Registry;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::api_keys::{self, Admittance};

/// Longer than anything that a test waits for; reached only when the server hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running server.
pub(crate) struct TestServer {
    pub(crate) log: Log,
    pub(crate) api_keys: Arc<ApiKeys>,
    addresses: TcpAddresses,
    registry: Registry,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<Drained>,
    _directory: tempfile::TempDir,
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut TcpOptions)) -> Self {
        Self::start_on_log(1 << 20, change).await
    }

    /// With a log whose commits have at most this many bytes.
    pub(crate) async fn start_on_log(max_commit_bytes: usize, change: impl FnOnce(&mut TcpOptions)) -> Self {
        Self::start_admitting(Admittance::default(), max_commit_bytes, change).await
    }

    /// A server that lets in who it is told to, and so many.
    pub(crate) async fn start_admitting(
        admittance: Admittance,
        max_commit_bytes: usize,
        change: impl FnOnce(&mut TcpOptions),
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut log_options = Options::new(directory.path().to_owned());
        (log_options.segment_bytes, log_options.max_commit_bytes) = (4 << 20, max_commit_bytes);
        let log = tokio::task::spawn_blocking(move || {
            Log::open(Arc::new(RealDisk::new(DurableWrites::Buffered)), log_options).unwrap()
        });
        let log = log.await.unwrap();
        let any_port = Listen::At("127.0.0.1:0".parse().unwrap());
        let mut options =
            TcpOptions { frames_listen: any_port, lines_listen: any_port, ..TcpOptions::default() };
        change(&mut options);
        let mut registry = Registry::default();
        let metrics = TcpMetrics::default();
        metrics.register(&mut registry);
        let publisher =
            Arc::new(Publisher::new(log.clone(), PublishLimits::default(), PublisherMetrics::default()));
        let (api_keys, _) = api_keys::open(directory.path(), &log, admittance).await;
        let (server, addresses) =
            TcpServer::bind(&options, publisher, Arc::clone(&api_keys), metrics).unwrap();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(server.run(async move {
            let _ = stopped.await;
        }));
        Self { log, api_keys, addresses, registry, stop: Some(stop), running, _directory: directory }
    }

    pub(crate) fn frames_address(&self) -> SocketAddr {
        self.addresses.frames.unwrap()
    }

    pub(crate) fn lines_address(&self) -> SocketAddr {
        self.addresses.lines.unwrap()
    }

    /// A client of the listener for frames.
    pub(crate) async fn connect(&self) -> Client {
        Client::connect(self.frames_address()).await
    }

    /// A client of the listener for lines.
    pub(crate) async fn connect_lines(&self) -> Client {
        Client::connect(self.lines_address()).await
    }

    /// The event at an offset, read past the server.
    pub(crate) fn stored(&self, offset: u64) -> StoredEvent {
        let record = self.log.read(offset).unwrap().unwrap().record(offset).unwrap();
        StoredEvent::decode(offset, record.append_time_micros, record.payload).unwrap()
    }

    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }

    /// Waits until the metrics say this.
    pub(crate) async fn until_metrics_say(&self, line: &str) {
        let wait = async {
            while !self.metrics().lines().any(|shown| shown == line) {
                tokio::task::yield_now().await;
            }
        };
        let seen = tokio::time::timeout(PATIENCE, wait).await;
        assert!(seen.is_ok(), "no {line:?} in\n{}", self.metrics());
    }

    /// Tells the server to stop.
    pub(crate) fn begin_shutdown(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits for the server to have stopped.
    pub(crate) async fn stopped(self) -> Drained {
        tokio::time::timeout(PATIENCE, self.running).await.expect("the server stops").unwrap()
    }

    /// Checks that a well-formed frame is still taken, and is the event after those that there should be.
    pub(crate) async fn assert_unharmed(&self, stored: u64) {
        assert_eq!(self.log.durable_offset(), stored);
        let mut client = self.connect().await;
        client.send(frame("good")).await;
        assert_eq!(client.receive(1).await, [0]);
        assert_eq!(self.log.durable_offset(), stored + 1);
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

    /// Receives this many bytes.
    pub(crate) async fn receive(&mut self, count: usize) -> Vec<u8> {
        while self.received.len() < count {
            assert!(self.fill().await > 0, "the server closed after {:?}", self.received);
        }
        self.received.drain(..count).collect()
    }

    /// Receives a line of JSON.
    pub(crate) async fn receive_line(&mut self) -> Value {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return serde_json::from_slice(&line).unwrap();
            }
            assert!(self.fill().await > 0, "the server closed after {:?}", self.received);
        }
    }

    /// Waits until the server closes, and gives what it still said.
    pub(crate) async fn until_closed(&mut self) -> Vec<u8> {
        while self.fill().await > 0 {}
        std::mem::take(&mut self.received)
    }

    /// Ends, and gives all that the server said.
    pub(crate) async fn until_closed_after_finish(&mut self) -> Vec<u8> {
        // It may be gone already.
        let _ = self.socket.shutdown().await;
        self.until_closed().await
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

/// A payload behind its length.
pub(crate) fn frame(payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    [&u32::try_from(payload.len()).unwrap().to_le_bytes(), payload].concat()
}

/// An event as a line, with these members beside the required ones.
pub(crate) fn line(members: &str) -> String {
    format!("{{\"type\":\"t\",\"source\":\"/s\"{members}}}\n")
}
