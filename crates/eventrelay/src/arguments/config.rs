//! `eventrelay config`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ApiArguments;

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check the configuration that `serve` would use: the file and the environment
    Check(CheckArguments),
    /// Print every key with its default, as a commented TOML file
    Default,
    /// Show what a running server goes by, but for secrets
    Show(ApiArguments),
    /// Ask a running server whether one could start with a file alone
    Validate(ValidateArguments),
}

#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    /// The configuration file [default: ./eventrelay.toml when there is one]
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Look at the target of each subscription too: whether it can be reached, lets us in and has what deliveries need.
    /// Delivers nothing
    #[arg(long)]
    pub(crate) targets: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ValidateArguments {
    /// The configuration file; `-` is stdin
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) api: ApiArguments,
}
