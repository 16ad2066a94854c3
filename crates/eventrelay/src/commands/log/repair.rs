//! `eventrelay log repair`: puts damaged parts aside, so that the log opens again.

use std::fmt::Write as _;

use eventrelay_log::offline::{self, RepairReport};
use serde_json::{Value, json};

use super::{Target, verify};
use crate::arguments::RepairArguments;
use crate::exit::{Exit, Failure};
use crate::stdout;

/// Repairs with `--yes`; without, says what is damaged, and what to do.
pub(super) fn repair(arguments: &RepairArguments) -> Result<(), Failure> {
    if !arguments.yes {
        verify(&arguments.log)
            .map_err(|failure| match failure.exit {
                Exit::Damaged => Failure::new(
                    Exit::Damaged,
                    "nothing was changed; `eventrelay log repair --yes` copies the damaged segments to quarantine/, and \
                     gives up for good the events that cannot be read",
                ),
                _ => failure,
            })?;
        return Ok(());
    }
    let target = Target::of(&arguments.log)?;
    let report = target
        .with_progress("repairing", |progress| offline::repair(&target.disk, &target.directory, progress))?;
    if arguments.log.json { stdout::json(&as_json(&report)) } else { stdout::answer(&as_text(&report)) }
}

fn as_text(report: &RepairReport) -> String {
    let mut text = String::new();
    for lost in &report.lost {
        let (from, to, segment) = (lost.from, lost.to, lost.segment.display());
        let _ = writeln!(
            text,
            "given up: offsets {from} to {to} (exclusive), {} events, in {segment}",
            to - from
        );
    }
    for path in &report.quarantined {
        let _ = writeln!(text, "kept a copy of the damaged segment: {}", path.display());
    }
    if report.manifest_rebuilt {
        text.push_str("wrote the manifest anew from the segments\n");
    }
    let changed = report.manifest_rebuilt || !report.lost.is_empty() || !report.quarantined.is_empty();
    text.push_str(if changed { "The log opens again." } else { "The log is whole; nothing was changed." });
    text
}

fn as_json(report: &RepairReport) -> Value {
    let lost: Vec<Value> = report
        .lost
        .iter()
        .map(
            |lost| json!({ "from": lost.from, "to": lost.to, "segment": lost.segment.display().to_string() }),
        )
        .collect();
    let quarantined: Vec<String> = report.quarantined.iter().map(|path| path.display().to_string()).collect();
    json!({ "lost": lost, "quarantined": quarantined, "manifest_rebuilt": report.manifest_rebuilt })
}
