//! Finds where the log ends, and tells a torn tail from damage.
//!
//! Commits are written at once to consecutive places, several at a time, and acknowledged in order. So after a crash the last
//! segment holds valid frames up to some place, and behind it any mixture of whole, torn and missing ones:
//!
//! ```text
//!   ✓ valid  ✓ valid  ✗ torn or missing  ✓ valid (never acknowledged)  ✗ …  zeros or an earlier life's frames
//!                     ▲ position, expected offset
//! ```
//!
//! Every frame carries the durable offset that was known when it was written. If any valid frame behind the first invalid
//! place names a durable offset *above* the expected one, then the events at that place had been acknowledged: damage, and
//! the log refuses to open. If none does, nothing behind that place was ever acknowledged, delivered or answered with: it is
//! cut, and what is still valid behind the cut is wiped *before* anything is appended, for otherwise a new frame of the right
//! length would put an old one back in line.

use std::io;
use std::path::Path;

use crate::disk::{AlignedBuffer, BLOCK_BYTES, File};
use crate::error::{Damage, DamageKind, OpenError};
use crate::frame::FrameHeader;
use crate::frame_walker::FrameWalker;
use crate::segment_header::SegmentHeader;

/// Where a segment's valid frames end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tail {
    /// Where the next frame goes.
    pub(crate) position: u64,
    /// The offset that it begins with.
    pub(crate) next_offset: u64,
    /// The newest append time; that of the segment's beginning when there was no frame.
    pub(crate) last_append_time_micros: u64,
    /// The highest durable offset that a frame names. The events below it are safe against being taken for a torn tail.
    pub(crate) marked_offset: u64,
    /// Behind `position`, where the last valid frame that must be wiped ends.
    pub(crate) wipe_end: Option<u64>,
}

impl Tail {
    /// The tail of a segment without frames.
    pub(crate) fn empty(header: &SegmentHeader) -> Self {
        Self {
            position: BLOCK_BYTES as u64,
            next_offset: header.base_offset,
            last_append_time_micros: header.created_micros,
            marked_offset: header.base_offset,
            wipe_end: None,
        }
    }
}

/// Walks from `start` to the end of the valid frames, showing each (with its position) to `visit`, then looks behind it.
pub(crate) fn scan_tail(
    file: &dyn File,
    path: &Path,
    header: &SegmentHeader,
    start: Tail,
    visit: &mut dyn FnMut(u64, &FrameHeader, &[u8]),
) -> Result<Tail, OpenError> {
    let read_error = |error| OpenError::io(path, error);
    let mut walker = FrameWalker::new(file).map_err(read_error)?;
    let seed = header.frame_seed();
    let mut tail = Tail { wipe_end: None, ..start };
    let mut read_twice = false;
    loop {
        let found = walker.frame_at(tail.position, seed).map_err(read_error)?;
        let Some((frame, bytes)) = found.filter(|(frame, _)| frame.base_offset == tail.next_offset) else {
            // A read may go wrong once; what is cut is cut for good.
            if read_twice {
                break;
            }
            read_twice = true;
            walker.forget_window();
            continue;
        };
        read_twice = false;
        visit(tail.position, &frame, bytes);
        tail.position += bytes.len() as u64;
        tail.next_offset = frame.end_offset();
        tail.last_append_time_micros = tail.last_append_time_micros.max(frame.append_time_micros);
        tail.marked_offset = tail.marked_offset.max(frame.durable_offset);
    }
    let behind = look_behind(&mut walker, header, tail.position).map_err(read_error)?;
    if behind.durable_offset > tail.next_offset {
        return Err(OpenError::Damaged(Damage {
            segment: path.to_path_buf(),
            position: tail.position,
            offset: tail.next_offset,
            kind: behind.here.map_or(DamageKind::Frame, |found| DamageKind::Misplaced { found }),
        }));
    }
    tail.wipe_end = behind.end;
    Ok(tail)
}

/// What is behind the first invalid place.
struct Behind {
    /// The highest durable offset that a valid frame names.
    durable_offset: u64,
    /// Where the last valid frame ends.
    end: Option<u64>,
    /// The base offset of a valid frame at the very place, which must then be a misplaced one.
    here: Option<u64>,
}

fn look_behind(walker: &mut FrameWalker<'_>, header: &SegmentHeader, from: u64) -> io::Result<Behind> {
    let seed = header.frame_seed();
    let mut behind = Behind { durable_offset: 0, end: None, here: None };
    let mut position = from;
    while position + BLOCK_BYTES as u64 <= walker.file_bytes() {
        if let Some((frame, bytes)) = walker.frame_at(position, seed)? {
            if position == from {
                behind.here = Some(frame.base_offset);
            }
            behind.durable_offset = behind.durable_offset.max(frame.durable_offset);
            position += bytes.len() as u64;
            behind.end = Some(position);
        } else {
            position += BLOCK_BYTES as u64;
        }
    }
    Ok(behind)
}

/// Overwrites what [`scan_tail`] cut with zeros, durably.
pub(crate) fn wipe_behind(file: &dyn File, tail: &Tail) -> io::Result<()> {
    const PIECE_BYTES: u64 = 1 << 20;
    let Some(end) = tail.wipe_end else { return Ok(()) };
    let mut position = tail.position;
    while position < end {
        let piece = PIECE_BYTES.min(end - position);
        #[allow(clippy::cast_possible_truncation, reason = "at most 1 MiB")]
        file.write_durable_at(&AlignedBuffer::zeroed(piece as usize), position)?;
        position += piece;
    }
    Ok(())
}
