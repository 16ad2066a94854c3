//! Changes that are finished also when whoever asked for them has gone.
//!
//! A revocation is durable first and takes effect in memory then. A client that leaves between the two must not leave a key or a session
//! good that the store knows to be none.

use eventrelay_state::StateError;
use tokio_util::task::TaskTracker;

/// The changes that are under way.
#[derive(Debug, Clone, Default)]
pub(super) struct Changes(TaskTracker);

impl Changes {
    /// Makes a change to its end.
    pub(super) async fn finish<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, StateError>> + Send + 'static,
    ) -> Result<T, StateError> {
        let finished = self.0.spawn(change).await;
        finished.map_err(|error| StateError::Failed { why: error.to_string() })?
    }

    /// Waits for those that were begun.
    pub(super) async fn wait(&self) {
        self.0.close();
        self.0.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_change_goes_on_when_nobody_waits_for_it() {
        let changes = Changes::default();
        let (begin, begun) = oneshot::channel::<()>();
        let (end, ended) = oneshot::channel();
        let change = async move {
            begun.await.map_err(|_| StateError::Closed)?;
            end.send(()).map_err(|()| StateError::Closed)
        };
        {
            let mut asked = std::pin::pin!(changes.finish(change));
            assert!(futures_util::poll!(&mut asked).is_pending());
        }
        begin.send(()).unwrap();
        changes.wait().await;
        assert_eq!(ended.await, Ok(()));
    }
}
