//! The domain: what an event is, how it is named, stored and written in CloudEvents' forms. No I/O.
//!
//! - [`Event`]: what a producer hands over, and [`rules`]: what it must keep to be published.
//! - [`StoredEvent`]: the same event read back from the log, with its [`EventId`], offset and append time.
//! - [`EventId`]: a UUIDv7 that carries the append time and the offset.
//! - [`Tenant`]: whose event it is.
//! - [`ContentKind`]: which of the forms a request is in.
//! - [`native`]: our own JSON form; [`cloudevents`]: CloudEvents 1.0.
//! - [`json`]: the strict JSON check done once, at the door.
//! - [`filter`]: which events a subscription wants.

pub mod cloudevents;
pub mod filter;
pub mod json;
pub mod native;
pub mod rules;

mod content;
mod content_kind;
mod data;
mod decode_events;
mod document;
mod envelope;
mod event;
mod id;
mod ksuid;
mod media_type;
mod message_id;
mod purpose;
mod stored;
mod tenant;
mod timestamp;
mod trace_context;
mod trace_id;
mod uri;

pub use content_kind::ContentKind;
pub use data::{Data, DataKind};
pub use decode_events::{DecodeEventsError, DecodeEventsErrorKind, DecodedEvents};
pub use envelope::Envelope;
pub use event::Event;
pub use id::{EventId, EventIdError};
pub use ksuid::{Ksuid, KsuidError};
pub use message_id::{MessageId, MessageIdError};
pub use purpose::Purpose;
pub use rules::{EventLimits, InvalidEvent};
pub use stored::{DecodeError, StoredEvent};
pub use tenant::{Tenant, TenantError};
pub use timestamp::Timestamp;
pub use trace_context::{TRACEPARENT, TRACESTATE, TraceContext};
pub use trace_id::{SpanId, TraceId};
