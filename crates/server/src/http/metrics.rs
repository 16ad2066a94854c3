//! What the HTTP front door counts. Labels have few values, all of them ours: none comes from a client.

use std::borrow::Cow;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::route::Route;
use crate::connection_metrics::{ConnectionMetrics, ReasonLabels};

/// The handles of the HTTP front door's metrics. Cheap to clone; clones count together.
#[derive(Debug, Clone)]
pub struct HttpMetrics {
    requests: Family<RequestLabels, Counter>,
    duration: Family<RouteLabels, Histogram, fn() -> Histogram>,
    /// The handles of `requests` and `duration` by route, so that a request looks nothing up.
    by_route: Vec<RouteHandles>,
    problems: Family<CodeLabels, Counter>,
    protocol_errors: Counter,
    pub(crate) connections: ConnectionMetrics,
    pub(crate) event_streams: Gauge,
    pub(crate) publish_streams: Gauge,
    ended_publish_streams: Family<ReasonLabels, Counter>,
    accepted_lines: Counter,
    refused_lines: Family<CodeLabels, Counter>,
    body_bytes: Counter,
}

/// What is counted of one route.
#[derive(Debug, Clone)]
pub(crate) struct RouteHandles {
    by_class: [Counter; CLASSES.len()],
    duration: Histogram,
}

/// What statuses are told apart by. The few below 400 that are no 2xx, such as the 303 of a login, count as `2xx`.
const CLASSES: [&str; 3] = ["2xx", "4xx", "5xx"];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: Cow<'static, str>,
    method: &'static str,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: Cow<'static, str>,
    method: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    code: &'static str,
}

/// From 100 µs, a synced publish on a fast disk, to 10 s.
fn duration_histogram() -> Histogram {
    Histogram::new([
        0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
        10.0,
    ])
}

impl Default for HttpMetrics {
    fn default() -> Self {
        let requests = Family::<RequestLabels, Counter>::default();
        let duration =
            Family::<RouteLabels, Histogram, fn() -> Histogram>::new_with_constructor(duration_histogram);
        let mut metrics = Self {
            requests,
            duration,
            by_route: Vec::new(),
            problems: Family::default(),
            protocol_errors: Counter::default(),
            connections: ConnectionMetrics::default(),
            event_streams: Gauge::default(),
            publish_streams: Gauge::default(),
            ended_publish_streams: Family::default(),
            accepted_lines: Counter::default(),
            refused_lines: Family::default(),
            body_bytes: Counter::default(),
        };
        let by_route = Route::ALL.into_iter();
        metrics.by_route =
            by_route.map(|route| metrics.handles(route.label().into(), route.method_label())).collect();
        metrics
    }
}

impl HttpMetrics {
    /// Makes them visible.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("eventrelay_http_requests", "Requests answered", self.requests.clone());
        registry.register(
            "eventrelay_http_request_duration_seconds",
            "Time from a request's head to its answer's head",
            self.duration.clone(),
        );
        registry.register("eventrelay_http_problems", "Problems answered, by code", self.problems.clone());
        registry.register(
            "eventrelay_http_protocol_errors",
            "HTTP/2 connections ended because the client broke the protocol",
            self.protocol_errors.clone(),
        );
        self.connections.register("eventrelay_http", registry);
        registry.register("eventrelay_http_event_streams", "Event streams open", self.event_streams.clone());
        registry.register(
            "eventrelay_http_publish_streams",
            "Publish streams open",
            self.publish_streams.clone(),
        );
        registry.register(
            "eventrelay_http_ended_publish_streams",
            "Publish streams ended, by reason",
            self.ended_publish_streams.clone(),
        );
        registry.register(
            "eventrelay_http_stream_lines_accepted",
            "Lines of publish streams acknowledged",
            self.accepted_lines.clone(),
        );
        registry.register(
            "eventrelay_http_stream_lines_refused",
            "Lines of publish streams refused, by code",
            self.refused_lines.clone(),
        );
        registry.register(
            "eventrelay_http_request_body_bytes",
            "Bytes of request bodies received",
            self.body_bytes.clone(),
        );
    }

    /// What is to be counted of a route, which is one of the server's own. Kept by who counts.
    pub(crate) fn handles(&self, route: Cow<'static, str>, method: &'static str) -> RouteHandles {
        let by_class = CLASSES.map(|status| {
            let labels = RequestLabels { route: route.clone(), method, status };
            self.requests.get_or_create(&labels).clone()
        });
        RouteHandles {
            by_class,
            duration: self.duration.get_or_create(&RouteLabels { route, method }).clone(),
        }
    }

    /// What is counted of one of the routes that are known at compile time.
    pub(crate) fn of_route(&self, route: Route) -> &RouteHandles {
        &self.by_route[route as usize]
    }

    pub(crate) fn count_request(
        &self,
        handles: &RouteHandles,
        status: http::StatusCode,
        took: Duration,
        body_bytes: usize,
    ) {
        let class = match status.as_u16() {
            ..400 => 0,
            400..500 => 1,
            500.. => 2,
        };
        handles.by_class[class].inc();
        handles.duration.observe(took.as_secs_f64());
        self.count_body_bytes(body_bytes);
    }

    pub(crate) fn count_body_bytes(&self, bytes: usize) {
        self.body_bytes.inc_by(bytes as u64);
    }

    pub(crate) fn count_accepted_lines(&self, count: u64) {
        self.accepted_lines.inc_by(count);
    }

    pub(crate) fn count_refused_line(&self, code: &'static str) {
        self.refused_lines.get_or_create(&CodeLabels { code }).inc();
    }

    pub(crate) fn count_ended_publish_stream(&self, reason: &'static str) {
        self.ended_publish_streams.get_or_create(&ReasonLabels { reason }).inc();
    }

    pub(crate) fn count_protocol_error(&self) {
        self.protocol_errors.inc();
    }

    pub(crate) fn count_problem(&self, code: &'static str) {
        self.problems.get_or_create(&CodeLabels { code }).inc();
    }
}
