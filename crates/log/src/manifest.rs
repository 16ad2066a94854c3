//! Which segments the log must have: the one file that is not derived from the segments.
//!
//! `MANIFEST` has two blocks of 4 KiB with the same content, written one after the other, so that a torn write leaves one:
//!
//! ```text
//! byte  0        8         16         32           40            48         4092
//!       ┌────────┬─────────┬──────────┬────────────┬─────────────┬──────────┬─────┐
//!       │ERLOGMAN│ version │ log id   │ oldest     │ newest      │ zeros    │ crc │
//!       │        │ u64 = 1 │ 16 B     │ base u64   │ base u64    │          │ u32 │
//!       └────────┴─────────┴──────────┴────────────┴─────────────┴──────────┴─────┘
//! ```
//!
//! Invariants: `oldest base` is durable here before a segment below it is removed, and `newest base` only after that
//! segment exists durably. So a first segment above `oldest base`, or none at `newest base`, is a segment gone missing.

use std::path::Path;

use crate::checksum::crc32c;
use crate::disk::{AlignedBuffer, BLOCK_BYTES, Disk, File};
use crate::wire::{bytes_at, put, u32_at, u64_at};
use crate::{LogId, OpenError};

pub(crate) const MANIFEST_NAME: &str = "MANIFEST";
const MAGIC: &[u8; 8] = b"ERLOGMAN";
const VERSION: u64 = 1;
const CRC_AT: usize = BLOCK_BYTES - 4;

/// What the manifest says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) log_id: LogId,
    pub(crate) oldest_base: u64,
    pub(crate) newest_base: u64,
}

/// The open manifest of a log.
pub(crate) struct ManifestFile {
    file: Box<dyn File>,
    current: Manifest,
}

impl ManifestFile {
    /// Creates it, durable with its name.
    pub(crate) fn create(disk: &dyn Disk, directory: &Path, manifest: Manifest) -> std::io::Result<Self> {
        let temporary = directory.join("MANIFEST.new");
        if disk.list(directory)?.iter().any(|name| name == "MANIFEST.new") {
            disk.remove(&temporary)?;
        }
        let file = disk.create(&temporary)?;
        let block = encode(&manifest);
        file.write_at(&block, 0)?;
        file.write_at(&block, BLOCK_BYTES as u64)?;
        file.sync()?;
        disk.rename(&temporary, &directory.join(MANIFEST_NAME))?;
        disk.sync_directory(directory)?;
        Ok(Self { file: disk.open(&directory.join(MANIFEST_NAME))?, current: manifest })
    }

    /// Opens it and reads the better of the two blocks.
    pub(crate) fn open(disk: &dyn Disk, directory: &Path) -> Result<Self, OpenError> {
        let path = directory.join(MANIFEST_NAME);
        let file = disk.open(&path).map_err(|error| OpenError::io(&path, error))?;
        file.sync().map_err(|error| OpenError::io(&path, error))?;
        let blocks = read_blocks(file.as_ref()).map_err(|error| OpenError::io(&path, error))?;
        let current = match blocks {
            // Written in this order, so where they differ the first is the newer.
            [Some(first), _] => first,
            [None, Some(second)] => second,
            [None, None] => return Err(OpenError::ManifestDamaged { path }),
        };
        if blocks != [Some(current), Some(current)] {
            tracing::info!(path = %path.display(), "one copy of the log's manifest was torn; mending it from the other");
            write_blocks(file.as_ref(), &current).map_err(|error| OpenError::io(&path, error))?;
        }
        Ok(Self { file, current })
    }

    pub(crate) fn current(&self) -> Manifest {
        self.current
    }

    /// Replaces what it says, durably.
    pub(crate) fn update(&mut self, change: impl FnOnce(&mut Manifest)) -> std::io::Result<()> {
        let mut next = self.current;
        change(&mut next);
        assert!(next.oldest_base >= self.current.oldest_base, "retention only moves forward");
        write_blocks(self.file.as_ref(), &next)?;
        self.current = next;
        Ok(())
    }
}

/// Both copies, `None` where one does not verify.
pub(crate) fn read_blocks(file: &dyn File) -> std::io::Result<[Option<Manifest>; 2]> {
    let mut both = AlignedBuffer::zeroed(2 * BLOCK_BYTES);
    let read = file.read_medium_at(&mut both, 0)?;
    let half = |at: usize| (read >= at + BLOCK_BYTES).then(|| decode(&both[at..at + BLOCK_BYTES])).flatten();
    Ok([half(0), half(BLOCK_BYTES)])
}

fn write_blocks(file: &dyn File, manifest: &Manifest) -> std::io::Result<()> {
    let block = encode(manifest);
    file.write_durable_at(&block, 0)?;
    file.write_durable_at(&block, BLOCK_BYTES as u64)
}

fn encode(manifest: &Manifest) -> AlignedBuffer {
    let mut block = AlignedBuffer::zeroed(BLOCK_BYTES);
    put(&mut block, 0, MAGIC);
    put(&mut block, 8, &VERSION.to_le_bytes());
    put(&mut block, 16, &manifest.log_id.0);
    put(&mut block, 32, &manifest.oldest_base.to_le_bytes());
    put(&mut block, 40, &manifest.newest_base.to_le_bytes());
    let crc = crc32c(0, &block[..CRC_AT]);
    put(&mut block, CRC_AT, &crc.to_le_bytes());
    block
}

fn decode(block: &[u8]) -> Option<Manifest> {
    let valid = &block[..8] == MAGIC
        && u64_at(block, 8) == VERSION
        && u32_at(block, CRC_AT) == crc32c(0, &block[..CRC_AT]);
    valid.then(|| Manifest {
        log_id: LogId(bytes_at(block, 16)),
        oldest_base: u64_at(block, 32),
        newest_base: u64_at(block, 40),
    })
}
