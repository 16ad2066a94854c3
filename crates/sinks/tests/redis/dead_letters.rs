//! Copies of dead letters.

use eventrelay_sinks::DeadLetterCopy;
use serde_json::json;

use crate::broker_events::{APPENDED_MICROS, batch, ids, within_patience};
use crate::server;

fn letters() -> Vec<DeadLetterCopy> {
    let letter = |delivery: eventrelay_sinks::Delivery| DeadLetterCopy {
        event: delivery.event,
        attempts: 6,
        reason: "gave up after 6 attempts: no".to_owned(),
        dead_at_micros: APPENDED_MICROS + 2_000_000,
    };
    batch("order.created", 0..3).into_iter().map(letter).collect()
}

#[tokio::test]
async fn the_eventrail_preset_has_its_own_stream_for_them() {
    let Some((server, mut raw)) = server::start() else { return };
    let sink = server::sink(&server, &json!({"layout": "eventrail"}));
    assert!(sink.takes_dead_letters());
    within_patience(sink.dead_letters(&letters())).await.unwrap();
    let entries = raw.entries("eventrail.events.dlq");
    let id = &ids(&batch("order.created", 0..1))[0];
    assert_eq!(
        entries[0].1,
        [
            "event_id",
            id,
            "event_type",
            "order.created",
            "source",
            "/shop",
            "retry",
            "5",
            "created_at",
            "2026-01-31T12:00:00Z",
            "dlq_at",
            "2026-01-31T12:00:02Z",
            "error",
            "gave up after 6 attempts: no",
        ]
    );
    assert_eq!(entries.len(), 3);
}

#[tokio::test]
async fn they_are_asked_for_and_what_fails_is_told() {
    let Some((mut server, mut raw)) = server::start() else { return };
    assert!(!server::sink(&server, &json!({})).takes_dead_letters());
    let sink = server::sink(&server, &json!({"dead_letter_stream": "dead.{type}"}));
    within_patience(sink.dead_letters(&letters())).await.unwrap();
    assert_eq!(raw.field("dead.order.created", "eventrelay_error"), ["gave up after 6 attempts: no"; 3]);
    assert_eq!(raw.field("dead.order.created", "eventrelay_attempts"), ["6"; 3]);
    server.kill();
    assert!(!within_patience(sink.dead_letters(&letters())).await.unwrap_err().is_empty());
}
