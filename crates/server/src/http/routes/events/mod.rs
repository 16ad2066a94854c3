//! `POST /v1/events`, `GET /v1/events/{id}` and `GET /v1/events/{id}/status`.

mod find;
mod idempotency_key;
mod publish;
mod receipts;
mod refusals;
mod status;

pub(crate) use find::find;
pub(crate) use publish::publish;
pub(crate) use status::status;
