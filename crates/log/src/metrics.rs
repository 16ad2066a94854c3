//! What the log counts, in Prometheus' terms.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::core::Core;

/// Handles to the log's counters and histograms. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct LogMetrics {
    pub(crate) commits: Counter,
    pub(crate) committed_events: Counter,
    pub(crate) committed_bytes: Counter,
    pub(crate) refused_groups: Counter,
    pub(crate) failed_writes: Counter,
    pub(crate) rolls: Counter,
    pub(crate) segments_let_go: Counter,
    pub(crate) hard_limit_crossings: Counter,
    pub(crate) commit_seconds: Histogram,
    pub(crate) fsync_seconds: Histogram,
    pub(crate) commit_events: Histogram,
    pub(crate) commit_bytes: Histogram,
}

impl LogMetrics {
    pub(crate) fn new() -> Self {
        let seconds = || Histogram::new(exponential_buckets(50e-6, 2.0, 16));
        Self {
            commits: Counter::default(),
            committed_events: Counter::default(),
            committed_bytes: Counter::default(),
            refused_groups: Counter::default(),
            failed_writes: Counter::default(),
            rolls: Counter::default(),
            segments_let_go: Counter::default(),
            hard_limit_crossings: Counter::default(),
            commit_seconds: seconds(),
            fsync_seconds: seconds(),
            commit_events: Histogram::new(exponential_buckets(1.0, 4.0, 9)),
            commit_bytes: Histogram::new(exponential_buckets(4096.0, 4.0, 8)),
        }
    }

    pub(crate) fn observe_commit(&self, events: u64, bytes: u64) {
        self.commits.inc();
        self.committed_events.inc_by(events);
        self.committed_bytes.inc_by(bytes);
        #[allow(clippy::cast_precision_loss, reason = "a histogram's bucket needs no 53 bits")]
        {
            self.commit_events.observe(events as f64);
            self.commit_bytes.observe(bytes as f64);
        }
    }

    /// Registers all but the gauges.
    fn register(&self, registry: &mut Registry) {
        let mut counter =
            |name: &str, help: &str, counter: &Counter| registry.register(name, help, counter.clone());
        counter("commits", "Commits that are durable", &self.commits);
        counter("committed_events", "Events in durable commits", &self.committed_events);
        counter("committed_bytes", "Bytes of durable commits as written", &self.committed_bytes);
        counter("refused_groups", "Groups refused by the log before they were written", &self.refused_groups);
        counter("failed_writes", "Writes and syncs that failed", &self.failed_writes);
        counter("rolls", "Segments begun", &self.rolls);
        counter("segments_let_go", "Segments that retention let go", &self.segments_let_go);
        counter(
            "hard_limit_crossings",
            "Times that retention let go what a subscription needed",
            &self.hard_limit_crossings,
        );
        let mut seconds = |name: &str, help: &str, histogram: &Histogram| {
            registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        };
        seconds(
            "commit_duration",
            "From the first encoded byte of a commit to its durability",
            &self.commit_seconds,
        );
        seconds("fsync_duration", "One synced write", &self.fsync_seconds);
        registry.register("commit_size_events", "Events per commit", self.commit_events.clone());
        registry.register_with_unit(
            "commit_size",
            "Bytes per commit",
            Unit::Bytes,
            self.commit_bytes.clone(),
        );
    }
}

/// Registers the log's metrics under `eventrelay_log_`.
pub(crate) fn register(core: &Arc<Core>, registry: &mut Registry) {
    let registry = registry.sub_registry_with_prefix("eventrelay_log");
    core.metrics.register(registry);
    registry.register_collector(Box::new(gauges::Gauges::new(core)));
}

/// Values that are read when somebody asks.
mod gauges {
    use std::fmt;
    use std::sync::{Arc, Weak};

    use prometheus_client::collector::Collector;
    use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
    use prometheus_client::metrics::gauge::ConstGauge;

    use crate::core::{Core, Status};

    pub(super) struct Gauges(Weak<Core>);

    impl Gauges {
        pub(super) fn new(core: &Arc<Core>) -> Self {
            Self(Arc::downgrade(core))
        }
    }

    impl fmt::Debug for Gauges {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Gauges")
        }
    }

    impl Collector for Gauges {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
            let Some(core) = self.0.upgrade() else {
                return Ok(());
            };
            let durable = core.in_flight.durable_offset();
            let (known_keys, key_bytes) = {
                let committer = core.committer.lock();
                (committer.keys.len(), committer.keys.memory_bytes() as u64)
            };
            let mut gauge = |name: &str, help: &str, value: u64| {
                let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
                let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
                gauge.encode(metric)
            };
            gauge("durable_offset", "Every offset below it is on disk", durable)?;
            gauge(
                "oldest_offset",
                "The first offset that retention has kept",
                core.segments.oldest_offset(),
            )?;
            gauge("size_bytes", "Bytes of all segment files", core.bytes())?;
            gauge("segments", "Segment files", core.segments.snapshot().len() as u64)?;
            gauge("queue_free_bytes", "Room in the commit queue", core.queue.free_bytes() as u64)?;
            gauge("keys", "Idempotency keys that are remembered", known_keys)?;
            gauge("keys_memory_bytes", "Memory that the key index takes", key_bytes)?;
            gauge("writable", "1 when the log takes events", u64::from(core.status() == Status::Writable))
        }
    }
}
