//! `eventrelay apply`.

use std::path::PathBuf;

use clap::Args;

use super::{ApiArguments, ConsentArguments};

#[derive(Debug, Args)]
#[command(after_help = "\
The file has [[subscriptions]] as the configuration has; a second apply changes nothing.
  eventrelay apply -f subscriptions.toml --dry-run    says what would change; exits with 10 if anything would
  eventrelay apply -f subscriptions.toml --prune      also deletes what the file does not declare
Secrets are compared by their place only, and stay what they are, unless --send-secrets.")]
pub(crate) struct ApplyArguments {
    /// The declarations, in TOML; `-` is stdin
    #[arg(long, short, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Delete the subscriptions that were made through the API and that the file does not declare
    #[arg(long)]
    pub(crate) prune: bool,
    /// Only say what would change
    #[arg(long, conflicts_with = "yes")]
    pub(crate) dry_run: bool,
    /// Give known subscriptions the file's secrets too, which counts as a change of each that has any
    #[arg(long)]
    pub(crate) send_secrets: bool,
    #[command(flatten)]
    pub(crate) consent: ConsentArguments,
    #[command(flatten)]
    pub(crate) api: ApiArguments,
}
