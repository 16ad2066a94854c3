//! The TCP front door: length-prefixed frames on one port, lines of JSON on another.
//!
//! ```text
//! frames   client ──▶ u32 LE length, payload │ u32 LE length, payload │ …
//!          client ◀── 0x00 │ 0x03 │ …           one byte for each: 0x00 once durable, else why not (see [`refusal`])
//! lines    client ──▶ {"type":…,"source":…} LF …
//!          client ◀── {"id":…,"offset":…,"duplicate":false} LF │ {"code":…,"detail":…} LF …
//! ```
//!
//! Clients send on without waiting; answers come in the order of what they answer, those of one commit in one write. The
//! events of a connection are stored in the order in which they came. A frame's payload is opaque bytes, the data of an
//! event of the configured tenant, type and source, or, with `decode = "json"`, one event in our own form.
//!
//! The way of a payload, one file each:
//!
//! ```text
//! server          listens; crate::accept lets connections in and owns their tasks
//! connection      runs the two halves of a connection, and lingers
//! reader          receive_buffer ─▶ framing ─▶ session: login, where keys are asked for ─▶ batch: submitted, not waited for
//! writer          batch: outcome ─▶ answer, refusal
//! ```
//!
//! Framing, batches and refusals are in `crate::payloads`, for a streamed HTTP body has the same.
//!
//! What cannot be told apart any more ends its connection, after the answers to all that came before: a frame or line over
//! the limit, and a line that is no JSON object. The latter keeps out web pages, which can make a browser send any body to
//! loopback, but not without an HTTP request line before it.
//!
//! Every limit is in [`TcpOptions`].

mod answer;
mod connection;
mod end;

#[cfg(test)]
mod framing_fuzz;
mod metrics;
mod options;
mod reader;
mod receive_buffer;
mod server;
mod service;
mod session;
mod writer;

pub use metrics::TcpMetrics;
pub use options::{Decode, TcpOptions};
pub use server::{TcpAddresses, TcpServer};
