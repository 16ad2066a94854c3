//! What everybody in a run shares.

use std::sync::Arc;

use crate::deliveries::Judge;
use crate::findings::Findings;
use crate::ledger::Ledger;
use crate::target::Target;
use crate::workload::Workload;

/// How many events may wait for their `strict` delivery before publishers pause: the loop is to kill a busy server, and
/// not to measure how long a backlog takes.
const BACKLOG_EVENTS: usize = 400;

/// The shared parts of a run.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) target: Target,
    pub(crate) ledger: Ledger,
    pub(crate) findings: Arc<Findings>,
    pub(crate) workload: Workload,
    pub(crate) judge: Arc<Judge>,
}

impl World {
    /// Whether deliveries are so far behind that publishing should wait.
    pub(crate) fn is_behind(&self) -> bool {
        let slowest = self.judge.board("strict").distinct() + self.judge.board("refusing").distinct();
        self.ledger.acknowledged() > slowest + BACKLOG_EVENTS
    }
}
