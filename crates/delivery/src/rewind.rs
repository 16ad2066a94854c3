//! Delivering again: seek moves a subscription's cursor; a replay delivers a part of the log beside it; a redrive tries dead
//! letters again.

use std::num::NonZeroU32;
use std::sync::Arc;

use eventrelay_expression::EventFilter;
use eventrelay_state::{
    NewReplay, ReplayId, ReplayKind, ReplayRecord, ReplayState, Start, State, StateError,
};
use tokio::sync::oneshot;

use crate::dispatcher::Command;
use crate::engine::{ControlError, Core, Engine};
use crate::event_log::{StartError, resolve_start};
use crate::roster::Handle;
use crate::status::RunState;

/// How many replays and redrives one subscription may have under way; each holds a run of the log in memory.
const MAX_REPLAYS: usize = 4;

/// A part of the log to deliver again.
#[derive(Debug, Clone)]
pub struct ReplayRequest {
    /// From here on.
    pub from: Start,
    /// To here, exclusive. None, and all that is behind what is settled: to there, for what comes then is live.
    pub to: Option<Start>,
    /// Which events, beside the subscription's own filter.
    pub filter: EventFilter,
    /// The most events a second, beside the subscription's own limit.
    pub max_events_per_second: Option<NonZeroU32>,
}

/// Dead letters to try again, in the order of their offsets.
#[derive(Debug, Clone, Default)]
pub struct RedriveRequest {
    /// Only the one of this event; none: all.
    pub offset: Option<u64>,
    /// Where nothing is said of one event, from here on; none: from the first.
    pub from: Option<Start>,
    /// To here, exclusive; none: all.
    pub to: Option<Start>,
    /// Which events.
    pub filter: EventFilter,
    /// The most events a second, beside the subscription's own limit.
    pub max_events_per_second: Option<NonZeroU32>,
}

impl Engine {
    /// Moves a subscription's cursor, forwards or backwards, once what is on its way has ended, and forgets what waits
    /// for a retry. Dead letters stay. Gives the offset; durable once this returns Ok.
    ///
    /// # Errors
    /// When no such subscription runs, there is no such place, or the process is ending.
    pub async fn seek(&self, tenant: &str, name: &str, to: Start) -> Result<u64, ControlError> {
        let handle = self.core().obeying(tenant, name).await?;
        let offset = self.core().place("to", to).await?;
        let (done, moved) = oneshot::channel();
        handle.command(Command::Seek { offset, done }).await?;
        moved.await.map_err(|_| ControlError::Ending)?;
        Ok(offset)
    }

    /// Delivers a part of the log again, beside the live cursor, to which what is not settled is left. It goes on after a restart,
    /// and repeats a little of what a kill has cut short. Durable once this returns Ok, and done also when nobody waits for it any
    /// more.
    ///
    /// # Errors
    /// When no such subscription runs, there is no such place, or too many replays are under way.
    pub async fn replay(
        &self,
        tenant: &str,
        name: &str,
        request: ReplayRequest,
    ) -> Result<ReplayRecord, ControlError> {
        let (core, tenant, name) = (Arc::clone(self.core()), tenant.to_owned(), name.to_owned());
        self.order(async move { core.replay(&tenant, &name, request).await }).await
    }

    /// Tries dead letters again. One that is delivered is no dead letter any more; one that is refused, or waits for a retry,
    /// stays one. Durable once this returns Ok, and done also when nobody waits for it any more.
    ///
    /// # Errors
    /// When no such subscription runs, or it has too many replays under way.
    pub async fn redrive(
        &self,
        tenant: &str,
        name: &str,
        request: RedriveRequest,
    ) -> Result<ReplayRecord, ControlError> {
        let (core, tenant, name) = (Arc::clone(self.core()), tenant.to_owned(), name.to_owned());
        self.order(async move { core.redrive(&tenant, &name, request).await }).await
    }

    /// A subscription's replays and redrives, newest first, as far as their progress is saved. Blocking.
    ///
    /// # Errors
    /// When no such subscription runs, or the state store cannot be read.
    pub fn replays(&self, tenant: &str, name: &str) -> Result<Vec<ReplayRecord>, ControlError> {
        Ok(self.state().replays(self.running_blocking(tenant, name)?.id)?)
    }

    /// Ends a replay or redrive early; what is on its way ends by itself. Durable once this returns Ok.
    ///
    /// # Errors
    /// When none of that number is under way, or the process is ending.
    pub async fn cancel_replay(&self, tenant: &str, name: &str, id: ReplayId) -> Result<(), ControlError> {
        let handle = self.core().obeying(tenant, name).await?;
        let (done, ended) = oneshot::channel();
        handle.command(Command::CancelReplay { id, done }).await?;
        match ended.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(ControlError::NoSuchReplay { id: id.0 }),
            Err(_) => Err(ControlError::Ending),
        }
    }
}

impl Core {
    async fn replay(
        &self,
        tenant: &str,
        name: &str,
        request: ReplayRequest,
    ) -> Result<ReplayRecord, ControlError> {
        // Kept until the dispatcher has it, or a change would put another in its place, which has read its replays already.
        let turn = self.turns.take(tenant, name).await;
        let handle = self.obeying(tenant, name).await?;
        let start_offset = self.place("from", request.from).await?;
        let end = match request.to {
            Some(to) => self.place("to", to).await?,
            None => u64::MAX,
        };
        let new = NewReplay {
            subscription: handle.id,
            kind: ReplayKind::Replay,
            filter: request.filter,
            max_events_per_second: request.max_events_per_second,
            start_offset,
            // What is not settled is delivered anyway.
            end_offset: end.min(self.settled_end(&handle).await?).max(start_offset),
        };
        let record = self.begin(&handle, new).await?;
        drop(turn);
        Ok(record)
    }

    async fn redrive(
        &self,
        tenant: &str,
        name: &str,
        request: RedriveRequest,
    ) -> Result<ReplayRecord, ControlError> {
        let turn = self.turns.take(tenant, name).await;
        let handle = self.obeying(tenant, name).await?;
        let from = request.from.unwrap_or(Start::Earliest);
        let start = self.place_among_dead_letters(&handle, "from", from).await?;
        // Those that die from now on are not meant.
        let to = request.to.unwrap_or(Start::Latest);
        let end = self.place_among_dead_letters(&handle, "to", to).await?;
        let new = NewReplay {
            subscription: handle.id,
            kind: ReplayKind::Redrive,
            filter: request.filter,
            max_events_per_second: request.max_events_per_second,
            start_offset: request.offset.unwrap_or(start),
            end_offset: request.offset.map_or(end.max(start), |offset| offset.saturating_add(1)),
        };
        let record = self.begin(&handle, new).await?;
        drop(turn);
        Ok(record)
    }

    /// The subscription of that name, whose dispatcher takes commands: what is stored for one that does not, nobody would run.
    pub(crate) async fn obeying(&self, tenant: &str, name: &str) -> Result<Arc<Handle>, ControlError> {
        let handle = self.running(tenant, name).await?;
        match (handle.commands.is_closed(), handle.stats.run_state()) {
            (false, _) => Ok(handle),
            // It has failed, or could not be started: somebody has to resume it.
            (true, RunState::Damaged { .. }) => {
                Err(ControlError::NotRunning { tenant: tenant.to_owned(), name: name.to_owned() })
            }
            // It is being changed, or all is ending.
            (true, _) => Err(ControlError::Ending),
        }
    }

    /// The offset of a place that a request names in this field.
    async fn place(&self, field: &'static str, place: Start) -> Result<u64, ControlError> {
        let resolved = resolve_start(&self.roster.log, place).await;
        resolved.map_err(|error| ControlError::Start { field, error })
    }

    /// The same for a redrive. Dead letters outlive their events in the log, so it is their own times that count, and there is no
    /// oldest offset.
    async fn place_among_dead_letters(
        &self,
        handle: &Handle,
        field: &'static str,
        place: Start,
    ) -> Result<u64, ControlError> {
        let end = self.roster.log.durable_offset();
        match place {
            Start::Earliest => Ok(0),
            Start::Latest => Ok(end),
            Start::Offset(offset) if offset > end => {
                Err(ControlError::Start { field, error: StartError::BeyondEnd { offset, end } })
            }
            Start::Offset(offset) => Ok(offset),
            Start::Time(time) => {
                let (state, id) = (self.state.clone(), handle.id);
                let find = move || state.first_dead_letter_since(id, time.0);
                let found = tokio::task::spawn_blocking(find).await.map_err(|_| ControlError::Ending)??;
                Ok(found.unwrap_or(end))
            }
        }
    }

    /// Nothing is settled from here on, as far as is known: where one event is slow, much may be settled beyond the cursor.
    async fn settled_end(&self, handle: &Handle) -> Result<u64, ControlError> {
        let (state, id) = (self.state.clone(), handle.id);
        let read = move || state.position(id);
        let saved = tokio::task::spawn_blocking(read).await.map_err(|_| ControlError::Ending)??;
        Ok(saved.progress.end().max(handle.cursor()))
    }

    /// To be called in the subscription's turn: nobody else begins one between the count and the insertion.
    async fn begin(&self, handle: &Handle, new: NewReplay) -> Result<ReplayRecord, ControlError> {
        let (state, id) = (self.state.clone(), handle.id);
        let running = move || running(&state, id);
        let running = tokio::task::spawn_blocking(running).await.map_err(|_| ControlError::Ending)??;
        if running >= MAX_REPLAYS {
            return Err(ControlError::TooManyReplays { limit: MAX_REPLAYS });
        }
        let record = self.state.create_replay(new).await?;
        handle.command(Command::Replay(Box::new(record.clone()))).await?;
        Ok(record)
    }
}

fn running(state: &State, id: eventrelay_state::SubscriptionId) -> Result<usize, StateError> {
    let replays = state.replays(id)?;
    Ok(replays.iter().filter(|replay| replay.progress.state == ReplayState::Running).count())
}
