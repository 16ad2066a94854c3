//! How the process ends: one number per kind of failure, so that a script or a supervisor can tell them apart.
//! `docs/exit-codes.md` says the same, and `--help` shows it.

use std::fmt;
use std::process::ExitCode;

use eventrelay::{ConfigError, StartError};
use eventrelay_log::OpenError as LogError;
use eventrelay_server::BindError;
use eventrelay_state::{OpenError as StateError, ReconcileError};

/// Shown under `eventrelay --help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0    done; for `serve`: stopped by a signal, everything in flight finished
  1    an unexpected failure
  2    the command line or the configuration is not valid
  3    another process has the data directory
  4    damage found in the log or the delivery state
  5    the server, or a subscription's target, cannot be reached
  6    the server refused
  7    the outcome is unknown: an event may or may not have been accepted, a change made
  8    the listen address cannot be bound
  9    stopped at a shutdown timeout; what was in flight will be delivered again
  10   `apply --dry-run`: there is something to change
  11   it was done, and did not succeed: a replay, a redrive, a sample delivery
  130  a second SIGINT, 143 a second SIGTERM: stopped at once";

/// Why the process ends, as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Unexpected = 1,
    Usage = 2,
    Locked = 3,
    Damaged = 4,
    Unreachable = 5,
    Refused = 6,
    Unknown = 7,
    CannotListen = 8,
    DeadlinePassed = 9,
    ChangesPending = 10,
    Unsuccessful = 11,
    Interrupted = 130,
    Terminated = 143,
}

/// What a command that did not succeed tells its user.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// Empty when the command has already said it.
    pub(crate) why: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, why: impl fmt::Display) -> Self {
        Self { exit, why: why.to_string() }
    }

    pub(crate) fn unexpected(why: impl fmt::Display) -> Self {
        Self::new(Exit::Unexpected, why)
    }

    pub(crate) fn usage(why: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, why)
    }

    /// Says it on stderr.
    pub(crate) fn report(&self) -> ExitCode {
        if !self.why.is_empty() {
            eprintln!("error: {}", self.why);
        }
        ExitCode::from(self.exit as u8)
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self::new(exit_of(&error), error)
    }
}

/// 3 and 4 tell a supervisor that starting again will not help.
fn exit_of(error: &StartError) -> Exit {
    match error {
        StartError::Log(error) => exit_of_log(error),
        StartError::State(error) => match error {
            StateError::MissingBesideLog { .. }
            | StateError::NotAStateFile { .. }
            | StateError::NewerSchema { .. }
            | StateError::Corrupt { .. }
            | StateError::ForeignLog { .. }
            | StateError::CursorBeyondLog { .. } => Exit::Damaged,
            StateError::Io { .. } | StateError::Sqlite { .. } => Exit::Unexpected,
        },
        StartError::Subscriptions(ReconcileError::State(_)) => Exit::Unexpected,
        StartError::Subscriptions(_)
        | StartError::Sink { .. }
        | StartError::BootstrapKey { .. }
        | StartError::Oidc(_)
        | StartError::Telemetry(_)
        | StartError::FrontDoor(BindError::Options(_) | BindError::Tls(_)) => Exit::Usage,
        StartError::FrontDoor(BindError::Listen { .. }) => Exit::CannotListen,
        StartError::FrontDoor(BindError::Contracts { .. })
        | StartError::Engine(_)
        | StartError::ApiKeys(_)
        | StartError::Accounts(_)
        | StartError::CutShort => Exit::Unexpected,
    }
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        Self::new(exit_of_log(&error), error)
    }
}

fn exit_of_log(error: &LogError) -> Exit {
    match error {
        LogError::Locked(_) => Exit::Locked,
        LogError::Damaged(_) | LogError::ManifestDamaged { .. } => Exit::Damaged,
        LogError::Options(_) => Exit::Usage,
        _ => Exit::Unexpected,
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error)
    }
}
