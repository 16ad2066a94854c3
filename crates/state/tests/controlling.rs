//! Subscriptions that are made, changed and deleted one at a time, and the attempts that people look for.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use eventrelay_event::Purpose;
use eventrelay_state::{
    AttemptOutcome, AttemptQuery, AttemptRecord, Exchange, Lifecycle, Origin, Subscription,
    SubscriptionChangeError,
};
use support::{EMPTY_LOG, Home, checkpoint, declare, log_up_to, spec};

fn attempt(offset: u64, outcome: AttemptOutcome, started_at_micros: u64) -> AttemptRecord {
    AttemptRecord {
        offset,
        attempt: 1,
        purpose: Purpose::Replay,
        outcome,
        reason: String::new(),
        started_at_micros,
        took_micros: 5,
        response_status: None,
        response_body: None,
        response_truncated: false,
        exchange: None,
    }
}

#[tokio::test]
async fn each_change_gives_a_new_revision_and_an_old_one_changes_nothing() {
    let home = Home::new();
    let state = home.open(EMPTY_LOG).unwrap();
    let made = state.create_subscription(spec("a"), 0, Lifecycle::Enabled, None).await.unwrap();
    assert_eq!((made.origin, made.revision, made.start_offset), (Origin::Api, 1, 0));
    let again = state.create_subscription(spec("a"), 0, Lifecycle::Enabled, None).await.unwrap_err();
    assert_eq!(again, SubscriptionChangeError::Exists);

    let other = Subscription { description: "new".to_owned(), ..spec("a") };
    let changed =
        state.replace_subscription(made.id, 1, other.clone(), Lifecycle::Enabled, None).await.unwrap();
    assert_eq!((changed.revision, changed.spec.description.as_str()), (2, "new"));
    let late = state.replace_subscription(made.id, 1, spec("a"), Lifecycle::Enabled, None).await.unwrap_err();
    assert_eq!(late, SubscriptionChangeError::RevisionChanged { revision: 2 });
    assert_eq!(state.subscription("default", "a").unwrap().unwrap().spec, other);

    state.set_lifecycle(made.id, Lifecycle::Paused, None).await.unwrap();
    state.set_lifecycle(made.id, Lifecycle::Paused, None).await.unwrap();
    assert_eq!(
        state.subscription("default", "a").unwrap().unwrap().revision,
        3,
        "the second changed nothing"
    );
    assert!(state.delete_subscription(made.id, 2, None).await.is_err());
    state.delete_subscription(made.id, 3, None).await.unwrap();
    assert_eq!(state.subscription("default", "a").unwrap(), None);
    assert!(state.position(made.id).is_err(), "its cursor has gone with it");
    let gone = state.delete_subscription(made.id, 3, None).await.unwrap_err();
    assert_eq!(gone, SubscriptionChangeError::NotFound);
}

#[tokio::test]
async fn what_the_api_made_stays_until_the_configuration_declares_it() {
    let home = Home::new();
    let state = home.open(EMPTY_LOG).unwrap();
    let made = state.create_subscription(spec("made"), 0, Lifecycle::Enabled, None).await.unwrap();
    state.save(checkpoint(made.id, 7)).await.unwrap();
    state.close().await;

    let state = home.open(log_up_to(10)).unwrap();
    let resolve = async |_| Ok::<_, std::convert::Infallible>(3);
    let first = state.reconcile(vec![spec("declared")], resolve).await.unwrap();
    let names = |records: &[eventrelay_state::SubscriptionRecord]| -> Vec<String> {
        records.iter().map(|r| r.spec.name.clone()).collect()
    };
    assert_eq!(
        (names(&first.declared), names(&first.made_by_api)),
        (vec!["declared".into()], vec!["made".into()])
    );
    assert_eq!((first.orphaned.len(), &first.made_by_api[0].lifecycle), (0, &Lifecycle::Enabled));

    let taken_over = declare(&state, vec![spec("made")], 0).await;
    assert_eq!((taken_over[0].id, taken_over[0].origin), (made.id, Origin::Configuration));
    assert_eq!(state.position(made.id).unwrap().progress.cursor(), 7, "it goes on where it was");
    let declared = state.subscription("default", "declared").unwrap().unwrap();
    assert_eq!(declared.lifecycle, Lifecycle::Orphaned);
}

#[tokio::test]
async fn a_tenants_subscriptions_come_by_name_and_in_pages() {
    let home = Home::new();
    let state = home.open(EMPTY_LOG).unwrap();
    for name in ["c", "a", "b"] {
        state.create_subscription(spec(name), 0, Lifecycle::Enabled, None).await.unwrap();
    }
    let foreign: Subscription =
        serde_json::from_value(serde_json::json!({"name": "a2", "tenant": "acme"})).unwrap();
    state.create_subscription(foreign, 0, Lifecycle::Enabled, None).await.unwrap();
    let page = |after: &str, limit| -> Vec<String> {
        let found = state.subscriptions_of("default", after, limit).unwrap();
        found.into_iter().map(|record| record.spec.name).collect()
    };
    assert_eq!((page("", 2), page("b", 2)), (vec!["a".to_owned(), "b".to_owned()], vec!["c".to_owned()]));
    assert_eq!(state.subscription("acme", "a").unwrap(), None);
}

#[tokio::test]
async fn attempts_are_found_by_event_outcome_and_time_newest_first() {
    let home = Home::new();
    let state = home.open(EMPTY_LOG).unwrap();
    let id = declare(&state, vec![spec("a")], 0).await[0].id;
    let mut saved = checkpoint(id, 3);
    let exchange = Exchange {
        method: "POST".to_owned(),
        url: "https://example.com/".to_owned(),
        request_headers: vec![("webhook-id".to_owned(), "1".to_owned())],
        ..Exchange::default()
    };
    saved.attempts = vec![
        attempt(1, AttemptOutcome::Retry, 100),
        attempt(2, AttemptOutcome::Retry, 200),
        AttemptRecord { exchange: Some(exchange.clone()), ..attempt(1, AttemptOutcome::Delivered, 300) },
    ];
    state.save(saved).await.unwrap();
    let offsets = |query: AttemptQuery| -> Vec<u64> {
        state.attempts(id, &query, 10).unwrap().into_iter().map(|(_, attempt)| attempt.offset).collect()
    };
    assert_eq!(offsets(AttemptQuery::default()), [1, 2, 1]);
    assert_eq!(offsets(AttemptQuery { offset: Some(1), ..AttemptQuery::default() }), [1, 1]);
    assert_eq!(
        offsets(AttemptQuery { outcome: Some(AttemptOutcome::Retry), ..AttemptQuery::default() }),
        [2, 1]
    );
    let between = AttemptQuery { from_micros: Some(200), to_micros: Some(300), ..AttemptQuery::default() };
    assert_eq!(offsets(between), [2]);
    let newest = state.attempts(id, &AttemptQuery::default(), 1).unwrap().remove(0);
    assert_eq!(newest.1.exchange, Some(exchange));
    assert_eq!(offsets(AttemptQuery { before: Some(newest.0), ..AttemptQuery::default() }), [2, 1]);
    assert_eq!(state.attempt(id, newest.0).unwrap(), Some(newest.1));
}
