//! Pausing and resuming: durable first, then the dispatcher follows.

use std::sync::Arc;

use eventrelay_state::{AuditEntry, Lifecycle};

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
        let handle = self.roster.find(tenant, name)?;
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
        let handle = self.roster.find(tenant, name)?;
        self.state.set_lifecycle(handle.id, Lifecycle::Enabled, audit).await?;
        handle.directives.send_modify(|directive| {
            directive.paused = false;
            directive.resumptions += 1;
        });
        handle.stats.set_run_state(RunState::Running);
        drop(turn);
        Ok(())
    }
}
