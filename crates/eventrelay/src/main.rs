//! The binary. Each command is one file under `commands/`.

mod arguments;
mod client;
mod commands;
mod confirmation;
mod document;
mod exit;
mod logging;
mod open_files;
mod output;
mod progress;
mod signals;
mod stdout;
mod table;
mod typed_password;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};
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
        Command::Publish(arguments) => commands::publish::run(*arguments),
        Command::Tail(arguments) => commands::tail::run(&arguments),
        Command::Events(command) => commands::events::run(&command),
        Command::Subscriptions(command) => commands::subscriptions::run(&command),
        Command::Apply(arguments) => commands::apply::run(&arguments),
        Command::Deliveries(command) => commands::deliveries::run(&command),
        Command::Attempts(command) => commands::attempts::run(&command),
        Command::DeadLetters(command) => commands::dead_letters::run(&command),
        Command::Replay(command) => commands::replay::run(&command),
        Command::Seek(arguments) => commands::seek::run(&arguments),
        Command::Keys(command) => commands::keys::run(&command),
        Command::Users(command) => commands::users::run(&command),
        Command::Svix(command) => commands::svix::run(command),
        Command::Tenants(command) => commands::tenants::run(&command),
        Command::AuditLog(arguments) => commands::audit_log::run(&arguments),
        Command::Log(command) => commands::log::run(&command),
        Command::Config(command) => commands::config::run(command),
        Command::Completions(arguments) => commands::completions::run(&arguments),
        Command::Version(arguments) => commands::version::run(&arguments),
    }
}

/// Before anything makes a TLS configuration: rustls panics there when no provider, or more than one, is to choose from.
fn install_crypto_provider() -> Result<(), Failure> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| Failure::unexpected("another cryptography provider is installed"))
}
