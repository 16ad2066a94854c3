//! `POST /v1/events` and `GET /v1/events/{id}`.

mod find;
mod idempotency_key;
mod publish;
mod receipts;
mod refusals;

pub(crate) use find::find;
pub(crate) use publish::publish;
