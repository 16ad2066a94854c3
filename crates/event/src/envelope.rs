//! What many payloads have in common: an event without its data, encoded once.
//!
//! A stored event ends with its data (see the format of [`StoredEvent`]), so all that comes before it is the same bytes for
//! every payload of one producer. Checking and writing those once leaves two copies for each event, and no allocation.

use bytes::Bytes;

use crate::{Data, Event, EventLimits, InvalidEvent, StoredEvent};

/// A checked event that lacks only its data, which is opaque bytes.
#[derive(Debug, Clone)]
pub struct Envelope {
    /// The encoded event, up to its data.
    encoded: Vec<u8>,
}

impl Envelope {
    /// Takes all of `event` but its data. It has no idempotency key and no id, since each payload is an event of its own.
    ///
    /// # Errors
    /// The first rule that the event breaks.
    pub fn new(event: Event, limits: &EventLimits) -> Result<Self, InvalidEvent> {
        let event =
            Event { data: Some(Data::binary(Bytes::new())), id: None, idempotency_key: None, ..event };
        event.check(limits)?;
        let mut encoded = Vec::new();
        StoredEvent::encode(&event, &mut encoded);
        Ok(Self { encoded })
    }

    /// How many bytes the event with this much data has: what [`EventLimits::event_bytes`] bounds.
    #[must_use]
    pub fn event_bytes(&self, payload_bytes: usize) -> usize {
        self.encoded.len() + payload_bytes
    }

    /// Appends the stored event whose data is `payload`.
    pub fn encode(&self, payload: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&self.encoded);
        out.extend_from_slice(payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tenant;

    fn event() -> Event {
        Event::new(Tenant::default(), "tcp.payload".to_owned(), "/tcp".to_owned())
    }

    #[test]
    fn it_gives_the_very_bytes_of_the_whole_event() {
        let envelope = Envelope::new(event(), &EventLimits::default()).unwrap();
        for payload in [&b"x"[..], b"\0\xff opaque", &[7; 300]] {
            let whole = Event { data: Some(Data::binary(Bytes::copy_from_slice(payload))), ..event() };
            let (mut expected, mut found) = (Vec::new(), Vec::new());
            StoredEvent::encode(&whole, &mut expected);
            envelope.encode(payload, &mut found);
            assert_eq!(found, expected);
            assert_eq!(envelope.event_bytes(payload.len()), expected.len());
        }
    }

    #[test]
    fn it_is_checked_and_names_no_event() {
        let wrong = Event { source: "no uri".to_owned(), ..event() };
        assert!(Envelope::new(wrong, &EventLimits::default()).is_err());
        let named = Event { id: Some("1".to_owned()), idempotency_key: Some("k".to_owned()), ..event() };
        let limits = EventLimits::default();
        assert_eq!(
            Envelope::new(named, &limits).unwrap().encoded,
            Envelope::new(event(), &limits).unwrap().encoded
        );
    }
}
