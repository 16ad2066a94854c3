//! What was found that must not be.

use std::fmt;
use std::sync::Mutex;

/// A broken promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An acknowledged event that is not there, not readable or not delivered.
    Lost,
    /// Something that was seen, and is there no more or never was to be: refused, or never sent.
    Ghost,
    /// Two events of one publish.
    Double,
    /// A batch of which a part was accepted.
    Halved,
    /// A delivery before an earlier one that it must follow.
    Inversion,
    /// An event with other content than was sent.
    Corrupt,
    /// An answer that nothing explains.
    Unexpected,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] = [
        Self::Lost,
        Self::Ghost,
        Self::Double,
        Self::Halved,
        Self::Inversion,
        Self::Corrupt,
        Self::Unexpected,
    ];
}

/// Everything that was found. More than a few of a kind say no more than the first.
#[derive(Debug, Default)]
pub(crate) struct Findings(Mutex<Vec<(Kind, String)>>);

impl Findings {
    pub(crate) fn add(&self, kind: Kind, what: impl fmt::Display) {
        self.0.lock().unwrap().push((kind, what.to_string()));
    }

    pub(crate) fn count(&self, kind: Kind) -> usize {
        self.0.lock().unwrap().iter().filter(|(found, _)| *found == kind).count()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().unwrap().is_empty()
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = self.0.lock().unwrap();
        for kind in Kind::ALL {
            for (_, what) in found.iter().filter(|(found, _)| *found == kind).take(10) {
                writeln!(f, "{kind:?}: {}", what.chars().take(600).collect::<String>())?;
            }
        }
        Ok(())
    }
}
