//! Little-endian fields at fixed places, for the formats that this crate draws.

use std::array;

/// The `N` bytes at `at`. The caller's block is longer than its last field.
pub(crate) fn bytes_at<const N: usize>(block: &[u8], at: usize) -> [u8; N] {
    array::from_fn(|i| block[at + i])
}

pub(crate) fn u32_at(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes_at(block, at))
}

pub(crate) fn u64_at(block: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes_at(block, at))
}

/// Writes `field` at `at`.
pub(crate) fn put(block: &mut [u8], at: usize, field: &[u8]) {
    block[at..at + field.len()].copy_from_slice(field);
}
