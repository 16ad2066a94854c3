//! A password from stdin: never an argument, for a command line can be seen by everybody on the machine.

use std::io::{self, BufRead, IsTerminal};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::exit::Failure;

/// The longest line that is taken.
const MAX_LINE_BYTES: u64 = 4096;

/// The first line of stdin. At a terminal it is asked for, and not shown while it is typed.
pub(crate) fn read() -> Result<Zeroizing<String>, Failure> {
    let stdin = io::stdin();
    let silence = if stdin.is_terminal() { Some(Silence::begin()?) } else { None };
    let mut line = Zeroizing::new(String::new());
    let read = io::Read::take(stdin.lock(), MAX_LINE_BYTES).read_line(&mut line);
    drop(silence);
    read.map_err(|error| Failure::usage(format!("cannot read the password from stdin: {error}")))?;
    let password = Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned());
    if password.is_empty() {
        return Err(Failure::usage("the password is read from stdin, and there was none"));
    }
    Ok(password)
}

/// A terminal that does not show what is typed, until this is dropped.
struct Silence(Termios);

impl Silence {
    fn begin() -> Result<Self, Failure> {
        let failed = |error| Failure::unexpected(format!("cannot hide what is typed: {error}"));
        let before = tcgetattr(io::stdin()).map_err(failed)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent).map_err(failed)?;
        eprint!("Password: ");
        Ok(Self(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing more.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
        eprintln!();
    }
}
