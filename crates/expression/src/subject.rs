//! The event that an expression is evaluated on, and the one tree of its data for all expressions.

use std::cell::OnceCell;
use std::sync::Arc;

use eventrelay_event::{DataKind, StoredEvent};

use crate::document::LazyDocument;
use crate::document_cache::DocumentCache;
use crate::value::{Blob, Text, Value};

/// An event with the tree of its data, which is built when an expression first asks for it.
#[derive(Debug)]
pub struct Subject<'a> {
    event: &'a StoredEvent,
    cache: Option<&'a DocumentCache>,
    document: OnceCell<Arc<LazyDocument>>,
}

impl<'a> Subject<'a> {
    /// An event whose tree is shared with others who look at the same event.
    #[must_use]
    pub fn shared(event: &'a StoredEvent, cache: &'a DocumentCache) -> Self {
        Self { event, cache: Some(cache), document: OnceCell::new() }
    }

    /// An event that nobody else looks at.
    #[must_use]
    pub fn alone(event: &'a StoredEvent) -> Self {
        Self { event, cache: None, document: OnceCell::new() }
    }

    /// The event.
    #[must_use]
    pub fn event(&self) -> &'a StoredEvent {
        self.event
    }

    /// The data: a JSON value; a text; bytes; or null where there is none.
    pub(crate) fn data(&self) -> Value<'_> {
        match self.event.data() {
            None => Value::Null,
            Some((DataKind::Text, bytes)) => {
                Value::Text(Text::Borrowed(std::str::from_utf8(bytes).unwrap_or_default()))
            }
            Some((DataKind::Binary, bytes)) => Value::Bytes(Blob::Borrowed(bytes)),
            Some((DataKind::Json, _)) => {
                let place = self.document.get_or_init(|| match self.cache {
                    Some(cache) => cache.place(self.event),
                    None => Arc::default(),
                });
                let (document, is_new) = place.of(self.event);
                if is_new && let Some(cache) = self.cache {
                    cache.was_built(self.event, document);
                }
                Value::of_document(document, document.root())
            }
        }
    }
}
