//! `POST /v1/events`, `POST /v1/events/stream`, `GET /v1/events/{id}` and `GET /v1/events/{id}/status`.

mod find;
mod idempotency_key;
mod publish;
mod publish_stream;
mod receipts;
mod refusals;
mod status;

pub(crate) use find::find;
pub(super) use find::stored;
pub(crate) use publish::publish;
pub(crate) use publish_stream::publish_stream;
pub(super) use refusals::of_decoding;
pub(crate) use status::status;
