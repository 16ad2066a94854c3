//! Events for unit tests.

use bytes::Bytes;
use eventrelay_event::json::Limits;
use eventrelay_event::{Data, Event, StoredEvent, Tenant};

use crate::{Delivery, Purpose};

/// When every test event is appended: 2026-01-31T12:00:00.000123Z.
pub(crate) const APPENDED_MICROS: u64 = 1_769_860_800_000_123;

/// An event of the type `order.created` with JSON data.
pub(crate) fn event(json: &'static [u8]) -> Event {
    Event {
        data: Some(Data::json(Bytes::from_static(json), &Limits::default()).unwrap()),
        ..Event::new(Tenant::default(), "order.created".to_owned(), "/shop".to_owned())
    }
}

/// An event as the log gives it back.
pub(crate) fn stored(offset: u64, event: &Event) -> StoredEvent {
    let mut record = Vec::new();
    StoredEvent::encode(event, &mut record);
    StoredEvent::decode(offset, APPENDED_MICROS, Bytes::from(record)).unwrap()
}

/// The first try of an event at `offset`.
pub(crate) fn delivery(offset: u64, json: &'static [u8]) -> Delivery {
    Delivery {
        event: stored(offset, &event(json)),
        attempt: 1,
        purpose: Purpose::Live,
        span: None,
        keep_exchange: false,
    }
}
