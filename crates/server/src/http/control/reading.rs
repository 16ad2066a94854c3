//! Reading what is stored, off the runtime.

use eventrelay_state::{State, StateError, SubscriptionRecord};

use super::refusals;
use super::resources::Resources;
use crate::auth::Access;
use crate::http::problem::Problem;

/// Reads from the state store.
pub(crate) async fn state<T: Send + 'static>(
    resources: &Resources,
    read: impl FnOnce(&State) -> Result<T, StateError> + Send + 'static,
) -> Result<T, Problem> {
    from(resources.engine.state(), read).await
}

/// The same, from where the caller has it.
pub(crate) async fn from<T: Send + 'static>(
    state: &State,
    read: impl FnOnce(&State) -> Result<T, StateError> + Send + 'static,
) -> Result<T, Problem> {
    let state = state.clone();
    let read = tokio::task::spawn_blocking(move || read(&state)).await;
    read.map_err(|_| refusals::ending())?.map_err(|error| refusals::of_state(&error))
}

/// The caller's subscription of that name.
pub(crate) async fn subscription(
    resources: &Resources,
    access: &Access,
    name: &str,
) -> Result<SubscriptionRecord, Problem> {
    let (tenant, name) = (access.tenant().clone(), name.to_owned());
    let found = state(resources, move |state| state.subscription(tenant.as_str(), &name)).await?;
    found.ok_or_else(refusals::no_such_subscription)
}
