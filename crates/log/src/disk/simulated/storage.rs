//! What is on the disk: files, names, and who has which file open. Everything here outlives the process that
//! wrote it; how much of it outlives the power is for a crash to choose.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::crash::{CrashChoice, PendingUnit, UnitChange};
use super::fault::{ErrorCode, FailedData};
use super::image::{Image, SECTOR_BYTES, to_index};
use super::inode::{Change, Id, Inode, Origin, PendingChange, take_id};
use super::namespace::{NameChange, Namespace, is_root};
use super::random::Random;
use crate::disk::{BLOCK_BYTES, DurableWrites};

/// Larger files say `EFBIG`: a wrong position must not take the machine's memory.
pub(super) const MOST_FILE_BYTES: u64 = 1 << 30;

/// What stale sectors hold when no file was removed before.
const STALE_BYTE: u8 = 0xDB;

/// How much fits on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// In bytes of written blocks of 4 KiB. A hole takes none, so that filling it can fail.
    pub bytes: u64,
    /// As btrfs, ZFS and thin volumes: an overwrite needs as much free space as a first write.
    pub copy_on_write: bool,
}

/// An open file as the storage knows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct OpenFile {
    pub(super) inode: Id,
    pub(super) handle: Id,
}

impl OpenFile {
    pub(super) fn origin(self, step: u64) -> Origin {
        Origin { step, handle: self.handle }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Storage {
    pub(super) names: Namespace,
    pub(super) capacity: Option<Capacity>,
    pub(super) durable_writes: DurableWrites,
    inodes: BTreeMap<Id, Inode>,
    /// From handle to file.
    handles: BTreeMap<Id, Id>,
    /// The medium of the file that was let go last: its blocks are what a new file may be given.
    discarded: Option<Image>,
    next_id: u64,
}

impl Storage {
    pub(super) fn new(durable_writes: DurableWrites) -> Self {
        Self {
            names: Namespace::default(),
            capacity: None,
            durable_writes,
            inodes: BTreeMap::new(),
            handles: BTreeMap::new(),
            discarded: None,
            next_id: 0,
        }
    }

    /// The same with nobody at it.
    pub(super) fn without_handles(&self) -> Self {
        let mut storage = Self { handles: BTreeMap::new(), ..self.clone() };
        storage.forget_unreachable();
        storage
    }

    // Names

    pub(super) fn create(&mut self, path: &Path, step: u64) -> io::Result<OpenFile> {
        self.names.check_parent(path)?;
        if self.names.exists(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = take_id(&mut self.next_id);
        self.inodes.insert(inode, Inode::default());
        self.names.change(NameChange::Create { path: path.to_owned(), inode }, step, &mut self.next_id);
        Ok(self.handle(inode))
    }

    pub(super) fn open(&mut self, path: &Path) -> io::Result<OpenFile> {
        let inode = self.names.file(path)?;
        Ok(self.handle(inode))
    }

    fn handle(&mut self, inode: Id) -> OpenFile {
        let handle = take_id(&mut self.next_id);
        self.handles.insert(handle, inode);
        OpenFile { inode, handle }
    }

    pub(super) fn close(&mut self, handle: Id) {
        self.handles.remove(&handle);
        self.forget_unreachable();
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path, step: u64) -> io::Result<()> {
        let inode = self.names.file(from)?;
        self.names.check_parent(to)?;
        if self.names.check_directory(to).is_ok() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if from != to {
            let change = NameChange::Rename { from: from.to_owned(), to: to.to_owned(), inode };
            self.names.change(change, step, &mut self.next_id);
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path, step: u64) -> io::Result<()> {
        let inode = self.names.file(path)?;
        self.names.change(NameChange::Remove { path: path.to_owned(), inode }, step, &mut self.next_id);
        Ok(())
    }

    /// A directory takes a block, so a full disk has none for it.
    pub(super) fn make_directories(&mut self, path: &Path, step: u64) -> io::Result<()> {
        let mut missing: Vec<PathBuf> = Vec::new();
        for ancestor in path.ancestors() {
            if is_root(ancestor) || self.names.exists(ancestor) {
                self.names.check_directory(ancestor)?;
                break;
            }
            missing.push(ancestor.to_owned());
        }
        if !missing.is_empty() && self.available_bytes() < BLOCK_BYTES as u64 {
            return Err(ErrorCode::NoSpace.to_error());
        }
        for path in missing.into_iter().rev() {
            self.names.change(NameChange::MakeDirectory { path }, step, &mut self.next_id);
        }
        Ok(())
    }

    /// Makes the directory's names durable, or not.
    pub(super) fn sync_directory(
        &mut self,
        directory: &Path,
        covered_to: u64,
        failed: Option<FailedData>,
        random: &mut Random,
    ) {
        match failed {
            Some(FailedData::KeptDirty) => return,
            Some(FailedData::Lost) => self.names.lose_directory(directory, || true),
            Some(FailedData::PartlyLost) => self.names.lose_directory(directory, || random.one_in(2)),
            None => {}
        }
        self.names.settle_directory(directory, covered_to);
        self.forget_unreachable();
    }

    // Files

    pub(super) fn inode(&self, inode: Id) -> io::Result<&Inode> {
        self.inodes.get(&inode).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn inode_mut(&mut self, inode: Id) -> io::Result<&mut Inode> {
        self.inodes.get_mut(&inode).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The number of the newest change: a sync covers what there is when it begins.
    pub(super) fn newest_id(&self) -> u64 {
        self.next_id
    }

    pub(super) fn write(&mut self, file: OpenFile, bytes: &[u8], position: u64, step: u64) -> io::Result<()> {
        let Some(inode) = self.inodes.get_mut(&file.inode) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        inode.write(bytes, position, file.origin(step), &mut self.next_id);
        Ok(())
    }

    pub(super) fn set_len(&mut self, file: OpenFile, length: u64, step: u64) -> io::Result<()> {
        if length > MOST_FILE_BYTES {
            return Err(ErrorCode::FileTooLarge.to_error());
        }
        let Some(inode) = self.inodes.get_mut(&file.inode) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        inode.set_len(length, file.origin(step), &mut self.next_id);
        Ok(())
    }

    /// Makes durable, or not, what the handle wrote, and what handles that are gone wrote. Direct writes that
    /// are still under way are no part of it.
    pub(super) fn sync(
        &mut self,
        file: OpenFile,
        covered_to: u64,
        is_under_way: impl Fn(u64) -> bool,
        failed: Option<FailedData>,
        random: &mut Random,
    ) -> io::Result<()> {
        let Some(inode) = self.inodes.get_mut(&file.inode) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let handles = &self.handles;
        let covers = |pending: &PendingChange| {
            let Origin { step, handle } = pending.origin;
            pending.id.0 <= covered_to
                && !is_under_way(step)
                && (handle == file.handle || !handles.contains_key(&handle))
        };
        match failed {
            None => inode.settle(covers),
            Some(FailedData::KeptDirty) => {}
            Some(FailedData::Lost) => inode.lose_sectors(covers),
            Some(FailedData::PartlyLost) => {
                inode.lose_sectors(|pending| covers(pending) && random.one_in(2));
                inode.settle(|pending| matches!(pending.change, Change::Sector { .. }) && covers(pending));
            }
        }
        Ok(())
    }

    /// The direct write that made `step`'s changes has arrived.
    pub(super) fn finish_direct(&mut self, file: OpenFile, step: u64, end: u64) -> io::Result<()> {
        self.inode_mut(file.inode)?.settle_direct(file.origin(step), end);
        Ok(())
    }

    /// The direct write that made `step`'s changes has failed: sectors may have arrived if `partly`, and none
    /// is left dirty.
    pub(super) fn fail_direct(
        &mut self,
        file: OpenFile,
        step: u64,
        partly: bool,
        random: &mut Random,
    ) -> io::Result<()> {
        let inode = self.inode_mut(file.inode)?;
        let is_own_sector = |pending: &PendingChange| {
            pending.origin.step == step && matches!(pending.change, Change::Sector { .. })
        };
        inode.settle(|pending| is_own_sector(pending) && partly && random.one_in(2));
        inode.lose_sectors(is_own_sector);
        Ok(())
    }

    /// Direct access leaves nothing of the range in the page cache.
    pub(super) fn reload(&mut self, inode: Id, position: u64, bytes: usize) -> io::Result<()> {
        self.inode_mut(inode)?.reload(position, bytes);
        Ok(())
    }

    pub(super) fn drop_caches(&mut self) {
        self.inodes.values_mut().for_each(Inode::drop_cache);
    }

    pub(super) fn flip_bit(&mut self, path: &Path, bit: u64) -> io::Result<()> {
        let inode = self.names.file(path)?;
        self.inode_mut(inode)?.flip_bit(bit);
        Ok(())
    }

    /// The file is there, durable, with these bytes, whatever was there. Handles on an old one keep that.
    pub(super) fn put(&mut self, path: &Path, bytes: &[u8]) {
        let inode = match self.names.file(path) {
            Ok(inode) => inode,
            Err(_) => take_id(&mut self.next_id),
        };
        self.inodes.insert(inode, Inode::settled(bytes));
        self.names.put(path, inode);
    }

    // Space

    pub(super) fn available_bytes(&self) -> u64 {
        let Some(capacity) = self.capacity else {
            return u64::MAX;
        };
        let used: u64 = self.inodes.values().map(|inode| inode.cache().allocated_bytes()).sum();
        capacity.bytes.saturating_sub(used)
    }

    /// How many of the bytes find room.
    pub(super) fn room(&self, inode: Id, position: u64, bytes: usize) -> io::Result<usize> {
        if position.saturating_add(bytes as u64) > MOST_FILE_BYTES {
            return Err(ErrorCode::FileTooLarge.to_error());
        }
        let Some(capacity) = self.capacity else {
            return Ok(bytes);
        };
        let free_blocks = to_index(self.available_bytes()) / BLOCK_BYTES;
        let first_without_room = if capacity.copy_on_write {
            let mut blocks =
                to_index(position) / BLOCK_BYTES..(to_index(position) + bytes).div_ceil(BLOCK_BYTES);
            blocks.nth(free_blocks)
        } else {
            self.inode(inode)?.unallocated_blocks(position, bytes).nth(free_blocks)
        };
        Ok(first_without_room.map_or(bytes, |block| (block * BLOCK_BYTES).saturating_sub(to_index(position))))
    }

    // Crashes

    /// Every pending change in the order they were made.
    pub(super) fn pending(&self) -> Vec<PendingUnit> {
        let mut units = Vec::new();
        for (id, inode) in &self.inodes {
            if inode.pending().is_empty() {
                continue;
            }
            let path = self.names.name_of(*id).map_or_else(|| PathBuf::from("(removed)"), Path::to_owned);
            for pending in inode.pending() {
                let change = match pending.change {
                    Change::Sector { sector, .. } => UnitChange::Sector { path: path.clone(), sector },
                    Change::Length(bytes) => {
                        UnitChange::Length { path: path.clone(), bytes, extends: bytes > inode.media().len() }
                    }
                };
                units.push(PendingUnit { id: pending.id.0, step: pending.origin.step, change });
            }
        }
        for pending in self.names.pending() {
            let change = UnitChange::Name(pending.change.to_string());
            units.push(PendingUnit { id: pending.id.0, step: pending.step, change });
        }
        units.sort_unstable_by_key(|unit| unit.id);
        units
    }

    /// What is found after power loss.
    pub(super) fn crashed(&self, choice: &CrashChoice) -> Self {
        let keep = |id: Id| choice.keeps(id.0);
        let names = self.names.crashed(keep);
        let stale = |sector: u64| match &self.discarded {
            Some(image) if sector * (SECTOR_BYTES as u64) < image.len() => image.sector(sector),
            _ => [STALE_BYTE; SECTOR_BYTES],
        };
        let mut inodes = BTreeMap::new();
        for id in names.inodes() {
            if let Some(inode) = self.inodes.get(&id) {
                inodes.insert(id, inode.crashed(keep, choice.unwritten, stale));
            }
        }
        Self { names, inodes, handles: BTreeMap::new(), ..self.clone() }
    }

    fn forget_unreachable(&mut self) {
        let named = self.names.inodes();
        let is_open = |id: &Id| self.handles.values().any(|inode| inode == id);
        let unreachable: Vec<Id> =
            self.inodes.keys().filter(|id| !named.contains(id) && !is_open(id)).copied().collect();
        for id in unreachable {
            self.discarded = self.inodes.remove(&id).map(|inode| inode.media().clone());
        }
    }
}
