//! `eventrelay version`.

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct VersionArguments {
    /// Print one JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,
}
