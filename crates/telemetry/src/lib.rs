//! Our part in the traces of our callers, exported over OTLP to a collector, for whoever configures one.
//!
//! ```text
//!  caller's span ──┬── publish   one publish of events, until they are durable
//!                  └── deliver   one attempt to deliver one of them ──── the receiver's span
//!
//!  front doors, dispatchers ─▶ Spans ─▶ queue, bounded ─▶ Exporter ─▶ POST <endpoint>/v1/traces
//!                                         └── full: dropped and counted
//! ```
//!
//! - [`Spans`] is what the others have: a handle that does nothing, at the price of one branch, when nothing is exported.
//! - [`PublishSpans`] and [`DeliverySpan`] are spans under way; `encode` says how they look in the end.
//! - [`Exporter`] is the task that sends them (`collector` is one request of it).
//!
//! Whether a trace is recorded is the caller's decision, by the flag in its `traceparent`; we begin none.
//!
//! Invariants:
//! - Nobody waits for the exporter. What it cannot take is dropped, and `eventrelay_telemetry_dropped_spans_total` tells why.
//! - Every span that was ended is exported, in the queue, or counted as dropped.
//! - What is in memory is bounded: `max_queued_spans` and `max_batch_spans`, each span by the limits of what it tells.

mod collector;
mod delivery_span;
mod encode;
mod exporter;
mod header_text;
mod metrics;
mod options;
mod proto;
mod publish_spans;
mod retry;
mod span;
mod spans;

pub use delivery_span::{DeliveryEnd, DeliverySpan, DeliveryTracer};
pub use exporter::Exporter;
pub use header_text::HeaderText;
pub use metrics::TelemetryMetrics;
pub use options::{Compression, OptionsError, TelemetryOptions};
pub use publish_spans::{Door, PublishSpans};
pub use spans::{Spans, start};
