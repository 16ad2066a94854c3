//! `eventrelay config`: checks a configuration here, prints one to start from, and asks a server for its own.

mod server;

use eventrelay::{Config, Sources, TargetCheck};

use super::block_on;
use crate::arguments::{CheckArguments, ConfigCommand};
use crate::exit::{Exit, Failure};
use crate::stdout;

/// Runs one of them.
pub(crate) fn run(command: ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Check(arguments) => check(arguments),
        ConfigCommand::Default => default(),
        ConfigCommand::Show(arguments) => block_on(server::show(&arguments)),
        ConfigCommand::Validate(arguments) => block_on(server::validate(&arguments)),
    }
}

/// Reads what `serve` would read, and says what is wrong with it, or that nothing is.
fn check(arguments: CheckArguments) -> Result<(), Failure> {
    let sources = Sources { file: arguments.file, ..Sources::default() };
    let config = Config::load(&sources)?;
    let subscriptions = match config.declared_subscriptions().count() {
        1 => "1 subscription".to_owned(),
        count => format!("{count} subscriptions"),
    };
    let tcp: String = [("frames", config.tcp.frames_listen), ("lines", config.tcp.lines_listen)]
        .into_iter()
        .filter_map(|(what, listen)| Some(format!(", TCP {what} on {}", listen.address()?)))
        .collect();
    stdout::answer(&format!(
        "The configuration is valid: data in {}, HTTP on {}{tcp}, {subscriptions}.",
        config.data_directory.display(),
        config.http.listen
    ))?;
    if arguments.targets { check_targets(config) } else { Ok(()) }
}

/// A line for each subscription, and a failure when a target would not do.
fn check_targets(config: Config) -> Result<(), Failure> {
    let checks = block_on(async { Ok(eventrelay::check_targets(config).await?) })?;
    for TargetCheck { subscription, tenant, kind, guarantee, result } in &checks {
        let found = match result {
            Ok(()) => "ready".to_owned(),
            Err(error) => error.to_string(),
        };
        stdout::answer(&format!("{subscription} (tenant {tenant}, {kind}, {guarantee}): {found}"))?;
    }
    match checks.iter().filter(|check| check.result.is_err()).count() {
        0 => Ok(()),
        count => {
            Err(Failure::new(Exit::Unreachable, format!("{count} of {} targets are not ready", checks.len())))
        }
    }
}

/// Prints the file to start from.
fn default() -> Result<(), Failure> {
    stdout::answer(eventrelay::DEFAULT_TOML)
}
