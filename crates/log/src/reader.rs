//! Reads frames by offset: from memory when it can, else from the file.
//!
//! A read from the file takes a run of consecutive frames at once, and keeps it for the next read. Nothing at or past the
//! durable offset is ever read. A frame that does not verify in the page cache is read again from the medium before it is
//! called damage, for a buffered read can race a direct write to the neighbouring block.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::disk::{AlignedBuffer, BLOCK_BYTES, Disk};
use crate::error::{Damage, DamageKind, ReadError};
use crate::frame::{Frame, FrameHeader, FrameKind, peek_header, verify_frame};
use crate::frame_cache::{FrameCache, FrameRun};
use crate::segment::{Segment, SegmentList};

/// How much of a file one read takes, where the frames are smaller.
const RUN_BYTES: usize = 256 << 10;
/// How many places at which sequential readers left off are remembered.
const HINTS: usize = 256;

/// Reads a log's frames.
pub(crate) struct Reader {
    disk: Arc<dyn Disk>,
    segments: Arc<SegmentList>,
    cache: Arc<FrameCache>,
    /// Where the frame that begins with an offset is, by the offset's remainder; so that a reader that goes on needs no seek.
    hints: Mutex<Vec<Hint>>,
}

#[derive(Clone, Copy, Default)]
struct Hint {
    offset: u64,
    base_offset: u64,
    position: u64,
}

impl Reader {
    pub(crate) fn new(disk: Arc<dyn Disk>, segments: Arc<SegmentList>, cache: Arc<FrameCache>) -> Self {
        Self { disk, segments, cache, hints: Mutex::new(vec![Hint::default(); HINTS]) }
    }

    /// The frame that holds `offset`, when it is in memory.
    pub(crate) fn read_cached(&self, offset: u64) -> Option<Frame> {
        self.cache.find(offset)
    }

    /// The frame that holds `offset`; `None` at or past `durable_offset`.
    pub(crate) fn read(&self, offset: u64, durable_offset: u64) -> Result<Option<Frame>, ReadError> {
        if offset >= durable_offset {
            return Ok(None);
        }
        if let Some(frame) = self.cache.find(offset) {
            return Ok(Some(frame));
        }
        let (segment, next) = self.segments.find(offset)?;
        let limit = next.map_or(durable_offset, |next| next.base_offset());
        self.read_segment(&segment, offset, limit).map(Some).map_err(|error| {
            // The file may have been let go, or recycled, while it was read.
            let oldest = self.segments.oldest_offset();
            if offset < oldest { ReadError::Trimmed { offset, oldest } } else { error }
        })
    }

    /// The first offset whose append time is at or after `micros`; `durable_offset` when there is none.
    pub(crate) fn seek_time(&self, micros: u64, durable_offset: u64) -> Result<u64, ReadError> {
        let segments = self.segments.snapshot();
        let after = segments.partition_point(|segment| segment.header.created_micros < micros);
        let Some(segment) = after.checked_sub(1).map(|at| &segments[at]) else {
            return Ok(segments[0].base_offset());
        };
        let place = segment.seek(self.disk.as_ref(), |index| index.before_time(micros))?;
        let mut offset = place.map_or(segment.base_offset(), |place| place.offset);
        while let Some(frame) = self.read(offset, durable_offset)? {
            if frame.append_time_micros >= micros {
                break;
            }
            offset = frame.end_offset();
        }
        Ok(offset)
    }

    /// Walks from the nearest known place to the frame of `offset`, and keeps the run that it is in.
    fn read_segment(&self, segment: &Segment, offset: u64, limit: u64) -> Result<Frame, ReadError> {
        let (mut next, mut position) = self.begin_at(segment, offset)?;
        loop {
            let run = Run::load(segment, position, next)?;
            let mut kept = FrameRun::default();
            let mut found = None;
            for (header, bytes) in run.frames {
                let in_line = header.base_offset == next && header.end_offset() <= limit;
                if !in_line && found.is_none() {
                    let kind = DamageKind::Misplaced { found: header.base_offset };
                    let segment = segment.path.clone();
                    return Err(ReadError::Damaged(Damage { segment, position, offset: next, kind }));
                }
                if !in_line {
                    break;
                }
                position += header.frame_bytes() as u64;
                next = header.end_offset();
                if header.kind == FrameKind::Mark || next <= offset {
                    continue;
                }
                let frame = Frame::new(&header, &bytes);
                found.get_or_insert_with(|| frame.clone());
                kept.push(frame);
                self.leave_hint(segment, next, position);
            }
            if let Some(found) = found {
                self.cache.push_recent(kept);
                return Ok(found);
            }
        }
    }

    fn begin_at(&self, segment: &Segment, offset: u64) -> Result<(u64, u64), ReadError> {
        let hint = self.hints.lock()[hint_slot(offset)];
        if hint.offset == offset && hint.base_offset == segment.base_offset() && hint.position != 0 {
            return Ok((offset, hint.position));
        }
        let start = (segment.base_offset(), BLOCK_BYTES as u64);
        if offset == segment.base_offset() {
            return Ok(start);
        }
        let place = segment.seek(self.disk.as_ref(), |index| index.before_offset(offset))?;
        Ok(place.map_or(start, |place| (place.offset, place.position)))
    }

    fn leave_hint(&self, segment: &Segment, offset: u64, position: u64) {
        self.hints.lock()[hint_slot(offset)] = Hint { offset, base_offset: segment.base_offset(), position };
    }
}

fn hint_slot(offset: u64) -> usize {
    #[allow(clippy::cast_possible_truncation, reason = "a remainder below HINTS")]
    {
        (offset % HINTS as u64) as usize
    }
}

/// Consecutive verified frames of a file: at least one.
struct Run {
    frames: Vec<(FrameHeader, Bytes)>,
}

impl Run {
    /// Reads the frames at `position`, the first of which holds `offset` or is a mark.
    fn load(segment: &Segment, position: u64, offset: u64) -> Result<Self, ReadError> {
        let io = |error| ReadError::io(&segment.path, error);
        let mut bytes = vec![0; RUN_BYTES];
        let filled = segment.file.read_at(&mut bytes, position).map_err(io)?;
        bytes.truncate(filled);
        let first_bytes = peek_header(&bytes).map_or(0, |header| header.frame_bytes());
        if first_bytes > bytes.len() && position + first_bytes as u64 <= segment.file.len().map_err(io)? {
            bytes.resize(first_bytes, 0);
            let rest = segment.file.read_at(&mut bytes[filled..], position + filled as u64).map_err(io)?;
            bytes.truncate(filled + rest);
        }
        let run = Self::parse(segment, &Bytes::from(bytes));
        if run.frames.is_empty() { Self::load_from_medium(segment, position, offset) } else { Ok(run) }
    }

    fn load_from_medium(segment: &Segment, position: u64, offset: u64) -> Result<Self, ReadError> {
        let io = |error| ReadError::io(&segment.path, error);
        let mut block = AlignedBuffer::zeroed(BLOCK_BYTES);
        let filled = segment.file.read_medium_at(&mut block, position).map_err(io)?;
        let first_bytes = peek_header(&block[..filled]).map_or(0, |header| header.frame_bytes());
        let in_file = position + first_bytes as u64 <= segment.file.len().map_err(io)?;
        let mut frame = AlignedBuffer::zeroed(if in_file { first_bytes } else { 0 });
        if !frame.is_empty() {
            let filled = segment.file.read_medium_at(&mut frame, position).map_err(io)?;
            frame.resize(filled);
        }
        let run = Self::parse(segment, &Bytes::copy_from_slice(&frame));
        if run.frames.is_empty() {
            return Err(ReadError::Damaged(Damage {
                segment: segment.path.clone(),
                position,
                offset,
                kind: DamageKind::Frame,
            }));
        }
        Ok(run)
    }

    /// As many whole, valid frames as there are from the start.
    fn parse(segment: &Segment, bytes: &Bytes) -> Self {
        let seed = segment.header.frame_seed();
        let mut frames = Vec::new();
        let mut at = 0;
        while let Some(header) = peek_header(&bytes[at..]) {
            let end = at + header.frame_bytes();
            if end > bytes.len() || !verify_frame(&bytes[at..end], seed) {
                break;
            }
            frames.push((header, bytes.slice(at..end)));
            at = end;
        }
        Self { frames }
    }
}
