//! `eventrelay log clean`: removes what nothing needs any more.

use std::fmt::Write as _;

use eventrelay_log::offline;
use serde_json::json;

use super::Target;
use crate::arguments::LogArguments;
use crate::exit::Failure;
use crate::stdout;

/// Removes quarantined segments, half-made files and damaged indexes, for good.
pub(super) fn clean(arguments: &LogArguments) -> Result<(), Failure> {
    let target = Target::of(arguments)?;
    let cleaned = offline::clean(&target.disk, &target.directory)?;
    let removed: Vec<String> = cleaned.removed.iter().map(|path| path.display().to_string()).collect();
    if arguments.json {
        return stdout::json(&json!({ "removed": removed, "bytes": cleaned.bytes }));
    }
    let mut text = String::new();
    for path in &removed {
        let _ = writeln!(text, "removed {path}");
    }
    let _ = write!(text, "{} files removed, {} bytes freed", removed.len(), cleaned.bytes);
    stdout::answer(&text)
}
