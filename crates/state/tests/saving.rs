//! What was answered is durable; what was not is whole or absent.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use bytes::Bytes;
use eventrelay_event::{Purpose, Tenant};
use eventrelay_state::{
    ApiKeyRecord, AttemptOutcome, AttemptQuery, AttemptRecord, DeadLetter, DeliveryState, Lifecycle,
    NewReplay, ReplayKind, ReplayState, Retrying, StateError, SubscriptionId,
};
use support::{EMPTY_LOG, Home, audit, audited, checkpoint, declare, log_up_to, spec};

fn retrying(offset: u64, attempts: u32) -> Retrying {
    Retrying {
        offset,
        attempts,
        panics: 0,
        due_at_micros: 5_000_000,
        first_failed_at_micros: 1_000_000,
        last_error: "connection refused".to_owned(),
        event_key: Some("customer-1".to_owned()),
        purpose: eventrelay_event::Purpose::Replay,
    }
}

fn dead_letter(offset: u64) -> DeadLetter {
    DeadLetter {
        offset,
        append_time_micros: Some(77),
        event: Some(Bytes::from_static(b"the event")),
        reason: "gave up".to_owned(),
        attempts: 12,
        first_failed_at_micros: 1,
        dead_at_micros: 2,
    }
}

fn attempt(offset: u64, body: Option<Bytes>) -> AttemptRecord {
    AttemptRecord {
        offset,
        attempt: 1,
        purpose: Purpose::Replay,
        outcome: AttemptOutcome::Retry,
        reason: "503".to_owned(),
        started_at_micros: 9,
        took_micros: 10,
        response_status: Some(503),
        response_body: body,
        response_truncated: false,
        exchange: None,
    }
}

#[tokio::test]
async fn a_checkpoint_is_read_back_after_a_restart_without_a_close() {
    let home = Home::new();
    let state = home.open(EMPTY_LOG).unwrap();
    let id = declare(&state, vec![spec("a")], 3).await[0].id;
    let mut saved = checkpoint(id, 10);
    saved.progress.settle_range(12..20);
    saved.retrying = vec![retrying(4, 1), retrying(8, 2)];
    saved.dead_letters = vec![dead_letter(5)];
    saved.attempts = vec![attempt(4, Some(Bytes::from(vec![b'x'; 5000]))), attempt(8, None)];
    state.save(saved.clone()).await.unwrap();
    drop(state); // as a killed process leaves it

    let state = home.open(log_up_to(20)).unwrap();
    let position = state.position(id).unwrap();
    assert_eq!((position.progress, position.retrying), (saved.progress, saved.retrying));
    assert_eq!(state.dead_letters(id, 0, 10).unwrap(), saved.dead_letters);
    assert_eq!(state.dead_letter_count(id).unwrap(), 1);
    let attempts = state.attempts(id, &AttemptQuery::default(), 10).unwrap();
    let attempts: Vec<_> = attempts.into_iter().map(|(_, attempt)| attempt).collect();
    assert_eq!(attempts.iter().map(|attempt| attempt.offset).collect::<Vec<_>>(), [8, 4], "newest first");
    assert_eq!(attempts[1].response_body.as_ref().unwrap().len(), AttemptRecord::RESPONSE_LIMIT_BYTES);
    assert!(attempts[1].response_truncated && !attempts[0].response_truncated);
}

#[tokio::test]
async fn a_retry_is_updated_and_then_over() {
    let home = Home::new();
    let state = home.open(EMPTY_LOG).unwrap();
    let id = declare(&state, vec![spec("a")], 0).await[0].id;
    let mut first = checkpoint(id, 1);
    first.retrying = vec![retrying(0, 1)];
    state.save(first).await.unwrap();
    let mut second = checkpoint(id, 1);
    second.retrying = vec![Retrying { due_at_micros: 99, ..retrying(0, 2) }];
    state.save(second).await.unwrap();
    let kept = state.position(id).unwrap().retrying;
    assert_eq!((kept.len(), kept[0].attempts, kept[0].due_at_micros), (1, 2, 99));
    let mut third = checkpoint(id, 1);
    third.no_longer_retrying = vec![0];
    third.dead_letters = vec![dead_letter(0), DeadLetter { reason: "again".to_owned(), ..dead_letter(0) }];
    state.save(third).await.unwrap();
    assert!(state.position(id).unwrap().retrying.is_empty());
    let letters = state.dead_letters(id, 0, 10).unwrap();
    assert_eq!((letters.len(), letters[0].reason.as_str()), (1, "again"), "one letter per event");
    let mut fourth = checkpoint(id, 1);
    let lost =
        DeadLetter { reason: "lost".to_owned(), append_time_micros: None, event: None, ..dead_letter(0) };
    fourth.dead_letters = vec![lost, DeadLetter { event: None, ..dead_letter(3) }];
    fourth.retrying = vec![retrying(0, 3)];
    state.save(fourth).await.unwrap();
    let letters = state.dead_letters(id, 0, 10).unwrap();
    assert_eq!((letters[0].reason.as_str(), &letters[0].event), ("lost", &dead_letter(0).event));
    assert_eq!((letters.len(), letters[0].append_time_micros), (2, Some(77)), "the copy is kept");
    assert_eq!(letters[1].event, None);
    let became = state.delivery_state(id, 0).unwrap();
    assert!(matches!(became, Some(DeliveryState::Retrying { .. })), "a letter stays while it is tried again");
    assert_eq!(Some(state.delivery_states(id, 0..4).unwrap().unwrap().of(0)), became);
}

#[tokio::test]
async fn kept_attempts_are_bounded_per_subscription() {
    let home = Home::new();
    let state = home.open(EMPTY_LOG).unwrap();
    let records = declare(&state, vec![spec("a"), spec("b")], 0).await;
    let mut quiet = checkpoint(records[1].id, 0);
    quiet.attempts = vec![attempt(1, None)];
    state.save(quiet).await.unwrap();
    let limit = AttemptRecord::KEPT_PER_SUBSCRIPTION;
    let mut busy = checkpoint(records[0].id, 0);
    busy.attempts = (0..u64::from(limit) + 50).map(|offset| attempt(offset, None)).collect();
    state.save(busy).await.unwrap();
    let kept = state.attempts(records[0].id, &AttemptQuery::default(), limit * 2).unwrap();
    assert_eq!((kept.len(), kept.last().unwrap().1.offset), (limit as usize, 50), "the newest stay");
    assert_eq!(
        state.attempts(records[1].id, &AttemptQuery::default(), 10).unwrap().len(),
        1,
        "the neighbour's stay too"
    );
}

#[tokio::test]
async fn a_failing_write_is_undone_alone() {
    let home = Home::new();
    let state = home.open(EMPTY_LOG).unwrap();
    let records = declare(&state, vec![spec("a"), spec("b")], 0).await;
    let mut bad = checkpoint(records[0].id, 5);
    bad.retrying = vec![Retrying { due_at_micros: u64::MAX, ..retrying(0, 1) }]; // more than SQLite's integers
    let (refused, saved) = tokio::join!(state.save(bad), state.save(checkpoint(records[1].id, 6)));
    assert!(matches!(refused, Err(StateError::Failed { .. })), "{refused:?}");
    saved.unwrap();
    assert_eq!(state.position(records[0].id).unwrap().progress.cursor(), 0, "its cursor did not move either");
    assert_eq!(state.position(records[1].id).unwrap().progress.cursor(), 6);
}

#[tokio::test]
async fn a_lifecycle_survives_and_a_closed_state_refuses() {
    let home = Home::new();
    let state = home.open(EMPTY_LOG).unwrap();
    let id = declare(&state, vec![spec("a")], 0).await[0].id;
    let disabled = Lifecycle::Disabled { reason: "410 Gone".to_owned() };
    state.set_lifecycle(id, disabled.clone(), None).await.unwrap();
    state.close().await;
    assert_eq!(state.set_lifecycle(id, Lifecycle::Enabled, None).await, Err(StateError::Closed));
    drop(state);
    let state = home.open(EMPTY_LOG).unwrap();
    assert_eq!(state.subscriptions().unwrap()[0].lifecycle, disabled);
}

#[tokio::test]
async fn what_a_checkpoint_says_of_the_target_comes_second_to_what_was_asked_for() {
    let home = Home::new();
    let state = home.open(EMPTY_LOG).unwrap();
    let id = declare(&state, vec![spec("a")], 0).await[0].id;
    let gone = Lifecycle::Disabled { reason: "410 Gone".to_owned() };
    let also_gone = Lifecycle::Disabled { reason: "404 Gone".to_owned() };
    let cases = [
        (&Lifecycle::Enabled, &gone, &gone),
        (&gone, &Lifecycle::Enabled, &Lifecycle::Enabled),
        (&gone, &also_gone, &gone),
        (&Lifecycle::Paused, &Lifecycle::Enabled, &Lifecycle::Paused),
        (&Lifecycle::Paused, &gone, &Lifecycle::Paused),
        (&Lifecycle::Orphaned, &Lifecycle::Enabled, &Lifecycle::Orphaned),
        (&Lifecycle::Orphaned, &gone, &Lifecycle::Orphaned),
        (&Lifecycle::Enabled, &Lifecycle::Paused, &Lifecycle::Enabled),
    ];
    for (stored, found, then) in cases {
        state.set_lifecycle(id, stored.clone(), None).await.unwrap();
        let before = state.subscriptions().unwrap()[0].revision;
        let mut saved = checkpoint(id, 1);
        saved.lifecycle = Some(found.clone());
        state.save(saved).await.unwrap();
        let record = state.subscriptions().unwrap().remove(0);
        assert_eq!(&record.lifecycle, then, "{found:?} over {stored:?}");
        assert_eq!(record.revision, before + u64::from(stored != then));
    }
}

#[tokio::test]
async fn what_became_of_an_event_is_told_from_cursors_and_exceptions() {
    let home = Home::new();
    let state = home.open(EMPTY_LOG).unwrap();
    let record = declare(&state, vec![spec("a")], 3).await.remove(0);
    assert_eq!(record.start_offset, 3);
    let mut saved = checkpoint(record.id, 10);
    saved.progress.settle_range(12..20);
    saved.retrying = vec![retrying(4, 1), retrying(15, 2)];
    saved.dead_letters = vec![dead_letter(5)];
    state.save(saved).await.unwrap();
    let state_of = |offset| state.delivery_state(record.id, offset).unwrap().unwrap();
    for settled in [6, 9, 12, 19] {
        assert_eq!(state_of(settled), DeliveryState::Settled, "{settled}");
    }
    for pending in [10, 11, 20, 1_000_000] {
        assert_eq!(state_of(pending), DeliveryState::Pending, "{pending}");
    }
    for (offset, attempts) in [(4, 1), (15, 2)] {
        let last_error = "connection refused".to_owned();
        assert_eq!(
            state_of(offset),
            DeliveryState::Retrying { attempts, due_at_micros: 5_000_000, last_error }
        );
    }
    let reason = "gave up".to_owned();
    assert_eq!(state_of(5), DeliveryState::Dead { attempts: 12, dead_at_micros: 2, reason });
    assert_eq!(state.delivery_state(SubscriptionId(record.id.0 + 1), 10).unwrap(), None);
}

#[tokio::test]
async fn api_keys_are_kept_by_their_hash_and_a_revocation_survives() {
    let home = Home::new();
    let state = home.open(EMPTY_LOG).unwrap();
    let key = |id: &str, hash: u8| ApiKeyRecord {
        id: id.to_owned(),
        secret_hash: [hash; 32],
        tenant: Tenant::default(),
        name: "the shop".to_owned(),
        scopes: vec!["publish".to_owned(), "read".to_owned()],
        created_at_micros: 1,
        expires_at_micros: Some(9),
        last_used_at_micros: None,
        revoked_at_micros: None,
    };
    state.create_api_key(key("a", 1), audit("api_key.create")).await.unwrap();
    state.create_api_key(key("b", 2), audit("api_key.create")).await.unwrap();
    assert!(
        state.create_api_key(key("c", 2), audit("api_key.create")).await.is_err(),
        "two keys cannot be one"
    );
    assert!(state.revoke_api_key("a".to_owned(), 7, audit("api_key.revoke")).await.unwrap());
    assert!(
        !state.revoke_api_key("a".to_owned(), 8, audit("api_key.revoke")).await.unwrap(),
        "it was revoked before"
    );
    assert!(!state.revoke_api_key("x".to_owned(), 8, audit("api_key.revoke")).await.unwrap());
    state.note_api_keys_used(vec![("b".to_owned(), 5)]).await.unwrap();
    drop(state); // as a killed process leaves it
    let state = home.open(EMPTY_LOG).unwrap();
    let revoked = ApiKeyRecord { revoked_at_micros: Some(7), ..key("a", 1) };
    let used = ApiKeyRecord { last_used_at_micros: Some(5), ..key("b", 2) };
    assert_eq!(state.api_keys().unwrap(), [revoked, used]);
    let done = ["api_key.revoke", "api_key.create", "api_key.create"];
    assert_eq!(audited(&state), done, "what changed nothing is not told");
}

#[tokio::test]
async fn a_replay_and_its_progress_are_read_back_and_a_dead_letter_goes_with_it() {
    let home = Home::new();
    let state = home.open(EMPTY_LOG).unwrap();
    let id = declare(&state, vec![spec("a")], 0).await[0].id;
    let request = NewReplay {
        subscription: id,
        kind: ReplayKind::Redrive,
        filter: serde_json::from_str(r#"{"types": ["order.*"]}"#).unwrap(),
        max_events_per_second: std::num::NonZeroU32::new(7),
        start_offset: 2,
        end_offset: 9,
    };
    let replay = state.create_replay(request.clone()).await.unwrap();
    assert_eq!((&replay.request, replay.progress.next_offset), (&request, 2));
    let mut saved = checkpoint(id, 10);
    saved.dead_letters = vec![dead_letter(3), dead_letter(4)];
    state.save(saved).await.unwrap();
    let mut progress = replay.progress.clone();
    (progress.next_offset, progress.delivered, progress.refused) = (5, 1, 1);
    progress.state = ReplayState::Failed { reason: "damage".to_owned() };
    let mut saved = checkpoint(id, 10);
    (saved.no_longer_dead, saved.replays) = (vec![3], vec![(replay.id, progress.clone())]);
    state.save(saved).await.unwrap();
    drop(state);

    let state = home.open(log_up_to(20)).unwrap();
    let read = state.replays(id).unwrap();
    assert_eq!((read.len(), &read[0].progress, &read[0].request), (1, &progress, &request));
    let dead: Vec<u64> = state.dead_letters(id, 0, 9).unwrap().iter().map(|letter| letter.offset).collect();
    assert_eq!(dead, [4]);
}
