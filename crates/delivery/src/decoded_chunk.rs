//! Events as a reader looks at them: some hundred records of a run at a time, decoded.
//!
//! At the log's end all subscriptions look at the same records at about the same time, and step through them in the same chunks. So
//! whoever comes first decodes a chunk, and the others find it in the [`ChunkCache`]: what one more subscription costs an event is
//! a look at it, and neither a decoding nor a count of references. Bounded in bytes: chunks that came first are let go first.

use std::collections::VecDeque;
use std::sync::Arc;

use eventrelay_event::StoredEvent;
use eventrelay_log::Record;
use parking_lot::Mutex;

use crate::call::decode;
use crate::event_log::RecordRun;

/// How many records are taken out of a run at once.
const CHUNK_RECORDS: usize = 256;
/// The most that the chunks of a cache take, about. What of the log's memory they share is counted too.
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
    /// Oldest first, each with its size.
    chunks: VecDeque<(Arc<Chunk>, usize)>,
    bytes: usize,
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

    fn first_offset(&self) -> Option<u64> {
        self.records.first().map(Decoded::offset)
    }

    fn bytes(&self) -> usize {
        self.records.iter().map(|record| size_of::<Decoded>() + record.bytes()).sum()
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
    /// The chunk that begins at `position`.
    pub(crate) fn get(&self, position: u64) -> Option<Arc<Chunk>> {
        let cached = self.chunks.lock();
        let mut latest_first = cached.chunks.iter().rev();
        let (found, _) = latest_first.find(|(chunk, _)| chunk.first_offset() == Some(position))?;
        Some(Arc::clone(found))
    }

    /// Keeps a chunk for others, unless it is too large for that.
    pub(crate) fn put(&self, chunk: &Arc<Chunk>) {
        let bytes = chunk.bytes();
        if bytes > CACHE_BYTES / 4 {
            return;
        }
        let mut cached = self.chunks.lock();
        cached.bytes += bytes;
        cached.chunks.push_back((Arc::clone(chunk), bytes));
        while cached.bytes > CACHE_BYTES {
            let Some((_, bytes)) = cached.chunks.pop_front() else { return };
            cached.bytes -= bytes;
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
        event_bytes: usize,
    }

    impl RecordRun for Run {
        fn end_offset(&self) -> u64 {
            self.end
        }

        fn append_time_micros(&self) -> u64 {
            1
        }

        fn copy_records(&self, offset: u64, limit: usize, into: &mut VecDeque<Record>) {
            let event = Event::new(Tenant::default(), "t".repeat(1 + self.event_bytes), "/s".to_owned());
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
        let chunk = Chunk::of(&Run { end: 1000, event_bytes: 1 }, 2).unwrap();
        assert_eq!(chunk.after(0).len(), CHUNK_RECORDS);
        assert!(matches!(chunk.get(0), Some(Decoded::Event(event)) if event.offset() == 2));
        assert!(matches!(chunk.get(1), Some(Decoded::Undecodable { record, .. }) if record.offset == 3));
        assert_eq!(chunk.get(CHUNK_RECORDS).map(Decoded::offset), None);
        assert_eq!(chunk.after(CHUNK_RECORDS + 1).len(), 0);
        assert_eq!(Chunk::of(&Run { end: 10, event_bytes: 1 }, 8).unwrap().after(0).len(), 2);
        assert!(Chunk::of(&Run { end: 10, event_bytes: 1 }, 10).is_none());
    }

    #[test]
    fn the_cache_finds_chunks_by_where_they_begin_and_lets_the_oldest_go() {
        let cache = ChunkCache::default();
        let chunk =
            |position| Arc::new(Chunk::of(&Run { end: u64::MAX, event_bytes: 200 }, position).unwrap());
        let positions = (0..).step_by(CHUNK_RECORDS).take(1000);
        for position in positions.clone() {
            cache.put(&chunk(position));
            assert!(cache.get(position).is_some() && cache.get(position + 1).is_none());
            assert!(cache.chunks.lock().bytes <= CACHE_BYTES);
        }
        let kept: Vec<bool> = positions.map(|position| cache.get(position).is_some()).collect();
        assert!(kept.is_sorted() && !kept[0] && kept[990], "{kept:?}");

        let cache = ChunkCache::default();
        cache.put(&Arc::new(Chunk::of(&Run { end: 1000, event_bytes: 200_000 }, 4).unwrap()));
        assert!(cache.get(4).is_none(), "it is too large");
    }
}
