//! Frames in memory, shared by all readers: the newest ones, and those last read from files.

use std::collections::VecDeque;

use parking_lot::{Mutex, RwLock};

use crate::frame::Frame;

/// How many runs of frames read from files are kept. Each is about 256 KiB.
const RECENT_RUNS: usize = 16;

/// The newest frames, and runs of frames that were last read from files.
pub(crate) struct FrameCache {
    tail_limit_bytes: usize,
    tail: RwLock<FrameRun>,
    recent: Mutex<VecDeque<FrameRun>>,
}

/// Frames of consecutive offsets.
#[derive(Default)]
pub(crate) struct FrameRun {
    frames: VecDeque<Frame>,
    bytes: usize,
}

impl FrameRun {
    pub(crate) fn push(&mut self, frame: Frame) {
        debug_assert!(
            self.frames.back().is_none_or(|last| last.end_offset() == frame.base_offset),
            "a run has no hole"
        );
        self.bytes += frame.memory_bytes();
        self.frames.push_back(frame);
    }

    pub(crate) fn find(&self, offset: u64) -> Option<Frame> {
        let at = self.frames.partition_point(|frame| frame.end_offset() <= offset);
        self.frames.get(at).filter(|frame| frame.base_offset <= offset).cloned()
    }
}

impl FrameCache {
    pub(crate) fn new(tail_limit_bytes: usize) -> Self {
        Self { tail_limit_bytes, tail: RwLock::default(), recent: Mutex::default() }
    }

    /// The frame that holds `offset`, if it is in memory.
    pub(crate) fn find(&self, offset: u64) -> Option<Frame> {
        if let Some(frame) = self.tail.read().find(offset) {
            return Some(frame);
        }
        self.recent.lock().iter().find_map(|run| run.find(offset))
    }

    /// Adds the newest frame, and lets the oldest go that no longer fit.
    pub(crate) fn push_tail(&self, frame: Frame) {
        let mut evicted = Vec::new();
        let mut tail = self.tail.write();
        if tail.frames.back().is_some_and(|last| last.end_offset() != frame.base_offset) {
            *tail = FrameRun::default();
        }
        tail.push(frame);
        while tail.bytes > self.tail_limit_bytes && tail.frames.len() > 1 {
            if let Some(oldest) = tail.frames.pop_front() {
                tail.bytes -= oldest.memory_bytes();
                evicted.push(oldest);
            }
        }
        drop(tail);
        // The memory is given back here, with no reader waiting.
        drop(evicted);
    }

    /// Keeps a run that was read from a file, for the next reader.
    pub(crate) fn push_recent(&self, run: FrameRun) {
        let mut recent = self.recent.lock();
        let oldest = if recent.len() >= RECENT_RUNS { recent.pop_front() } else { None };
        recent.push_back(run);
        drop(recent);
        drop(oldest);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::frame::{FrameHeader, FrameKind};

    fn frame(base_offset: u64, count: u32) -> Frame {
        let kind = FrameKind::Records { count };
        let header = FrameHeader {
            kind,
            body_bytes: 10,
            generation: 0,
            base_offset,
            append_time_micros: 0,
            durable_offset: 0,
        };
        Frame::new(&header, &Bytes::from(vec![0; 4096]))
    }

    #[test]
    fn the_tail_keeps_what_fits_and_finds_by_offset() {
        let cache = FrameCache::new(3 * 4096);
        for i in 0..5 {
            cache.push_tail(frame(i * 2, 2));
        }
        assert!(cache.find(3).is_none(), "the oldest were let go");
        assert_eq!(cache.find(4).map(|f| f.base_offset), Some(4));
        assert_eq!(cache.find(9).map(|f| f.base_offset), Some(8));
        assert!(cache.find(10).is_none());
    }

    #[test]
    fn runs_read_from_files_are_bounded() {
        let cache = FrameCache::new(4096);
        for i in 0..=RECENT_RUNS as u64 {
            let mut run = FrameRun::default();
            run.push(frame(i * 10, 10));
            cache.push_recent(run);
        }
        assert!(cache.find(5).is_none(), "the first run was let go");
        assert!(cache.find(15).is_some());
    }
}
