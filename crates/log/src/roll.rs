//! Begins a new segment: the spare gets a header, a name, and becomes the active one.
//!
//! The order makes every crash harmless: the old segment is whole and durable before the new one has a name; the header is
//! durable before the name is; the name before the manifest demands it; and all of that before the first frame.

use std::sync::Arc;

use crate::checksum::crc32c;
use crate::committer::Committer;
use crate::core::Core;
use crate::disk::BLOCK_BYTES;
use crate::error::{Refusal, is_disk_full};
use crate::maintenance::Chore;
use crate::options::SyncMode;
use crate::segment::{Segment, segment_name};
use crate::segment_header::SegmentHeader;
use crate::spare::Spare;
use crate::sparse_index::SparseIndex;
use crate::{LogId, disk::Disk};

impl Core {
    /// Seals the active segment and goes on in a new one. What stands in the way, if something does; then nothing has changed.
    pub(crate) fn roll(&self, committer: &mut Committer) -> Result<(), Refusal> {
        self.in_flight.drain().map_err(|why| Refusal::Poisoned { why })?;
        assert!(
            self.in_flight.durable_offset() == committer.next_offset,
            "a drained log is durable to its end"
        );
        if self.options.sync != SyncMode::Commit {
            committer
                .segment
                .file
                .sync()
                .map_err(|error| self.roll_failed("syncing the full segment", &error))?;
        }
        let spare = self.spares.take().inspect_err(|refusal| {
            self.set_disk_full(matches!(refusal, Refusal::DiskFull));
        })?;
        let created_micros = committer.advance_time(self.options.clock.now_micros());
        let header = SegmentHeader {
            log_id: self.id,
            base_offset: committer.next_offset,
            generation: generation(self.id, committer.next_offset, created_micros),
            previous_base: committer.segment.base_offset(),
            created_micros,
        };
        let segment = self.activate(committer, spare, header)?;
        self.set_disk_full(false);
        let sealed = std::mem::replace(&mut committer.segment, Arc::clone(&segment));
        committer.position = BLOCK_BYTES as u64;
        committer.marked_offset = committer.next_offset;
        self.seal_keys(committer);
        self.segments.push(segment);
        self.metrics.rolls.inc();
        self.chores.add(Chore::SaveIndex(sealed));
        Ok(())
    }

    /// Lets the keys in memory be written to a file. Nothing is in flight: a key file must not outlive its records.
    pub(crate) fn seal_keys(&self, committer: &mut Committer) {
        let end = committer.next_offset;
        if let Some(task) = committer.keys.seal(committer.keys_base, end) {
            self.chores.add(Chore::SaveKeys(task));
        }
        committer.keys_base = end;
    }

    /// Makes the spare the segment that `header` describes. For want of room it is tried again with the same file.
    fn activate(
        &self,
        committer: &mut Committer,
        mut spare: Spare,
        header: SegmentHeader,
    ) -> Result<Arc<Segment>, Refusal> {
        let path = self.options.directory.join(segment_name(header.base_offset));
        let made = (|| {
            spare.file.write_durable_at(&header.encode(), 0)?;
            self.disk.rename(&spare.path, &path)?;
            spare.path.clone_from(&path);
            // With its name there may be a segment that begins here, so nothing more goes into the one before it.
            committer.must_roll = true;
            self.disk.sync_directory(&self.options.directory)?;
            self.manifest.lock().update(|manifest| manifest.newest_base = header.base_offset)
        })();
        match made {
            Ok(()) => {
                committer.must_roll = false;
                self.spares.taken_into_use();
                Ok(Arc::new(Segment::new(header, path, spare.file, Some(SparseIndex::default()))))
            }
            Err(error) if is_disk_full(&error) => {
                self.spares.put_back(spare);
                self.set_disk_full(true);
                Err(Refusal::DiskFull)
            }
            Err(error) => Err(self.roll_failed("beginning a new segment", &error)),
        }
    }

    fn roll_failed(&self, doing: &str, error: &std::io::Error) -> Refusal {
        let why: Arc<str> = format!("{doing} failed: {error}").into();
        self.metrics.failed_writes.inc();
        self.poison(&why);
        Refusal::Poisoned { why }
    }
}

/// A number that no earlier life of the file had, and that no producer can guess: time never repeats for one log, and the
/// log's id is nobody's business.
pub(crate) fn generation(log_id: LogId, base_offset: u64, created_micros: u64) -> u64 {
    let secret = crc32c(0, &log_id.0);
    let mixed = crc32c(crc32c(secret, &created_micros.to_le_bytes()), &base_offset.to_le_bytes());
    u64::from(mixed) << 32 | (created_micros & u64::from(u32::MAX))
}

/// The first segment of a new log.
pub(crate) fn create_first(
    disk: &dyn Disk,
    directory: &std::path::Path,
    spare: Spare,
    log_id: LogId,
    created_micros: u64,
) -> std::io::Result<Segment> {
    let header = SegmentHeader {
        log_id,
        base_offset: 0,
        generation: generation(log_id, 0, created_micros),
        previous_base: 0,
        created_micros,
    };
    let path = directory.join(segment_name(0));
    spare.file.write_durable_at(&header.encode(), 0)?;
    disk.rename(&spare.path, &path)?;
    disk.sync_directory(directory)?;
    Ok(Segment::new(header, path, spare.file, Some(SparseIndex::default())))
}
