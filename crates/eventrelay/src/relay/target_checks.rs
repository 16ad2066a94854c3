//! Looks whether the targets of subscriptions can be reached and have what deliveries need.
//!
//! `serve` looks once at its start, beside the first deliveries, and only says what it finds: a target that is down then may be up
//! in a minute, and its events wait in the log. `eventrelay config check --targets` looks before anything is started, and ends
//! with a failure where a target would not do.

use std::sync::Arc;
use std::time::Duration;

use eventrelay_delivery::Target;
use eventrelay_sinks::{CheckError, Sink};
use eventrelay_state::{Subscription, SubscriptionRecord};
use futures_util::{Stream, StreamExt as _, stream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{StartError, settings};
use crate::Config;

/// Targets that are looked at at once.
const CONCURRENT_CHECKS: usize = 8;
/// How long looking at one may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(30);

/// What was found of one subscription's target.
#[derive(Debug)]
pub struct TargetCheck {
    /// The subscription's name.
    pub subscription: String,
    /// Its tenant.
    pub tenant: String,
    /// The kind of its sink.
    pub kind: &'static str,
    /// What a crash does to a delivery: `at_least_once` or `exactly_once`.
    pub guarantee: &'static str,
    /// What is wrong with it, if anything is.
    pub result: Result<(), CheckError>,
}

/// Looks at the targets of all subscriptions that a configuration declares. Delivers nothing. Blocks nobody but its caller,
/// and ends after half a minute for every eight of them at the latest.
///
/// # Errors
/// When a sink cannot be made from its settings.
pub async fn check_targets(config: Config) -> Result<Vec<TargetCheck>, StartError> {
    let build = move || {
        let mut targets = Vec::new();
        for spec in config.declared_subscriptions() {
            let environment = settings::declared_environment(&config, spec);
            let failed = |error| StartError::Sink { subscription: spec.name.clone(), error };
            if let Target::Push(sink) = settings::build_target(spec, [0; 16], &environment).map_err(failed)? {
                targets.push(Checked::new(spec, sink));
            }
        }
        Ok::<_, StartError>(targets)
    };
    let built = tokio::task::spawn_blocking(build).await;
    let targets = built.map_err(|_| StartError::CutShort)??;
    let sinks: Vec<Arc<dyn Sink>> = targets.iter().map(|target| Arc::clone(&target.sink)).collect();
    let checks = look(targets).collect().await;
    for sink in sinks {
        sink.close().await;
    }
    Ok(checks)
}

/// The checks of a start, which go on beside it.
#[derive(Debug)]
pub(super) struct StartChecks {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl StartChecks {
    /// Begins to look.
    pub(super) fn begin(targets: Vec<Checked>) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn({
            let stop = stop.clone();
            async move {
                // What was not looked at by the shutdown does not matter any more.
                let _ = stop.run_until_cancelled(say_what_is_found(targets)).await;
            }
        });
        Self { stop, task }
    }

    /// Ends them.
    pub(super) async fn shutdown(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the checks of targets failed");
        }
    }
}

/// What is looked at.
pub(super) struct Checked {
    subscription: String,
    tenant: String,
    sink: Arc<dyn Sink>,
}

impl Checked {
    fn new(spec: &Subscription, sink: Arc<dyn Sink>) -> Self {
        Self { subscription: spec.name.clone(), tenant: spec.tenant.as_str().to_owned(), sink }
    }
}

/// The sinks of these subscriptions. One that is pulled has none.
pub(super) fn of(subscriptions: &[(SubscriptionRecord, Target)]) -> Vec<Checked> {
    let checked = |(record, target): &(SubscriptionRecord, Target)| match target {
        Target::Push(sink) => Some(Checked::new(&record.spec, Arc::clone(sink))),
        Target::Pull => None,
    };
    subscriptions.iter().filter_map(checked).collect()
}

async fn say_what_is_found(targets: Vec<Checked>) {
    let mut checks = std::pin::pin!(look(targets));
    while let Some(TargetCheck { subscription, tenant, kind, guarantee, result }) = checks.next().await {
        match result {
            Ok(()) => tracing::info!(subscription, tenant, kind, guarantee, "the target is ready"),
            Err(error) => tracing::warn!(
                subscription,
                tenant,
                kind,
                guarantee,
                %error,
                "the target is not ready; events wait, and deliveries are tried again"
            ),
        }
    }
}

fn look(targets: Vec<Checked>) -> impl Stream<Item = TargetCheck> {
    stream::iter(targets).map(look_at).buffered(CONCURRENT_CHECKS)
}

async fn look_at(target: Checked) -> TargetCheck {
    let Checked { subscription, tenant, sink } = target;
    let result = match tokio::time::timeout(CHECK_TIMEOUT, sink.check()).await {
        Ok(result) => result,
        Err(_elapsed) => {
            Err(CheckError::Unreachable(format!("no answer within {} s", CHECK_TIMEOUT.as_secs())))
        }
    };
    TargetCheck { subscription, tenant, kind: sink.kind(), guarantee: sink.guarantee().name(), result }
}
