//! What one evaluation may still use up.

use crate::fault::FaultKind;
use crate::limits::{MAX_MEMORY_BYTES, MAX_STEPS};

/// How much text is looked at in one step.
const TEXT_BYTES_A_STEP: usize = 16;
/// How much memory is filled in one step.
const MEMORY_BYTES_A_STEP: usize = 64;
/// How many names of an object are looked at in one step.
const NAMES_A_STEP: usize = 8;

/// The steps and bytes that are left of [`crate::limits`]. Everything that takes time or memory in proportion to an event or to
/// a result of the expression is paid for here before it is done.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    steps: u64,
    memory_bytes: u64,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self { steps: MAX_STEPS, memory_bytes: MAX_MEMORY_BYTES }
    }

    /// The steps used so far.
    pub(crate) fn steps_used(&self) -> u64 {
        MAX_STEPS - self.steps
    }

    pub(crate) fn steps(&mut self, steps: usize) -> Result<(), FaultKind> {
        match self.steps.checked_sub(steps as u64) {
            Some(left) => {
                self.steps = left;
                Ok(())
            }
            None => {
                self.steps = 0;
                Err(FaultKind::OutOfSteps)
            }
        }
    }

    /// Pays for looking at text.
    pub(crate) fn text(&mut self, bytes: usize) -> Result<(), FaultKind> {
        self.steps(bytes / TEXT_BYTES_A_STEP)
    }

    /// Pays for looking for a name among others.
    pub(crate) fn names(&mut self, names: usize) -> Result<(), FaultKind> {
        self.steps(names / NAMES_A_STEP)
    }

    /// Pays for an allocation, and for filling it.
    pub(crate) fn memory(&mut self, bytes: usize) -> Result<(), FaultKind> {
        self.steps(bytes / MEMORY_BYTES_A_STEP)?;
        match self.memory_bytes.checked_sub(bytes as u64) {
            Some(left) => {
                self.memory_bytes = left;
                Ok(())
            }
            None => Err(FaultKind::OutOfMemory),
        }
    }
}
