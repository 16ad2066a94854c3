//! Subscriptions that are made, changed and deleted while others deliver.
//!
//! A change is durable before it takes effect. A changed subscription is a new dispatcher that goes on where the old one has
//! stopped, as after a restart, so nothing is lost and a call that was cut short is repeated. What must not be left half done
//! runs in a task of its own: a caller that goes away changes nothing about it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use eventrelay_sinks::SinkError;
use eventrelay_state::{
    AuditEntry, InvalidSubscription, Lifecycle, Origin, StateError, Subscription, SubscriptionChangeError,
    SubscriptionRecord,
};
use tokio::time::Instant;

use crate::engine::{Core, Engine, Target};
use crate::event_log::{StartError, resolve_start};
use crate::launch::Loaded;
use crate::status::RunState;

/// The most subscriptions of a process; each has a task.
const MAX_SUBSCRIPTIONS: usize = 100_000;
/// The most of one tenant, so that nobody takes all.
const MAX_SUBSCRIPTIONS_OF_TENANT: usize = 10_000;
/// How long a change waits for calls that are on their way before it cuts them short.
const CHANGE_PATIENCE: Duration = Duration::from_secs(5);
/// The same for a deletion, whose events nobody wants any more.
const DELETE_PATIENCE: Duration = Duration::from_secs(1);
/// The waits between the tries to start a subscription that is stored already: nobody else would start it before a restart.
const START_WAITS: [Duration; 3] =
    [Duration::from_millis(50), Duration::from_millis(250), Duration::from_millis(1000)];

/// Makes what a subscription delivers through.
pub trait BuildTarget: Send + Sync + 'static {
    /// The target that a declaration names. Blocking: it may read files.
    ///
    /// # Errors
    /// When there is no such kind of sink, or its settings are wrong.
    fn build(&self, spec: &Subscription, origin: Origin) -> Result<Target, SinkError>;
}

impl<F> BuildTarget for F
where
    F: Fn(&Subscription, Origin) -> Result<Target, SinkError> + Send + Sync + 'static,
{
    fn build(&self, spec: &Subscription, origin: Origin) -> Result<Target, SinkError> {
        self(spec, origin)
    }
}

/// Why a subscription was not made, changed or deleted. Nothing has changed; but where it could not be started after that, which
/// its status shows, what is stored of it has.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is none of that name.
    #[error("there is no subscription `{name}`")]
    NotFound {
        /// The name asked for.
        name: String,
    },
    /// There is one of that name.
    #[error("there is a subscription `{name}` already")]
    Exists {
        /// Its name.
        name: String,
    },
    /// It is not as the caller saw it.
    #[error("the subscription has been changed meanwhile: it is at revision {revision}")]
    RevisionChanged {
        /// Its revision now.
        revision: u64,
    },
    /// Only the configuration file can change it.
    #[error("the subscription `{name}` is declared in the configuration file: change it there")]
    Declared {
        /// Its name.
        name: String,
    },
    /// The declaration is out of its limits.
    #[error(transparent)]
    Invalid(#[from] InvalidSubscription),
    /// Its sink cannot be made.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// There is no such place in the log to begin.
    #[error(transparent)]
    Start(#[from] StartError),
    /// There are as many as there may be.
    #[error("there are {limit} subscriptions, which is the limit")]
    TooMany {
        /// How many there may be.
        limit: usize,
    },
    /// The state store failed.
    #[error(transparent)]
    State(StateError),
    /// The process is ending; what became of it shows after the next start.
    #[error("the process is ending")]
    Ending,
}

impl Engine {
    /// Makes a subscription and starts it. Durable once this returns Ok.
    ///
    /// # Errors
    /// When there is one of its name, its declaration or its sink's settings are wrong, or it cannot be stored.
    pub async fn create(
        &self,
        spec: Subscription,
        lifecycle: Lifecycle,
        audit: Option<AuditEntry>,
    ) -> Result<SubscriptionRecord, ChangeError> {
        let core = Arc::clone(self.core());
        self.change(async move { core.create(spec, lifecycle, audit).await }).await
    }

    /// Gives a subscription another declaration, of the same name and tenant. Its cursor, retries and dead letters stay; what is
    /// not delivered yet goes by the new declaration. Durable once this returns Ok.
    ///
    /// # Errors
    /// When it is not at `expected_revision`, is declared in the configuration file, or as for a new one.
    pub async fn replace(
        &self,
        spec: Subscription,
        expected_revision: u64,
        audit: Option<AuditEntry>,
    ) -> Result<SubscriptionRecord, ChangeError> {
        let core = Arc::clone(self.core());
        self.change(async move { core.replace(spec, expected_revision, audit).await }).await
    }

    /// Deletes a subscription with all that is known of its deliveries. Events stay in the log. Durable once this returns Ok.
    ///
    /// # Errors
    /// When there is none, it is not at `expected_revision`, or is declared in the configuration file.
    pub async fn delete(
        &self,
        tenant: &str,
        name: &str,
        expected_revision: Option<u64>,
        audit: Option<AuditEntry>,
    ) -> Result<(), ChangeError> {
        let (core, tenant, name) = (Arc::clone(self.core()), tenant.to_owned(), name.to_owned());
        self.change(async move { core.delete(&tenant, &name, expected_revision, audit).await }).await
    }

    async fn change<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, ChangeError>> + Send + 'static,
    ) -> Result<T, ChangeError> {
        self.finish(change).await?
    }

    /// Runs a change to its end, also when nobody waits for it any more. The engine does not end before it.
    ///
    /// # Errors
    /// When the engine is ending already.
    pub async fn finish<T: Send + 'static>(
        &self,
        change: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, ChangeError> {
        let changes = &self.core().changes;
        // Counted first, so that the end of the engine either is seen here or waits.
        let counted = changes.token();
        if changes.is_closed() {
            return Err(ChangeError::Ending);
        }
        let task = changes.spawn(change);
        drop(counted);
        task.await.map_err(|_| ChangeError::Ending)
    }
}

impl Core {
    async fn create(
        &self,
        spec: Subscription,
        lifecycle: Lifecycle,
        audit: Option<AuditEntry>,
    ) -> Result<SubscriptionRecord, ChangeError> {
        spec.validate()?;
        if self.roster.len() >= MAX_SUBSCRIPTIONS {
            return Err(ChangeError::TooMany { limit: MAX_SUBSCRIPTIONS });
        }
        if self.roster.of_tenant(spec.tenant.as_str()).len() >= MAX_SUBSCRIPTIONS_OF_TENANT {
            return Err(ChangeError::TooMany { limit: MAX_SUBSCRIPTIONS_OF_TENANT });
        }
        let turn = self.turns.take(spec.tenant.as_str(), &spec.name).await;
        let target = self.build(&spec, Origin::Api).await?;
        let start_offset = resolve_start(&self.roster.log, spec.start).await?;
        let name = spec.name.clone();
        let created = self.state.create_subscription(spec, start_offset, lifecycle, audit).await;
        let created = created.map_err(|error| refused(error, &name))?;
        // The log keeps what it needs from here on, whether it can be started or not.
        self.roster.park(created.id, created.start_offset);
        let record = self.start_stored(created.spec.tenant.as_str(), &name, Some(target)).await?;
        tracing::info!(subscription = name, tenant = %record.spec.tenant, "a subscription was made");
        drop(turn);
        Ok(record)
    }

    async fn replace(
        &self,
        spec: Subscription,
        expected_revision: u64,
        audit: Option<AuditEntry>,
    ) -> Result<SubscriptionRecord, ChangeError> {
        spec.validate()?;
        let (tenant, name) = (spec.tenant.as_str().to_owned(), spec.name.clone());
        let turn = self.turns.take(&tenant, &name).await;
        let known = self.changeable(&tenant, &name, Some(expected_revision)).await?;
        if known.lifecycle == Lifecycle::Orphaned {
            // It is the file's, which may declare it again: what is changed meanwhile would be lost at the next start.
            return Err(ChangeError::Declared { name });
        }
        let target = self.build(&spec, Origin::Api).await?;
        // One that could not be started is given another try by any change.
        let is_quiet = known.spec.delivers_like(&spec) && self.runs(&tenant, &name);
        // Whatever wanted nothing more was the old target.
        let lifecycle = match known.lifecycle {
            Lifecycle::Disabled { .. } if known.spec.sink != spec.sink => Lifecycle::Enabled,
            other => other,
        };
        let is_other_target = known.spec.sink != spec.sink;
        let replaced =
            self.state.replace_subscription(known.id, expected_revision, spec, lifecycle, audit).await;
        let mut record = replaced.map_err(|error| refused(error, &name))?;
        if !is_quiet {
            self.end(&tenant, &name, CHANGE_PATIENCE).await;
            if is_other_target {
                self.enable_for_new_target(&tenant, &name).await;
            }
            record = self.start_stored(&tenant, &name, Some(target)).await?;
        }
        tracing::info!(subscription = name, tenant, revision = record.revision, "a subscription was changed");
        drop(turn);
        Ok(record)
    }

    async fn delete(
        &self,
        tenant: &str,
        name: &str,
        expected_revision: Option<u64>,
        audit: Option<AuditEntry>,
    ) -> Result<(), ChangeError> {
        let turn = self.turns.take(tenant, name).await;
        let known = self.changeable(tenant, name, expected_revision).await?;
        // First its task, for that would go on saving what nobody keeps any more.
        self.end(tenant, name, DELETE_PATIENCE).await;
        match self.delete_latest(&known, audit).await {
            Ok(()) => {
                self.roster.remove(tenant, name);
                self.roster.unpark(known.id);
                self.metrics.forget(tenant, name);
                tracing::info!(subscription = name, tenant, "a subscription was deleted");
                drop(turn);
                Ok(())
            }
            Err(error) => {
                if known.lifecycle != Lifecycle::Orphaned {
                    // That it failed is told by the log and the status; what is answered is why it was not deleted.
                    let _ = self.start_stored(tenant, name, None).await;
                }
                Err(error)
            }
        }
    }

    /// The task's last words may have been that its target is gone, which is a revision that nobody has seen.
    async fn delete_latest(
        &self,
        known: &SubscriptionRecord,
        audit: Option<AuditEntry>,
    ) -> Result<(), ChangeError> {
        let (tenant, name) = (known.spec.tenant.as_str(), known.spec.name.as_str());
        let latest = self.stored(tenant, name).await?;
        let revision = latest.map_or(known.revision, |record| record.revision);
        let deleted = self.state.delete_subscription(known.id, revision, audit).await;
        deleted.map_err(|error| refused(error, name))
    }

    /// The subscription, if it may be changed and is as the caller saw it. One that the file no longer declares may be deleted.
    async fn changeable(
        &self,
        tenant: &str,
        name: &str,
        expected_revision: Option<u64>,
    ) -> Result<SubscriptionRecord, ChangeError> {
        let known = self.stored(tenant, name).await?;
        let known = known.ok_or_else(|| ChangeError::NotFound { name: name.to_owned() })?;
        if known.origin == Origin::Configuration && known.lifecycle != Lifecycle::Orphaned {
            return Err(ChangeError::Declared { name: name.to_owned() });
        }
        match expected_revision {
            Some(expected) if expected != known.revision => {
                Err(ChangeError::RevisionChanged { revision: known.revision })
            }
            _ => Ok(known),
        }
    }

    pub(crate) async fn stored(
        &self,
        tenant: &str,
        name: &str,
    ) -> Result<Option<SubscriptionRecord>, ChangeError> {
        let (state, tenant, name) = (self.state.clone(), tenant.to_owned(), name.to_owned());
        let read = move || state.subscription(&tenant, &name);
        tokio::task::spawn_blocking(read).await.map_err(|_| ChangeError::Ending)?.map_err(ChangeError::State)
    }

    async fn build(&self, spec: &Subscription, origin: Origin) -> Result<Target, ChangeError> {
        let (targets, spec) = (Arc::clone(&self.targets), spec.clone());
        let built = tokio::task::spawn_blocking(move || targets.build(&spec, origin)).await;
        Ok(built.map_err(|_| ChangeError::Ending)??)
    }

    /// Lifts what the old target's last answer may have left: it was not the new one that wants nothing more. Where that fails, the
    /// subscription is disabled, and says so.
    async fn enable_for_new_target(&self, tenant: &str, name: &str) {
        let enabled = match self.stored(tenant, name).await {
            Ok(Some(SubscriptionRecord { id, lifecycle: Lifecycle::Disabled { .. }, .. })) => {
                self.state.set_lifecycle(id, Lifecycle::Enabled, None).await.map_err(ChangeError::State)
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = enabled {
            tracing::error!(subscription = name, tenant, %error, "cannot see to it that the new target is tried");
        }
    }

    /// Whether the subscription has a dispatcher.
    pub(crate) fn runs(&self, tenant: &str, name: &str) -> bool {
        self.roster.find(tenant, name).is_some_and(|handle| !handle.commands.is_closed())
    }

    /// Starts a dispatcher from what is stored by now, for the last words of the one before may have changed it. Gives what it
    /// has started from. Tries more than once: without a dispatcher nothing is delivered before somebody sees to it.
    pub(crate) async fn start_stored(
        &self,
        tenant: &str,
        name: &str,
        target: Option<Target>,
    ) -> Result<SubscriptionRecord, ChangeError> {
        let mut waits = START_WAITS.into_iter();
        loop {
            let error = match self.try_start(tenant, name, target.clone()).await {
                Ok(record) => return Ok(record),
                Err(error) => error,
            };
            let may_pass = !matches!(error, ChangeError::NotFound { .. } | ChangeError::Ending);
            match waits.next().filter(|_| may_pass) {
                Some(wait) => {
                    tracing::warn!(subscription = name, tenant, %error, "cannot start a subscription; trying again");
                    tokio::time::sleep(wait).await;
                }
                None => {
                    self.note_down(tenant, name, &error);
                    return Err(error);
                }
            }
        }
    }

    async fn try_start(
        &self,
        tenant: &str,
        name: &str,
        target: Option<Target>,
    ) -> Result<SubscriptionRecord, ChangeError> {
        let stored = self.stored(tenant, name).await?;
        let record = stored.ok_or_else(|| ChangeError::NotFound { name: name.to_owned() })?;
        let target = match target {
            Some(target) => target,
            None => self.build(&record.spec, record.origin).await?,
        };
        self.start(record.clone(), target).await?;
        Ok(record)
    }

    /// Shows that nothing is delivered. It stays in the roster, so that the log keeps what it needs.
    fn note_down(&self, tenant: &str, name: &str, error: &ChangeError) {
        tracing::error!(subscription = name, tenant, %error, "a subscription could not be started: it delivers nothing");
        if let Some(handle) = self.roster.find(tenant, name) {
            let why = format!("it could not be started, resume it to try again: {error}");
            handle.stats.set_run_state(RunState::Damaged { why });
        }
    }

    /// Starts a dispatcher where the subscription stands.
    async fn start(&self, record: SubscriptionRecord, target: Target) -> Result<(), ChangeError> {
        let state = self.state.clone();
        let loaded = tokio::task::spawn_blocking(move || Loaded::read(&state, record)).await;
        let loaded = loaded.map_err(|_| ChangeError::Ending)?.map_err(ChangeError::State)?;
        self.run(loaded, target);
        Ok(())
    }

    /// Ends the subscription's dispatcher, if it has one. It stays in the roster, so that the log keeps what it needs.
    async fn end(&self, tenant: &str, name: &str, patience: Duration) {
        let Some(handle) = self.roster.find(tenant, name) else { return };
        handle.stop(Instant::now() + patience);
        let task = self.running.lock().remove(&handle.id);
        let Some(task) = task else { return };
        match task.await {
            Ok(ended) if ended.unfinished_calls > 0 => {
                tracing::warn!(
                    subscription = name,
                    calls = ended.unfinished_calls,
                    "calls were cut short by a change"
                );
            }
            Ok(_) => {}
            Err(error) => tracing::error!(subscription = name, %error, "a dispatcher had failed"),
        }
    }
}

fn refused(error: SubscriptionChangeError, name: &str) -> ChangeError {
    let name = name.to_owned();
    match error {
        SubscriptionChangeError::Exists => ChangeError::Exists { name },
        SubscriptionChangeError::NotFound => ChangeError::NotFound { name },
        SubscriptionChangeError::RevisionChanged { revision } => ChangeError::RevisionChanged { revision },
        SubscriptionChangeError::State(error) => ChangeError::State(error),
    }
}
