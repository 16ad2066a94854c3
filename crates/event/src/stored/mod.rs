//! An event as the log keeps it.
//!
//! The bytes are laid out in [`format`]. A [`StoredEvent`] shares the memory of the log frame that it was read from:
//! decoding checks everything once, and reading a field afterwards is a slice.

mod format;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use bytestring::ByteString;

use crate::{Data, DataKind, Event, EventId, Tenant};
use format::{Field, HeaderLengths};

/// An event read back from the log: cheap to clone, sharing the log frame's bytes.
#[derive(Debug, Clone)]
pub struct StoredEvent {
    id: EventId,
    record: Bytes,
    layout: format::Layout,
    text: ByteString,
    data: Bytes,
}

/// Bytes that are not a stored event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stored event at offset {offset} cannot be decoded: {why}")]
pub struct DecodeError {
    /// The event's offset.
    pub offset: u64,
    /// What is wrong with it.
    pub why: &'static str,
}

impl StoredEvent {
    /// Appends the record payload of `event` to `out`. The same event always gives the same bytes.
    pub fn encode(event: &Event, out: &mut Vec<u8>) {
        format::encode(event, out);
    }

    /// How many bytes [`StoredEvent::encode`] appends: what an event counts for wherever bytes are limited.
    #[must_use]
    pub fn encoded_bytes(event: &Event) -> usize {
        format::encoded_bytes(event)
    }

    /// Reads a record payload back. Any bytes may be given: what is not a stored event is refused.
    ///
    /// # Errors
    /// When the payload is of another version, is cut short, or does not add up.
    pub fn decode(offset: u64, append_time_micros: u64, record: Bytes) -> Result<Self, DecodeError> {
        let fail = |why| DecodeError { offset, why };
        if offset >= EventId::OFFSET_LIMIT || append_time_micros >= EventId::TIME_LIMIT_MICROS {
            return Err(fail("its offset or append time is out of range"));
        }
        let layout = format::Layout::read(&record).map_err(fail)?;
        let text = ByteString::try_from(record.slice(layout.text_range()))
            .map_err(|_| fail("its text is not UTF-8"))?;
        layout.check_text(&record, &text).map_err(fail)?;
        let data = record.slice(layout.data_range(&record));
        if layout.data_kind() == Some(DataKind::Text) && std::str::from_utf8(&data).is_err() {
            return Err(fail("its data is marked as text but is not UTF-8"));
        }
        Ok(Self { id: EventId::new(append_time_micros, offset), record, layout, text, data })
    }

    /// The event's name for all the world.
    #[must_use]
    pub fn id(&self) -> EventId {
        self.id
    }

    /// Where it is in the log.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.id.offset()
    }

    /// When it was appended: microseconds since the Unix epoch.
    #[must_use]
    pub fn append_time_micros(&self) -> u64 {
        self.id.append_time_micros()
    }

    /// Whose event it is: the name of a [`crate::Tenant`].
    #[must_use]
    pub fn tenant(&self) -> &str {
        self.field(Field::Tenant).unwrap_or_default()
    }

    /// What happened. Never empty.
    #[must_use]
    pub fn event_type(&self) -> &str {
        self.field(Field::Type).unwrap_or_default()
    }

    /// Where it happened. Never empty.
    #[must_use]
    pub fn source(&self) -> &str {
        self.field(Field::Source).unwrap_or_default()
    }

    /// The producer's own id, when it gave one.
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        self.field(Field::ClientId)
    }

    /// What the event is about within its source.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.field(Field::Subject)
    }

    /// When it happened, RFC 3339, as the producer wrote it.
    #[must_use]
    pub fn time(&self) -> Option<&str> {
        self.field(Field::Time)
    }

    /// What `by_key` order goes by.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.field(Field::Key)
    }

    /// The data's media type.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.field(Field::ContentType)
    }

    /// Where the data's schema is.
    #[must_use]
    pub fn data_schema(&self) -> Option<&str> {
        self.field(Field::DataSchema)
    }

    /// The producer's name for the publish.
    #[must_use]
    pub fn idempotency_key(&self) -> Option<&str> {
        self.field(Field::IdempotencyKey)
    }

    /// Extension attributes and trace context, in the producer's order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut lengths = HeaderLengths::new(&self.record, &self.layout);
        let mut rest = self.text.get(self.layout.headers_start()..).unwrap_or_default();
        std::iter::from_fn(move || {
            let (name_bytes, value_bytes) = lengths.next()?;
            let (name, after) = rest.split_at_checked(name_bytes)?;
            let (value, after) = after.split_at_checked(value_bytes)?;
            rest = after;
            Some((name, value))
        })
    }

    /// What the event carries, and what the bytes are.
    #[must_use]
    pub fn data(&self) -> Option<(DataKind, &Bytes)> {
        Some((self.layout.data_kind()?, &self.data))
    }

    /// The record payload: [`StoredEvent::decode`] with the same offset and append time gives this event again.
    #[must_use]
    pub fn encoded(&self) -> &Bytes {
        &self.record
    }

    /// The same event, at the same offset, with other data, which is JSON. It has no schema: that told about the other data.
    ///
    /// # Errors
    /// When the event is not one that could be published, so that it has no other form.
    pub fn with_json_data(&self, data: Data) -> Result<Self, DecodeError> {
        let tenant = Tenant::parse(self.tenant());
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let event = Event {
            tenant: tenant
                .map_err(|_| DecodeError { offset: self.offset(), why: "its tenant has no name" })?,
            event_type: self.event_type().to_owned(),
            source: self.source().to_owned(),
            id: owned(self.client_id()),
            subject: owned(self.subject()),
            time: owned(self.time()),
            key: owned(self.key()),
            content_type: Some("application/json".to_owned()),
            data_schema: None,
            headers: self.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            idempotency_key: owned(self.idempotency_key()),
            data: Some(data),
        };
        let mut record = Vec::new();
        Self::encode(&event, &mut record);
        Self::decode(self.offset(), self.append_time_micros(), record.into())
    }

    /// The text fields, in stored order, as [`Event::fields`] has them.
    pub(crate) fn fields(&self) -> [Option<&str>; format::FIELDS] {
        Field::ALL.map(|field| self.field(field))
    }

    fn field(&self, field: Field) -> Option<&str> {
        // `decode` has checked that every span is inside the text and on character boundaries.
        self.text.get(self.layout.span(field)?)
    }
}
