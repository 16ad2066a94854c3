//! `POST /v1/events`, `POST /v1/events/stream`, `GET /v1/events/{id}` and `GET /v1/events/{id}/status`.

mod find;
mod idempotency_key;
mod publish;
mod publish_stream;
mod receipts;
pub(in crate::http) mod refusals;
pub(in crate::http) mod schemas;
mod status;

pub(super) use find::stored;
pub(crate) use find::{find, of_id};
pub(crate) use idempotency_key::of as idempotency_key;
pub(crate) use publish::publish;
pub(crate) use publish_stream::publish_stream;
pub(super) use refusals::of_decoding;
pub(in crate::http) use refusals::of_publishing;
pub(in crate::http) use status::Status;
pub(crate) use status::status;
