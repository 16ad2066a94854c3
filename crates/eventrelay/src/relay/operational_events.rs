//! What the relay tells of itself, as events like any other.
//!
//! | type | tenant | when |
//! |---|---|---|
//! | `eventrelay.subscription.disabled` | the subscription's | its target answered that it wants nothing more |
//! | `eventrelay.breaker.opened`, `eventrelay.breaker.closed` | the subscription's | its target counts as down, or is up again |
//! | `eventrelay.dead_letter.created` | the subscription's | a delivery was given up |
//! | `eventrelay.retention.pressure` | `default` | the log is within a tenth of `log.retention_hard_limit_bytes` |
//! | `eventrelay.disk.low` | `default` | less is free than `operational_events.disk_low_bytes` |
//!
//! An event is written only while its tenant has a subscription that names its type (`eventrelay.*`, for example): nobody's log
//! grows for what nobody asked for. They are no part of any promise: what there is no room for is dropped, and said in the log
//! lines.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use eventrelay_delivery::{Engine, Happened, Notice, Notices};
use eventrelay_event::{Data, Event, EventId, Tenant, json};
use eventrelay_ingest::Publisher;
use eventrelay_log::Log;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::config::OperationalEvents;

/// The task that tells.
#[derive(Debug)]
pub(super) struct OperationalEventsTask {
    task: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

/// What it works with.
pub(super) struct Parts {
    pub(super) engine: Arc<Engine>,
    pub(super) publisher: Arc<Publisher>,
    pub(super) log: Log,
    pub(super) notices: Notices,
    pub(super) received: mpsc::Receiver<Notice>,
    pub(super) data_directory: PathBuf,
    pub(super) hard_limit_bytes: Option<u64>,
    pub(super) options: OperationalEvents,
}

impl OperationalEventsTask {
    pub(super) fn begin(parts: Parts) -> Self {
        let (stop, stopped) = oneshot::channel();
        Self { task: tokio::spawn(run(parts, stopped)), stop }
    }

    /// Ends it. What waits to be told is not.
    pub(super) async fn shutdown(self) {
        // An error means that it has ended already.
        let _ = self.stop.send(());
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the task that tells of the relay had failed");
        }
    }
}

/// Something that goes on, and is told once.
#[derive(Debug, Default)]
struct Alarm {
    logged: bool,
    /// It is in the log; not before somebody has asked for it.
    told: bool,
}

async fn run(mut parts: Parts, mut stopped: oneshot::Receiver<()>) {
    let mut checks = tokio::time::interval(Duration::from_millis(parts.options.check_interval_ms));
    checks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut disk, mut retention) = (Alarm::default(), Alarm::default());
    loop {
        tokio::select! {
            biased;
            _ = &mut stopped => return,
            Some(notice) = parts.received.recv() => parts.tell(&notice).await,
            _ = checks.tick() => {
                parts.check_disk(&mut disk).await;
                parts.check_retention(&mut retention).await;
                let dropped = parts.notices.take_dropped();
                if dropped > 0 {
                    tracing::warn!(dropped, "there was no room for operational events");
                }
            }
        }
    }
}

impl Parts {
    async fn tell(&self, notice: &Notice) {
        let (event_type, mut data) = described(&notice.what);
        data["subscription"] = notice.subscription.as_str().into();
        let subject = Some(notice.subscription.clone());
        self.publish(&notice.tenant, event_type, subject, &data).await;
    }

    /// Tells once when the disk becomes low on room.
    async fn check_disk(&self, alarm: &mut Alarm) {
        let directory = self.data_directory.clone();
        let asked = tokio::task::spawn_blocking(move || rustix::fs::statvfs(&directory)).await;
        let Ok(Ok(volume)) = asked else { return };
        let free_bytes = volume.f_bavail.saturating_mul(volume.f_frsize);
        if free_bytes >= self.options.disk_low_bytes {
            *alarm = Alarm::default();
            return;
        }
        if !std::mem::replace(&mut alarm.logged, true) {
            tracing::warn!(free_bytes, "the disk is low on room");
        }
        if !alarm.told {
            let data =
                serde_json::json!({"free_bytes": free_bytes, "disk_low_bytes": self.options.disk_low_bytes});
            alarm.told = self.publish(Tenant::default().as_str(), "eventrelay.disk.low", None, &data).await;
        }
    }

    /// Tells once when the log comes near the limit beyond which subscriptions lose events.
    async fn check_retention(&self, alarm: &mut Alarm) {
        let Some(limit) = self.hard_limit_bytes else { return };
        let bytes = self.log.bytes();
        if bytes < limit - limit / 10 {
            *alarm = Alarm::default();
            return;
        }
        if !std::mem::replace(&mut alarm.logged, true) {
            tracing::warn!(
                bytes,
                limit,
                "the log is near its hard limit: subscriptions that lag will lose events"
            );
        }
        if !alarm.told {
            let data = serde_json::json!({"log_bytes": bytes, "retention_hard_limit_bytes": limit,
                              "oldest_offset": self.log.oldest_offset()});
            let event_type = "eventrelay.retention.pressure";
            alarm.told = self.publish(Tenant::default().as_str(), event_type, None, &data).await;
        }
    }

    /// Whether it is in the log: not where nobody has asked for it.
    async fn publish(&self, tenant: &str, event_type: &str, subject: Option<String>, data: &Value) -> bool {
        if !self.engine.wants_operational_events(tenant) {
            return false;
        }
        let Ok(tenant) = Tenant::parse(tenant) else { return false };
        let mut event = Event::new(tenant, event_type.to_owned(), "/eventrelay".to_owned());
        event.subject = subject;
        match Data::json(data.to_string().into(), &json::Limits::default()) {
            Ok(data) => event.data = Some(data),
            Err(error) => tracing::warn!(event_type, %error, "an operational event has no data"),
        }
        match self.publisher.publish(vec![event]).await {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(event_type, %error, "an operational event was not stored");
                false
            }
        }
    }
}

fn described(what: &Happened) -> (&'static str, Value) {
    match what {
        Happened::Disabled { reason } => {
            ("eventrelay.subscription.disabled", serde_json::json!({"reason": reason}))
        }
        Happened::BreakerOpened => ("eventrelay.breaker.opened", serde_json::json!({})),
        Happened::BreakerClosed => ("eventrelay.breaker.closed", serde_json::json!({})),
        Happened::DeadLetter { offset, append_time_micros, event_type, attempts, reason } => {
            let id = append_time_micros.map(|micros| EventId::new(micros, *offset).to_string());
            let data = serde_json::json!({"event_id": id, "offset": offset, "event_type": event_type, "attempts": attempts,
                              "reason": reason});
            ("eventrelay.dead_letter.created", data)
        }
    }
}
