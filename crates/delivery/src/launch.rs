//! From a stored subscription to a dispatcher that runs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use eventrelay_state::{Position, ReplayRecord, ReplayState, State, StateError, SubscriptionRecord};
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use crate::dispatcher::{self, Directive, Dispatcher, Ended, Parts, halt_of, needed_offset};
use crate::engine::{Core, Target};
use crate::pull::PullSubscription;
use crate::roster::Handle;
use crate::status::{RunState, SubscriptionStats};

/// Commands that wait for one dispatcher.
const COMMANDS_WAITING: usize = 256;

/// A subscription as it was last saved.
pub(crate) struct Loaded {
    record: SubscriptionRecord,
    position: Position,
    dead_letters: u64,
    /// Those that go on, oldest first.
    replays: Vec<ReplayRecord>,
}

impl Loaded {
    /// Reads where a subscription stands. Blocking.
    pub(crate) fn read(state: &State, record: SubscriptionRecord) -> Result<Self, StateError> {
        let position = state.position(record.id)?;
        let dead_letters = state.dead_letter_count(record.id)?;
        let mut replays = state.replays(record.id)?;
        replays.retain(|replay| replay.progress.state == ReplayState::Running);
        replays.reverse();
        Ok(Self { record, position, dead_letters, replays })
    }

    /// The lowest offset that the log must keep for it.
    pub(crate) fn needed_offset(&self) -> u64 {
        needed_offset(&self.position, &self.replays)
    }
}

/// Starts the dispatcher.
pub(crate) fn launch(core: &Core, loaded: Loaded, target: Target) -> (Handle, AbortOnDropHandle<Ended>) {
    let (handle, dispatcher) = prepare(core, loaded, target);
    let stats = Arc::clone(&handle.stats);
    let task = tokio::spawn(async move {
        let guard = PanicGuard { stats };
        let ended = dispatcher.run().await;
        drop(guard);
        ended
    });
    (handle, AbortOnDropHandle::new(task))
}

fn prepare(core: &Core, loaded: Loaded, target: Target) -> (Handle, Dispatcher) {
    let Loaded { record, position, dead_letters, replays } = loaded;
    let (roster, metrics) = (&core.roster, &core.metrics);
    let (tenant, name) = (record.spec.tenant.as_str().to_owned(), record.spec.name.clone());
    let stats = Arc::new(SubscriptionStats::new(
        metrics.subscription(&tenant, &name),
        halt_of(record.lifecycle.clone()),
        position.progress.cursor(),
        needed_offset(&position, &replays),
    ));
    stats.dead_letters.store(dead_letters, Ordering::Relaxed);
    let (directives, receiver) = watch::channel(Directive { paused: false, resumptions: 0, stop_by: None });
    let (commands, received) = mpsc::channel(COMMANDS_WAITING);
    let (target, sink, pull) = match target {
        Target::Push(sink) => (dispatcher::Target::Sink(Arc::clone(&sink)), Some(sink), None),
        Target::Pull => {
            let target = dispatcher::Target::consumers(metrics.leases(&tenant, &name));
            (target, None, Some(PullSubscription::new(commands.clone())))
        }
    };
    let handle = Handle {
        id: record.id,
        tenant: tenant.clone(),
        name,
        filter: record.spec.filter.clone(),
        start_offset: record.start_offset,
        kind: target.kind(),
        sink,
        call_timeout: Duration::from_millis(record.spec.retry.timeout_ms),
        stats: Arc::clone(&stats),
        directives,
        commands,
        pull,
    };
    let dispatcher = Dispatcher::new(Parts {
        record,
        position,
        target,
        log: Arc::clone(&roster.log),
        chunks: Arc::clone(&roster.chunks),
        documents: Arc::clone(&roster.documents),
        tenant_rate: roster.rates.of(&tenant),
        store: Arc::new(core.state.clone()),
        stats,
        directives: receiver,
        commands: received,
        replays,
        options: core.options.clone(),
    });
    (handle, dispatcher)
}

/// Makes a dispatcher's own panic visible.
struct PanicGuard {
    stats: Arc<SubscriptionStats>,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.stats
                .set_run_state(RunState::Damaged { why: "the dispatcher failed; see the log".to_owned() });
        }
    }
}
