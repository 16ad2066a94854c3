//! Asking before what cannot be undone. Where nobody can be asked, it must have been said on the command line.

use std::io::{self, BufRead, IsTerminal, Read};

use crate::arguments::ConsentArguments;
use crate::exit::Failure;

/// The longest answer that is read.
const MAX_LINE_BYTES: u64 = 4096;

/// Goes on only with consent to `what`, such as "delete billing".
pub(crate) fn ask(what: &str, consent: ConsentArguments) -> Result<(), Failure> {
    if consent.yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::usage(format!("to {what} needs --yes where nobody can be asked")));
    }
    eprint!("Really {what}? [y/N] ");
    let mut line = String::new();
    let read = io::stdin().lock().take(MAX_LINE_BYTES).read_line(&mut line);
    read.map_err(|error| Failure::usage(format!("cannot read the answer: {error}")))?;
    match line.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::usage("nothing was changed")),
    }
}
