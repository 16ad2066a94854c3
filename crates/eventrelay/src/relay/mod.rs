//! A running relay: its parts, started from the bottom up and shut down from the top down.
//!
//! ```text
//!  start     log ─▶ state ─▶ subscriptions ─▶ sinks ─▶ export of traces ─▶ engine ─▶ publisher ─▶ front doors
//!  shutdown  front doors (nothing new; what is in flight is finished) ─▶ engine (deliveries in flight finish, cursors saved)
//!            ─▶ state ─▶ log ─▶ export of traces (what waits is sent, within a few seconds)
//! ```
//!
//! In this order nothing is acknowledged that is not delivered from, and nothing is delivered that is not remembered. Traces
//! come last: a collector that hangs must hold up nothing that matters.

mod error;
mod front_doors;
mod health;
pub(crate) mod settings;
mod stores;
mod target_checks;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use eventrelay_delivery::{Engine, EngineOptions, Target, resolve_start};
use eventrelay_ingest::{Publisher, PublisherMetrics};
use eventrelay_server::auth::{ApiKey, ApiKeys};
use eventrelay_server::quota::{QuotaMetrics, Quotas};
use eventrelay_state::{Subscription, SubscriptionRecord};
use eventrelay_telemetry::{Exporter, TelemetryMetrics};
use prometheus_client::registry::Registry;
use zeroize::Zeroizing;

use crate::Config;
use front_doors::{FrontDoorMetrics, FrontDoors, Parts};
use health::EngineHealth;
use stores::Stores;
use target_checks::StartChecks;

pub use error::StartError;
pub use front_doors::Addresses;
pub use target_checks::{TargetCheck, check_targets};

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
    api_keys: Arc<ApiKeys>,
    front_doors: FrontDoors,
    target_checks: StartChecks,
    /// None where no traces are exported.
    exporter: Option<Exporter>,
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
            Ok(Started { engine, publisher, api_keys, front_doors, target_checks, exporter }) => {
                let shutdown_timeout = Duration::from_millis(config.delivery.shutdown_timeout_ms);
                Ok(Self {
                    stores,
                    engine,
                    publisher,
                    api_keys,
                    front_doors,
                    target_checks,
                    exporter,
                    shutdown_timeout,
                })
            }
            Err(error) => {
                stores.close().await;
                Err(error)
            }
        }
    }

    /// Where the front doors listen.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.front_doors.addresses()
    }

    /// Takes events in process, as the front doors do.
    #[must_use]
    pub fn publisher(&self) -> &Arc<Publisher> {
        &self.publisher
    }

    /// Has the files of TLS read again, soon, whether or not they have changed. What cannot be used changes nothing.
    pub fn request_certificate_reload(&self) {
        if !self.front_doors.request_certificate_reload() {
            tracing::info!("no front door speaks TLS: there is nothing to read again");
        }
    }

    /// Resolves when a front door has ended without being asked to, which only a fault in the program brings about.
    pub async fn front_door_ended(&mut self) {
        self.front_doors.one_ended().await;
    }

    /// Takes no more connections, finishes the requests and then the deliveries that are in flight, each within its
    /// timeout, closes the state and the log, and sends the traces that wait.
    pub async fn shutdown(self) -> Drained {
        let Self { stores, engine, api_keys, front_doors, target_checks, exporter, shutdown_timeout, .. } =
            self;
        target_checks.shutdown().await;
        let shut = front_doors.shut().await;
        let mut drained = Drained {
            cut_off_connections: shut.cut_off_connections,
            failed: shut.failed,
            ..Drained::default()
        };
        let report = engine.shutdown(shutdown_timeout).await;
        drained.unfinished_calls = report.unfinished_calls;
        drained.unsaved_subscriptions = report.unsaved_subscriptions;
        if let Err(error) = api_keys.save_usage().await {
            tracing::warn!(%error, "when API keys were last used could not be saved");
        }
        drained.failed |= !stores.close().await;
        if let Some(exporter) = exporter {
            exporter.shutdown().await;
        }
        drained
    }
}

/// The parts that stand on the stores.
struct Started {
    engine: Arc<Engine>,
    publisher: Arc<Publisher>,
    api_keys: Arc<ApiKeys>,
    front_doors: FrontDoors,
    target_checks: StartChecks,
    exporter: Option<Exporter>,
}

async fn start_on(stores: &Stores, config: &Config, mut registry: Registry) -> Result<Started, StartError> {
    let log = stores.log.clone();
    let quota_metrics = QuotaMetrics::default();
    let quotas = Quotas::new(config.quotas.clone(), quota_metrics.clone());
    let api_keys = open_api_keys(stores, config, quotas).await?;
    let subscriptions = reconcile(stores, config).await?;
    let with_targets = build_targets(subscriptions, stores.log.id().0, config).await?;
    let telemetry_metrics = TelemetryMetrics::default();
    let (spans, exporter) = eventrelay_telemetry::start(&config.telemetry, telemetry_metrics.clone())?;
    let checkpoint_interval = Duration::from_millis(config.delivery.checkpoint_interval_ms);
    let engine_options = EngineOptions {
        checkpoint_interval,
        spans: spans.clone(),
        document_cache_bytes: config.delivery.expression_cache_bytes,
        event_limits: settings::publish_limits(config).events,
        ..EngineOptions::default()
    };
    let target_checks = target_checks::of(&with_targets);
    let engine = Engine::start(log.clone(), stores.state.clone(), with_targets, engine_options).await?;
    let engine = Arc::new(engine);

    let publisher_metrics = PublisherMetrics::default();
    let front_door_metrics = FrontDoorMetrics::default();
    log.register_metrics(&mut registry);
    publisher_metrics.register(&mut registry);
    engine.register_metrics(&mut registry);
    front_door_metrics.register(&mut registry);
    quota_metrics.register(&mut registry);
    telemetry_metrics.register(&mut registry);

    let publisher = Publisher::new(log.clone(), settings::publish_limits(config), publisher_metrics);
    let publisher = Arc::new(publisher.with_spans(spans));
    let parts = Parts {
        api_keys: Arc::clone(&api_keys),
        publisher: Arc::clone(&publisher),
        log,
        subscriptions: Arc::new(EngineHealth(Arc::clone(&engine))),
        consumers: engine.consumers(),
        registry: Arc::new(registry),
    };
    match open_front_doors(config, parts, front_door_metrics).await {
        Ok(front_doors) => {
            let target_checks = StartChecks::begin(target_checks);
            Ok(Started { engine, publisher, api_keys, front_doors, target_checks, exporter })
        }
        Err(error) => {
            engine.shutdown(Duration::from_millis(config.delivery.shutdown_timeout_ms)).await;
            Err(error)
        }
    }
}

/// They read the files of TLS, so not on the runtime.
async fn open_front_doors(
    config: &Config,
    parts: Parts,
    metrics: FrontDoorMetrics,
) -> Result<FrontDoors, StartError> {
    let config = config.clone();
    let open = move || FrontDoors::open(&config, parts, metrics);
    Ok(tokio::task::spawn_blocking(open).await.map_err(|_| StartError::CutShort)??)
}

/// The keys that are stored, and the one in the file that the configuration names.
async fn open_api_keys(stores: &Stores, config: &Config, quotas: Quotas) -> Result<Arc<ApiKeys>, StartError> {
    let (state, auth) = (stores.state.clone(), config.auth.clone());
    let open = move || {
        let bootstrap = auth.bootstrap_key_file.as_deref().map(read_key).transpose()?;
        Ok(Arc::new(ApiKeys::open(state, auth.required, bootstrap.as_ref(), quotas)?))
    };
    tokio::task::spawn_blocking(open).await.map_err(|_| StartError::CutShort)?
}

fn read_key(path: &Path) -> Result<ApiKey, StartError> {
    let failed = |why: String| StartError::BootstrapKey { path: path.to_owned(), why };
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?);
    ApiKey::parse(text.trim()).map_err(|error| failed(error.to_string()))
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

/// Makes a sink for each subscription that has one. Sinks read certificates and secrets from files, so not on the runtime.
async fn build_targets(
    subscriptions: Vec<SubscriptionRecord>,
    log_id: [u8; 16],
    config: &Config,
) -> Result<Vec<(SubscriptionRecord, Target)>, StartError> {
    let environment = settings::sink_environment(config);
    let build_all = move || {
        let built = subscriptions.into_iter().map(|record| {
            let target = settings::build_target(&record.spec, log_id, &environment)
                .map_err(|error| StartError::Sink { subscription: record.spec.name.clone(), error })?;
            Ok((record, target))
        });
        built.collect()
    };
    tokio::task::spawn_blocking(build_all).await.map_err(|_| StartError::CutShort)?
}
