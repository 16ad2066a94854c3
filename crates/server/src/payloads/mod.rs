//! Payloads that come one behind another, on a TCP connection or in a streamed body: told apart, published together, and
//! answered in their order.
//!
//! ```text
//! framing    where a payload begins and ends in what was received
//! cut        which payloads make the next batch, and what cannot be told apart any more
//! batch      submitted without waiting for the batch before; later what became of each payload
//! answering  waits for the batches in their turn, and hands on what is known with as few writes as there are commits
//! refusal    why a payload was refused
//! ```
//!
//! The doors have what is their own: how bytes come in, how answers go out, and when it ends.

pub(crate) mod answering;
pub(crate) mod batch;
pub(crate) mod cut;
pub(crate) mod framing;
pub(crate) mod refusal;
