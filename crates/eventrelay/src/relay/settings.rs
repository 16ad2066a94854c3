//! From the configuration's words to those of each part.

use std::time::Duration;

use eventrelay_delivery::Target;
use eventrelay_event::{EventLimits, json};
use eventrelay_ingest::PublishLimits;
use eventrelay_log::{Options, Retention, SyncMode};
use eventrelay_sinks::egress::AddressPolicy;
use eventrelay_sinks::{Environment, Owner, SinkError};
use eventrelay_state::{Order, Origin, Subscription};
use serde_json::Value;

use crate::{Config, LogSync};

/// The folder below the data directory in which each tenant has one for what its sinks write.
const TENANTS_FILES: &str = "files";

pub(crate) fn log_options(config: &Config) -> Options {
    let log = &config.log;
    Options {
        segment_bytes: log.segment_bytes,
        max_commit_bytes: log.max_commit_bytes,
        gather_delay: Duration::from_micros(log.gather_delay_micros),
        commits_in_flight: log.commits_in_flight,
        sync: match log.sync {
            LogSync::Commit => SyncMode::Commit,
            LogSync::Interval => SyncMode::Interval(Duration::from_millis(log.sync_interval_ms)),
            LogSync::Never => SyncMode::Never,
        },
        queue_bytes: log.queue_bytes,
        tail_cache_bytes: log.tail_cache_bytes,
        idle_mark_delay: Duration::from_millis(log.idle_mark_delay_ms),
        key_window: Duration::from_secs(config.publish.idempotency_window_seconds),
        retention: Retention {
            max_age: log.retention_max_age_seconds.map(Duration::from_secs),
            max_bytes: log.retention_max_bytes,
            max_segments: log.retention_max_segments,
            hard_limit_bytes: log.retention_hard_limit_bytes,
        },
        ..Options::new(config.log_directory())
    }
}

pub(crate) fn publish_limits(config: &Config) -> PublishLimits {
    let publish = &config.publish;
    PublishLimits {
        events: EventLimits {
            event_bytes: publish.max_event_bytes,
            batch_events: publish.max_batch_events,
            json: json::Limits { depth: publish.max_json_depth, ..json::Limits::default() },
        },
        queue_wait: Duration::from_millis(publish.queue_wait_ms),
    }
}

/// What the operator lets sinks do. Settings from the configuration are the operator's own; those that came through the API may
/// be anybody's, so they reach into nothing of this machine.
pub(crate) fn sink_environment(config: &Config, origin: Origin) -> Environment {
    let egress = &config.egress;
    Environment {
        addresses: AddressPolicy {
            allow_private: egress.allow_private_addresses,
            allow_networks: egress.allowed_networks.clone(),
        },
        allowed_ports: egress.allowed_ports.clone(),
        trusted_settings: origin == Origin::Configuration,
        files_directory: config.data_directory.clone(),
        ..Environment::default()
    }
}

/// The same for what came through the API for one tenant: its files are in a folder of its own, that it neither reads, fills up
/// nor removes another's.
pub(crate) fn of_tenant(through_api: &Environment, tenant: &str) -> Environment {
    let files_directory = through_api.files_directory.join(TENANTS_FILES).join(tenant);
    Environment { files_directory, ..through_api.clone() }
}

/// The same for a subscription that stands outside of the API.
pub(crate) fn declared_environment(config: &Config, subscription: &Subscription) -> Environment {
    let mut environment = sink_environment(config, Origin::Configuration);
    environment.addresses.allow_private |= is_of_environment(config, subscription);
    environment
}

/// Whether the process's own environment asks for the subscription.
pub(crate) fn is_of_environment(config: &Config, subscription: &Subscription) -> bool {
    let is_same =
        |made: &Subscription| (&made.tenant, &made.name) == (&subscription.tenant, &subscription.name);
    config.environment_subscriptions.iter().any(is_same)
}

/// Makes the sink that a subscription names, if it does. Blocking: it reads the files that its settings name.
pub(crate) fn build_target(
    subscription: &Subscription,
    log_id: [u8; 16],
    environment: &Environment,
) -> Result<Target, SinkError> {
    let Some(sink) = &subscription.sink else { return Ok(Target::Pull) };
    let settings = Value::Object(sink.settings.clone());
    let owner = Owner {
        tenant: subscription.tenant.as_str().to_owned(),
        subscription: subscription.name.clone(),
        log_id,
    };
    let sink = eventrelay_sinks::build(&sink.kind, &settings, &owner, environment)?;
    if sink.needs_strict_order() && subscription.order != Order::Strict {
        return Err(SinkError::NeedsStrictOrder { kind: sink.kind() });
    }
    Ok(Target::Push(sink))
}
