//! `eventrelay log`: examining and mending the log of a data directory, while no server runs on it.
//!
//! Each command prints text for people, or with `--json` one object for programs. Damage found is exit code 4, so that
//! a script need not read the text.

mod clean;
mod inspect;
mod repair;
mod verify;

use std::io;
use std::path::PathBuf;

use eventrelay_log::OpenError;
use eventrelay_log::disk::RealDisk;
use eventrelay_log::offline::Progress;
use indicatif::ProgressBar;

use crate::arguments::{LogArguments, LogCommand};
use crate::exit::Failure;
use crate::progress;

use clean::clean;
use inspect::inspect;
use repair::repair;
use verify::verify;

/// Runs one of them.
pub(crate) fn run(command: &LogCommand) -> Result<(), Failure> {
    match command {
        LogCommand::Verify(arguments) => verify(arguments),
        LogCommand::Inspect(arguments) => inspect(arguments),
        LogCommand::Repair(arguments) => repair(arguments),
        LogCommand::Clean(arguments) => clean(arguments),
    }
}

/// The log that a command works on.
struct Target {
    disk: RealDisk,
    directory: PathBuf,
}

impl Target {
    fn of(arguments: &LogArguments) -> Result<Self, Failure> {
        let directory = arguments.data_directory.join("log");
        match std::fs::metadata(&directory) {
            Ok(metadata) if metadata.is_dir() => Ok(Self { disk: RealDisk::default(), directory }),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Failure::unexpected(format!("{}: {error}", directory.display())))
            }
            _ => {
                let why = format!(
                    "there is no log in {}; use --data-directory",
                    arguments.data_directory.display()
                );
                Err(Failure::usage(why))
            }
        }
    }

    /// Runs what reads the whole log, with a progress bar.
    fn with_progress<T>(
        &self,
        what: &'static str,
        work: impl FnOnce(&mut dyn FnMut(Progress)) -> Result<T, OpenError>,
    ) -> Result<T, Failure> {
        let bar = progress::bytes(what, Some(0));
        let result = work(&mut |progress| show(&bar, progress));
        bar.finish_and_clear();
        Ok(result?)
    }
}

/// `1 event`, `2 events`.
fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn show(bar: &ProgressBar, progress: Progress) {
    bar.set_length(progress.total_bytes);
    bar.set_position(progress.done_bytes);
}
