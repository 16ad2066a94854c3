//! Reads every byte of a log and names all that is wrong, where opening stops at the first.

use std::path::Path;

use super::Progress;
use super::survey::{FoundFrame, FoundSegment, Survey, report};
use crate::disk::{BLOCK_BYTES, Disk};
use crate::error::{Damage, DamageKind, OpenError};
use crate::frame::FrameKind;
use crate::segment::segment_name;

/// All that verifying found.
#[derive(Debug, Clone, Default)]
pub struct VerifyReport {
    /// Each segment, in order.
    pub segments: Vec<SegmentReport>,
    /// Acknowledged data that is not what was written, in order. Empty: the log is whole.
    pub damage: Vec<Damage>,
    /// Whether one of the manifest's two copies is damaged. Opening mends it from the other.
    pub manifest_torn: bool,
    /// Whether the log ends in commits that were never acknowledged. Opening cuts them.
    pub torn_tail: bool,
    /// Offsets that an earlier repair gave up.
    pub given_up: Vec<(u64, u64)>,
}

/// What is in one segment.
#[derive(Debug, Clone)]
pub struct SegmentReport {
    /// Its file's name.
    pub name: String,
    /// Its first offset.
    pub base_offset: u64,
    /// The offset after its last event.
    pub end_offset: u64,
    /// Valid frames, marks included.
    pub frames: u64,
    /// Events in them.
    pub events: u64,
    /// Bytes up to the end of the last frame.
    pub used_bytes: u64,
}

/// Reads the whole log in `directory`. Changes nothing; a log that is open elsewhere may show a torn tail that is only being
/// written. Blocking, at the disk's speed.
pub fn verify(
    disk: &dyn Disk,
    directory: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<VerifyReport, OpenError> {
    let survey = Survey::of(disk, directory)?;
    let mut verifier = Verifier { directory, survey: &survey, report: VerifyReport::default() };
    verifier.report.manifest_torn = !survey.manifest_whole;
    let total_bytes = survey.total_bytes();
    let mut done_bytes = 0;
    let mut expected = survey.manifest.map_or(0, |manifest| manifest.oldest_base);
    if survey.manifest.is_none() {
        expected = survey.segments.first().map_or(0, |segment| segment.base_offset);
    }
    for (at, segment) in survey.segments.iter().enumerate() {
        if segment.base_offset > expected {
            verifier.missing(expected);
        }
        let frames = segment.frames(&mut report(progress, done_bytes, total_bytes))?;
        let next_base = survey.segments.get(at + 1).map(|next| next.base_offset);
        expected = verifier.segment(segment, &frames, next_base);
        done_bytes += segment.file_bytes;
    }
    if let Some(manifest) = survey.manifest.filter(|manifest| manifest.newest_base > expected) {
        verifier.missing(manifest.newest_base);
    }
    progress(Progress { done_bytes: total_bytes, total_bytes });
    Ok(verifier.report)
}

struct Verifier<'a> {
    directory: &'a Path,
    survey: &'a Survey,
    report: VerifyReport,
}

impl Verifier<'_> {
    fn missing(&mut self, base: u64) {
        let segment = self.directory.join(segment_name(base));
        self.report.damage.push(Damage { segment, position: 0, offset: base, kind: DamageKind::Missing });
    }

    /// Checks one segment's frames, and says where the next segment must begin.
    fn segment(&mut self, segment: &FoundSegment, frames: &[FoundFrame], next_base: Option<u64>) -> u64 {
        let damage =
            |position, offset, kind| Damage { segment: segment.path.clone(), position, offset, kind };
        if let Err(kind) = &segment.header {
            self.report.damage.push(damage(0, segment.base_offset, *kind));
        }
        let acknowledged = next_base.unwrap_or_else(|| self.acknowledged_end(frames));
        let (mut expected, mut position) = (segment.base_offset, BLOCK_BYTES as u64);
        let mut summary = SegmentReport {
            name: segment_name(segment.base_offset),
            base_offset: segment.base_offset,
            end_offset: segment.base_offset,
            frames: 0,
            events: 0,
            used_bytes: 0,
        };
        for frame in frames {
            let in_line = frame.header.base_offset == expected && frame.position == position;
            if !in_line && expected >= acknowledged {
                // Behind the end of what was acknowledged: cut at opening.
                self.report.torn_tail = true;
                break;
            }
            if !in_line {
                let kind = match frame.position == position {
                    true => DamageKind::Misplaced { found: frame.header.base_offset },
                    false => DamageKind::Frame,
                };
                self.report.damage.push(damage(position, expected, kind));
            }
            if let FrameKind::Gap { .. } = frame.header.kind {
                self.report.given_up.push((frame.header.base_offset, frame.header.end_offset()));
            }
            if let FrameKind::Records { count } = frame.header.kind {
                summary.events += u64::from(count);
            }
            summary.frames += 1;
            expected = expected.max(frame.header.end_offset());
            position = frame.position + frame.header.frame_bytes() as u64;
        }
        if expected < acknowledged {
            let kind = next_base.map_or(DamageKind::Frame, |next_base| DamageKind::Short { next_base });
            self.report.damage.push(damage(position, expected, kind));
        }
        summary.end_offset = expected;
        summary.used_bytes = position;
        self.report.segments.push(summary);
        next_base.map_or(expected, |_| expected.max(acknowledged))
    }

    /// In the last segment: below what offset everything is known to have been acknowledged.
    fn acknowledged_end(&self, frames: &[FoundFrame]) -> u64 {
        let by_frames = frames.iter().map(|frame| frame.header.durable_offset).max().unwrap_or(0);
        let by_manifest = self.survey.manifest.map_or(0, |manifest| manifest.newest_base);
        by_frames.max(by_manifest)
    }
}
