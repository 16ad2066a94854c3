//! Finds every frame of every segment, valid or not, without changing or believing anything.
//!
//! A segment whose header is damaged is still read: its frames name their generation, and verify with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Progress;
use crate::LogId;
use crate::disk::{AlignedBuffer, BLOCK_BYTES, Disk, File};
use crate::error::{DamageKind, OpenError};
use crate::frame::FrameHeader;
use crate::frame_walker::FrameWalker;
use crate::manifest::{MANIFEST_NAME, Manifest, read_blocks};
use crate::segment::{parse_segment_name, segment_name};
use crate::segment_header::{FrameSeed, SegmentHeader};

/// A segment file as it was found.
pub(super) struct FoundSegment {
    pub(super) path: PathBuf,
    pub(super) base_offset: u64,
    pub(super) file: Arc<dyn File>,
    pub(super) file_bytes: u64,
    pub(super) header: Result<SegmentHeader, DamageKind>,
    /// With what its frames verify; `None` when no frame does.
    pub(super) seed: Option<FrameSeed>,
}

/// A valid frame as it was found.
#[derive(Debug, Clone, Copy)]
pub(super) struct FoundFrame {
    pub(super) position: u64,
    pub(super) header: FrameHeader,
}

/// The manifest and the segment files of a directory.
pub(super) struct Survey {
    /// `None` when neither copy verifies.
    pub(super) manifest: Option<Manifest>,
    /// Whether both copies verify and agree.
    pub(super) manifest_whole: bool,
    pub(super) log_id: LogId,
    /// In order.
    pub(super) segments: Vec<FoundSegment>,
}

impl Survey {
    /// Looks a directory over. Fails when there is no log, or none of its files tells the log's id.
    pub(super) fn of(disk: &dyn Disk, directory: &Path) -> Result<Self, OpenError> {
        let names = disk.list(directory).map_err(|error| OpenError::io(directory, error))?;
        let (manifest, manifest_whole) = find_manifest(disk, directory, &names)?;
        let mut bases: Vec<u64> = names.iter().filter_map(|name| parse_segment_name(name)).collect();
        bases.sort_unstable();
        // Below the oldest are files that a crash kept retention from removing.
        bases.retain(|base| manifest.is_none_or(|manifest| *base >= manifest.oldest_base));
        let mut blocks = Vec::new();
        for base in bases {
            let path = directory.join(segment_name(base));
            let file: Arc<dyn File> =
                Arc::from(disk.open_read_only(&path).map_err(|error| OpenError::io(&path, error))?);
            let mut block = AlignedBuffer::zeroed(BLOCK_BYTES);
            let filled = file.read_medium_at(&mut block, 0).map_err(|error| OpenError::io(&path, error))?;
            blocks.push((path, base, file, SegmentHeader::decode(&block[..filled])));
        }
        let by_header =
            || blocks.iter().find_map(|(.., header)| header.as_ref().ok().map(|header| header.log_id));
        let Some(log_id) = manifest.map(|manifest| manifest.log_id).or_else(by_header) else {
            return Err(OpenError::ManifestDamaged { path: directory.join(MANIFEST_NAME) });
        };
        let mut segments = Vec::with_capacity(blocks.len());
        for (path, base_offset, file, header) in blocks {
            let io = |error| OpenError::io(&path, error);
            let file_bytes = file.len().map_err(io)?;
            let header = match header {
                Ok(header) if header.log_id == log_id && header.base_offset == base_offset => Ok(header),
                Ok(_) => Err(DamageKind::Foreign),
                Err(fault) => Err(DamageKind::Header(fault)),
            };
            let seed = match &header {
                Ok(header) => Some(header.frame_seed()),
                Err(_) => find_seed(file.as_ref(), log_id, base_offset).map_err(io)?,
            };
            segments.push(FoundSegment { path, base_offset, file, file_bytes, header, seed });
        }
        Ok(Self { manifest, manifest_whole, log_id, segments })
    }

    pub(super) fn total_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.file_bytes).sum()
    }
}

impl FoundSegment {
    /// Every valid frame in the file, whatever is between them.
    pub(super) fn frames(&self, progress: &mut dyn FnMut(u64)) -> Result<Vec<FoundFrame>, OpenError> {
        let io = |error| OpenError::io(&self.path, error);
        let mut frames = Vec::new();
        let Some(seed) = self.seed else { return Ok(frames) };
        let mut walker = FrameWalker::new(self.file.as_ref()).map_err(io)?;
        let mut position = BLOCK_BYTES as u64;
        while position + BLOCK_BYTES as u64 <= self.file_bytes {
            let found = walker.frame_at(position, seed).map_err(io)?.map(|(header, _)| header);
            let next = match found {
                Some(header) => {
                    frames.push(FoundFrame { position, header });
                    position + header.frame_bytes() as u64
                }
                None => position + BLOCK_BYTES as u64,
            };
            if next >> 20 != position >> 20 {
                progress(next);
            }
            position = next;
        }
        Ok(frames)
    }
}

fn find_manifest(
    disk: &dyn Disk,
    directory: &Path,
    names: &[String],
) -> Result<(Option<Manifest>, bool), OpenError> {
    if !names.iter().any(|name| name == MANIFEST_NAME) {
        return Ok((None, false));
    }
    let path = directory.join(MANIFEST_NAME);
    let io = |error| OpenError::io(&path, error);
    let file = disk.open_read_only(&path).map_err(io)?;
    let [first, second] = read_blocks(file.as_ref()).map_err(io)?;
    Ok((first.or(second), first.is_some() && first == second))
}

/// What the frames of a segment without a header verify with: the generation that one of them names and verifies with.
fn find_seed(file: &dyn File, log_id: LogId, base_offset: u64) -> std::io::Result<Option<FrameSeed>> {
    let mut walker = FrameWalker::new(file)?;
    let mut position = BLOCK_BYTES as u64;
    let mut tried = Vec::new();
    while position + BLOCK_BYTES as u64 <= walker.file_bytes() {
        if let Some(header) = walker.header_at(position)? {
            let seed = FrameSeed::new(log_id, base_offset, header.generation);
            if !tried.contains(&header.generation) && walker.frame_at(position, seed)?.is_some() {
                return Ok(Some(seed));
            }
            // A recycled file may hold frames of a few earlier lives.
            if tried.len() < 64 && !tried.contains(&header.generation) {
                tried.push(header.generation);
            }
        }
        position += BLOCK_BYTES as u64;
    }
    Ok(None)
}

/// Tells how far the walk over all segments is.
pub(super) fn report(
    progress: &mut dyn FnMut(Progress),
    before: u64,
    total_bytes: u64,
) -> impl FnMut(u64) + '_ {
    move |position| progress(Progress { done_bytes: (before + position).min(total_bytes), total_bytes })
}
