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

mod configuration;
mod error;
mod front_doors;
mod health;
mod operational_events;
pub(crate) mod settings;
mod stores;
mod target_checks;
mod targets;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use eventrelay_delivery::{BuildTarget, Engine, EngineOptions, Notices, Target, resolve_start};
use eventrelay_ingest::{Publisher, PublisherMetrics};
use eventrelay_server::auth::{Accounts, ApiKey, ApiKeys};
use eventrelay_server::quota::{QuotaMetrics, Quotas};
use eventrelay_state::{Origin, Subscription, SubscriptionRecord};
use eventrelay_telemetry::{Exporter, TelemetryMetrics};
use prometheus_client::registry::Registry;
use zeroize::Zeroizing;

use crate::Config;
use configuration::StartedWith;
use front_doors::{FrontDoorMetrics, FrontDoors, Parts};
use health::EngineHealth;
use operational_events::OperationalEventsTask;
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
    parts: Started,
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
            Ok(parts) => {
                let shutdown_timeout = Duration::from_millis(config.delivery.shutdown_timeout_ms);
                Ok(Self { stores, parts, shutdown_timeout })
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
        self.parts.front_doors.addresses()
    }

    /// Takes events in process, as the front doors do.
    #[must_use]
    pub fn publisher(&self) -> &Arc<Publisher> {
        &self.parts.publisher
    }

    /// Has the files of TLS read again, soon, whether or not they have changed. What cannot be used changes nothing.
    pub fn request_certificate_reload(&self) {
        if !self.parts.front_doors.request_certificate_reload() {
            tracing::info!("no front door speaks TLS: there is nothing to read again");
        }
    }

    /// Resolves when a front door has ended without being asked to, which only a fault in the program brings about.
    pub async fn front_door_ended(&mut self) {
        self.parts.front_doors.one_ended().await;
    }

    /// Takes no more connections, finishes the requests and then the deliveries that are in flight, each within its
    /// timeout, closes the state and the log, and sends the traces that wait.
    pub async fn shutdown(self) -> Drained {
        let Self { stores, parts, shutdown_timeout } = self;
        let Started {
            engine,
            api_keys,
            accounts,
            front_doors,
            target_checks,
            operational_events,
            exporter,
            ..
        } = parts;
        target_checks.shutdown().await;
        operational_events.shutdown().await;
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
        if let Err(error) = accounts.close().await {
            tracing::warn!(%error, "when sessions were last used could not be saved");
        }
        drained.failed |= !stores.close().await;
        if let Some(exporter) = exporter {
            exporter.shutdown().await;
        }
        drained
    }
}

/// The parts that stand on the stores.
#[derive(Debug)]
struct Started {
    engine: Arc<Engine>,
    publisher: Arc<Publisher>,
    api_keys: Arc<ApiKeys>,
    accounts: Arc<Accounts>,
    front_doors: FrontDoors,
    target_checks: StartChecks,
    operational_events: OperationalEventsTask,
    /// None where no traces are exported.
    exporter: Option<Exporter>,
}

async fn start_on(stores: &Stores, config: &Config, mut registry: Registry) -> Result<Started, StartError> {
    let log = stores.log.clone();
    let quota_metrics = QuotaMetrics::default();
    let quotas = Quotas::new(config.quotas.clone(), quota_metrics.clone());
    let api_keys = open_api_keys(stores, config, quotas.clone()).await?;
    let accounts = open_accounts(stores, config, quotas).await?;
    let subscriptions = reconcile(stores, config).await?;
    let targets: Arc<dyn BuildTarget> = Arc::new(targets::Targets::new(config, stores.log.id().0));
    let with_targets = build_targets(subscriptions, &targets).await?;
    let telemetry_metrics = TelemetryMetrics::default();
    let (spans, exporter) = eventrelay_telemetry::start(&config.telemetry, telemetry_metrics.clone())?;
    let (notices, received) = Notices::channel();
    let checkpoint_interval = Duration::from_millis(config.delivery.checkpoint_interval_ms);
    let engine_options = EngineOptions {
        checkpoint_interval,
        spans: spans.clone(),
        document_cache_bytes: config.delivery.expression_cache_bytes,
        event_limits: settings::publish_limits(config).events,
        notices: notices.clone(),
        ..EngineOptions::default()
    };
    let target_checks = target_checks::of(&with_targets);
    let engine =
        Engine::start(log.clone(), stores.state.clone(), with_targets, targets, engine_options).await?;
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
        accounts: Arc::clone(&accounts),
        publisher: Arc::clone(&publisher),
        log,
        state: stores.state.clone(),
        configuration: Arc::new(StartedWith::new(config)),
        subscriptions: Arc::new(EngineHealth(Arc::clone(&engine))),
        consumers: engine.consumers(),
        engine: Arc::clone(&engine),
        registry: Arc::new(registry),
    };
    match open_front_doors(config, parts, front_door_metrics).await {
        Ok(front_doors) => {
            let target_checks = StartChecks::begin(target_checks);
            let operational_events = OperationalEventsTask::begin(operational_events::Parts {
                engine: Arc::clone(&engine),
                publisher: Arc::clone(&publisher),
                log: stores.log.clone(),
                notices,
                received,
                data_directory: config.data_directory.clone(),
                hard_limit_bytes: config.log.retention_hard_limit_bytes,
                options: config.operational_events.clone(),
            });
            Ok(Started {
                engine,
                publisher,
                api_keys,
                accounts,
                front_doors,
                target_checks,
                operational_events,
                exporter,
            })
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

/// The users who may log in, and those who have.
async fn open_accounts(
    stores: &Stores,
    config: &Config,
    quotas: Quotas,
) -> Result<Arc<Accounts>, StartError> {
    let (state, auth) = (stores.state.clone(), config.auth.clone());
    let open = move || {
        let accounts = Accounts::open(state, auth.login, quotas).map_err(StartError::Accounts)?;
        Ok::<_, StartError>(accounts.with_oidc(&auth.oidc)?)
    };
    Ok(Arc::new(tokio::task::spawn_blocking(open).await.map_err(|_| StartError::CutShort)??))
}

fn read_key(path: &Path) -> Result<ApiKey, StartError> {
    let failed = |why: String| StartError::BootstrapKey { path: path.to_owned(), why };
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?);
    ApiKey::parse(text.trim()).map_err(|error| failed(error.to_string()))
}

/// Brings the stored subscriptions in line with the declared ones.
async fn reconcile(stores: &Stores, config: &Config) -> Result<Vec<SubscriptionRecord>, StartError> {
    let log = &stores.log;
    for made in &config.environment_subscriptions {
        tracing::info!(subscription = made.name, "the environment of an ingester asks for this subscription");
    }
    let declared: Vec<Subscription> = config.declared_subscriptions().cloned().collect();
    let reconciled = stores.state.reconcile(declared, async |start| resolve_start(log, start).await).await?;
    for record in &reconciled.orphaned {
        tracing::warn!(
            subscription = record.spec.name,
            "this subscription is no longer declared: it keeps its cursor, and the log what it needs, but delivers nothing; delete it if it is not to come back"
        );
    }
    if let Err(error) = stores.state.forget_unmade_svix_endpoints().await {
        tracing::warn!(%error, "endpoints that a crash has left half made keep their names");
    }
    let mut all = reconciled.declared;
    all.extend(reconciled.made_by_api);
    Ok(all)
}

/// Makes a sink for each subscription that has one. Sinks read certificates and secrets from files, so not on the runtime.
///
/// One of the configuration that cannot be made stops the start; for one that was made through the API nobody is there to mend
/// it, so it is left out, loudly.
async fn build_targets(
    subscriptions: Vec<SubscriptionRecord>,
    targets: &Arc<dyn BuildTarget>,
) -> Result<Vec<(SubscriptionRecord, Target)>, StartError> {
    let targets = Arc::clone(targets);
    let build_all = move || {
        let mut built = Vec::with_capacity(subscriptions.len());
        for record in subscriptions {
            match targets.build(&record.spec, record.origin) {
                Ok(target) => built.push((record, target)),
                Err(error) if record.origin == Origin::Api => {
                    let (subscription, tenant) = (&record.spec.name, &record.spec.tenant);
                    tracing::error!(subscription, %tenant, %error, "this subscription cannot be started: change or delete it");
                }
                Err(error) => {
                    return Err(StartError::Sink { subscription: record.spec.name.clone(), error });
                }
            }
        }
        Ok(built)
    };
    tokio::task::spawn_blocking(build_all).await.map_err(|_| StartError::CutShort)?
}
