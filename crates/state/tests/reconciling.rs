//! The declared subscriptions are taken over; nothing that was known is forgotten.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::cell::Cell;
use std::convert::Infallible;

use eventrelay_state::{Lifecycle, ReconcileError, Start, Subscription};
use support::{EMPTY_LOG, Home, checkpoint, declare, log_up_to, spec};

fn with_url(name: &str, url: &str) -> Subscription {
    let mut spec = spec(name);
    spec.sink.as_mut().unwrap().settings.insert("url".to_owned(), url.into());
    spec
}

#[tokio::test]
async fn a_changed_declaration_keeps_its_cursor() {
    let home = Home::new();
    let state = home.open(EMPTY_LOG).unwrap();
    let resolved = Cell::new(0);
    let reconcile = async |specs| {
        let resolve = async |start: Start| {
            resolved.set(resolved.get() + 1);
            assert_eq!(start, Start::Latest);
            Ok::<_, Infallible>(42)
        };
        state.reconcile(specs, resolve).await.unwrap()
    };
    let first = reconcile(vec![spec("a"), spec("b")]).await;
    assert_eq!((first.created.len(), first.changed.len(), first.orphaned.len()), (2, 0, 0));
    assert_eq!(state.position(first.created[0]).unwrap().progress.cursor(), 42);
    state.save(checkpoint(first.created[0], 50)).await.unwrap();

    let changed = Subscription { start: Start::Earliest, ..with_url("a", "http://new/") };
    let second = reconcile(vec![spec("c"), changed.clone()]).await;
    assert_eq!(
        second.declared.iter().map(|record| record.spec.name.as_str()).collect::<Vec<_>>(),
        ["c", "a"]
    );
    assert_eq!((second.changed.as_slice(), second.created.len()), (&first.created[..1], 1));
    assert_eq!(second.declared[1].spec, changed);
    assert_eq!(state.position(first.created[0]).unwrap().progress.cursor(), 50);
    assert_eq!(second.orphaned[0].spec.name, "b");
    assert_eq!(second.orphaned[0].lifecycle, Lifecycle::Orphaned);
    assert_eq!(resolved.get(), 3, "a start is resolved once, when the subscription is new");

    let third = reconcile(vec![spec("b")]).await;
    assert_eq!((third.declared[0].id, &third.declared[0].lifecycle), (first.created[1], &Lifecycle::Enabled));
}

#[tokio::test]
async fn an_operators_pause_stands_and_a_new_target_lifts_a_disablement() {
    let home = Home::new();
    let state = home.open(EMPTY_LOG).unwrap();
    let declare = async |specs| declare(&state, specs, 0).await;
    let records = declare(vec![with_url("paused", "http://1/"), with_url("gone", "http://1/")]).await;
    state.set_lifecycle(records[0].id, Lifecycle::Paused, None).await.unwrap();
    let disabled = Lifecycle::Disabled { reason: "410".to_owned() };
    state.set_lifecycle(records[1].id, disabled.clone(), None).await.unwrap();

    let same = declare(vec![with_url("paused", "http://1/"), with_url("gone", "http://1/")]).await;
    assert_eq!((&same[0].lifecycle, &same[1].lifecycle), (&Lifecycle::Paused, &disabled));
    let moved = declare(vec![with_url("paused", "http://2/"), with_url("gone", "http://2/")]).await;
    assert_eq!((&moved[0].lifecycle, &moved[1].lifecycle), (&Lifecycle::Paused, &Lifecycle::Enabled));
}

#[tokio::test]
async fn a_wrong_declaration_changes_nothing() {
    let home = Home::new();
    let state = home.open(EMPTY_LOG).unwrap();
    declare(&state, vec![spec("a")], 0).await;
    let reconcile = async |specs| state.reconcile(specs, async |_: Start| Err("no such offset")).await;
    let twice = reconcile(vec![spec("a"), spec("a")]).await.unwrap_err();
    assert!(matches!(&twice, ReconcileError::DeclaredTwice { name, .. } if name == "a"), "{twice}");
    assert!(matches!(reconcile(vec![spec("No")]).await, Err(ReconcileError::Invalid(_))));
    let unresolved = reconcile(vec![spec("b")]).await.unwrap_err();
    assert!(unresolved.to_string().contains("no such offset"), "{unresolved}");
    let stored = state.subscriptions().unwrap();
    assert_eq!((stored.len(), &stored[0].lifecycle), (1, &Lifecycle::Enabled));
}

#[tokio::test]
async fn a_new_subscription_is_durable_before_it_is_used() {
    let home = Home::new();
    let state = home.open(EMPTY_LOG).unwrap();
    let created = declare(&state, vec![spec("a")], 7).await;
    drop(state);
    let state = home.open(log_up_to(7)).unwrap();
    assert_eq!(state.subscriptions().unwrap(), created);
    assert_eq!(state.position(created[0].id).unwrap().progress.cursor(), 7);
}
