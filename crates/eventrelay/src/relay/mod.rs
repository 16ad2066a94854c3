//! A running relay: its parts, started from the bottom up and shut down from the top down.
//!
//! ```text
//!  start     log ─▶ state ─▶ subscriptions ─▶ sinks ─▶ engine ─▶ publisher ─▶ HTTP
//!  shutdown  HTTP (no new requests; those in flight finish) ─▶ engine (deliveries in flight finish, cursors saved)
//!            ─▶ state ─▶ log
//! ```
//!
//! In this order nothing is acknowledged that is not delivered from, and nothing is delivered that is not remembered.

mod error;
mod health;
pub(crate) mod settings;
mod stores;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use eventrelay_delivery::{Engine, EngineOptions, resolve_start};
use eventrelay_ingest::{Publisher, PublisherMetrics};
use eventrelay_server::http::{HttpMetrics, HttpServer, Services};
use eventrelay_sinks::Sink;
use eventrelay_state::{Subscription, SubscriptionRecord};
use prometheus_client::registry::Registry;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::Config;
use health::EngineHealth;
use stores::Stores;

pub use error::StartError;

/// What a start is told beside the configuration.
#[derive(Debug, Default)]
pub struct StartOptions {
    /// Start with an empty delivery state although the log holds events: every subscription begins anew. An operator's
    /// decision, for when the state file is lost for good.
    pub create_missing_state: bool,
    /// Metrics of the caller's own, shown beside the relay's.
    pub registry: Registry,
}

/// A running relay. Dropping it ends it as a crash would: nothing acknowledged is lost, some deliveries are repeated.
#[derive(Debug)]
pub struct Relay {
    stores: Stores,
    engine: Arc<Engine>,
    publisher: Arc<Publisher>,
    http_address: SocketAddr,
    /// The front door's one task; its end is the front door's.
    http: JoinSet<eventrelay_server::Drained>,
    stop_http: oneshot::Sender<()>,
    shutdown_timeout: Duration,
}

/// How a shutdown went. All zero: everything in flight was finished.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were cut off before their requests were answered.
    pub cut_off_connections: usize,
    /// Calls of sinks that were cut short; their events are delivered again after the next start.
    pub unfinished_calls: usize,
    /// Subscriptions whose last progress was not saved; a part of it is delivered again after the next start.
    pub unsaved_subscriptions: usize,
    /// Whether a part failed instead of ending; the log lines say how.
    pub failed: bool,
}

impl Drained {
    /// Whether everything in flight was finished.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        *self == Self::default()
    }
}

impl Relay {
    /// Opens the log and the state, starts the dispatchers, and listens.
    ///
    /// # Errors
    /// When a part does not start; those that had are shut down again. Nothing damaged is skipped or overwritten.
    pub async fn start(config: Config, options: StartOptions) -> Result<Self, StartError> {
        let stores = Stores::open(&config, options.create_missing_state).await?;
        let started = start_on(&stores, &config, options.registry).await;
        match started {
            Ok(Started { engine, publisher, server, http_address }) => {
                let (stop_http, stopped) = oneshot::channel();
                let mut http = JoinSet::new();
                http.spawn(server.run(async {
                    // An error means that the relay was dropped, which stops the server too.
                    let _ = stopped.await;
                }));
                let shutdown_timeout = Duration::from_millis(config.delivery.shutdown_timeout_ms);
                Ok(Self { stores, engine, publisher, http_address, http, stop_http, shutdown_timeout })
            }
            Err(error) => {
                stores.close().await;
                Err(error)
            }
        }
    }

    /// Where HTTP listens.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// Takes events in process, as the front doors do.
    #[must_use]
    pub fn publisher(&self) -> &Arc<Publisher> {
        &self.publisher
    }

    /// Resolves when the front door has ended without being asked to, which only a fault in the program brings about.
    pub async fn http_ended(&mut self) {
        if let Some(Err(error)) = self.http.join_next().await {
            tracing::error!(%error, "the HTTP server failed");
        }
    }

    /// Takes no more connections, finishes the requests and then the deliveries that are in flight, each within its
    /// timeout, and closes the state and the log.
    pub async fn shutdown(self) -> Drained {
        let Self { stores, engine, mut http, stop_http, shutdown_timeout, .. } = self;
        let mut drained = Drained::default();
        // An error means that the server has ended already.
        let _ = stop_http.send(());
        match http.join_next().await {
            Some(Ok(server)) => drained.cut_off_connections = server.cut_off,
            Some(Err(error)) => {
                tracing::error!(%error, "the HTTP server failed");
                drained.failed = true;
            }
            None => drained.failed = true,
        }
        let report = engine.shutdown(shutdown_timeout).await;
        drained.unfinished_calls = report.unfinished_calls;
        drained.unsaved_subscriptions = report.unsaved_subscriptions;
        drained.failed |= !stores.close().await;
        drained
    }
}

/// The parts that stand on the stores.
struct Started {
    engine: Arc<Engine>,
    publisher: Arc<Publisher>,
    server: HttpServer,
    http_address: SocketAddr,
}

async fn start_on(stores: &Stores, config: &Config, mut registry: Registry) -> Result<Started, StartError> {
    let log = stores.log.clone();
    let subscriptions = reconcile(stores, config).await?;
    let with_sinks = build_sinks(subscriptions, config).await?;
    let checkpoint_interval = Duration::from_millis(config.delivery.checkpoint_interval_ms);
    let engine_options = EngineOptions { checkpoint_interval, ..EngineOptions::default() };
    let engine = Engine::start(log.clone(), stores.state.clone(), with_sinks, engine_options).await?;
    let engine = Arc::new(engine);

    let publisher_metrics = PublisherMetrics::default();
    let http_metrics = HttpMetrics::default();
    log.register_metrics(&mut registry);
    publisher_metrics.register(&mut registry);
    engine.register_metrics(&mut registry);
    http_metrics.register(&mut registry);

    let publisher =
        Arc::new(Publisher::new(log.clone(), settings::publish_limits(config), publisher_metrics));
    let services = Services {
        publisher: Arc::clone(&publisher),
        log,
        subscriptions: Arc::new(EngineHealth(Arc::clone(&engine))),
        registry: Arc::new(registry),
        metrics: http_metrics,
    };
    match HttpServer::bind(&config.http, services) {
        Ok((server, http_address)) => Ok(Started { engine, publisher, server, http_address }),
        Err(error) => {
            engine.shutdown(Duration::from_millis(config.delivery.shutdown_timeout_ms)).await;
            Err(error.into())
        }
    }
}

/// Brings the stored subscriptions in line with the declared ones.
async fn reconcile(stores: &Stores, config: &Config) -> Result<Vec<SubscriptionRecord>, StartError> {
    let log = &stores.log;
    let declared: Vec<Subscription> = config.subscriptions.clone();
    let reconciled = stores.state.reconcile(declared, async |start| resolve_start(log, start).await).await?;
    for record in &reconciled.orphaned {
        tracing::warn!(
            subscription = record.spec.name,
            "this subscription is no longer declared: it keeps its cursor, but delivers nothing"
        );
    }
    Ok(reconciled.declared)
}

/// Makes a sink for each subscription. Sinks read certificates and secrets from files, so not on the runtime.
async fn build_sinks(
    subscriptions: Vec<SubscriptionRecord>,
    config: &Config,
) -> Result<Vec<(SubscriptionRecord, Arc<dyn Sink>)>, StartError> {
    let environment = settings::sink_environment(config);
    let build_all = move || {
        let built = subscriptions.into_iter().map(|record| {
            let sink = settings::build_sink(&record.spec, &environment)
                .map_err(|error| StartError::Sink { subscription: record.spec.name.clone(), error })?;
            Ok((record, sink))
        });
        built.collect()
    };
    tokio::task::spawn_blocking(build_all).await.map_err(|_| StartError::CutShort)?
}
