//! `eventrelay svix`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum SvixCommand {
    /// Sign a token that reaches all applications, with the secret of the configuration (compat.svix_jwt_secret or
    /// compat.svix_jwt_secret_file), and print it; asks no server
    Token(SvixTokenArguments),
}

#[derive(Debug, Args)]
pub(crate) struct SvixTokenArguments {
    /// The configuration file [default: ./eventrelay.toml when there is one]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// When it ends by itself, in seconds from now [default: never]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) expires_in_seconds: Option<u64>,
}
