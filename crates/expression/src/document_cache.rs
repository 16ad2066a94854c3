//! The trees of the latest events' data, shared by all subscriptions.
//!
//! Building a tree takes many times longer than evaluating a filter on it, and at the log's end all subscriptions look at the
//! same events at about the same time. So whoever comes first builds it, and the others find it here. Bounded in bytes: the
//! trees that were asked for first are let go first. One too large for its part of the bound is never kept.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use eventrelay_event::StoredEvent;
use parking_lot::Mutex;

use crate::document::{Document, LazyDocument};

/// Neighbours in the log are in different parts, so that dispatchers that run side by side seldom meet.
const SHARDS: usize = 8;
/// What an entry takes beside its tree.
const ENTRY_BYTES: usize = 128;

/// Trees by the offsets of their events.
#[derive(Debug)]
pub struct DocumentCache {
    shards: [Mutex<Shard>; SHARDS],
    shard_bytes: usize,
    built: AtomicU64,
}

#[derive(Debug, Default)]
struct Shard {
    documents: HashMap<u64, Entry>,
    /// Oldest first.
    order: VecDeque<u64>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    document: Arc<LazyDocument>,
    bytes: usize,
}

impl DocumentCache {
    /// A cache of at most about `bytes`; with 0 nothing is shared.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self { shards: Default::default(), shard_bytes: bytes / SHARDS, built: AtomicU64::new(0) }
    }

    /// How many trees were built, ever.
    #[must_use]
    pub fn built(&self) -> u64 {
        self.built.load(Ordering::Relaxed)
    }

    /// The bytes of all trees that it holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().bytes).sum()
    }

    /// The place of the event's tree.
    pub(crate) fn place(&self, event: &StoredEvent) -> Arc<LazyDocument> {
        let mut shard = self.shard(event.offset()).lock();
        if let Some(entry) = shard.documents.get(&event.offset()) {
            return Arc::clone(&entry.document);
        }
        let document = Arc::new(LazyDocument::default());
        // Of no tree it is not yet known how large it is.
        let bytes = ENTRY_BYTES;
        shard.documents.insert(event.offset(), Entry { document: Arc::clone(&document), bytes });
        shard.order.push_back(event.offset());
        shard.bytes += bytes;
        shard.make_room(self.shard_bytes);
        document
    }

    /// Takes down how large a tree is that was just built in its place.
    pub(crate) fn was_built(&self, event: &StoredEvent, document: &Document) {
        self.built.fetch_add(1, Ordering::Relaxed);
        let mut shard = self.shard(event.offset()).lock();
        // It may have been let go meanwhile.
        if let Some(entry) = shard.documents.get_mut(&event.offset()) {
            let before = std::mem::replace(&mut entry.bytes, ENTRY_BYTES + document.bytes());
            let now = entry.bytes;
            shard.bytes = shard.bytes - before + now;
            if now > self.shard_bytes {
                shard.remove(event.offset());
                shard.order.retain(|offset| *offset != event.offset());
            }
            shard.make_room(self.shard_bytes);
        }
    }

    fn shard(&self, offset: u64) -> &Mutex<Shard> {
        #[expect(clippy::cast_possible_truncation, reason = "the remainder is below 8")]
        &self.shards[(offset % SHARDS as u64) as usize]
    }
}

impl Shard {
    fn make_room(&mut self, limit: usize) {
        while self.bytes > limit {
            let Some(oldest) = self.order.pop_front() else { return };
            self.remove(oldest);
        }
    }

    fn remove(&mut self, offset: u64) {
        if let Some(entry) = self.documents.remove(&offset) {
            self.bytes -= entry.bytes;
        }
    }
}
