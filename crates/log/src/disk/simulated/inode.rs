//! One file: what the page cache shows, what the medium surely holds, and the changes on their way from one
//! to the other.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::crash::Unwritten;
use super::image::{Image, SECTOR_BYTES, to_index};
use crate::disk::BLOCK_BYTES;

/// Numbers everything that is made, in the order it is made: files, handles and pending changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id(pub(super) u64);

/// Who made a change: the call, and the handle it was made on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    pub(super) step: u64,
    pub(super) handle: Id,
}

/// A change that a crash may keep or lose, independently of every other.
#[derive(Debug, Clone)]
pub(super) struct PendingChange {
    pub(super) id: Id,
    pub(super) origin: Origin,
    pub(super) change: Change,
}

#[derive(Debug, Clone)]
pub(super) enum Change {
    /// A sector's bytes as the page cache had them after the write.
    Sector {
        sector: u64,
        bytes: Bytes,
    },
    Length(u64),
}

impl Change {
    fn apply(&self, image: &mut Image) {
        match self {
            Self::Sector { sector, bytes } => image.write(bytes, sector * SECTOR_BYTES as u64),
            Self::Length(length) => image.set_len(*length),
        }
    }

    /// Whether `earlier` can no longer happen once this is on the medium: the sector was written anew, or its
    /// page cut off.
    fn supersedes(&self, earlier: &Self) -> bool {
        match (self, earlier) {
            (Self::Sector { sector, .. }, Self::Sector { sector: earlier, .. }) => sector == earlier,
            (Self::Length(length), Self::Sector { sector, .. }) => sector * SECTOR_BYTES as u64 >= *length,
            (Self::Length(_), Self::Length(_)) => true,
            (Self::Sector { .. }, Self::Length(_)) => false,
        }
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Inode {
    cache: Image,
    media: Image,
    /// In the order they were made. Shared with copies of the disk until changed.
    pending: Arc<Vec<PendingChange>>,
}

impl Inode {
    /// A file that is on the medium as it is.
    pub(super) fn settled(bytes: &[u8]) -> Self {
        let mut media = Image::default();
        media.write(bytes, 0);
        media.set_len(bytes.len() as u64);
        Self { cache: media.clone(), media, pending: Arc::default() }
    }

    pub(super) fn cache(&self) -> &Image {
        &self.cache
    }

    pub(super) fn media(&self) -> &Image {
        &self.media
    }

    pub(super) fn pending(&self) -> &[PendingChange] {
        &self.pending
    }

    /// What a read past the page cache finds: dirty pages are written out under it, which does not make them
    /// durable.
    pub(super) fn written_out(&self) -> Image {
        let mut image = self.media.clone();
        for pending in self.pending.iter() {
            pending.change.apply(&mut image);
        }
        image.set_len(self.cache.len());
        image
    }

    /// Blocks of a range that have to be allocated to write it.
    pub(super) fn unallocated_blocks(&self, position: u64, bytes: usize) -> impl Iterator<Item = usize> {
        let first = to_index(position) / BLOCK_BYTES;
        let end = (to_index(position) + bytes).div_ceil(BLOCK_BYTES);
        (first..end).filter(|block| !self.cache.is_allocated(*block))
    }

    /// Writes into the page cache; the sectors, and a new length, are pending.
    pub(super) fn write(&mut self, bytes: &[u8], position: u64, origin: Origin, next_id: &mut u64) {
        if bytes.is_empty() {
            return;
        }
        let end = position + bytes.len() as u64;
        self.cache.write(bytes, position);
        let pending = Arc::make_mut(&mut self.pending);
        let sector_bytes = SECTOR_BYTES as u64;
        let first = position / sector_bytes;
        let past = end.div_ceil(sector_bytes);
        // One allocation for all sectors; each is a slice of it.
        let mut whole = Vec::with_capacity(to_index(past - first) * SECTOR_BYTES);
        for sector in first..past {
            whole.extend_from_slice(&self.cache.sector(sector));
        }
        let whole = Bytes::from(whole);
        for (index, sector) in (first..past).enumerate() {
            let bytes = whole.slice(index * SECTOR_BYTES..(index + 1) * SECTOR_BYTES);
            pending.push(PendingChange {
                id: take_id(next_id),
                origin,
                change: Change::Sector { sector, bytes },
            });
        }
        if end > self.cache.len() {
            self.set_len(end, origin, next_id);
        }
    }

    pub(super) fn set_len(&mut self, length: u64, origin: Origin, next_id: &mut u64) {
        self.cache.set_len(length);
        let change = Change::Length(length);
        Arc::make_mut(&mut self.pending).push(PendingChange { id: take_id(next_id), origin, change });
    }

    /// Brings the chosen changes to the medium.
    pub(super) fn settle(&mut self, mut chosen: impl FnMut(&PendingChange) -> bool) {
        let mut remaining: Vec<PendingChange> = Vec::new();
        for pending in std::mem::take(Arc::make_mut(&mut self.pending)) {
            if chosen(&pending) {
                pending.change.apply(&mut self.media);
                remaining.retain(|earlier| !pending.change.supersedes(&earlier.change));
            } else {
                remaining.push(pending);
            }
        }
        self.pending = Arc::new(remaining);
    }

    /// What a direct write is durable with: its own sectors, and every pending length when the medium's is
    /// too short.
    pub(super) fn settle_direct(&mut self, origin: Origin, end: u64) {
        let lengthens = self.media.len() < end;
        self.settle(|pending| match pending.change {
            Change::Sector { .. } => pending.origin.step == origin.step,
            Change::Length(_) => lengthens,
        });
    }

    /// The chosen sectors are clean and will never be written: the cache goes on showing them.
    pub(super) fn lose_sectors(&mut self, mut chosen: impl FnMut(&PendingChange) -> bool) {
        Arc::make_mut(&mut self.pending)
            .retain(|pending| matches!(pending.change, Change::Length(_)) || !chosen(pending));
    }

    /// The cache shows what the medium has, in this range.
    pub(super) fn reload(&mut self, position: u64, bytes: usize) {
        let mut range = vec![0; bytes];
        let count = self.written_out().read(&mut range, position);
        self.cache.write(&range[..count], position);
    }

    /// The cache shows what the medium has (with what is still dirty), as when its clean pages are evicted.
    pub(super) fn drop_cache(&mut self) {
        self.cache = self.written_out();
    }

    /// The file after power loss with the changes that `keep` names. `stale` gives the bytes of unwritten
    /// sectors.
    pub(super) fn crashed(
        &self,
        keep: impl Fn(Id) -> bool,
        unwritten: Unwritten,
        stale: impl Fn(u64) -> [u8; SECTOR_BYTES],
    ) -> Self {
        let mut media = self.media.clone();
        let mut lowest_length = media.len();
        let mut written = BTreeSet::new();
        for pending in self.pending.iter().filter(|pending| keep(pending.id)) {
            pending.change.apply(&mut media);
            match pending.change {
                Change::Sector { sector, .. } => {
                    written.insert(sector);
                }
                Change::Length(length) => lowest_length = lowest_length.min(length),
            }
        }
        if unwritten == Unwritten::OldBytes {
            let sector_bytes = SECTOR_BYTES as u64;
            for sector in lowest_length.div_ceil(sector_bytes)..media.len().div_ceil(sector_bytes) {
                if !written.contains(&sector) {
                    media.write(&stale(sector), sector * sector_bytes);
                }
            }
        }
        // Sectors that were kept when their length was not are out of reach, and stay so.
        media.discard_past_length();
        Self { cache: media.clone(), media, pending: Arc::default() }
    }

    /// Flips one bit wherever it is: in the cache, on the medium, and on its way there.
    pub(super) fn flip_bit(&mut self, bit: u64) {
        let position = bit / 8;
        let mask = 1_u8 << (bit % 8);
        for image in [&mut self.cache, &mut self.media] {
            let mut byte = [0];
            if image.read(&mut byte, position) == 1 {
                image.write(&[byte[0] ^ mask], position);
            }
        }
        for pending in Arc::make_mut(&mut self.pending) {
            if let Change::Sector { sector, bytes } = &mut pending.change
                && *sector == position / SECTOR_BYTES as u64
            {
                let mut changed = bytes.to_vec();
                changed[to_index(position) % SECTOR_BYTES] ^= mask;
                *bytes = Bytes::from(changed);
            }
        }
    }
}

pub(super) fn take_id(next_id: &mut u64) -> Id {
    *next_id += 1;
    Id(*next_id)
}
