//! `eventrelay completions`: what a shell needs to complete command lines.

use clap::CommandFactory;

use crate::arguments::{Arguments, CompletionsArguments};
use crate::exit::Failure;
use crate::stdout;

/// Prints them.
pub(crate) fn run(arguments: &CompletionsArguments) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "eventrelay", &mut script);
    stdout::line(script.trim_ascii_end()).map(|_| ())
}
