//! What the types cannot say: ranges, and values that only make sense together.

use std::collections::HashSet;

use super::{Config, LogSync};
use crate::relay::settings;

/// Every value that is out of its range, as (key, what is wrong).
pub(super) fn problems(config: &Config) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    log(config, &mut problems);
    publish(config, &mut problems);
    front_doors(config, &mut problems);
    compat(config, &mut problems);
    telemetry(config, &mut problems);
    within(
        &mut problems,
        "operational_events.check_interval_ms",
        config.operational_events.check_interval_ms,
        100,
        HOUR_MS,
    );
    logging(config, &mut problems);
    subscriptions(config, &mut problems);
    problems
}

type Problems = Vec<(String, String)>;

fn refuse(problems: &mut Problems, key: &str, why: String) {
    problems.push((key.to_owned(), why));
}

fn within(problems: &mut Problems, key: &str, value: u64, least: u64, most: u64) {
    if !(least..=most).contains(&value) {
        refuse(problems, key, format!("{value} is out of range: {least} to {most}"));
    }
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const HOUR_MS: u64 = 60 * 60 * 1000;

fn log(config: &Config, problems: &mut Problems) {
    let log = &config.log;
    within(problems, "log.segment_bytes", log.segment_bytes, 64 * KIB, 16 * GIB);
    if !log.segment_bytes.is_multiple_of(4096) {
        refuse(problems, "log.segment_bytes", format!("{} is not a multiple of 4096", log.segment_bytes));
    }
    if log.sync == LogSync::Interval {
        within(problems, "log.sync_interval_ms", log.sync_interval_ms, 1, HOUR_MS);
    }
    within(problems, "log.max_commit_bytes", log.max_commit_bytes as u64, 4 * KIB, 256 * MIB);
    if log.max_commit_bytes as u64 > log.segment_bytes / 4 {
        let why = format!(
            "{} is more than a quarter of log.segment_bytes ({})",
            log.max_commit_bytes, log.segment_bytes
        );
        refuse(problems, "log.max_commit_bytes", why);
    }
    within(problems, "log.gather_delay_micros", log.gather_delay_micros, 0, 1_000_000);
    within(problems, "log.commits_in_flight", log.commits_in_flight as u64, 1, 64);
    within(problems, "log.queue_bytes", log.queue_bytes as u64, log.max_commit_bytes as u64, 4 * GIB - 1);
    within(problems, "log.tail_cache_bytes", log.tail_cache_bytes as u64, 0, 16 * GIB);
    within(problems, "log.idle_mark_delay_ms", log.idle_mark_delay_ms, 1, HOUR_MS);
    if let (Some(soft), Some(hard)) = (log.retention_max_bytes, log.retention_hard_limit_bytes)
        && hard < soft
    {
        let why = format!("{hard} is below log.retention_max_bytes ({soft})");
        refuse(problems, "log.retention_hard_limit_bytes", why);
    }
    for (key, limit) in [
        ("log.retention_max_age_seconds", log.retention_max_age_seconds),
        ("log.retention_max_segments", log.retention_max_segments.map(|segments| segments as u64)),
    ] {
        if let Some(value) = limit {
            within(problems, key, value, 1, u64::from(u32::MAX));
        }
    }
    for (key, bytes) in [
        ("log.retention_max_bytes", log.retention_max_bytes),
        ("log.retention_hard_limit_bytes", log.retention_hard_limit_bytes),
    ] {
        if let Some(bytes) = bytes {
            within(problems, key, bytes, log.segment_bytes, u64::MAX);
        }
    }
}

fn publish(config: &Config, problems: &mut Problems) {
    let publish = &config.publish;
    within(
        problems,
        "publish.max_event_bytes",
        publish.max_event_bytes as u64,
        KIB,
        config.log.max_commit_bytes as u64,
    );
    within(problems, "publish.max_batch_events", publish.max_batch_events as u64, 1, 1_000_000);
    within(problems, "publish.max_json_depth", publish.max_json_depth as u64, 1, 512);
    within(problems, "publish.queue_wait_ms", publish.queue_wait_ms, 0, HOUR_MS);
    let century = 100 * 366 * 24 * 3600;
    within(problems, "publish.idempotency_window_seconds", publish.idempotency_window_seconds, 1, century);
    let delivery = &config.delivery;
    within(problems, "delivery.checkpoint_interval_ms", delivery.checkpoint_interval_ms, 1, 60_000);
    within(problems, "delivery.shutdown_timeout_ms", delivery.shutdown_timeout_ms, 0, HOUR_MS);
}

fn front_doors(config: &Config, problems: &mut Problems) {
    let doors = [
        ("http.listen", Some(config.http.listen)),
        ("grpc.listen", config.grpc.enabled.then_some(config.grpc.listen)),
        ("tcp.frames_listen", config.tcp.frames_listen.address()),
        ("tcp.lines_listen", config.tcp.lines_listen.address()),
    ];
    for (key, listen) in doors {
        if let Some(listen) = listen
            && !listen.ip().is_loopback()
            && !config.auth.required
        {
            let why = format!(
                "{listen} can be reached from other machines, and no API keys are asked for; set auth.required, or listen \
                 on a loopback address such as 127.0.0.1:{}",
                listen.port()
            );
            refuse(problems, key, why);
        }
    }
    tls_files(config, problems);
    let errors = [
        config.http.validate().err(),
        config.grpc.validate().err(),
        config.tcp.validate().err(),
        config.quotas.validate().err(),
        config.auth.login.validate().err(),
    ];
    if let Err(error) = config.auth.oidc.validate() {
        refuse(problems, &format!("auth.oidc.{}", error.name), error.why);
    }
    for error in errors.into_iter().flatten() {
        let key = format!("{}.{}", error.section, error.name);
        refuse(problems, &key, format!("{} must be {}", error.value, error.expected));
    }
}

/// What cannot be used now is not found out by a server that has stopped another one first.
fn tls_files(config: &Config, problems: &mut Problems) {
    let doors =
        [("http.tls", &config.http.tls), ("grpc.tls", &config.grpc.tls), ("tcp.tls", &config.tcp.tls)];
    for (section, tls) in doors {
        if let Err(error) = tls.check_files(section) {
            let why = format!("{}: {}", error.path.display(), error.problem);
            refuse(problems, &format!("{section}.{}", error.name), why);
        }
    }
}

/// Each by itself, its sink's settings included, and that no two have one name, for they would share a cursor.
fn subscriptions(config: &Config, problems: &mut Problems) {
    let mut names = HashSet::new();
    for subscription in config.declared_subscriptions() {
        let environment = settings::declared_environment(config, subscription);
        if let Err(error) = subscription.validate() {
            refuse(problems, "subscriptions", error.to_string());
        }
        if let Err(error) = settings::build_target(subscription, [0; 16], &environment) {
            refuse(problems, "subscriptions", format!("`{}`: {error}", subscription.name));
        }
        if !names.insert((&subscription.tenant, &subscription.name)) {
            refuse(problems, "subscriptions", format!("`{}` is declared twice", subscription.name));
        }
    }
}

fn compat(config: &Config, problems: &mut Problems) {
    if let Err(error) = config.compat.validate() {
        refuse(problems, &format!("compat.{}", error.name), error.why);
    }
}

fn telemetry(config: &Config, problems: &mut Problems) {
    if let Err(error) = config.telemetry.validate() {
        refuse(problems, &format!("telemetry.{}", error.name), error.why);
    }
}

fn logging(config: &Config, problems: &mut Problems) {
    let logging = &config.logging;
    if let Err(error) = logging.filter() {
        refuse(problems, "logging.level", error.to_string());
    }
    within(problems, "logging.file_keep", logging.file_keep as u64, 1, 10_000);
}
