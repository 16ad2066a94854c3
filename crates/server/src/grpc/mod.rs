//! The gRPC front door: the contracts of `proto/`, health and reflection, over HTTP/2 with prior knowledge.
//!
//! | service | |
//! |---|---|
//! | `eventrelay.v1.EventRelay` | our own API: `Publish`, `PublishStream`, `GetEvent`, `GetStatus`, `Subscribe`, `Consume` |
//! | `event.EventService` | the contract of a job-tracked ingester |
//! | `ingestpb.Ingestor` | the contract of a streaming relay |
//! | `grpc.health.v1.Health` | whether events are taken |
//! | `grpc.reflection.v1`, `v1alpha` | what there is |
//!
//! The way of a call, one file each:
//!
//! ```text
//! server      accepts, admits, owns the connections' tasks
//! connection  HTTP/2 behind the gate of the HTTP front door: first byte, idle and write deadlines; drains
//! service     checks host and origin, finds the method, sets the deadline, counts
//! upload      under tonic: message length, time and memory
//! pipeline    streams of messages, many in flight, answered in order
//! refusals    what is refused, with the same codes as over HTTP
//! ```
//!
//! Every limit is in [`GrpcOptions`].

mod connection;
mod consume;
mod deadline;
mod event_relay;
mod event_service;
mod health;
mod ingestor;
mod messages;
mod method;
mod metrics;
mod options;
mod pipeline;
mod publish_stream;
mod reflection;
mod refusals;
mod server;
mod service;
mod status;
mod subscribe;
mod upload;

pub use metrics::GrpcMetrics;
pub use options::GrpcOptions;
pub use server::GrpcServer;
pub use service::Services as GrpcServices;
