//! Events as a reader looks at them: some hundred records of a run at a time, decoded.
//!
//! At the log's end all subscriptions look at the same records at about the same time, and step through them in the same chunks. So
//! whoever comes first decodes a chunk, and the others find it in the [`ChunkCache`]: what one more subscription costs an event is
//! a look at it, and neither a decoding nor a count of references. Bounded in bytes: chunks that came first are let go first.
//!
//! What is read from the disk is not shared: who catches up seldom meets others there, and would only drive out the log's end.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use eventrelay_event::StoredEvent;
use eventrelay_log::Record;
use parking_lot::Mutex;

use crate::call::decode;
use crate::event_log::RecordRun;

/// How many records are taken out of a run at once.
const CHUNK_RECORDS: usize = 256;
/// The most that the chunks of a cache take: themselves, and the memory of the runs that they are of. By half of it more where
/// the last chunks of a run are left, whose memory was counted with its first.
const CACHE_BYTES: usize = 8 << 20;

/// Consecutive records of one run; at least one.
#[derive(Debug)]
pub(crate) struct Chunk {
    records: Box<[Decoded]>,
}

/// A record of a chunk.
#[derive(Debug)]
pub(crate) enum Decoded {
    Event(StoredEvent),
    /// The record is whole, but not an event.
    Undecodable {
        record: Record,
        why: String,
    },
}

/// The latest chunks of the log's end, for all subscriptions.
#[derive(Debug, Default)]
pub(crate) struct ChunkCache {
    chunks: Mutex<Cached>,
}

#[derive(Debug, Default)]
struct Cached {
    /// By their first offsets.
    chunks: HashMap<u64, Arc<Chunk>>,
    /// The first offsets, oldest first, each with what it counts for.
    order: VecDeque<(u64, usize)>,
    bytes: usize,
    /// The end of the run that the latest chunk is of.
    latest_run: u64,
}

impl Chunk {
    /// The records of a run from `position` on; none when it has none there.
    pub(crate) fn of(run: &dyn RecordRun, position: u64) -> Option<Self> {
        let mut records = VecDeque::with_capacity(CHUNK_RECORDS);
        run.copy_records(position, CHUNK_RECORDS, &mut records);
        let decoded = records.into_iter().map(|record| match decode(&record) {
            Ok(event) => Decoded::Event(event),
            Err(why) => Decoded::Undecodable { record, why },
        });
        let records: Box<[Decoded]> = decoded.collect();
        (!records.is_empty()).then_some(Self { records })
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Decoded> {
        self.records.get(index)
    }

    /// The records from `index` on.
    pub(crate) fn after(&self, index: usize) -> &[Decoded] {
        self.records.get(index..).unwrap_or_default()
    }
}

impl Decoded {
    pub(crate) fn offset(&self) -> u64 {
        match self {
            Self::Event(event) => event.offset(),
            Self::Undecodable { record, .. } => record.offset,
        }
    }

    /// What it takes in the log.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Event(event) => event.encoded().len(),
            Self::Undecodable { record, .. } => record.payload.len(),
        }
    }
}

impl ChunkCache {
    /// The chunk of a run that begins at `position`; none when the run has no record there.
    pub(crate) fn chunk(&self, run: &dyn RecordRun, position: u64) -> Option<Arc<Chunk>> {
        if let Some(found) = self.chunks.lock().chunks.get(&position) {
            return Some(Arc::clone(found));
        }
        let chunk = Arc::new(Chunk::of(run, position)?);
        // A large run would leave no room for others.
        if run.memory_bytes() <= CACHE_BYTES / 2 {
            self.chunks.lock().put(run, position, &chunk);
        }
        Some(chunk)
    }
}

impl Cached {
    fn put(&mut self, run: &dyn RecordRun, position: u64, chunk: &Arc<Chunk>) {
        // Somebody may have been faster.
        if self.chunks.insert(position, Arc::clone(chunk)).is_some() {
            return;
        }
        let is_new_run = self.latest_run != run.end_offset();
        self.latest_run = run.end_offset();
        let bytes = size_of_val(&*chunk.records) + if is_new_run { run.memory_bytes() } else { 0 };
        self.order.push_back((position, bytes));
        self.bytes += bytes;
        while self.bytes > CACHE_BYTES {
            let Some((position, bytes)) = self.order.pop_front() else { return };
            self.chunks.remove(&position);
            self.bytes -= bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use eventrelay_event::{Event, Tenant};

    use super::*;

    /// Records without end, of which the one at offset 3 is no event.
    struct Run {
        end: u64,
        memory_bytes: usize,
    }

    fn run(end: u64) -> Run {
        Run { end, memory_bytes: 100_000 }
    }

    impl RecordRun for Run {
        fn end_offset(&self) -> u64 {
            self.end
        }

        fn append_time_micros(&self) -> u64 {
            1
        }

        fn memory_bytes(&self) -> usize {
            self.memory_bytes
        }

        fn copy_records(&self, offset: u64, limit: usize, into: &mut VecDeque<Record>) {
            let event = Event::new(Tenant::default(), "t".repeat(200), "/s".to_owned());
            let mut encoded = Vec::new();
            StoredEvent::encode(&event, &mut encoded);
            let payload = Bytes::from(encoded);
            into.extend((offset..self.end).take(limit).map(|offset| Record {
                offset,
                append_time_micros: 1,
                key: None,
                payload: if offset == 3 { Bytes::from_static(b"no event") } else { payload.clone() },
            }));
        }
    }

    #[test]
    fn a_chunk_ends_with_its_run_or_its_limit_and_shows_what_is_no_event() {
        let chunk = Chunk::of(&run(1000), 2).unwrap();
        assert_eq!(chunk.after(0).len(), CHUNK_RECORDS);
        assert!(matches!(chunk.get(0), Some(Decoded::Event(event)) if event.offset() == 2));
        assert!(matches!(chunk.get(1), Some(Decoded::Undecodable { record, .. }) if record.offset == 3));
        assert_eq!(chunk.get(CHUNK_RECORDS).map(Decoded::offset), None);
        assert_eq!(chunk.after(CHUNK_RECORDS + 1).len(), 0);
        assert_eq!(Chunk::of(&run(10), 8).unwrap().after(0).len(), 2);
        assert!(Chunk::of(&run(10), 10).is_none());
    }

    #[test]
    fn a_chunk_is_decoded_once_and_the_oldest_are_let_go() {
        let cache = ChunkCache::default();
        let run = run(u64::MAX);
        let known = |position| cache.chunks.lock().chunks.contains_key(&position);
        let positions = (0..).step_by(CHUNK_RECORDS).take(1000);
        for position in positions.clone() {
            let chunk = cache.chunk(&run, position).unwrap();
            assert!(Arc::ptr_eq(&chunk, &cache.chunk(&run, position).unwrap()));
            assert!(!known(position + 1) && cache.chunks.lock().bytes <= CACHE_BYTES);
        }
        let kept: Vec<bool> = positions.map(known).collect();
        assert!(kept.is_sorted() && !kept[0] && kept[999], "{kept:?}");
        let cached = cache.chunks.lock();
        assert_eq!(cached.chunks.len(), cached.order.len());
    }

    #[test]
    fn the_memory_of_runs_is_counted_with_their_first_chunk() {
        let cache = ChunkCache::default();
        let bytes = || cache.chunks.lock().bytes;
        let small = run(600);
        cache.chunk(&small, 0).unwrap();
        let first = bytes();
        cache.chunk(&small, 256).unwrap();
        assert!(first > small.memory_bytes && bytes() - first < small.memory_bytes);
        // Few records of a large run keep all of its memory.
        for end in (10_000..).step_by(1000).take(50) {
            cache.chunk(&Run { memory_bytes: 1 << 20, ..run(end) }, end - 2).unwrap();
            assert!(bytes() <= CACHE_BYTES);
        }
        assert!(cache.chunks.lock().chunks.len() < 8);
        let before = bytes();
        cache.chunk(&Run { memory_bytes: 5 << 20, ..run(100_000) }, 4).unwrap();
        assert_eq!(bytes(), before, "a run so large is not kept at all");
    }
}
