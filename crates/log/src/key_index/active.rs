//! The keys that are not yet in a file: 256 hash maps by the top byte of the key hash.
//!
//! Many small maps rather than one large one, because
//! - a map that grows is copied as a whole: 256 copies of a few thousand entries, spread over time, do not hold up a
//!   commit as one copy of half a million would, and never need old and new memory for all keys at once;
//! - writing a file takes the keys in order, and map after map is sorted within a small buffer.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use super::Entry;

const SHARDS: usize = 256;
/// A map of 2,048 buckets takes 1,792 keys before it doubles.
const KEYS_PER_SHARD: usize = 1_792;

/// How many keys the active part should hold before it is sealed: about when every map would double.
pub(super) const ACTIVE_KEYS: usize = SHARDS * KEYS_PER_SHARD;

/// Keys with the newest record of each.
#[derive(Debug)]
pub(super) struct ActiveKeys {
    shards: Box<[HashMap<KeyHash, Place, BuildHasherDefault<Fold>>]>,
    len: usize,
}

/// A key hash as two words, so that an entry takes 40 bytes; a `u128` would align it to 48.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct KeyHash {
    high: u64,
    low: u64,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    fingerprint: u64,
    offset: u64,
    append_time_micros: u64,
}

impl ActiveKeys {
    pub(super) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| HashMap::default()).collect(), len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, key_hash: u128) -> Option<Entry> {
        let key = KeyHash::from(key_hash);
        self.shards[key.shard()].get(&key).map(|place| place.entry(key))
    }

    /// Remembers the record; an older one with the same key is forgotten.
    pub(super) fn insert(&mut self, entry: Entry) {
        let key = KeyHash::from(entry.key_hash);
        let place = Place {
            fingerprint: entry.fingerprint,
            offset: entry.offset,
            append_time_micros: entry.append_time_micros,
        };
        if self.shards[key.shard()].insert(key, place).is_none() {
            self.len += 1;
        }
    }

    /// Forgets the records at `offset` and after it.
    pub(super) fn truncate(&mut self, offset: u64) {
        self.len = 0;
        for shard in &mut self.shards {
            shard.retain(|_, place| place.offset < offset);
            self.len += shard.len();
        }
    }

    /// All entries in the order of their key hashes.
    pub(super) fn sorted(&self) -> impl Iterator<Item = Entry> + '_ {
        self.shards.iter().flat_map(|shard| {
            let mut entries: Vec<Entry> = shard.iter().map(|(key, place)| place.entry(*key)).collect();
            entries.sort_unstable_by_key(|entry| entry.key_hash);
            entries
        })
    }

    /// About how much memory it takes: 40 bytes and a control byte per bucket, of which 7 in 8 can be used.
    pub(super) fn memory_bytes(&self) -> usize {
        let buckets: usize =
            self.shards.iter().map(|shard| (shard.capacity() * 8 / 7).next_power_of_two()).sum();
        let bucket_bytes = size_of::<KeyHash>() + size_of::<Place>() + 1;
        buckets * bucket_bytes + size_of_val(&*self.shards)
    }
}

impl Place {
    fn entry(self, key: KeyHash) -> Entry {
        Entry {
            key_hash: (u128::from(key.high) << 64) | u128::from(key.low),
            fingerprint: self.fingerprint,
            offset: self.offset,
            append_time_micros: self.append_time_micros,
        }
    }
}

impl KeyHash {
    fn shard(self) -> usize {
        usize::from(self.high.to_be_bytes()[0])
    }
}

impl From<u128> for KeyHash {
    #[expect(clippy::cast_possible_truncation, reason = "the low word is what is wanted")]
    fn from(key_hash: u128) -> Self {
        Self { high: (key_hash >> 64) as u64, low: key_hash as u64 }
    }
}

impl Hash for KeyHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.low ^ self.high.rotate_left(32));
    }
}

/// Key hashes come from a keyed hash function already, so one multiplication is enough: it keeps the maps fast
/// even for a caller whose hashes are small numbers.
#[derive(Debug, Default)]
struct Fold(u64);

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0.rotate_left(8) ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(word) * 0x9e37_79b9_7f4a_7c15;
        let KeyHash { high, low } = KeyHash::from(product);
        self.0 = high ^ low;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key_hash: u128, offset: u64) -> Entry {
        Entry { key_hash, fingerprint: !offset, offset, append_time_micros: offset + 1 }
    }

    #[test]
    fn entries_come_sorted_each_key_once() {
        let mut keys = ActiveKeys::new();
        for offset in 0..3_000_u64 {
            keys.insert(entry(u128::from(offset % 2_000).wrapping_mul(u128::MAX / 1_999), offset));
        }
        assert_eq!(keys.len(), 2_000);
        let sorted: Vec<Entry> = keys.sorted().collect();
        assert_eq!(sorted.len(), 2_000);
        assert!(sorted.is_sorted_by(|one, next| one.key_hash < next.key_hash));
        assert!(sorted.iter().all(|entry| keys.get(entry.key_hash) == Some(*entry) && entry.offset >= 1_000));
    }

    #[test]
    fn truncation_forgets_from_the_offset_on() {
        let mut keys = ActiveKeys::new();
        (0..100).for_each(|offset| keys.insert(entry(u128::from(offset) << 120, offset)));
        keys.truncate(60);
        assert_eq!(keys.len(), 60);
        assert!(keys.get(59 << 120).is_some() && keys.get(60 << 120).is_none());
    }

    #[test]
    fn a_full_active_part_takes_some_twenty_megabytes() {
        let mut keys = ActiveKeys::new();
        // What a shard takes before it doubles depends on the standard library; this notices when that changes.
        (0..ACTIVE_KEYS as u64).for_each(|offset| {
            keys.insert(entry(u128::from(offset.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 64, offset));
        });
        assert_eq!(keys.len(), ACTIVE_KEYS);
        assert!(keys.memory_bytes() < 44 << 20, "{} bytes", keys.memory_bytes());
    }
}
