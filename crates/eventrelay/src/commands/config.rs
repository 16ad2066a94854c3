//! `eventrelay config check` and `eventrelay config default`.

use eventrelay::{Config, Sources};

use crate::arguments::CheckArguments;
use crate::exit::Failure;
use crate::stdout;

/// Reads what `serve` would read, and says what is wrong with it, or that nothing is.
pub(crate) fn check(arguments: CheckArguments) -> Result<(), Failure> {
    let sources = Sources { file: arguments.file, ..Sources::default() };
    let config = Config::load(&sources)?;
    let subscriptions = match config.subscriptions.len() {
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
    ))
}

/// Prints the file to start from.
pub(crate) fn default() -> Result<(), Failure> {
    stdout::answer(eventrelay::DEFAULT_TOML)
}
