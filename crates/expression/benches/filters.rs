//! What a filter costs an event: patterns alone, an expression over attributes, one over the data, and a hundred of these that share
//! the tree of the data.
//!
//! `cargo bench -p eventrelay-expression --bench filters`
//!
//! Each figure is the median of several rounds. "A subscription" is what one more subscription with that filter costs an event.

#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::hint::black_box;
use std::time::Instant;

use eventrelay_event::json::Limits;
use eventrelay_event::{Data, Event, StoredEvent, Tenant};
use eventrelay_expression::{DocumentCache, EventFilter, Subject, Verdict};

const EVENTS: u64 = 20_000;
const ROUNDS: usize = 7;
const SUBSCRIPTIONS: usize = 100;
const CACHE_BYTES: usize = 8 << 20;

fn main() {
    let events: Vec<StoredEvent> = (0..EVENTS).map(event).collect();
    println!("{} bytes of data an event\n", events[0].data().unwrap().1.len());
    for (what, json, subscriptions) in [
        ("patterns", r#"{"types": ["order.*"]}"#, 1),
        (
            "an expression over attributes",
            r#"{"cel": "event.type.startsWith('order.') && event.subject != ''"}"#,
            1,
        ),
        (
            "an expression over the data",
            r#"{"cel": "data.amount > 100 && data.customer.country == 'DE'"}"#,
            1,
        ),
        (
            "a list in the data",
            r#"{"cel": "data.lines.exists(line, line.sku == 'C-9' && line.count > 2)"}"#,
            1,
        ),
        (
            "the data, by 100 subscriptions",
            r#"{"cel": "data.amount > 100 && data.customer.country == 'DE'"}"#,
            SUBSCRIPTIONS,
        ),
    ] {
        let filter: EventFilter = serde_json::from_str(json).unwrap();
        let mut nanos: Vec<f64> = (0..ROUNDS).map(|_| round(&filter, &events, subscriptions)).collect();
        nanos.sort_by(f64::total_cmp);
        println!("{what:<32} {:>8.0} ns a subscription", nanos[ROUNDS / 2]);
    }
}

/// Nanoseconds for an event and a subscription, on a cache that knows none of the events yet.
fn round(filter: &EventFilter, events: &[StoredEvent], subscriptions: usize) -> f64 {
    let cache = DocumentCache::new(CACHE_BYTES);
    let began = Instant::now();
    for event in events {
        for _ in 0..subscriptions {
            let decision = black_box(filter).decide(&Subject::shared(black_box(event), &cache));
            assert_eq!(decision.verdict, Verdict::Match);
        }
    }
    began.elapsed().as_secs_f64() * 1e9 / (events.len() * subscriptions) as f64
}

fn event(offset: u64) -> StoredEvent {
    let json = format!(
        r#"{{"amount": {}, "currency": "EUR", "customer": {{"id": "c-{offset}", "country": "DE", "tags": ["a", "b"]}},
           "lines": [{{"sku": "A-1", "count": 1, "price": 9.5}}, {{"sku": "C-9", "count": 3, "price": 40}}],
           "note": "leave it at the door, please"}}"#,
        101 + offset % 1000
    );
    let event = Event {
        data: Some(Data::json(json.into(), &Limits::default()).unwrap()),
        subject: Some("order 1".to_owned()),
        ..Event::new(Tenant::default(), "order.created".to_owned(), "/shop".to_owned())
    };
    let mut record = Vec::new();
    StoredEvent::encode(&event, &mut record);
    StoredEvent::decode(offset, 1_769_860_800_000_123, record.into()).unwrap()
}
