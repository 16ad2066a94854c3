//! Bringing the stored subscriptions in line with those that the configuration declares.

use std::collections::{HashMap, HashSet};
use std::error::Error;

use rusqlite::Connection;

use crate::subscriptions::{insert, load_subscriptions, set_origin, update_lifecycle, update_spec};
use crate::{
    InvalidSubscription, Lifecycle, Origin, Start, State, StateError, Subscription, SubscriptionId,
    SubscriptionRecord,
};

/// What [`State::reconcile`] did. All of it is durable.
#[derive(Debug, Clone, PartialEq)]
pub struct Reconciliation {
    /// Every declared subscription, in the declared order.
    pub declared: Vec<SubscriptionRecord>,
    /// Those that were made through the API, and are not declared.
    pub made_by_api: Vec<SubscriptionRecord>,
    /// Those that are new.
    pub created: Vec<SubscriptionId>,
    /// Those whose declaration has changed; their cursor is kept.
    pub changed: Vec<SubscriptionId>,
    /// Those that are stored but no longer declared.
    pub orphaned: Vec<SubscriptionRecord>,
}

/// Why the declared subscriptions were not taken over. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// A declaration is out of its limits.
    #[error(transparent)]
    Invalid(#[from] InvalidSubscription),
    /// Two declarations have one name.
    #[error("subscription `{name}` of tenant `{tenant}` is declared twice")]
    DeclaredTwice {
        /// Their tenant.
        tenant: String,
        /// Their name.
        name: String,
    },
    /// A new subscription's start cannot be found in the log.
    #[error("subscription `{name}`: cannot find its start in the log: {error}")]
    Start {
        /// The subscription.
        name: String,
        /// What the log said.
        error: Box<dyn Error + Send + Sync>,
    },
    /// The store failed.
    #[error(transparent)]
    State(#[from] StateError),
}

/// A declaration and what it means for the store.
enum Step {
    Create { spec: Subscription, start_offset: u64 },
    Keep { id: SubscriptionId, spec: Subscription, changed: bool, lifecycle: Lifecycle },
}

impl State {
    /// Brings the store in line with `declared`, in one transaction.
    ///
    /// - A new subscription is created; `resolve_start` tells at which offset it begins.
    /// - A known one takes over the declaration and keeps its cursor, whatever its `start` now says. An orphaned one
    ///   is enabled again, and so is a disabled one whose sink has changed.
    /// - One that is no longer declared is orphaned: it keeps everything, and delivers nothing.
    /// - One that was made through the API is left alone, unless one of its name is declared: then it is that one.
    ///
    /// # Errors
    /// When a declaration is invalid, a start cannot be resolved or the store fails; then nothing has changed.
    pub async fn reconcile<E>(
        &self,
        declared: Vec<Subscription>,
        resolve_start: impl AsyncFn(Start) -> Result<u64, E>,
    ) -> Result<Reconciliation, ReconcileError>
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        check(&declared)?;
        let stored = self.writer.write(|tx| load_subscriptions(tx)).await?;
        let mut stored: HashMap<(String, String), SubscriptionRecord> =
            stored.into_iter().map(|record| (full_name(&record.spec), record)).collect();
        let mut steps = Vec::with_capacity(declared.len());
        for spec in declared {
            steps.push(match stored.remove(&full_name(&spec)) {
                Some(known) => keep(known, spec),
                None => {
                    let start_offset = resolve_start(spec.start).await.map_err(|error| {
                        ReconcileError::Start { name: spec.name.clone(), error: error.into() }
                    })?;
                    Step::Create { spec, start_offset }
                }
            });
        }
        let of_the_file = stored.into_values().filter(|record| record.origin == Origin::Configuration);
        let undeclared: Vec<SubscriptionId> = of_the_file.map(|record| record.id).collect();
        Ok(self.writer.write(move |tx| apply(tx, steps, &undeclared)).await?)
    }
}

/// Each declaration by itself, and that no two have one name.
fn check(declared: &[Subscription]) -> Result<(), ReconcileError> {
    let mut names = HashSet::with_capacity(declared.len());
    for spec in declared {
        spec.validate()?;
        if !names.insert((spec.tenant.as_str(), spec.name.as_str())) {
            let tenant = spec.tenant.as_str().to_owned();
            return Err(ReconcileError::DeclaredTwice { tenant, name: spec.name.clone() });
        }
    }
    Ok(())
}

fn full_name(spec: &Subscription) -> (String, String) {
    (spec.tenant.as_str().to_owned(), spec.name.clone())
}

fn keep(known: SubscriptionRecord, spec: Subscription) -> Step {
    let lifecycle = match known.lifecycle {
        Lifecycle::Orphaned => Lifecycle::Enabled,
        // Whatever wanted nothing more was the old target.
        Lifecycle::Disabled { .. } if known.spec.sink != spec.sink => Lifecycle::Enabled,
        other => other,
    };
    Step::Keep { id: known.id, changed: known.spec != spec, spec, lifecycle }
}

fn apply(
    connection: &Connection,
    steps: Vec<Step>,
    undeclared: &[SubscriptionId],
) -> Result<Reconciliation, StateError> {
    let mut result = Reconciliation {
        declared: Vec::new(),
        made_by_api: Vec::new(),
        created: Vec::new(),
        changed: Vec::new(),
        orphaned: Vec::new(),
    };
    let mut order = Vec::with_capacity(steps.len());
    for step in steps {
        let id = match step {
            Step::Create { spec, start_offset } => {
                let id = insert(connection, &spec, start_offset, Origin::Configuration)?;
                result.created.push(id);
                id
            }
            Step::Keep { id, spec, changed, lifecycle } => {
                if changed {
                    update_spec(connection, id, &spec)?;
                    result.changed.push(id);
                }
                update_lifecycle(connection, id, &lifecycle)?;
                set_origin(connection, id, Origin::Configuration)?;
                id
            }
        };
        order.push(id);
    }
    for &id in undeclared {
        update_lifecycle(connection, id, &Lifecycle::Orphaned)?;
    }
    let mut stored: HashMap<SubscriptionId, SubscriptionRecord> =
        load_subscriptions(connection)?.into_iter().map(|record| (record.id, record)).collect();
    result.declared = order.iter().filter_map(|id| stored.remove(id)).collect();
    let (mut made, mut orphaned): (Vec<_>, Vec<_>) =
        stored.into_values().partition(|record| record.origin == Origin::Api);
    made.sort_by_key(|record| record.id);
    orphaned.sort_by_key(|record| record.id);
    (result.made_by_api, result.orphaned) = (made, orphaned);
    Ok(result)
}
