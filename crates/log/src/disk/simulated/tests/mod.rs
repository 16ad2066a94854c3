//! That the simulated disk loses, keeps, tears and fails exactly as its model says.

mod failures;
mod files;
mod machine;
mod names;
mod space;

use std::path::{Path, PathBuf};

use super::{CrashSampling, Effect, ErrorCode, FailedData, SECTOR_BYTES, SimulatedDisk};
use crate::disk::{AlignedBuffer, BLOCK_BYTES, Disk, DurableWrites, File};

const BLOCK: u64 = BLOCK_BYTES as u64;

fn path(name: &str) -> PathBuf {
    Path::new("/d").join(name)
}

/// A disk with a durable directory, and in it a durable file of two blocks of ones.
fn disk_with_file() -> (SimulatedDisk, Box<dyn File>) {
    disk_with_file_and(DurableWrites::Direct)
}

fn disk_with_file_and(durable_writes: DurableWrites) -> (SimulatedDisk, Box<dyn File>) {
    let disk = SimulatedDisk::with_durable_writes(7, durable_writes);
    disk.write_file(&path("file"), &[1; 2 * BLOCK_BYTES]);
    let file = disk.open(&path("file")).unwrap();
    (disk, file)
}

fn filled(bytes: usize, value: u8) -> AlignedBuffer {
    let mut buffer = AlignedBuffer::zeroed(bytes);
    buffer.fill(value);
    buffer
}

/// The first byte of each sector.
fn sectors(bytes: &[u8]) -> Vec<u8> {
    for sector in bytes.chunks(SECTOR_BYTES) {
        assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is whole");
    }
    bytes.iter().step_by(SECTOR_BYTES).copied().collect()
}

fn medium(file: &dyn File, bytes: usize) -> Vec<u8> {
    let mut buffer = AlignedBuffer::zeroed(bytes);
    let count = file.read_medium_at(&mut buffer, 0).unwrap();
    buffer[..count].to_vec()
}

fn every_crash(disk: &SimulatedDisk) -> Vec<SimulatedDisk> {
    let choices = disk.crash_choices(CrashSampling::default());
    assert!(choices.is_exhaustive());
    choices.map(|choice| disk.crash(&choice)).collect()
}

fn fail_sync(data: FailedData) -> Effect {
    Effect::SyncFails { error: ErrorCode::InputOutput, data }
}
