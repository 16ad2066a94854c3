//! The filter of a key file: says "not here" for all but about 1 in 65,536 of the keys that are not there.
//!
//! It is a binary fuse filter with 16-bit fingerprints, cut into partitions by the top bits of the key hash. Building
//! one filter takes about 35 bytes a key for a while, and the entries arrive in the order of their hashes; so a
//! partition is built as soon as its last key has come, and building needs the memory of one partition (about 3 MB),
//! whatever the size of the file.
//!
//! With 8-bit fingerprints the filters of 10,000,000 keys would take 12 MB instead of 24, but 1 in 256 look-ups would
//! read a page in vain *per file*, from the disk when it is not cached.
//!
//! It knows only the high 64 bits of a key hash: two keys that share them differ in their page.

use xorf::{BinaryFuse16, Descriptor, Filter as _};

use super::format::{MAX_PARTITIONS, Partition};
use crate::checksum::crc32c;

/// How many keys a partition has on average: large enough for 20 bits a key, small enough for 3 MB while built.
const KEYS_PER_PARTITION: u64 = 96 * 1024;

#[derive(Debug)]
pub(super) struct Filter {
    partitions: Box<[PartitionFilter]>,
}

#[derive(Debug)]
enum PartitionFilter {
    Empty,
    Fuse {
        filter: BinaryFuse16,
        keys: u64,
    },
    /// The construction gave up, which is as good as impossible. Every key may be there.
    Unfiltered {
        keys: u64,
    },
}

impl Filter {
    /// Whether a key with these high bits may be in the file. `false` is certain.
    pub(super) fn may_contain(&self, high: u64) -> bool {
        match self.partitions.get(partition_of(high, self.partitions.len())) {
            None | Some(PartitionFilter::Empty) => false,
            Some(PartitionFilter::Fuse { filter, .. }) => filter.contains(&high),
            Some(PartitionFilter::Unfiltered { .. }) => true,
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let fingerprints: usize =
            self.partitions.iter().map(|partition| partition.fingerprints().len()).sum();
        fingerprints * 2 + size_of_val(&*self.partitions)
    }

    pub(super) fn partitions(&self) -> u32 {
        // The builder never makes more.
        u32::try_from(self.partitions.len()).unwrap_or(MAX_PARTITIONS)
    }

    /// The partition table, as it is in the file.
    pub(super) fn encode_table(&self, identity: u32) -> Vec<u8> {
        let mut out = Vec::new();
        let mut bytes = Vec::new();
        for partition in &self.partitions {
            bytes.clear();
            partition.encode_fingerprints(&mut bytes);
            partition.describe(crc32c(identity, &bytes)).encode(&mut out);
        }
        out
    }

    /// The fingerprints of each partition in turn, as they are in the file.
    pub(super) fn encoded_fingerprints(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        self.partitions.iter().map(|partition| {
            let mut bytes = Vec::new();
            partition.encode_fingerprints(&mut bytes);
            bytes
        })
    }

    pub(super) fn fingerprint_bytes(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.fingerprints().len() as u64 * 2).sum()
    }
}

impl PartitionFilter {
    fn fingerprints(&self) -> &[u16] {
        match self {
            Self::Fuse { filter, .. } => &filter.fingerprints,
            Self::Empty | Self::Unfiltered { .. } => &[],
        }
    }

    fn encode_fingerprints(&self, out: &mut Vec<u8>) {
        out.extend(self.fingerprints().iter().flat_map(|fingerprint| fingerprint.to_le_bytes()));
    }

    fn describe(&self, crc: u32) -> Partition {
        match self {
            Self::Empty => Partition { crc, ..Partition::default() },
            Self::Unfiltered { keys } => Partition { keys: *keys, crc, ..Partition::default() },
            Self::Fuse { filter, keys } => Partition {
                seed: filter.descriptor.seed,
                keys: *keys,
                segment_length: filter.descriptor.segment_length,
                segment_count_length: filter.descriptor.segment_count_length,
                fingerprints: u32::try_from(filter.fingerprints.len()).unwrap_or(u32::MAX),
                crc,
            },
        }
    }
}

/// Takes key hashes in ascending order and builds partition after partition.
#[derive(Debug)]
pub(super) struct Builder {
    partitions: Vec<PartitionFilter>,
    count: usize,
    /// The high words of the partition that is being gathered.
    keys: Vec<u64>,
}

impl Builder {
    /// For at most about `keys` keys.
    pub(super) fn new(keys: u64) -> Self {
        let count = keys.div_ceil(KEYS_PER_PARTITION).min(u64::from(MAX_PARTITIONS));
        Self { partitions: Vec::new(), count: usize::try_from(count).unwrap_or(1), keys: Vec::new() }
    }

    pub(super) fn push(&mut self, high: u64) {
        // The construction wants distinct keys, and those that share their high words are neighbours.
        if self.keys.last() == Some(&high) {
            return;
        }
        let partition = partition_of(high, self.count);
        while self.partitions.len() < partition {
            self.close_partition();
        }
        self.keys.push(high);
    }

    pub(super) fn finish(mut self) -> Filter {
        while self.partitions.len() < self.count {
            self.close_partition();
        }
        assert!(self.keys.is_empty(), "every key belongs to a partition");
        Filter { partitions: self.partitions.into_boxed_slice() }
    }

    fn close_partition(&mut self) {
        let keys = self.keys.len() as u64;
        let partition = if self.keys.is_empty() {
            PartitionFilter::Empty
        } else {
            match BinaryFuse16::try_from(self.keys.as_slice()) {
                Ok(filter) => PartitionFilter::Fuse { filter, keys },
                Err(why) => {
                    tracing::warn!(
                        keys,
                        why,
                        "a part of a key file has no filter and will be slower to search"
                    );
                    PartitionFilter::Unfiltered { keys }
                }
            }
        };
        self.partitions.push(partition);
        self.keys.clear();
    }
}

/// Puts a filter together from the parts of a file.
#[derive(Debug, Default)]
pub(super) struct Loader {
    partitions: Vec<PartitionFilter>,
}

impl Loader {
    /// Adds the next partition; says what is wrong with it otherwise.
    pub(super) fn add(
        &mut self,
        identity: u32,
        partition: &Partition,
        bytes: &[u8],
    ) -> Result<(), &'static str> {
        if crc32c(identity, bytes) != partition.crc {
            return Err("the checksum does not match");
        }
        let descriptor = Descriptor {
            seed: partition.seed,
            segment_length: partition.segment_length,
            segment_length_mask: partition.segment_length.wrapping_sub(1),
            segment_count_length: partition.segment_count_length,
        };
        let loaded = match (partition.keys, partition.fingerprints) {
            (0, 0) => PartitionFilter::Empty,
            (keys, 0) => PartitionFilter::Unfiltered { keys },
            (keys, fingerprints) => {
                // What keeps every probe within the fingerprints.
                let length = u64::from(descriptor.segment_length);
                let sound = descriptor.segment_length.is_power_of_two()
                    && descriptor.segment_count_length.is_multiple_of(descriptor.segment_length)
                    && u64::from(descriptor.segment_count_length) + 2 * length == u64::from(fingerprints)
                    && bytes.len() as u64 == u64::from(fingerprints) * 2;
                if !sound {
                    return Err("its measures contradict each other");
                }
                let fingerprints =
                    bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
                PartitionFilter::Fuse { filter: BinaryFuse16 { descriptor, fingerprints }, keys }
            }
        };
        self.partitions.push(loaded);
        Ok(())
    }

    pub(super) fn finish(self) -> Filter {
        Filter { partitions: self.partitions.into_boxed_slice() }
    }
}

/// Which of `count` partitions has the keys with these high bits: ascending with them, and even for random ones.
#[expect(clippy::cast_possible_truncation, reason = "less than `count`")]
fn partition_of(high: u64, count: usize) -> usize {
    ((u128::from(high) * count as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::super::format::PARTITION_BYTES;
    use super::*;

    /// Ascending and spread over the whole range.
    fn keys(count: u64) -> impl Iterator<Item = u64> {
        let step = u64::MAX / count;
        (0..count).map(move |number| number * step + (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % step))
    }

    fn build(count: u64) -> Filter {
        let mut builder = Builder::new(count);
        keys(count).for_each(|key| builder.push(key));
        builder.finish()
    }

    fn reload(filter: &Filter) -> Filter {
        let table = filter.encode_table(5);
        let mut loader = Loader::default();
        for (line, bytes) in table.chunks_exact(PARTITION_BYTES).zip(filter.encoded_fingerprints()) {
            loader.add(5, &Partition::decode(line), &bytes).unwrap();
        }
        loader.finish()
    }

    #[test]
    fn no_key_is_missed_and_few_others_pass() {
        let count = 300_000;
        let filter = reload(&build(count));
        assert_eq!(filter.partitions(), 4);
        assert!(keys(count).all(|key| filter.may_contain(key)));
        let others = 1_000_000_u64;
        let passed = keys(others).filter(|key| filter.may_contain(key ^ 0x5555)).count();
        assert!(passed < 60, "{passed} of {others} others passed; 15 were to be expected");
        let bits_per_key = filter.memory_bytes() as u64 * 8 / count;
        assert!(bits_per_key <= 20, "{bits_per_key} bits a key");
    }

    #[test]
    fn any_number_of_keys_makes_a_filter() {
        for count in (1..40).chain([98_303, 98_304, 98_305]) {
            let filter = reload(&build(count));
            assert!(keys(count).all(|key| filter.may_contain(key)), "{count} keys");
        }
        assert!(!reload(&build_nothing()).may_contain(7));
    }

    fn build_nothing() -> Filter {
        Builder::new(0).finish()
    }

    #[test]
    fn keys_may_crowd_and_repeat() {
        // All in the first of three partitions, and each twice.
        let mut builder = Builder::new(250_000);
        (0..1_000).flat_map(|key| [key, key]).for_each(|key| builder.push(key));
        let filter = reload(&builder.finish());
        assert_eq!(filter.partitions(), 3);
        assert!((0..1_000).all(|key| filter.may_contain(key)));
        assert!(!filter.may_contain(u64::MAX));
    }

    #[test]
    fn measures_that_would_lead_out_of_bounds_are_refused() {
        let filter = build(1_000);
        let bytes = filter.encoded_fingerprints().next().unwrap();
        let good = Partition::decode(&filter.encode_table(5));
        let bad = [
            Partition { segment_length: 0, ..good },
            Partition { segment_length: good.segment_length * 2, ..good },
            Partition { segment_length: good.segment_length + 1, ..good },
            Partition { segment_count_length: good.segment_count_length + good.segment_length, ..good },
            Partition { fingerprints: good.fingerprints - 1, ..good },
        ];
        assert!(Loader::default().add(5, &good, &bytes).is_ok());
        for partition in bad {
            assert!(Loader::default().add(5, &partition, &bytes).is_err(), "{partition:?}");
        }
    }
}
