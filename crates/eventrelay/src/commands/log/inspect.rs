//! `eventrelay log inspect`: what a log consists of.

use std::fmt::Write as _;

use eventrelay_event::Timestamp;
use eventrelay_log::offline::{self, FrameSummary, FrameSummaryKind, Inspection};
use serde_json::{Value, json};

use super::{Target, counted};
use crate::arguments::InspectArguments;
use crate::exit::Failure;
use crate::stdout;

/// Lists the segments, or the frames of one.
pub(super) fn inspect(arguments: &InspectArguments) -> Result<(), Failure> {
    let target = Target::of(&arguments.log)?;
    if let Some(base_offset) = arguments.segment {
        let frames = offline::inspect_segment(&target.disk, &target.directory, base_offset)?;
        return match arguments.log.json {
            true => stdout::json(&json!({ "frames": frames.iter().map(frame_as_json).collect::<Vec<_>>() })),
            false => stdout::answer(&frames_as_text(&frames)),
        };
    }
    let inspection = offline::inspect(&target.disk, &target.directory)?;
    match arguments.log.json {
        true => stdout::json(&segments_as_json(&inspection)),
        false => stdout::answer(&segments_as_text(&inspection)),
    }
}

fn segments_as_text(inspection: &Inspection) -> String {
    let mut text = format!("{:<24} {:>14} {:<27} generation\n", "segment", "bytes", "begun");
    for segment in &inspection.segments {
        let begun = segment.created_micros.map_or_else(|| "header damaged".to_owned(), time);
        let generation =
            segment.generation.map_or_else(|| "?".to_owned(), |generation| generation.to_string());
        let _ = writeln!(text, "{:<24} {:>14} {begun:<27} {generation}", segment.name, segment.file_bytes);
    }
    let spare = if inspection.has_spare { "ready" } else { "not ready" };
    let _ = write!(text, "oldest offset {}; the next segment is {spare}", inspection.oldest_offset);
    text
}

fn segments_as_json(inspection: &Inspection) -> Value {
    let segments: Vec<Value> = inspection
        .segments
        .iter()
        .map(|segment| {
            json!({
                "name": segment.name, "base_offset": segment.base_offset, "file_bytes": segment.file_bytes,
                "created": segment.created_micros.map(time), "generation": segment.generation,
            })
        })
        .collect();
    json!({ "oldest_offset": inspection.oldest_offset, "has_spare": inspection.has_spare, "segments": segments })
}

fn frames_as_text(frames: &[FrameSummary]) -> String {
    let mut text = format!(
        "{:>12} {:>10} {:>14} {:>14} {:<27} holds\n",
        "position", "bytes", "offset", "durable", "written"
    );
    for frame in frames {
        let holds = match frame.kind {
            FrameSummaryKind::Records(count) => counted(count, "event"),
            FrameSummaryKind::Mark => "mark".to_owned(),
            FrameSummaryKind::Gap(count) => format!("{} given up", counted(count, "event")),
        };
        let _ = writeln!(
            text,
            "{:>12} {:>10} {:>14} {:>14} {:<27} {holds}",
            frame.position,
            frame.bytes,
            frame.base_offset,
            frame.durable_offset,
            time(frame.append_time_micros)
        );
    }
    text
}

fn frame_as_json(frame: &FrameSummary) -> Value {
    let (kind, count) = match frame.kind {
        FrameSummaryKind::Records(count) => ("events", count),
        FrameSummaryKind::Mark => ("mark", 0),
        FrameSummaryKind::Gap(count) => ("gap", count),
    };
    json!({
        "position": frame.position, "bytes": frame.bytes, "kind": kind, "count": count,
        "base_offset": frame.base_offset, "durable_offset": frame.durable_offset,
        "written": time(frame.append_time_micros),
    })
}

fn time(micros: u64) -> String {
    Timestamp(micros).encode(&mut [0; Timestamp::CHARS]).to_owned()
}
