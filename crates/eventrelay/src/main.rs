//! The binary. Each command is one file under `commands/`.

mod arguments;
mod client;
mod commands;
mod exit;
mod logging;
mod open_files;
mod progress;
mod signals;
mod stdout;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command, ConfigCommand, LogCommand};
use exit::Failure;

/// Events are allocated by the front doors' threads and freed by the log's, which the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match install_crypto_provider().and_then(|()| run(Arguments::parse().command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(arguments) => commands::serve::run(&arguments),
        Command::Publish(arguments) => commands::publish::run(arguments),
        Command::Tail(arguments) => commands::tail::run(&arguments),
        Command::Keys { command } => commands::keys::run(command),
        Command::Log { command: LogCommand::Verify(arguments) } => commands::log::verify(&arguments),
        Command::Log { command: LogCommand::Inspect(arguments) } => commands::log::inspect(&arguments),
        Command::Log { command: LogCommand::Repair(arguments) } => commands::log::repair(&arguments),
        Command::Log { command: LogCommand::Clean(arguments) } => commands::log::clean(&arguments),
        Command::Config { command: ConfigCommand::Check(arguments) } => commands::config::check(arguments),
        Command::Config { command: ConfigCommand::Default } => commands::config::default(),
        Command::Version(arguments) => commands::version::run(&arguments),
    }
}

/// Before anything makes a TLS configuration: rustls panics there when no provider, or more than one, is to choose from.
fn install_crypto_provider() -> Result<(), Failure> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| Failure::unexpected("another cryptography provider is installed"))
}
