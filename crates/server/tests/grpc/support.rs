//! A server to test, and what its clients need.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use eventrelay_event::StoredEvent;
use eventrelay_ingest::{PublishLimits, Publisher, PublisherMetrics};
use eventrelay_log::disk::{DurableWrites, RealDisk};
use eventrelay_log::{Log, Options};
use eventrelay_server::auth::ApiKeys;
use eventrelay_server::grpc::{GrpcMetrics, GrpcOptions, GrpcServer, GrpcServices};
use eventrelay_server::proto::v1;
use eventrelay_server::proto::v1::event_relay_client::EventRelayClient;
use eventrelay_server::{
    DeliveriesUnreadable, Delivery, DeliveryState, Drained, SubscriptionHealth, SubscriptionsHealth,
};
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};
use tonic_types::StatusExt;

use crate::api_keys::{self, Admittance};

/// Longer than anything that a test waits for; reached only when the server hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Subscriptions that have of every event what a test says; `None` where that cannot be read.
pub(crate) struct FakeSubscriptions(pub(crate) Mutex<Option<Vec<DeliveryState>>>);

impl SubscriptionsHealth for FakeSubscriptions {
    fn subscriptions(&self) -> Vec<SubscriptionHealth> {
        Vec::new()
    }

    fn deliveries_of(&self, _: &StoredEvent) -> Result<Vec<Delivery>, DeliveriesUnreadable> {
        let states = self.0.lock().unwrap().clone();
        let states = states.ok_or_else(|| DeliveriesUnreadable { why: "a secret path".to_owned() })?;
        let named = |(place, state)| Delivery { subscription: format!("s{place}"), state };
        Ok(states.into_iter().enumerate().map(named).collect())
    }
}

/// A running server.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) log: Log,
    pub(crate) api_keys: Arc<ApiKeys>,
    pub(crate) subscriptions: Arc<FakeSubscriptions>,
    registry: Registry,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<Drained>,
    _directory: tempfile::TempDir,
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut GrpcOptions)) -> Self {
        Self::start_asking_for_keys(false, change).await
    }

    /// A server whose clients have to show keys, if so.
    pub(crate) async fn start_asking_for_keys(
        keys_required: bool,
        change: impl FnOnce(&mut GrpcOptions),
    ) -> Self {
        Self::start_admitting(Admittance { keys_required, ..Default::default() }, change).await
    }

    /// A server that lets in who it is told to, and so many.
    pub(crate) async fn start_admitting(
        admittance: Admittance,
        change: impl FnOnce(&mut GrpcOptions),
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut log_options = Options::new(directory.path().to_owned());
        (log_options.segment_bytes, log_options.max_commit_bytes) = (4 << 20, 1 << 20);
        let log = tokio::task::spawn_blocking(move || {
            Log::open(Arc::new(RealDisk::new(DurableWrites::Buffered)), log_options).unwrap()
        });
        let log = log.await.unwrap();
        let mut options = GrpcOptions { listen: "127.0.0.1:0".parse().unwrap(), ..GrpcOptions::default() };
        change(&mut options);
        let mut registry = Registry::default();
        let metrics = GrpcMetrics::default();
        metrics.register(&mut registry);
        let publisher =
            Arc::new(Publisher::new(log.clone(), PublishLimits::default(), PublisherMetrics::default()));
        let (api_keys, _) = api_keys::open(directory.path(), &log, admittance).await;
        let subscriptions = Arc::new(FakeSubscriptions(Mutex::new(Some(Vec::new()))));
        let services = GrpcServices {
            publisher,
            log: log.clone(),
            api_keys: Arc::clone(&api_keys),
            subscriptions: Arc::clone(&subscriptions) as Arc<dyn SubscriptionsHealth>,
            consumers: eventrelay_delivery::pull::Consumers::default(),
            metrics,
        };
        let (server, address) = GrpcServer::bind(&options, services).unwrap();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(server.run(async move {
            let _ = stopped.await;
        }));
        Self {
            address,
            log,
            api_keys,
            subscriptions,
            registry,
            stop: Some(stop),
            running,
            _directory: directory,
        }
    }

    pub(crate) async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    pub(crate) async fn client(&self) -> EventRelayClient<Channel> {
        EventRelayClient::new(self.channel().await)
    }

    /// What the metrics say.
    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }

    /// Tells the server to stop.
    pub(crate) fn begin_shutdown(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits for the server to have stopped.
    pub(crate) async fn stopped(self) -> Drained {
        within(self.running).await.unwrap()
    }

    /// Checks that nothing was stored, and that a well-formed publish still works.
    pub(crate) async fn assert_unharmed(&self) {
        assert_eq!(self.log.durable_offset(), 0, "something was stored");
        let receipts = publish(&mut self.client().await, vec![event("t")]).await.unwrap();
        assert_eq!((receipts[0].offset, self.log.durable_offset()), (0, 1));
    }
}

/// The smallest event of a type.
pub(crate) fn event(event_type: &str) -> v1::Event {
    v1::Event { r#type: event_type.to_owned(), source: "/s".to_owned(), ..v1::Event::default() }
}

/// An event with a key.
pub(crate) fn keyed(event_type: &str, key: &str) -> v1::Event {
    v1::Event { idempotency_key: Some(key.to_owned()), ..event(event_type) }
}

pub(crate) async fn publish(
    client: &mut EventRelayClient<Channel>,
    events: Vec<v1::Event>,
) -> Result<Vec<v1::Receipt>, Status> {
    Ok(within(client.publish(v1::PublishRequest { events })).await?.into_inner().receipts)
}

/// The stable code of a refusal.
pub(crate) fn code(status: &Status) -> String {
    status.get_details_error_info().unwrap_or_else(|| panic!("{status:?} has no details")).reason
}

/// Fails when it takes too long.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("the server answers")
}

/// A stream of a client's: what it sends, and what comes back.
pub(crate) struct Conversation {
    pub(crate) sender: Option<mpsc::Sender<v1::PublishStreamRequest>>,
    answers: Streaming<v1::PublishStreamResponse>,
    ready: std::collections::VecDeque<v1::PublishResult>,
    /// How many answers have come.
    pub(crate) messages: usize,
}

impl Conversation {
    pub(crate) async fn open(client: &mut EventRelayClient<Channel>) -> Self {
        let (sender, receiver) = mpsc::channel(1024);
        let requests = futures_util::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|request| (request, receiver))
        });
        let answers = within(client.publish_stream(requests)).await.unwrap().into_inner();
        Self { sender: Some(sender), answers, ready: [].into(), messages: 0 }
    }

    pub(crate) async fn send(&self, sequence: u64, events: Vec<v1::Event>) {
        let request = v1::PublishStreamRequest { sequence, events };
        within(self.sender.as_ref().unwrap().send(request)).await.unwrap();
    }

    /// Sends, unless that takes longer than any server needs that wants more.
    pub(crate) async fn takes(&self, sequence: u64, events: Vec<v1::Event>) -> bool {
        let request = v1::PublishStreamRequest { sequence, events };
        let sending = self.sender.as_ref().unwrap().send(request);
        tokio::time::timeout(Duration::from_millis(500), sending).await.is_ok()
    }

    /// Sends no more.
    pub(crate) fn half_close(&mut self) {
        self.sender = None;
    }

    /// The next result; none at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<v1::PublishResult>, Status> {
        while self.ready.is_empty() {
            let Some(answer) = within(self.answers.message()).await? else { return Ok(None) };
            self.messages += 1;
            self.ready = answer.results.into();
        }
        Ok(self.ready.pop_front())
    }
}
