//! A message's payload against the schema of its type. A message may be of a type that nobody has described, that has no schema,
//! or that is archived: then there is nothing to check.

use std::sync::Arc;

use eventrelay_state::SvixEventType;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;

use super::refusal::Refusal;
use super::resources::Resources;
use super::schema::{Misfit, Schema};
use super::schema_cache::SchemaCache;

/// The largest payload that is checked.
const MAX_PAYLOAD_BYTES: usize = 1 << 20;
/// The largest payload that is looked at in place, and checked there if that is quick. Others are, a few at a time, where it may
/// take long.
const SHORT_BYTES: usize = 8 * 1024;
/// How many long checks there are at once.
const LONG_CHECKS: usize = 2;

/// What checks messages; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct SchemaCheck {
    is_on: bool,
    schemas: SchemaCache,
    long_checks: Arc<Semaphore>,
}

impl SchemaCheck {
    pub(super) fn new(is_on: bool) -> Self {
        Self { is_on, schemas: SchemaCache::default(), long_checks: Arc::new(Semaphore::new(LONG_CHECKS)) }
    }

    /// Forgets what is known of a type, which has been changed.
    pub(super) fn forget(&self, event_type: &str) {
        self.schemas.forget(event_type);
    }
}

/// Checks a payload, which is JSON within the limits of events.
///
/// # Errors
/// 422 that says what does not fit, or that the payload is too large.
pub(super) async fn check(
    resources: &Resources,
    event_type: &str,
    payload: &RawValue,
) -> Result<(), Refusal> {
    let check = &resources.schema_check;
    if !check.is_on {
        return Ok(());
    }
    let Some(schema) = schema_of(resources, event_type).await? else { return Ok(()) };
    let length = payload.get().len();
    if length > MAX_PAYLOAD_BYTES {
        let why = format!("must be at most {MAX_PAYLOAD_BYTES} bytes, as its event type has a schema");
        return Err(Refusal::invalid("payload", why));
    }
    if length <= SHORT_BYTES {
        let payload = parsed(payload)?;
        if schema.is_quick(&payload) {
            return schema.check(&payload).map_err(misfits);
        }
    }
    // It is never closed.
    let permit = Arc::clone(&check.long_checks).acquire_owned().await;
    let permit = permit.map_err(|error| Refusal::internal(error.to_string()))?;
    let payload = payload.to_owned();
    let checking = move |_: &Resources| {
        let _permit = permit;
        schema.check(&parsed(&payload)?).map_err(misfits)
    };
    resources.block(checking).await
}

fn parsed(payload: &RawValue) -> Result<Value, Refusal> {
    serde_json::from_str(payload.get()).map_err(|error| Refusal::invalid("payload", error.to_string()))
}

fn misfits(misfits: Vec<Misfit>) -> Refusal {
    let fields = misfits.into_iter().map(|misfit| {
        let location = ["body", "payload"].into_iter().map(str::to_owned).chain(misfit.path).collect();
        (location, misfit.why)
    });
    Refusal::Invalid { fields: fields.collect() }
}

/// The compiled schema of a type, if there is one to check by.
async fn schema_of(resources: &Resources, event_type: &str) -> Result<Option<Arc<Schema>>, Refusal> {
    let changes = match resources.schema_check.schemas.find(event_type) {
        Ok(schema) => return Ok(Some(schema)),
        Err(changes) => changes,
    };
    let name = event_type.to_owned();
    let read = move |resources: &Resources| {
        let known = resources.state().svix_event_type(&name)?.filter(|known| !known.archived);
        let Some(newest) = known.as_ref().and_then(newest_schema) else { return Ok(None) };
        match Schema::new(newest) {
            Ok(schema) => {
                let schema = Arc::new(schema);
                resources.schema_check.schemas.keep(name, &schema, changes);
                Ok(Some(schema))
            }
            Err(error) => {
                // It was stored by a release that did not look at it.
                tracing::warn!(event_type = name, %error, "messages are not checked: the schema cannot be used");
                Ok(None)
            }
        }
    };
    resources.block(read).await
}

/// The schema of the highest version.
pub(super) fn newest_schema(event_type: &SvixEventType) -> Option<&Value> {
    let schemas = event_type.schemas.as_ref()?;
    let newest = schemas.iter().max_by_key(|(version, _)| version.parse::<u64>().unwrap_or(0))?;
    Some(newest.1)
}
