//! How the front doors reach pull subscriptions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use super::{
    ConsumerId, Credit, LeaseChange, LeaseResult, LeaseToken, LeasedEvent, MAX_PULL_EVENTS, MAX_PULL_WAIT,
    MAX_WAITING_PULLS, PullError, PullRequest, WaitingPull,
};
use crate::dispatcher::{Command, PullCommand};
use crate::roster::Roster;

/// How much longer than it asked for a pull is held while the log is being read for it.
const READ_PATIENCE: Duration = Duration::from_secs(10);

/// The pull subscriptions of an engine. Cheap to clone. The default has none.
#[derive(Debug, Clone, Default)]
pub struct Consumers(Option<Arc<Roster>>);

/// One pull subscription, for any number of consumers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PullSubscription(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    commands: mpsc::Sender<Command>,
    places: Semaphore,
    consumers: AtomicU64,
}

/// A consumer that stays: what it was given and has not settled goes to others once it leaves. Dropping it does the same,
/// unless the subscription is so busy at that moment that its leases have to run out.
#[derive(Debug)]
pub struct Consumer {
    subscription: PullSubscription,
    credit: Credit,
    left: bool,
}

/// Events that were leased. Dropped before they are on their way to the consumer, they are given back.
#[derive(Debug)]
#[must_use]
pub struct Pulled {
    events: Vec<LeasedEvent>,
    commands: mpsc::Sender<Command>,
}

/// A pull whose answer is awaited. What was leased to it is given back when nobody takes it.
struct Awaited {
    answer: oneshot::Receiver<Vec<LeasedEvent>>,
    commands: mpsc::Sender<Command>,
}

impl Consumers {
    pub(crate) fn new(roster: Arc<Roster>) -> Self {
        Self(Some(roster))
    }

    /// A tenant's pull subscription of that name.
    ///
    /// # Errors
    /// When there is none, or it has a sink.
    pub fn find(&self, tenant: &str, name: &str) -> Result<PullSubscription, PullError> {
        let roster = self.0.as_ref().ok_or(PullError::NotFound)?;
        let handle = roster.find(tenant, name).ok_or(PullError::NotFound)?;
        handle.pull.clone().ok_or(PullError::NotPull)
    }
}

impl PullSubscription {
    pub(crate) fn new(commands: mpsc::Sender<Command>) -> Self {
        let places = Semaphore::new(MAX_WAITING_PULLS);
        Self(Arc::new(Inner { commands, places, consumers: AtomicU64::new(0) }))
    }

    /// How many pulls wait.
    pub(crate) fn waiting(&self) -> usize {
        MAX_WAITING_PULLS - self.0.places.available_permits()
    }

    /// Leases events, or waits for some; none when none came in time. Safe to drop at any time.
    ///
    /// # Errors
    /// When the request is out of its limits, too many wait, or the process is ending.
    pub async fn pull(&self, request: PullRequest) -> Result<Pulled, PullError> {
        request.validate()?;
        self.lease(request, None).await
    }

    /// Changes leases, each by itself. The results are in the order of `leases`; what is no lease at all is unknown.
    ///
    /// # Errors
    /// When there are more than [`MAX_PULL_EVENTS`], the change is out of its limits, or the process is ending.
    pub async fn change(
        &self,
        leases: &[String],
        change: LeaseChange,
    ) -> Result<Vec<LeaseResult>, PullError> {
        change.validate()?;
        if leases.len() > MAX_PULL_EVENTS {
            return Err(PullError::OutOfLimits { field: "leases", must_be: "at most 1000" });
        }
        let tokens: Vec<Option<LeaseToken>> = leases.iter().map(|lease| LeaseToken::parse(lease)).collect();
        let (answer, answered) = oneshot::channel();
        self.send(PullCommand::Change { tokens, change, answer }).await?;
        answered.await.map_err(|_| PullError::Ending)
    }

    /// Joins as a consumer that stays, and holds at most `max_in_flight` events at once (1 to [`MAX_PULL_EVENTS`]).
    ///
    /// # Errors
    /// When that is out of its limits.
    pub fn join(&self, max_in_flight: usize) -> Result<Consumer, PullError> {
        if !(1..=MAX_PULL_EVENTS).contains(&max_in_flight) {
            return Err(PullError::OutOfLimits { field: "max_in_flight", must_be: "1 to 1000" });
        }
        let consumer = ConsumerId(self.0.consumers.fetch_add(1, Ordering::Relaxed));
        let credit = Credit { consumer, max_in_flight };
        Ok(Consumer { subscription: self.clone(), credit, left: false })
    }

    async fn lease(&self, request: PullRequest, credit: Option<Credit>) -> Result<Pulled, PullError> {
        let _place = self.0.places.try_acquire().map_err(|_| PullError::TooManyPulls)?;
        let (answer, answered) = oneshot::channel();
        let deadline = Instant::now() + request.wait;
        let PullRequest { max_events, lease, .. } = request;
        let pull = WaitingPull { max_events, lease, deadline, credit, answer };
        let commands = self.0.commands.clone();
        let mut awaited = Awaited { answer: answered, commands: commands.clone() };
        self.send(PullCommand::Pull(pull)).await?;
        let patience = deadline + READ_PATIENCE;
        let events = match tokio::time::timeout_at(patience, &mut awaited.answer).await {
            Ok(answered) => answered.map_err(|_| PullError::Ending)?,
            Err(_elapsed) => Vec::new(),
        };
        Ok(Pulled { events, commands })
    }

    async fn send(&self, command: PullCommand) -> Result<(), PullError> {
        self.0.commands.send(Command::Consume(command)).await.map_err(|_| PullError::Ending)
    }
}

impl Consumer {
    /// Leases more events, as soon as there are any and it may hold them; none after a while without. Safe to drop at any
    /// time.
    ///
    /// # Errors
    /// When the lease is out of its limits, too many wait, or the process is ending.
    pub async fn pull(&self, lease: Duration) -> Result<Pulled, PullError> {
        let request = PullRequest { max_events: self.credit.max_in_flight, wait: MAX_PULL_WAIT, lease };
        request.validate()?;
        self.subscription.lease(request, Some(self.credit)).await
    }

    /// The same as [`PullSubscription::change`].
    ///
    /// # Errors
    /// As there.
    pub async fn change(
        &self,
        leases: &[String],
        change: LeaseChange,
    ) -> Result<Vec<LeaseResult>, PullError> {
        self.subscription.change(leases, change).await
    }

    /// Goes away: all its leases end now, each as an attempt that failed.
    pub async fn leave(mut self) {
        // An error means that the subscription has ended, and its leases with it.
        let _ = self.subscription.send(PullCommand::Leave(self.credit.consumer)).await;
        self.left = true;
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        if !self.left {
            let leave = PullCommand::Leave(self.credit.consumer);
            // Where there is no room for it, the leases run out.
            let _ = self.subscription.0.commands.try_send(Command::Consume(leave));
        }
    }
}

impl Pulled {
    /// What was leased.
    #[must_use]
    pub fn events(&self) -> &[LeasedEvent] {
        &self.events
    }

    /// They are on their way to the consumer: from now on the leases end by themselves.
    #[must_use]
    pub fn hand_over(mut self) -> Vec<LeasedEvent> {
        std::mem::take(&mut self.events)
    }
}

impl Drop for Pulled {
    fn drop(&mut self) {
        give_back(&self.commands, &self.events);
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.answer.close();
        if let Ok(events) = self.answer.try_recv() {
            give_back(&self.commands, &events);
        }
    }
}

fn give_back(commands: &mpsc::Sender<Command>, events: &[LeasedEvent]) {
    if !events.is_empty() {
        let tokens = events.iter().map(|event| event.lease).collect();
        // Where there is no room for it, the leases run out.
        let _ = commands.try_send(Command::Consume(PullCommand::GiveBack(tokens)));
    }
}
