//! Sets damage aside, on an operator's word: what is whole is kept with its offsets, what is lost becomes a gap that says so.
//!
//! A damaged segment is first copied to `quarantine/`, then written anew beside itself (valid frames, and a gap frame for each
//! hole) and put in its place by one rename. A crash at any point leaves a log that repair can be run on again. Nothing is
//! re-numbered: an event keeps its offset and id, and a reader that comes to a gap passes it.

use std::path::{Path, PathBuf};

use super::Progress;
use super::clean::QUARANTINE_DIRECTORY;
use super::survey::{FoundFrame, FoundSegment, Survey, report};
use crate::disk::{AlignedBuffer, BLOCK_BYTES, Disk, File};
use crate::error::OpenError;
use crate::frame::{FrameFields, FrameKind, begin_frame, finish_frame, reseed_frame};
use crate::manifest::{MANIFEST_NAME, Manifest, ManifestFile};
use crate::opening::lock;
use crate::segment::segment_name;
use crate::segment_header::SegmentHeader;

/// Acknowledged offsets that are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The first.
    pub from: u64,
    /// The one after the last.
    pub to: u64,
    /// The file that held them.
    pub segment: PathBuf,
}

/// What repair did.
#[derive(Debug, Clone, Default)]
pub struct RepairReport {
    /// What is gone, in order.
    pub lost: Vec<Lost>,
    /// Copies of the damaged files.
    pub quarantined: Vec<PathBuf>,
    /// Whether the manifest was written anew.
    pub manifest_rebuilt: bool,
}

/// Repairs the log in `directory`, which must not be open. Does nothing to a log that is whole. Blocking.
pub fn repair(
    disk: &dyn Disk,
    directory: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<RepairReport, OpenError> {
    let _lock = lock(disk, directory)?;
    let survey = Survey::of(disk, directory)?;
    let mut repairer = Repairer { disk, directory, survey: &survey, report: RepairReport::default() };
    repairer.run(progress)?;
    Ok(repairer.report)
}

struct Repairer<'a> {
    disk: &'a dyn Disk,
    directory: &'a Path,
    survey: &'a Survey,
    report: RepairReport,
}

/// What a segment is to hold.
enum Piece {
    Frame(FoundFrame),
    Gap { from: u64, to: u64 },
}

/// A segment that repair has gone through.
struct Done {
    base_offset: u64,
    end_offset: u64,
}

impl Repairer<'_> {
    fn run(&mut self, progress: &mut dyn FnMut(Progress)) -> Result<(), OpenError> {
        let survey = self.survey;
        let total_bytes = survey.total_bytes();
        let mut done_bytes = 0;
        let mut previous: Option<Done> = None;
        for (at, segment) in survey.segments.iter().enumerate() {
            match &previous {
                Some(before) if before.end_offset < segment.base_offset => {
                    let hole = self.write_hole(before, segment)?;
                    previous = Some(hole);
                }
                Some(_) => {}
                None => self.lose_before(segment),
            }
            let frames = segment.frames(&mut report(progress, done_bytes, total_bytes))?;
            let next_base = survey.segments.get(at + 1).map(|next| next.base_offset);
            let previous_base = previous.as_ref().map(|before| before.base_offset);
            previous = Some(self.segment(segment, &frames, next_base, previous_base)?);
            done_bytes += segment.file_bytes;
        }
        self.mend_manifest(previous.as_ref())?;
        progress(Progress { done_bytes: total_bytes, total_bytes });
        Ok(())
    }

    /// The oldest segment is gone: what was before the first one left is lost.
    fn lose_before(&mut self, first: &FoundSegment) {
        let oldest = self.survey.manifest.map_or(first.base_offset, |manifest| manifest.oldest_base);
        if oldest < first.base_offset {
            let segment = self.directory.join(segment_name(oldest));
            self.report.lost.push(Lost { from: oldest, to: first.base_offset, segment });
        }
    }

    /// Keeps, or writes anew, one segment.
    fn segment(
        &mut self,
        segment: &FoundSegment,
        frames: &[FoundFrame],
        next_base: Option<u64>,
        previous_base: Option<u64>,
    ) -> Result<Done, OpenError> {
        let newest_base = self.survey.manifest.map_or(0, |manifest| manifest.newest_base);
        let by_frames = frames.iter().map(|frame| frame.header.durable_offset).max().unwrap_or(0);
        let acknowledged = next_base.unwrap_or_else(|| by_frames.max(newest_base)).max(segment.base_offset);
        let (pieces, end_offset) = plan(segment.base_offset, frames, acknowledged);
        for piece in &pieces {
            if let Piece::Gap { from, to } = *piece {
                self.report.lost.push(Lost { from, to, segment: segment.path.clone() });
            }
        }
        let holes = pieces.iter().any(|piece| matches!(piece, Piece::Gap { .. }));
        // The header names the segment before it, which may be one that repair has put there. The oldest may name any.
        let named = segment.header.map_or(segment.base_offset, |header| header.previous_base);
        let previous_base = previous_base.unwrap_or(named);
        let header_right = segment.header.is_ok_and(|header| header.previous_base == previous_base);
        if holes || segment.header.is_err() {
            self.quarantine(segment)?;
            self.rewrite(segment, &pieces, previous_base)?;
        } else if let (Ok(header), false) = (segment.header, header_right) {
            let header = SegmentHeader { previous_base, ..header };
            let file = self.disk.open(&segment.path).map_err(|error| OpenError::io(&segment.path, error))?;
            file.write_durable_at(&header.encode(), 0)
                .map_err(|error| OpenError::io(&segment.path, error))?;
        }
        Ok(Done { base_offset: segment.base_offset, end_offset })
    }

    /// A segment is missing between two: one that holds only a gap takes its place.
    fn write_hole(&mut self, before: &Done, after: &FoundSegment) -> Result<Done, OpenError> {
        let (from, to) = (before.end_offset, after.base_offset);
        let path = self.directory.join(segment_name(from));
        self.report.lost.push(Lost { from, to, segment: path.clone() });
        let header = SegmentHeader {
            log_id: self.survey.log_id,
            base_offset: from,
            generation: 1,
            previous_base: before.base_offset,
            created_micros: after.header.map_or(0, |header| header.created_micros),
        };
        self.write_segment(&path, &header, 0, |file| {
            let frame = gap_frame(&header, from, to);
            file.write_at(&frame, BLOCK_BYTES as u64)
        })?;
        Ok(Done { base_offset: from, end_offset: to })
    }

    fn rewrite(&self, segment: &FoundSegment, pieces: &[Piece], previous_base: u64) -> Result<(), OpenError> {
        let old_generation = segment.seed.map_or(0, |seed| seed.generation);
        let header = SegmentHeader {
            log_id: self.survey.log_id,
            base_offset: segment.base_offset,
            generation: old_generation.wrapping_add(1),
            previous_base,
            created_micros: segment.header.map_or(0, |header| header.created_micros),
        };
        self.write_segment(&segment.path, &header, segment.file_bytes, |file| {
            let mut position = BLOCK_BYTES as u64;
            for piece in pieces {
                let frame = match piece {
                    Piece::Gap { from, to } => gap_frame(&header, *from, *to),
                    Piece::Frame(found) => {
                        let mut frame = AlignedBuffer::zeroed(found.header.frame_bytes());
                        segment.file.read_medium_at(&mut frame, found.position)?;
                        reseed_frame(&mut frame, header.frame_seed());
                        frame
                    }
                };
                file.write_at(&frame, position)?;
                position += frame.len() as u64;
            }
            Ok(())
        })
    }

    /// Writes a segment beside its place, and puts it there once it is durable.
    fn write_segment(
        &self,
        path: &Path,
        header: &SegmentHeader,
        file_bytes: u64,
        write_frames: impl FnOnce(&dyn File) -> std::io::Result<()>,
    ) -> Result<(), OpenError> {
        let new_path = path.with_extension("log.new");
        let written = (|| {
            if self.disk.list(self.directory)?.iter().any(|name| new_path.ends_with(name)) {
                self.disk.remove(&new_path)?;
            }
            let file = self.disk.create(&new_path)?;
            file.write_zeros_at(0, file_bytes.max(2 * BLOCK_BYTES as u64))?;
            file.write_at(&header.encode(), 0)?;
            write_frames(file.as_ref())?;
            file.sync()?;
            self.disk.rename(&new_path, path)?;
            // Its index is of the old file.
            let index = path.with_extension("index");
            if self.disk.list(self.directory)?.iter().any(|name| index.ends_with(name)) {
                self.disk.remove(&index)?;
            }
            self.disk.sync_directory(self.directory)
        })();
        written.map_err(|error| OpenError::io(&new_path, error))
    }

    /// Copies a file to where `clean` will find it.
    fn quarantine(&mut self, segment: &FoundSegment) -> Result<(), OpenError> {
        let directory = self.directory.join(QUARANTINE_DIRECTORY);
        let name = segment_name(segment.base_offset);
        let copied = (|| {
            self.disk.create_directory(&directory)?;
            let taken = self.disk.list(&directory)?;
            let number =
                (1..).find(|number| !taken.contains(&format!("{name}.{number}"))).unwrap_or(u32::MAX);
            let path = directory.join(format!("{name}.{number}"));
            let copy = self.disk.create(&path)?;
            let mut position = 0;
            while position < segment.file_bytes {
                let mut piece = AlignedBuffer::zeroed(1 << 20);
                let filled = segment.file.read_medium_at(&mut piece, position)?;
                if filled == 0 {
                    break;
                }
                copy.write_at(&piece[..filled], position)?;
                position += filled as u64;
            }
            copy.sync()?;
            self.disk.sync_directory(&directory)?;
            Ok(path)
        })();
        self.report.quarantined.push(copied.map_err(|error| OpenError::io(&directory, error))?);
        Ok(())
    }

    /// Makes the manifest say what there is now.
    fn mend_manifest(&mut self, last: Option<&Done>) -> Result<(), OpenError> {
        let (Some(first), Some(last)) = (self.survey.segments.first(), last) else {
            return Ok(());
        };
        let right = Manifest {
            log_id: self.survey.log_id,
            oldest_base: first.base_offset,
            newest_base: last.base_offset,
        };
        let newest_right =
            self.survey.manifest.is_some_and(|manifest| manifest.newest_base <= last.base_offset);
        let oldest_right =
            self.survey.manifest.is_some_and(|manifest| manifest.oldest_base == first.base_offset);
        if self.survey.manifest_whole && newest_right && oldest_right {
            return Ok(());
        }
        ManifestFile::create(self.disk, self.directory, right)
            .map_err(|error| OpenError::io(&self.directory.join(MANIFEST_NAME), error))?;
        self.report.manifest_rebuilt = true;
        Ok(())
    }
}

/// Which frames a segment keeps, and where gaps go, so that everything below `acknowledged` is accounted for.
fn plan(base_offset: u64, frames: &[FoundFrame], acknowledged: u64) -> (Vec<Piece>, u64) {
    let mut pieces = Vec::new();
    let mut expected = base_offset;
    for frame in frames {
        let begins = frame.header.base_offset;
        if begins < expected || (begins > expected && begins > acknowledged) {
            // A repeated frame, or one behind a hole that nothing acknowledged covers.
            continue;
        }
        if begins > expected {
            pieces.push(Piece::Gap { from: expected, to: begins });
        }
        pieces.push(Piece::Frame(*frame));
        expected = frame.header.end_offset();
    }
    if expected < acknowledged {
        pieces.push(Piece::Gap { from: expected, to: acknowledged });
        expected = acknowledged;
    }
    (pieces, expected)
}

fn gap_frame(header: &SegmentHeader, from: u64, to: u64) -> AlignedBuffer {
    let mut frame = AlignedBuffer::with_capacity(BLOCK_BYTES);
    begin_frame(&mut frame);
    let fields = FrameFields {
        kind: FrameKind::Gap { lost: to - from },
        base_offset: from,
        append_time_micros: header.created_micros,
        durable_offset: from,
    };
    finish_frame(&mut frame, header.frame_seed(), &fields);
    frame
}
