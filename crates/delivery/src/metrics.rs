//! What delivery tells Prometheus: one set of series per subscription.

use std::fmt;
use std::sync::Arc;

use eventrelay_expression::{DocumentCache, Reason};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::dispatcher::{Ending, Failing};
use crate::status::SubscriptionStatus;

/// Seconds; from a target on this machine to one that uses up the default time limit.
const ATTEMPT_BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 30.0];

/// Everything that `outcome` may say.
const OUTCOMES: [&str; 11] = [
    "delivered",
    "retried",
    "rejected",
    "dead",
    "copied",
    "dropped",
    "acked",
    "nacked",
    "expired",
    "left",
    "returned",
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SubscriptionLabels {
    subscription: String,
    tenant: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    subscription: String,
    tenant: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    subscription: String,
    tenant: String,
    reason: &'static str,
}

/// The metrics of all subscriptions.
#[derive(Debug, Clone)]
pub(crate) struct DeliveryMetrics {
    outcomes: Family<OutcomeLabels, Counter>,
    attempt_duration: Family<SubscriptionLabels, Histogram, fn() -> Histogram>,
    panics: Family<SubscriptionLabels, Counter>,
    lost_events: Family<SubscriptionLabels, Counter>,
    save_failures: Family<SubscriptionLabels, Counter>,
    filter_failures: Family<ReasonLabels, Counter>,
    transform_failures: Family<SubscriptionLabels, Counter>,
    leases_ended: Family<OutcomeLabels, Counter>,
    dead_letter_copies: Family<OutcomeLabels, Counter>,
}

/// How the leases of one pull subscription ended.
#[derive(Debug)]
pub(crate) struct LeaseMetrics {
    acked: Counter,
    nacked: Counter,
    expired: Counter,
    left: Counter,
    /// They did not reach their consumer, or were taken back; their attempt does not count.
    pub(crate) returned: Counter,
}

impl LeaseMetrics {
    pub(crate) fn of(&self, ending: &Ending) -> &Counter {
        match ending {
            Ending::Acked => &self.acked,
            Ending::Failed { how: Failing::Nacked, .. } => &self.nacked,
            Ending::Failed { how: Failing::Expired, .. } => &self.expired,
            Ending::Failed { how: Failing::Left, .. } => &self.left,
        }
    }
}

/// One subscription's handles, held by its dispatcher.
#[derive(Debug)]
pub(crate) struct SubscriptionMetrics {
    pub(crate) delivered: Counter,
    /// Attempts that failed and are to be made again.
    pub(crate) retried: Counter,
    /// Refused for good by the target; each is a dead letter too.
    pub(crate) rejected: Counter,
    pub(crate) dead: Counter,
    pub(crate) attempt_duration: Histogram,
    pub(crate) panics: Counter,
    pub(crate) lost_events: Counter,
    pub(crate) save_failures: Counter,
    /// Copies of dead letters that the sink has taken, and those that it has not.
    pub(crate) dead_letters_copied: Counter,
    pub(crate) dead_letter_copies_dropped: Counter,
    /// Events without what the filter asks for: they do not match.
    pub(crate) filter_missing: Counter,
    /// Events that the filter makes no sense for: dead letters.
    pub(crate) filter_failed: Counter,
    pub(crate) filter_over_budget: Counter,
    pub(crate) transform_failures: Counter,
}

impl DeliveryMetrics {
    pub(crate) fn new() -> Self {
        Self {
            outcomes: Family::default(),
            attempt_duration: Family::new_with_constructor(|| Histogram::new(ATTEMPT_BUCKETS)),
            panics: Family::default(),
            lost_events: Family::default(),
            save_failures: Family::default(),
            leases_ended: Family::default(),
            dead_letter_copies: Family::default(),
            filter_failures: Family::default(),
            transform_failures: Family::default(),
        }
    }

    /// Forgets a subscription that is no more.
    pub(crate) fn forget(&self, tenant: &str, name: &str) {
        let labels = SubscriptionLabels { subscription: name.to_owned(), tenant: tenant.to_owned() };
        for family in [&self.panics, &self.lost_events, &self.save_failures, &self.transform_failures] {
            family.remove(&labels);
        }
        self.attempt_duration.remove(&labels);
        let (subscription, tenant) = (&labels.subscription, &labels.tenant);
        for outcome in OUTCOMES {
            let labels =
                OutcomeLabels { subscription: subscription.clone(), tenant: tenant.clone(), outcome };
            for family in [&self.outcomes, &self.leases_ended, &self.dead_letter_copies] {
                family.remove(&labels);
            }
        }
        for reason in [Reason::Missing, Reason::Failed, Reason::OverBudget].map(Reason::name) {
            let (subscription, tenant) = (subscription.clone(), tenant.clone());
            self.filter_failures.remove(&ReasonLabels { subscription, tenant, reason });
        }
    }

    pub(crate) fn subscription(&self, tenant: &str, name: &str) -> SubscriptionMetrics {
        let labels = SubscriptionLabels { subscription: name.to_owned(), tenant: tenant.to_owned() };
        let labels_of = |outcome| {
            let (subscription, tenant) = (name.to_owned(), tenant.to_owned());
            OutcomeLabels { subscription, tenant, outcome }
        };
        let outcome = |outcome| self.outcomes.get_or_create_owned(&labels_of(outcome));
        let copies = |outcome| self.dead_letter_copies.get_or_create_owned(&labels_of(outcome));
        let filter_failure = |reason| {
            let (subscription, tenant) = (name.to_owned(), tenant.to_owned());
            self.filter_failures.get_or_create_owned(&ReasonLabels { subscription, tenant, reason })
        };
        SubscriptionMetrics {
            delivered: outcome("delivered"),
            retried: outcome("retried"),
            rejected: outcome("rejected"),
            dead: outcome("dead"),
            attempt_duration: self.attempt_duration.get_or_create_owned(&labels),
            panics: self.panics.get_or_create_owned(&labels),
            lost_events: self.lost_events.get_or_create_owned(&labels),
            save_failures: self.save_failures.get_or_create_owned(&labels),
            dead_letters_copied: copies("copied"),
            dead_letter_copies_dropped: copies("dropped"),
            filter_missing: filter_failure(Reason::Missing.name()),
            filter_failed: filter_failure(Reason::Failed.name()),
            filter_over_budget: filter_failure(Reason::OverBudget.name()),
            transform_failures: self.transform_failures.get_or_create_owned(&labels),
        }
    }

    /// A pull subscription's leases.
    pub(crate) fn leases(&self, tenant: &str, name: &str) -> LeaseMetrics {
        let outcome = |outcome| {
            let (subscription, tenant) = (name.to_owned(), tenant.to_owned());
            self.leases_ended.get_or_create_owned(&OutcomeLabels { subscription, tenant, outcome })
        };
        LeaseMetrics {
            acked: outcome("acked"),
            nacked: outcome("nacked"),
            expired: outcome("expired"),
            left: outcome("left"),
            returned: outcome("returned"),
        }
    }

    /// Registers everything; `statuses` is asked at each scrape.
    pub(crate) fn register(
        &self,
        registry: &mut Registry,
        statuses: Statuses,
        documents: Arc<DocumentCache>,
    ) {
        registry.register(
            "eventrelay_deliveries",
            "Attempts by what came of the delivery: delivered, retried (it will be tried again), rejected, dead",
            self.outcomes.clone(),
        );
        registry.register(
            "eventrelay_delivery_attempt_duration_seconds",
            "How long calls of the sink took; of a pull subscription, how long leases did",
            self.attempt_duration.clone(),
        );
        registry.register(
            "eventrelay_delivery_sink_panics",
            "Calls of the sink that ended in a panic",
            self.panics.clone(),
        );
        registry.register(
            "eventrelay_delivery_lost_events",
            "Events that retention dropped, or a repair gave up, before the subscription could deliver them",
            self.lost_events.clone(),
        );
        registry.register(
            "eventrelay_delivery_save_failures",
            "Saves of cursors, retries and dead letters that failed and are made again",
            self.save_failures.clone(),
        );
        registry.register(
            "eventrelay_leases_ended",
            "Leases of pull subscriptions by how they ended: acked, nacked, expired, left (the consumer went away), returned \\
             (they did not reach it)",
            self.leases_ended.clone(),
        );
        registry.register(
            "eventrelay_dead_letter_copies",
            "Copies of dead letters for sinks that keep them too, by what came of them: copied, dropped",
            self.dead_letter_copies.clone(),
        );
        registry.register(
            "eventrelay_filter_failures",
            "Events that a filter's expression gave no result for: missing (they do not match), failed (they are dead letters), \\
             over_budget (the subscription stops)",
            self.filter_failures.clone(),
        );
        registry.register(
            "eventrelay_transform_failures",
            "Events that a transform gave no result for; each is a dead letter",
            self.transform_failures.clone(),
        );
        registry.register_collector(Box::new(Gauges { statuses }));
        registry.register_collector(Box::new(Documents { documents }));
    }
}

/// Tells the status of every subscription.
pub(crate) type Statuses = Arc<dyn Fn() -> Vec<SubscriptionStatus> + Send + Sync>;

/// Values that are read when they are asked for.
struct Gauges {
    statuses: Statuses,
}

impl fmt::Debug for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gauges").finish_non_exhaustive()
    }
}

type Value = fn(&SubscriptionStatus) -> f64;

#[expect(clippy::cast_precision_loss, reason = "Prometheus' values are floats")]
const GAUGES: [(&str, &str, Value); 12] = [
    ("lag_events", "Durable events at or past the cursor", |status| status.lag_events as f64),
    ("lag_seconds", "Age of the event at the cursor", |status| status.lag_seconds),
    ("cursor", "Every offset below it needs nothing more, or waits for a retry", |status| {
        status.cursor as f64
    }),
    ("durable_cursor", "The cursor as saved: where a restart begins", |status| status.durable_cursor as f64),
    ("in_flight_calls", "Calls of the sink that are on their way", |status| status.in_flight_calls as f64),
    ("retrying", "Deliveries that wait for a retry", |status| status.retrying as f64),
    ("waiting_for_key", "Events that wait for an earlier one of their key", |status| {
        status.waiting_for_key as f64
    }),
    ("dead_letters", "Dead letters kept", |status| status.dead_letters as f64),
    ("leased_events", "Events that consumers have leased", |status| status.leased_events as f64),
    ("waiting_pulls", "Pulls that wait for events", |status| status.waiting_pulls as f64),
    ("breaker_state", "The circuit breaker: 0 closed, 1 half open, 2 open", |status| {
        status.breaker as u8 as f64
    }),
    ("running", "1 while it delivers, 0 while paused, disabled, damaged or stopped", |status| {
        f64::from(u8::from(status.run_state == crate::status::RunState::Running))
    }),
];

/// What the trees of events' data take.
#[derive(Debug)]
struct Documents {
    documents: Arc<DocumentCache>,
}

impl Collector for Documents {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (name, help) =
            ("eventrelay_expression_documents", "Trees of events' data built for filters and transforms");
        let built = ConstCounter::new(self.documents.built());
        built.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        let (name, help) =
            ("eventrelay_expression_document_bytes", "Memory of the trees that are kept for others");
        #[expect(clippy::cast_precision_loss, reason = "Prometheus' values are floats")]
        let bytes = ConstGauge::new(self.documents.bytes() as f64);
        bytes.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let statuses = (self.statuses)();
        for (name, help, value) in GAUGES {
            let name = format!("eventrelay_subscription_{name}");
            let mut metric = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
            for status in &statuses {
                let labels = [("subscription", status.name.as_str()), ("tenant", status.tenant.as_str())];
                ConstGauge::new(value(status)).encode(metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
