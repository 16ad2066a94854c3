//! What the gRPC front door counts. Labels have few values, all of them ours: none comes from a client.

use std::borrow::Cow;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::method::Method;
use crate::connection_metrics::ConnectionMetrics;

/// The handles of the gRPC front door's metrics. Cheap to clone; clones count together.
#[derive(Debug, Clone)]
pub struct GrpcMetrics {
    calls: Family<MethodLabels, Counter>,
    open_calls: Family<MethodLabels, Gauge>,
    /// The handles of `calls` and `open_calls` by method, so that a call looks nothing up.
    by_method: Vec<(Counter, Gauge)>,
    refused: Family<CodeLabels, Counter>,
    protocol_errors: Counter,
    pub(crate) connections: ConnectionMetrics,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabels {
    method: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    code: Cow<'static, str>,
}

impl Default for GrpcMetrics {
    fn default() -> Self {
        let calls = Family::<MethodLabels, Counter>::default();
        let open_calls = Family::<MethodLabels, Gauge>::default();
        let by_method = Method::ALL
            .map(|method| {
                let labels = MethodLabels { method: method.label() };
                (calls.get_or_create(&labels).clone(), open_calls.get_or_create(&labels).clone())
            })
            .to_vec();
        Self {
            calls,
            open_calls,
            by_method,
            refused: Family::default(),
            protocol_errors: Counter::default(),
            connections: ConnectionMetrics::default(),
        }
    }
}

impl GrpcMetrics {
    /// Makes them visible.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("eventrelay_grpc_calls", "Calls begun", self.calls.clone());
        registry.register("eventrelay_grpc_open_calls", "Calls open", self.open_calls.clone());
        registry.register(
            "eventrelay_grpc_refused",
            "Calls and messages of streams refused, by code",
            self.refused.clone(),
        );
        registry.register(
            "eventrelay_grpc_protocol_errors",
            "Connections ended because the client broke HTTP/2",
            self.protocol_errors.clone(),
        );
        self.connections.register("eventrelay_grpc", registry);
    }

    /// Counts a call for as long as what this gives is kept.
    pub(crate) fn begin_call(&self, method: Method) -> OpenCall {
        let (calls, open) = &self.by_method[method as usize];
        calls.inc();
        open.inc();
        OpenCall(open.clone())
    }

    pub(crate) fn count_protocol_error(&self) {
        self.protocol_errors.inc();
    }

    pub(crate) fn count_refused(&self, code: impl Into<Cow<'static, str>>) {
        self.refused.get_or_create(&CodeLabels { code: code.into() }).inc();
    }
}

/// A call that is open.
#[derive(Debug)]
pub(crate) struct OpenCall(Gauge);

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.0.dec();
    }
}
