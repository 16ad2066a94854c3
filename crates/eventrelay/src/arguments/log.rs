//! `eventrelay log`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Read every segment and check every checksum
    Verify(LogArguments),
    /// List the segments, or the frames of one
    Inspect(InspectArguments),
    /// Put damaged parts aside, so that the log opens again, and name exactly what is gone
    Repair(RepairArguments),
    /// Remove for good what nothing needs: quarantined segments, half-made files, damaged indexes
    Clean(LogArguments),
}

#[derive(Debug, Args)]
pub(crate) struct LogArguments {
    /// The server's data directory
    #[arg(long, value_name = "DIRECTORY", default_value = "./data")]
    pub(crate) data_directory: PathBuf,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArguments {
    #[command(flatten)]
    pub(crate) log: LogArguments,
    /// List the frames of the segment that begins with this offset
    #[arg(long, value_name = "OFFSET")]
    pub(crate) segment: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct RepairArguments {
    #[command(flatten)]
    pub(crate) log: LogArguments,
    /// Do it; without this, only say what would be done
    #[arg(long)]
    pub(crate) yes: bool,
}
