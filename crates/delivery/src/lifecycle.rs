//! Pausing and resuming: durable first, then the dispatcher follows. One that has none is given one.

use std::sync::Arc;

use eventrelay_state::{AuditEntry, Lifecycle, SubscriptionId};

use crate::control::ChangeError;
use crate::engine::{ControlError, Core, Engine};
use crate::status::RunState;

impl Engine {
    /// Stops a subscription's deliveries; what is in flight ends by itself. Durable once this returns Ok, and done also when
    /// nobody waits for it any more.
    ///
    /// # Errors
    /// When there is no such subscription, or the pause cannot be saved.
    pub async fn pause(
        &self,
        tenant: &str,
        name: &str,
        audit: Option<AuditEntry>,
    ) -> Result<(), ControlError> {
        let (core, tenant, name) = (Arc::clone(self.core()), tenant.to_owned(), name.to_owned());
        self.order(async move { core.pause(&tenant, &name, audit).await }).await
    }

    /// Lets a paused, disabled or damaged subscription deliver again. Durable once this returns Ok, and done also when nobody
    /// waits for it any more.
    ///
    /// # Errors
    /// When there is no such subscription, or the resumption cannot be saved.
    pub async fn resume(
        &self,
        tenant: &str,
        name: &str,
        audit: Option<AuditEntry>,
    ) -> Result<(), ControlError> {
        let (core, tenant, name) = (Arc::clone(self.core()), tenant.to_owned(), name.to_owned());
        self.order(async move { core.resume(&tenant, &name, audit).await }).await
    }

    /// Runs what is both stored and told to the dispatcher to its end, lest a caller that leaves has only half of it done.
    pub(crate) async fn order<T: Send + 'static>(
        &self,
        order: impl Future<Output = Result<T, ControlError>> + Send + 'static,
    ) -> Result<T, ControlError> {
        self.finish(order).await.map_err(|_| ControlError::Ending)?
    }
}

impl Core {
    async fn pause(&self, tenant: &str, name: &str, audit: Option<AuditEntry>) -> Result<(), ControlError> {
        let turn = self.turns.take(tenant, name).await;
        let handle = self.running(tenant, name).await?;
        self.state.set_lifecycle(handle.id, Lifecycle::Paused, audit).await?;
        handle.directives.send_modify(|directive| directive.paused = true);
        // The dispatcher follows in a moment; who asks right now is to see what was asked for.
        if handle.stats.run_state() == RunState::Running {
            handle.stats.set_run_state(RunState::Paused);
        }
        drop(turn);
        Ok(())
    }

    async fn resume(&self, tenant: &str, name: &str, audit: Option<AuditEntry>) -> Result<(), ControlError> {
        let turn = self.turns.take(tenant, name).await;
        let id = self.startable(tenant, name).await?;
        self.state.set_lifecycle(id, Lifecycle::Enabled, audit).await?;
        if !self.runs(tenant, name) {
            // It could not be started after a change, or has failed: nobody would follow a directive.
            self.start_stored(tenant, name, None).await.map_err(not_started)?;
            return Ok(());
        }
        let handle = self.running(tenant, name).await?;
        handle.directives.send_modify(|directive| {
            directive.paused = false;
            directive.resumptions += 1;
        });
        handle.stats.set_run_state(RunState::Running);
        drop(turn);
        Ok(())
    }

    /// The number of a subscription that has a dispatcher, or is to have one.
    async fn startable(&self, tenant: &str, name: &str) -> Result<SubscriptionId, ControlError> {
        if let Some(handle) = self.roster.find(tenant, name) {
            return Ok(handle.id);
        }
        match self.stored(tenant, name).await.map_err(not_started)? {
            Some(record) if record.lifecycle != Lifecycle::Orphaned => Ok(record.id),
            Some(_) => Err(ControlError::NotRunning { tenant: tenant.to_owned(), name: name.to_owned() }),
            None => Err(ControlError::NotFound { tenant: tenant.to_owned(), name: name.to_owned() }),
        }
    }
}

fn not_started(error: ChangeError) -> ControlError {
    match error {
        ChangeError::State(error) => ControlError::State(error),
        ChangeError::Ending => ControlError::Ending,
        other => ControlError::NotStarted { why: other.to_string() },
    }
}
