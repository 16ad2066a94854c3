//! `eventrelay log verify`: reads every segment and checks every checksum.

use std::fmt::Write as _;

use eventrelay_log::Damage;
use eventrelay_log::offline::{self, VerifyReport};
use serde_json::{Value, json};

use super::{Target, counted};
use crate::arguments::LogArguments;
use crate::exit::{Exit, Failure};
use crate::stdout;

/// Says what is wrong, or that nothing is. Changes nothing.
pub(super) fn verify(arguments: &LogArguments) -> Result<(), Failure> {
    let target = Target::of(arguments)?;
    let report = target
        .with_progress("verifying", |progress| offline::verify(&target.disk, &target.directory, progress))?;
    if arguments.json {
        stdout::json(&as_json(&report))?;
    } else {
        stdout::answer(&as_text(&report))?;
    }
    // The report has said it all.
    if report.damage.is_empty() { Ok(()) } else { Err(Failure::new(Exit::Damaged, "")) }
}

fn as_text(report: &VerifyReport) -> String {
    let events: u64 = report.segments.iter().map(|segment| segment.events).sum();
    let segments = counted(report.segments.len() as u64, "segment");
    let mut text = format!("{} in {segments}", counted(events, "event"));
    if let (Some(first), Some(last)) = (report.segments.first(), report.segments.last()) {
        let _ = write!(text, ", offsets {} to {} (exclusive)", first.base_offset, last.end_offset);
    }
    text.push('\n');
    for (from, to) in &report.given_up {
        let _ = writeln!(text, "given up by an earlier repair: offsets {from} to {to} (exclusive)");
    }
    if report.manifest_torn {
        text.push_str("one copy of the manifest is damaged; the next start mends it from the other\n");
    }
    if report.torn_tail {
        text.push_str("the log ends in commits that were never acknowledged; the next start cuts them\n");
    }
    for damage in &report.damage {
        let _ = writeln!(text, "{damage}");
    }
    text.push_str(if report.damage.is_empty() { "The log is whole." } else { "The log is DAMAGED." });
    text
}

fn as_json(report: &VerifyReport) -> Value {
    let segments: Vec<Value> = report
        .segments
        .iter()
        .map(|segment| {
            json!({
                "name": segment.name, "base_offset": segment.base_offset, "end_offset": segment.end_offset,
                "frames": segment.frames, "events": segment.events, "used_bytes": segment.used_bytes,
            })
        })
        .collect();
    let given_up: Vec<Value> =
        report.given_up.iter().map(|(from, to)| json!({ "from": from, "to": to })).collect();
    json!({
        "whole": report.damage.is_empty(),
        "damage": report.damage.iter().map(damage_as_json).collect::<Vec<_>>(),
        "manifest_torn": report.manifest_torn,
        "torn_tail": report.torn_tail,
        "given_up": given_up,
        "segments": segments,
    })
}

pub(super) fn damage_as_json(damage: &Damage) -> Value {
    json!({
        "segment": damage.segment.display().to_string(), "position": damage.position, "offset": damage.offset,
        "what": damage.kind.to_string(),
    })
}
