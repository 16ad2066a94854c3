//! Shows what a log consists of.

use std::path::Path;

use super::survey::Survey;
use crate::disk::Disk;
use crate::error::OpenError;
use crate::frame::FrameKind;
use crate::segment::segment_name;
use crate::spare::SPARE_NAME;

/// A log in outline.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// The first offset that retention has kept.
    pub oldest_offset: u64,
    /// Each segment, in order.
    pub segments: Vec<SegmentSummary>,
    /// Whether the next segment is ready.
    pub has_spare: bool,
}

/// A segment in outline: what its header says.
#[derive(Debug, Clone)]
pub struct SegmentSummary {
    /// Its file's name.
    pub name: String,
    /// Its first offset.
    pub base_offset: u64,
    /// The file's length.
    pub file_bytes: u64,
    /// When it was begun, microseconds since the Unix epoch; `None` when its header is damaged.
    pub created_micros: Option<u64>,
    /// The number of its file's life; `None` when its header is damaged.
    pub generation: Option<u64>,
}

/// One frame in outline.
#[derive(Debug, Clone, Copy)]
pub struct FrameSummary {
    /// Where in the file.
    pub position: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// What it holds.
    pub kind: FrameSummaryKind,
    /// Its first offset.
    pub base_offset: u64,
    /// When it was written, microseconds since the Unix epoch.
    pub append_time_micros: u64,
    /// What was known to be durable when it was written.
    pub durable_offset: u64,
}

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameSummaryKind {
    /// So many records.
    Records(u64),
    /// Nothing: it says what is durable.
    Mark,
    /// So many offsets that were lost and given up.
    Gap(u64),
}

/// Shows the segments of the log in `directory`. Reads only headers.
pub fn inspect(disk: &dyn Disk, directory: &Path) -> Result<Inspection, OpenError> {
    let survey = Survey::of(disk, directory)?;
    let names = disk.list(directory).map_err(|error| OpenError::io(directory, error))?;
    let segments: Vec<SegmentSummary> = survey
        .segments
        .iter()
        .map(|segment| SegmentSummary {
            name: segment_name(segment.base_offset),
            base_offset: segment.base_offset,
            file_bytes: segment.file_bytes,
            created_micros: segment.header.as_ref().ok().map(|header| header.created_micros),
            generation: segment.seed.map(|seed| seed.generation),
        })
        .collect();
    let first = segments.first().map_or(0, |segment| segment.base_offset);
    Ok(Inspection {
        oldest_offset: survey.manifest.map_or(first, |manifest| manifest.oldest_base),
        segments,
        has_spare: names.iter().any(|name| name == SPARE_NAME),
    })
}

/// Shows every valid frame of the segment that begins with `base_offset`.
pub fn inspect_segment(
    disk: &dyn Disk,
    directory: &Path,
    base_offset: u64,
) -> Result<Vec<FrameSummary>, OpenError> {
    let survey = Survey::of(disk, directory)?;
    let Some(segment) = survey.segments.iter().find(|segment| segment.base_offset == base_offset) else {
        let path = directory.join(segment_name(base_offset));
        return Err(OpenError::io(&path, std::io::ErrorKind::NotFound.into()));
    };
    let frames = segment.frames(&mut |_| {})?;
    Ok(frames
        .iter()
        .map(|frame| FrameSummary {
            position: frame.position,
            bytes: frame.header.frame_bytes() as u64,
            kind: match frame.header.kind {
                FrameKind::Records { count } => FrameSummaryKind::Records(u64::from(count)),
                FrameKind::Mark => FrameSummaryKind::Mark,
                FrameKind::Gap { lost } => FrameSummaryKind::Gap(lost),
            },
            base_offset: frame.header.base_offset,
            append_time_micros: frame.header.append_time_micros,
            durable_offset: frame.header.durable_offset,
        })
        .collect())
}
