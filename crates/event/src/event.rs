//! An event as a producer hands it over. Names and meaning are CloudEvents 1.0's.

use crate::{Data, Tenant};

/// What a producer hands over. The publisher takes only what passes [`Event::check`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Whose event it is.
    pub tenant: Tenant,
    /// What happened, e.g. `order.created`. Never empty.
    pub event_type: String,
    /// Where it happened: a URI reference. Never empty.
    pub source: String,
    /// The producer's own id (CloudEvents `id`), unique per source when given.
    pub id: Option<String>,
    /// What it is about within the source.
    pub subject: Option<String>,
    /// When it happened, RFC 3339, as the producer wrote it.
    pub time: Option<String>,
    /// What `by_key` order goes by (CloudEvents `partitionkey`).
    pub key: Option<String>,
    /// The data's media type (CloudEvents `datacontenttype`).
    pub content_type: Option<String>,
    /// Where the data's schema is (CloudEvents `dataschema`).
    pub data_schema: Option<String>,
    /// Extension attributes and trace context: lower-case names, in the producer's order, each name once.
    pub headers: Vec<(String, String)>,
    /// The producer's name for this publish, unique per (tenant, source). `id` serves when there is none.
    pub idempotency_key: Option<String>,
    /// What the event carries.
    pub data: Option<Data>,
}

impl Event {
    /// An event with what every event has and nothing else.
    #[must_use]
    pub fn new(tenant: Tenant, event_type: String, source: String) -> Self {
        Self {
            tenant,
            event_type,
            source,
            id: None,
            subject: None,
            time: None,
            key: None,
            content_type: None,
            data_schema: None,
            headers: Vec::new(),
            idempotency_key: None,
            data: None,
        }
    }
}
