//! `Disk`, `File` and `Lock` as the code under test sees them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::SimulatedDisk;
use super::fault::{Effect, ErrorCode, FailedData};
use super::image::SECTOR_BYTES;
use super::inode::Inode;
use super::machine::{Call, Shared};
use super::operation::OperationKind;
use super::storage::OpenFile;
use crate::disk::{AlignedBuffer, Disk, DurableWrites, File, Lock, check_block_aligned};

impl Disk for SimulatedDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut call = self.begin(OperationKind::Create, path)?;
        let step = call.step;
        let open = call.machine.storage.create(path, step)?;
        let file = self.file(path, open, true);
        // The new file closes itself when the call fails, which needs the machine that the call holds.
        let paused = call.pause().map(drop);
        paused.map(|()| file as Box<dyn File>)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut call = self.begin(OperationKind::Open, path)?;
        let open = call.machine.storage.open(path)?;
        drop(call);
        Ok(self.file(path, open, true))
    }

    fn open_read_only(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut call = self.begin(OperationKind::OpenReadOnly, path)?;
        let open = call.machine.storage.open(path)?;
        drop(call);
        Ok(self.file(path, open, false))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut call = self.begin(OperationKind::Rename, from)?;
        let step = call.step;
        call.machine.storage.rename(from, to, step)?;
        call.pause().map(drop)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut call = self.begin(OperationKind::Remove, path)?;
        let step = call.step;
        call.machine.storage.remove(path, step)?;
        call.pause().map(drop)
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        let mut call = self.begin(OperationKind::CreateDirectory, path)?;
        let step = call.step;
        call.machine.storage.make_directories(path, step)?;
        let mut call = call.pause()?;
        call.machine.storage.names.settle_step(step);
        Ok(())
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let call = self.begin(OperationKind::SyncDirectory, path)?;
        call.machine.storage.names.check_directory(path)?;
        let covered_to = call.machine.storage.newest_id();
        let mut call = call.pause()?;
        let (failed, outcome) = failure_of_sync(call.effect);
        let machine = &mut *call.machine;
        machine.storage.sync_directory(path, covered_to, failed, &mut machine.random);
        outcome
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let call = self.begin(OperationKind::List, path)?.pause()?;
        call.machine.storage.names.list(path)
    }

    fn available_bytes(&self, path: &Path) -> io::Result<u64> {
        let call = self.begin(OperationKind::AvailableBytes, path)?.pause()?;
        if !call.machine.storage.names.exists(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(call.machine.storage.available_bytes())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let mut call = self.begin(OperationKind::Lock, path)?;
        let step = call.step;
        let storage = &mut call.machine.storage;
        let open =
            if storage.names.exists(path) { storage.open(path)? } else { storage.create(path, step)? };
        if !call.machine.locked.insert(open.inode) {
            call.machine.storage.close(open.handle);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let lock = Box::new(SimulatedLock { shared: Arc::clone(&self.shared), open });
        let paused = call.pause().map(drop);
        paused.map(|()| lock as Box<dyn Lock>)
    }
}

impl SimulatedDisk {
    fn begin(&self, kind: OperationKind, path: &Path) -> io::Result<Call<'_>> {
        self.shared.begin(kind, path, 0, 0)
    }

    fn file(&self, path: &Path, open: OpenFile, writable: bool) -> Box<SimulatedFile> {
        Box::new(SimulatedFile { shared: Arc::clone(&self.shared), path: path.to_owned(), open, writable })
    }
}

struct SimulatedLock {
    shared: Arc<Shared>,
    open: OpenFile,
}

impl Lock for SimulatedLock {}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        let mut machine = self.shared.lock();
        machine.locked.remove(&self.open.inode);
        machine.storage.close(self.open.handle);
    }
}

struct SimulatedFile {
    shared: Arc<Shared>,
    path: PathBuf,
    open: OpenFile,
    writable: bool,
}

impl Drop for SimulatedFile {
    fn drop(&mut self) {
        self.shared.lock().storage.close(self.open.handle);
    }
}

impl File for SimulatedFile {
    fn len(&self) -> io::Result<u64> {
        let call = self.begin(OperationKind::Length, 0, 0)?.pause()?;
        Ok(call.machine.storage.inode(self.open.inode)?.cache().len())
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let read = |inode: &Inode, buffer: &mut [u8], position| inode.cache().read(buffer, position);
        self.read(OperationKind::Read, buffer, position, read)
    }

    fn read_medium_at(&self, buffer: &mut AlignedBuffer, position: u64) -> io::Result<usize> {
        check_block_aligned(position, buffer.len())?;
        let read = |inode: &Inode, buffer: &mut [u8], position| inode.written_out().read(buffer, position);
        self.read(OperationKind::ReadMedium, buffer, position, read)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let mut call = self.begin_change(OperationKind::Write, position, bytes.len())?;
        let (count, failure) = self.writable_bytes(&call, position, bytes.len())?;
        let step = call.step;
        call.machine.storage.write(self.open, &bytes[..count], position, step)?;
        call.pause()?;
        failure.map_or(Ok(()), |error| Err(error.to_error()))
    }

    fn write_durable_at(&self, bytes: &AlignedBuffer, position: u64) -> io::Result<()> {
        check_block_aligned(position, bytes.len())?;
        let call = self.begin_change(OperationKind::WriteDurable, position, bytes.len())?;
        let (count, failure) = self.writable_bytes(&call, position, bytes.len())?;
        match call.machine.storage.durable_writes {
            DurableWrites::Direct => self.write_direct(call, &bytes[..count], position)?,
            DurableWrites::Buffered => {
                self.write_and_sync(call, &bytes[..count], position, failure.is_none())?;
            }
        }
        failure.map_or(Ok(()), |error| Err(error.to_error()))
    }

    fn sync(&self) -> io::Result<()> {
        let call = self.begin(OperationKind::Sync, 0, 0)?;
        self.finish_sync(call)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let mut call = self.begin_change(OperationKind::SetLength, bytes, 0)?;
        let step = call.step;
        call.machine.storage.set_len(self.open, bytes, step)?;
        call.pause().map(drop)
    }
}

impl SimulatedFile {
    fn begin(&self, kind: OperationKind, position: u64, bytes: usize) -> io::Result<Call<'_>> {
        self.shared.begin(kind, &self.path, position, bytes)
    }

    fn begin_change(&self, kind: OperationKind, position: u64, bytes: usize) -> io::Result<Call<'_>> {
        let call = self.begin(kind, position, bytes)?;
        if self.writable { Ok(call) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }

    fn read(
        &self,
        kind: OperationKind,
        buffer: &mut [u8],
        position: u64,
        read: impl Fn(&Inode, &mut [u8], u64) -> usize,
    ) -> io::Result<usize> {
        let call = self.begin(kind, position, buffer.len())?.pause()?;
        let inode = call.machine.storage.inode(self.open.inode)?;
        match call.effect {
            Some(Effect::Misdirected { position }) => Ok(read(inode, buffer, position)),
            Some(Effect::FlipsBit(bit)) => {
                let count = read(inode, buffer, position);
                if let Some(byte) = (bit / 8).checked_rem(count) {
                    buffer[byte] ^= 1 << (bit % 8);
                }
                Ok(count)
            }
            _ => Ok(read(inode, buffer, position)),
        }
    }

    /// How many of the bytes will be written, and the error that the call gives then.
    fn writable_bytes(
        &self,
        call: &Call<'_>,
        position: u64,
        bytes: usize,
    ) -> io::Result<(usize, Option<ErrorCode>)> {
        let room = call.machine.storage.room(self.open.inode, position, bytes)?;
        let (count, failure) = match call.effect {
            Some(Effect::Short { bytes: count, error }) if count < bytes => (count, Some(error)),
            Some(Effect::Short { error, .. }) => (bytes, Some(error)),
            _ => (bytes, None),
        };
        Ok(if room < count { (room, Some(ErrorCode::NoSpace)) } else { (count, failure) })
    }

    /// While it is under way any of its sectors may be on the medium; at its end all are, or those that
    /// `call.effect` says.
    fn write_direct(&self, mut call: Call<'_>, bytes: &[u8], position: u64) -> io::Result<()> {
        // A short count may end anywhere; a direct write ends between sectors.
        let bytes = &bytes[..bytes.len() - bytes.len() % SECTOR_BYTES];
        let step = call.step;
        call.machine.storage.write(self.open, bytes, position, step)?;
        call.machine.under_way.insert(step);
        let mut call = call.pause()?;
        call.machine.under_way.remove(&step);
        let machine = &mut *call.machine;
        if let Some(Effect::SyncFails { error, data }) = call.effect {
            let partly = data == FailedData::PartlyLost;
            machine.storage.fail_direct(self.open, step, partly, &mut machine.random)?;
            machine.storage.reload(self.open.inode, position, bytes.len())?;
            return Err(error.to_error());
        }
        machine.storage.finish_direct(self.open, step, position + bytes.len() as u64)
    }

    /// A write that fails is not synced.
    fn write_and_sync(&self, mut call: Call<'_>, bytes: &[u8], position: u64, sync: bool) -> io::Result<()> {
        let step = call.step;
        call.machine.storage.write(self.open, bytes, position, step)?;
        if sync { self.finish_sync(call) } else { call.pause().map(drop) }
    }

    fn finish_sync(&self, call: Call<'_>) -> io::Result<()> {
        let covered_to = call.machine.storage.newest_id();
        let mut call = call.pause()?;
        let (failed, outcome) = failure_of_sync(call.effect);
        let machine = &mut *call.machine;
        let under_way = &machine.under_way;
        let is_under_way = |step| under_way.contains(&step);
        machine.storage.sync(self.open, covered_to, is_under_way, failed, &mut machine.random)?;
        outcome
    }
}

fn failure_of_sync(effect: Option<Effect>) -> (Option<FailedData>, io::Result<()>) {
    match effect {
        Some(Effect::SyncFails { error, data }) => (Some(data), Err(error.to_error())),
        _ => (None, Ok(())),
    }
}
