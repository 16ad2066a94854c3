//! The durable log: a totally ordered, append-only, checksummed sequence of records, acknowledged only once they are on disk.
//! It knows bytes and keys, not events.
//!
//! ```text
//! <directory>/
//!   LOCK                          held by the one process that has the log open
//!   MANIFEST                      the log's id, its oldest and newest segment          (manifest)
//!   00000000000000000000.log      segments: a header block, then frames                (segment_header, frame, record)
//!   00000000000000000000.index    where offsets and times are in a sealed segment      (sparse_index)
//!   spare.ready                   the next segment, zero-filled or recycled            (spare)
//!   keys/…                        the keys of sealed segments                          (key_index)
//!   quarantine/…                  what an operator's repair set aside                  (offline::repair)
//! ```
//!
//! # Invariants
//! 1. An append is acknowledged only after its frame, and every frame before it, is durable.
//! 2. Readers never see an offset at or past the durable offset.
//! 3. Offsets are dense from 0 and are never given twice to records that anybody saw.
//! 4. A frame that was acknowledged verifies, or opening, reading and verifying say where it does not. Nothing is skipped.
//! 5. What was never acknowledged and is torn is cut at opening, and can never come back.
//! 6. After a failed write or sync nothing is acknowledged until what is on the disk has been read back.
//! 7. Indexes are derived: each can be deleted, and none is evidence about the log.
//!
//! # The way of an append
//! [`Log::reserve`] room → [`Log::append`] → `commit_queue` → a commit thread (`commit`) takes the turn, the `committer` checks
//! keys and encodes a frame, the thread writes it → `in_flight` moves the durable offset in order and answers.

#![cfg_attr(
    test,
    allow(clippy::cast_possible_truncation, reason = "tests make small numbers, and fail loudly")
)]

mod checksum;
mod commit;
mod commit_queue;
mod committer;
mod core;
pub mod disk;
mod error;
mod frame;
mod frame_cache;
#[cfg(test)]
mod frame_fuzz;
mod frame_walker;
mod in_flight;
mod key_index;
mod key_rebuild;
mod log;
mod maintenance;
mod manifest;
mod metrics;
pub mod offline;
mod opening;
mod options;
mod reader;
mod record;
mod retention;
mod roll;
mod segment;
mod segment_header;
#[cfg(test)]
mod simulation;
mod spare;
mod sparse_index;
mod tail_scan;
mod wire;

pub use self::core::Status;
pub use commit_queue::{AppendedGroup, RecordOutcome, Reservation, Ticket};
pub use error::{AppendError, Damage, DamageKind, OpenError, ReadError, Refusal};
pub use frame::Frame;
pub use log::{Log, LogId};
pub use options::{Clock, Options, OptionsError, Retention, SyncMode, SystemClock};
pub use record::{Group, Key, Record};
pub use segment_header::{FORMAT_VERSION, HeaderFault};
