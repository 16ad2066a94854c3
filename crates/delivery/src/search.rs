//! Looking for events: by place, patterns and key, and by what became of them for one subscription.
//!
//! The log has no index but offsets and times, so a search reads it. What one call does is bounded in records, bytes and time:
//! a call that ran long gives what it has found, and where to go on. Blocking.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use eventrelay_event::StoredEvent;
use eventrelay_event::filter::Filter;
use eventrelay_log::{ReadError, Record};
use eventrelay_state::{DeliveryState, DeliveryStates, Exception, StateError, SubscriptionId};

use crate::engine::{ControlError, Engine};
use crate::event_status::{EventStatus, StateName};
use crate::roster::Handle;

/// How many records one call looks at, about.
const MAX_RECORDS: u64 = 200_000;
/// How long one call looks, about.
const MAX_TIME: Duration = Duration::from_millis(500);
/// How many bytes of events one call gives, but always one event.
const MAX_BYTES: usize = 16 << 20;
/// How many offsets are looked at together.
const WINDOW_OFFSETS: u64 = 256;
/// How many rows are read together.
const EXCEPTIONS_AT_ONCE: u32 = 256;

/// What is looked for.
#[derive(Debug, Clone)]
pub struct SearchRequest {
    /// Whose events.
    pub tenant: String,
    /// In which part of the log.
    pub range: Range<u64>,
    /// Which types, sources and subjects.
    pub filter: Filter,
    /// Only events of this key.
    pub key: Option<String>,
    /// What became of them.
    pub delivery: Option<DeliverySearch>,
    /// The newest first.
    pub newest_first: bool,
    /// The most events that are given; at least 1.
    pub limit: usize,
}

/// Which deliveries are looked for.
#[derive(Debug, Clone)]
pub enum DeliverySearch {
    /// Those for one subscription.
    For {
        /// The subscription's name.
        subscription: String,
        /// In one of these states; empty: in any.
        states: Vec<StateName>,
    },
    /// Those for all subscriptions together, or for all with one kind of sink.
    Everywhere {
        /// What became of all of them.
        status: EventStatus,
        /// The kind of sink; none: any, and where consumers pull.
        sink: Option<&'static str>,
    },
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct SearchPage {
    /// The events, in the order asked for.
    pub found: Vec<Found>,
    /// What is left to be looked at; none: nothing.
    pub rest: Option<Range<u64>>,
}

/// An event that was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// The event.
    pub event: StoredEvent,
    /// What became of it, where a subscription is named.
    pub state: Option<DeliveryState>,
}

/// Why nothing could be looked for.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// There is no such subscription.
    #[error("there is no subscription `{name}`")]
    NoSuchSubscription {
        /// The name asked for.
        name: String,
    },
    /// The subscription is stored, but does not run.
    #[error("the subscription `{name}` does not run")]
    NotRunning {
        /// The name asked for.
        name: String,
    },
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// The state store cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
}

impl Engine {
    /// Looks for events. Blocking, for half a second at most.
    ///
    /// # Errors
    /// When the subscription does not run, or log or state cannot be read.
    pub fn search(&self, request: &SearchRequest) -> Result<SearchPage, SearchError> {
        let roster = self.roster();
        let range = request.range.start.max(roster.log.oldest_offset())
            ..request.range.end.min(roster.log.durable_offset());
        let handles = match &request.delivery {
            Some(DeliverySearch::For { subscription, .. }) => {
                let found = self.running_blocking(&request.tenant, subscription);
                vec![found.map_err(|error| absent(error, subscription))?]
            }
            Some(DeliverySearch::Everywhere { sink, .. }) => {
                let mut handles = roster.of_tenant(&request.tenant);
                handles.retain(|handle| sink.is_none_or(|kind| handle.kind == kind));
                handles
            }
            None => Vec::new(),
        };
        let mut search =
            Search { engine: self, request, handles, page: SearchPage::default(), bytes: 0, scanned: 0 };
        if !range.is_empty() {
            search.run(range)?;
        }
        Ok(search.page)
    }
}

/// Why the subscription of that name is not looked at.
fn absent(error: ControlError, name: &str) -> SearchError {
    match error {
        ControlError::NotRunning { name, .. } => SearchError::NotRunning { name },
        ControlError::State(error) => SearchError::State(error),
        _ => SearchError::NoSuchSubscription { name: name.to_owned() },
    }
}

struct Search<'a> {
    engine: &'a Engine,
    request: &'a SearchRequest,
    /// Whose deliveries matter.
    handles: Vec<Arc<Handle>>,
    page: SearchPage,
    bytes: usize,
    scanned: u64,
}

impl Search<'_> {
    fn run(&mut self, range: Range<u64>) -> Result<(), SearchError> {
        let which = match &self.request.delivery {
            Some(DeliverySearch::For { states, .. }) => match states.as_slice() {
                [StateName::Retrying] => Exception::Retrying,
                [StateName::Dead] => Exception::Dead,
                _ => return self.run_over_log(range),
            },
            Some(DeliverySearch::Everywhere { .. }) | None => return self.run_over_log(range),
        };
        match self.handles.first().map(|handle| handle.id) {
            Some(id) => self.run_over_exceptions(id, which, range),
            None => Ok(()),
        }
    }

    fn run_over_log(&mut self, mut rest: Range<u64>) -> Result<(), SearchError> {
        let until = Instant::now() + MAX_TIME;
        // Time is looked at between windows, and each event of one may be for each subscription.
        let mut window_offsets = (WINDOW_OFFSETS / (self.handles.len().max(1) as u64)).max(1);
        while !rest.is_empty() {
            if self.scanned >= MAX_RECORDS || Instant::now() >= until {
                self.page.rest = Some(rest);
                return Ok(());
            }
            let window = if self.request.newest_first {
                rest.end.saturating_sub(window_offsets).max(rest.start)..rest.end
            } else {
                rest.start..rest.start.saturating_add(window_offsets).min(rest.end)
            };
            let states = self.states(window.clone())?;
            let Some(mut matches) = self.matches_in(window.clone(), &states)? else {
                // Large events: fewer of them together.
                window_offsets = ((window.end - window.start) / 2).max(1);
                continue;
            };
            if self.request.newest_first {
                matches.reverse();
            }
            for found in matches {
                if !self.take(found, &rest) {
                    return Ok(());
                }
            }
            if self.request.newest_first { rest.end = window.start } else { rest.start = window.end }
        }
        Ok(())
    }

    /// Each has a row, so the log is not gone through.
    fn run_over_exceptions(
        &mut self,
        id: SubscriptionId,
        which: Exception,
        mut rest: Range<u64>,
    ) -> Result<(), SearchError> {
        let until = Instant::now() + MAX_TIME;
        loop {
            let (newest_first, limit) = (self.request.newest_first, EXCEPTIONS_AT_ONCE);
            let offsets = self.engine.state().exceptions(id, which, rest.clone(), newest_first, limit)?;
            if offsets.is_empty() {
                return Ok(());
            }
            for offset in offsets {
                // Each on its own: between two there may be any number of others.
                let states = self.states(offset..offset + 1)?;
                for found in self.matches_in(offset..offset + 1, &states)?.unwrap_or_default() {
                    if !self.take(found, &rest) {
                        return Ok(());
                    }
                }
                if newest_first {
                    rest.end = offset;
                } else {
                    rest.start = offset + 1;
                }
                if Instant::now() >= until {
                    self.page.rest = Some(rest).filter(|rest| !rest.is_empty());
                    return Ok(());
                }
            }
        }
    }

    /// Adds what was found; false when the page is full, and `rest` is what it was found in.
    fn take(&mut self, found: Found, rest: &Range<u64>) -> bool {
        let bytes = found.event.encoded().len();
        let is_full = self.page.found.len() >= self.request.limit
            || (self.bytes + bytes > MAX_BYTES && !self.page.found.is_empty());
        if is_full {
            let offset = found.event.offset();
            self.page.rest = Some(match self.request.newest_first {
                true => rest.start..offset + 1,
                false => offset..rest.end,
            });
            return false;
        }
        self.bytes += bytes;
        self.page.found.push(found);
        true
    }

    /// What is saved of a few consecutive offsets for each subscription that matters and has not been deleted meanwhile.
    fn states(&self, window: Range<u64>) -> Result<Vec<(Arc<Handle>, DeliveryStates)>, SearchError> {
        let mut all = Vec::with_capacity(self.handles.len());
        for handle in &self.handles {
            if let Some(states) = self.engine.state().delivery_states(handle.id, window.clone())? {
                all.push((Arc::clone(handle), states));
            }
        }
        Ok(all)
    }

    /// What is looked for in a few consecutive offsets, in their order; none where that is too much to be held together.
    fn matches_in(
        &mut self,
        window: Range<u64>,
        states: &[(Arc<Handle>, DeliveryStates)],
    ) -> Result<Option<Vec<Found>>, SearchError> {
        let log = &self.engine.roster().log;
        let (mut matches, mut records) = (Vec::new(), VecDeque::<Record>::new());
        let (mut position, mut bytes) = (window.start, 0);
        while position < window.end {
            let run = match log.read_cached(position) {
                Some(run) => run,
                None => match log.read(position) {
                    Ok(Some(run)) => run,
                    Ok(None) => break,
                    Err(ReadError::Trimmed { .. }) => {
                        position = log.oldest_offset().max(position + 1);
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                },
            };
            let limit = usize::try_from(window.end - position).unwrap_or(usize::MAX);
            run.copy_records(position, limit, &mut records);
            position = run.end_offset();
            for record in records.drain(..).filter(|record| record.offset < window.end) {
                self.scanned += 1;
                if let Some(found) = self.found(record, states) {
                    bytes += found.event.encoded().len();
                    matches.push(found);
                }
            }
            if bytes > MAX_BYTES && window.end - window.start > 1 {
                return Ok(None);
            }
        }
        Ok(Some(matches))
    }

    /// The record as it was looked for, if it was. What cannot be decoded is nobody's.
    fn found(&self, record: Record, states: &[(Arc<Handle>, DeliveryStates)]) -> Option<Found> {
        let Record { offset, append_time_micros, payload, .. } = record;
        let event = StoredEvent::decode(offset, append_time_micros, payload).ok()?;
        let request = self.request;
        let is_wanted = event.tenant() == request.tenant
            && request.key.as_deref().is_none_or(|key| event.key() == Some(key))
            && request.filter.mismatch(&event).is_none();
        if !is_wanted {
            return None;
        }
        let documents = &self.engine.roster().documents;
        let for_it = states.iter().filter(|(handle, _)| handle.is_for(&event, documents));
        let mut became = for_it.map(|(_, states)| states.of(offset));
        let (is_wanted, state) = match &request.delivery {
            None => (true, None),
            Some(DeliverySearch::For { states: wanted, .. }) => {
                let state = became.next()?;
                (wanted.is_empty() || wanted.contains(&StateName::of(&state)), Some(state))
            }
            Some(DeliverySearch::Everywhere { status, .. }) => {
                (*status == EventStatus::of(became.map(|state| StateName::of(&state))), None)
            }
        };
        is_wanted.then_some(Found { event, state })
    }
}
