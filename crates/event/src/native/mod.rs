//! Our own JSON form, version 1.
//!
//! A producer sends one object, an array of them, or one a line (NDJSON):
//!
//! | field | JSON | |
//! |---|---|---|
//! | `type`, `source` | string | required |
//! | `data` | any value | the event's data; with a `content_type` that is not JSON, a string stands for its text |
//! | `data_base64` | string | binary data, instead of `data` |
//! | `id` | string | the producer's own id, and its idempotency key when there is no other |
//! | `subject`, `time`, `key`, `content_type`, `dataschema`, `idempotency_key` | string | |
//! | `headers` | object of strings | names of `a-z` and `0-9`, at most 20 characters |
//!
//! `null` stands for an absent field, except for `data`. Any other field is an error, so that a slip of the pen is seen.
//!
//! [`write_json`] writes what the log has, in this order; what is absent is left out:
//!
//! ```json
//! {"id": "019a…", "offset": 7, "tenant": "default", "type": "order.created", "source": "/shop", "subject": "7",
//!  "time": "2026-01-31T12:00:00Z", "received_at": "2026-01-31T12:00:00.000123Z", "key": "c1",
//!  "content_type": "application/json", "dataschema": "https://…", "client_id": "A-1", "idempotency_key": "once",
//!  "headers": {"traceparent": "00-…"}, "data": {"total": 1}}
//! ```
//!
//! `id` is the [`crate::EventId`] and `client_id` the producer's own; `time` is the producer's or else `received_at`,
//! which is when the event was appended. Binary data is `data_base64` instead of `data`.

mod decode;
#[cfg(test)]
mod tests;
mod write;

pub use decode::{decode, decode_lines};
pub use write::write_json;
