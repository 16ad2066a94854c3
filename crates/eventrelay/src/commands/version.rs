//! `eventrelay version`.

use serde_json::json;

use crate::arguments::VersionArguments;
use crate::exit::Failure;
use crate::stdout;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Prints the version, and with `--json` what it was built for.
pub(crate) fn run(arguments: &VersionArguments) -> Result<(), Failure> {
    if arguments.json {
        let (os, architecture) = (std::env::consts::OS, std::env::consts::ARCH);
        stdout::json(&json!({ "version": VERSION, "os": os, "architecture": architecture }))
    } else {
        stdout::answer(&format!("eventrelay {VERSION}"))
    }
}
