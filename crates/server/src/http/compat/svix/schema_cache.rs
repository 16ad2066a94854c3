//! The schemas of types of events, compiled when the first message of a type comes.
//!
//! A type that is changed is forgotten behind the change. What was read before that and comes back behind it is not kept:
//!
//! ```text
//!  message:  changes = 7 ── reads the old schema, compiles ──────────────────▶ keep(7): not kept
//!  change:                            stored ──▶ forget(): changes = 8
//! ```

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::schema::Schema;

/// The most parts that the kept schemas have together.
const MAX_PARTS: u64 = 200_000;

/// The schemas that are known, the first that came goes first. Cheap to clone; clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct SchemaCache {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    schemas: HashMap<String, Arc<Schema>>,
    /// In the order in which they came.
    names: VecDeque<String>,
    parts: u64,
    changes: u64,
}

impl SchemaCache {
    /// The schema of a type, if it is known; else how many changes there have been.
    pub(super) fn find(&self, event_type: &str) -> Result<Arc<Schema>, u64> {
        let kept = self.lock();
        kept.schemas.get(event_type).cloned().ok_or(kept.changes)
    }

    /// Keeps what was read after so many changes, if there has been none since.
    pub(super) fn keep(&self, event_type: String, schema: &Arc<Schema>, changes: u64) {
        let mut kept = self.lock();
        if kept.changes != changes || kept.schemas.contains_key(&event_type) {
            return;
        }
        kept.parts += schema.parts();
        kept.names.push_back(event_type.clone());
        kept.schemas.insert(event_type, Arc::clone(schema));
        while kept.parts > MAX_PARTS
            && let Some(first) = kept.names.front().cloned()
        {
            kept.remove(&first);
        }
    }

    /// Forgets a type that has been changed.
    pub(super) fn forget(&self, event_type: &str) {
        let mut kept = self.lock();
        kept.changes += 1;
        kept.remove(event_type);
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn remove(&mut self, event_type: &str) {
        if let Some(schema) = self.schemas.remove(event_type) {
            self.parts -= schema.parts();
            self.names.retain(|name| name != event_type);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema(parts: usize) -> Arc<Schema> {
        Arc::new(Schema::new(&json!({"enum": (0..parts).collect::<Vec<_>>()})).unwrap())
    }

    #[test]
    fn what_was_read_before_a_change_is_not_kept() {
        let cache = SchemaCache::default();
        let before = cache.find("a").unwrap_err();
        cache.forget("a");
        cache.keep("a".to_owned(), &schema(1), before);
        let after = cache.find("a").unwrap_err();
        cache.keep("a".to_owned(), &schema(1), after);
        assert!(cache.find("a").is_ok());
        cache.forget("a");
        assert!(cache.find("a").is_err());
    }

    #[test]
    fn the_first_goes_when_there_are_too_many_parts() {
        let cache = SchemaCache::default();
        let large = schema(9_000);
        for name in 0..100 {
            cache.keep(name.to_string(), &large, 0);
        }
        assert!(cache.find("0").is_err() && cache.find("99").is_ok());
        let kept = cache.lock();
        assert!(kept.parts <= MAX_PARTS && kept.parts == large.parts() * kept.schemas.len() as u64);
        assert_eq!(kept.names.len(), kept.schemas.len());
    }
}
