//! Events that the broker does not take.

use bytes::Bytes;
use eventrelay_event::{Data, Event};
use eventrelay_sinks::Outcome;
use serde_json::json;

use crate::broker;
use crate::broker_events::{batch, deliver, deliver_all, delivery, event, rejected, retried};
use crate::components::Component;
use crate::management::Management;

fn delivered(outcomes: &[Outcome]) -> usize {
    outcomes.iter().filter(|outcome| **outcome == Outcome::Delivered).count()
}

/// Which of many confirms a returned message comes with is chance, so there are many.
pub(crate) async fn what_is_returned_is_refused_and_nothing_else(broker: &Component, management: Management) {
    management.exchange_and_queue("returned", "returned", "order.#");
    let sink = broker::sink(broker, &json!({"exchange": "returned"}));
    let lost = |place: u64| place % 7 == 3;
    let mut batch = batch("order.created", 0..500);
    for place in (0..500).filter(|place| lost(*place)) {
        batch[usize::try_from(place).unwrap()] = delivery(place, &event("invoice.created", place));
    }
    let outcomes = deliver(&sink, &batch).await;
    for (place, outcome) in (0..).zip(&outcomes) {
        if lost(place) {
            let why = rejected(outcome);
            assert!(why.contains("no queue takes \"invoice.created\"") && why.contains("NO_ROUTE"), "{why}");
        } else {
            assert_eq!(*outcome, Outcome::Delivered, "{place}");
        }
    }
    assert_eq!(management.messages("returned").len(), delivered(&outcomes));
}

pub(crate) async fn without_mandatory_nothing_is_returned(broker: &Component, management: Management) {
    management.exchange_and_queue("optional", "optional", "order.#");
    let sink = broker::sink(broker, &json!({"exchange": "optional", "mandatory": false}));
    deliver_all(&sink, &[delivery(0, &event("invoice.created", 0)), delivery(1, &event("order.created", 1))])
        .await;
    assert_eq!(management.messages("optional").len(), 1);
}

pub(crate) async fn a_full_queue_is_waited_for(broker: &Component, management: Management) {
    management.queue("full", &json!({"x-max-length": 3, "x-overflow": "reject-publish"}));
    let sink = broker::sink(broker, &json!({"exchange": "", "routing_key": "full"}));
    let outcomes = deliver(&sink, &batch("order.created", 0..20)).await;
    assert!(outcomes.iter().any(|outcome| matches!(outcome, Outcome::Retry { .. })), "{outcomes:?}");
    for outcome in outcomes.iter().filter(|outcome| **outcome != Outcome::Delivered) {
        assert!(retried(outcome).contains("could not keep"), "{outcome:?}");
    }
    assert_eq!(management.messages("full").len(), delivered(&outcomes));
}

pub(crate) async fn a_missing_exchange_is_waited_for_and_holds_up_no_other(
    broker: &Component,
    management: Management,
) {
    management.exchange_and_queue("found.a", "found", "#");
    let sink = broker::sink(broker, &json!({"exchange": "{type}", "routing_key": "k"}));
    let mut batch = batch("found.a", 0..40);
    for place in [0_u64, 17, 18, 39] {
        batch[usize::try_from(place).unwrap()] = delivery(place, &event("missing.a", place));
    }
    batch[20] = delivery(20, &event(&"long".repeat(64), 20));
    let outcomes = deliver(&sink, &batch).await;
    for place in [0, 17, 18, 39] {
        assert!(retried(&outcomes[place]).contains("no exchange 'missing.a'"), "{:?}", outcomes[place]);
    }
    assert!(rejected(&outcomes[20]).contains("255"), "{:?}", outcomes[20]);
    assert_eq!(delivered(&outcomes), 35);
    assert_eq!(management.messages("found").len(), 35);
    management.exchange_and_queue("missing.a", "missing", "#");
    deliver_all(&sink, &batch[17..19]).await;
    assert_eq!(management.messages("missing").len(), 2);
}

pub(crate) async fn a_missing_right_is_waited_for(broker: &Component, management: Management) {
    management.exchange_and_queue("rights", "rights", "#");
    management.user("limited", "limited", "^rights$");
    management.put(
        "topic-permissions/%2F/limited",
        &json!({"exchange": "rights", "write": "^order[.].*$", "read": ""}),
    );
    let login = json!({"exchange": "rights", "user": "limited", "password": "limited"});
    let sink = broker::sink(broker, &login);
    let mut batch = batch("order.created", 0..60);
    batch[9] = delivery(9, &event("invoice.created", 9));
    let outcomes = deliver(&sink, &batch).await;
    assert!(retried(&outcomes[9]).contains("invoice.created"), "{:?}", outcomes[9]);
    assert_eq!(delivered(&outcomes), 59, "a right to a routing key is about its own events only");
    management.put("permissions/%2F/limited", &json!({"configure": "", "write": "", "read": ""}));
    let outcomes = deliver(&broker::sink(broker, &login), &batch[..5]).await;
    assert!(outcomes.iter().all(|outcome| retried(outcome).contains("exchange 'rights'")), "{outcomes:?}");
}

pub(crate) async fn what_is_too_large_is_refused_alone(broker: &Component, management: Management) {
    management.exchange_and_queue("large", "large", "#");
    broker::control(broker, &["eval", "application:set_env(rabbit, max_message_size, 50000)."]);
    let sink = broker::sink(broker, &json!({"exchange": "large"}));
    let large =
        Event { data: Some(Data::binary(Bytes::from(vec![b'x'; 60_000]))), ..event("order.created", 0) };
    let mut batch = batch("order.created", 0..100);
    for place in [0_u64, 49, 50, 99] {
        batch[usize::try_from(place).unwrap()] = delivery(place, &large);
    }
    let outcomes = deliver(&sink, &batch).await;
    for place in [0, 49, 50, 99] {
        assert!(rejected(&outcomes[place]).contains("message size"), "{place}: {:?}", outcomes[place]);
    }
    assert_eq!(delivered(&outcomes), 96);
    let mut stored = management.ids("large");
    stored.sort_unstable();
    stored.dedup();
    assert_eq!(stored.len(), 96);
    broker::control(broker, &["eval", "application:set_env(rabbit, max_message_size, 134217728)."]);
}
