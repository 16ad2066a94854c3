//! Ids made from offsets: a repetition is refused, and nothing that has no entry counts as delivered.

use std::sync::Arc;
use std::time::Duration;

use eventrelay_event::json::Limits;
use eventrelay_event::{Data, Event};
use eventrelay_sinks::{CheckError, Delivery, Guarantee, Outcome, Owner, Purpose, Sink};
use serde_json::json;

use crate::broker_events::{
    batch, deliver, deliver_all, deliver_in_the_end, delivery, event, ids, owner, retried, until,
    within_patience,
};
use crate::components::Component;
use crate::raw_client::Reply;
use crate::server;

fn exactly_once(server: &Component) -> Arc<dyn Sink> {
    server::sink(server, &json!({"ids": "offset", "timeout_ms": 5000}))
}

fn with_purpose(mut batch: Vec<Delivery>, purpose: Purpose) -> Vec<Delivery> {
    batch.iter_mut().for_each(|delivery| delivery.purpose = purpose);
    batch
}

#[tokio::test]
async fn ids_are_offsets_and_a_repetition_adds_nothing() {
    let Some((server, mut raw)) = server::start() else { return };
    let sink = exactly_once(&server);
    assert!(sink.guarantee() == Guarantee::ExactlyOnce && sink.needs_strict_order());
    assert!(sink.keeps_order_within_batch());
    deliver_all(&sink, &batch("a", 0..3)).await;
    assert_eq!(raw.entry_ids("events"), ["0-1", "1-0", "2-0"]);
    deliver_all(&sink, &batch("a", 0..6)).await;
    // Another instance, as after a crash before the cursor was saved.
    let again = exactly_once(&server);
    deliver_all(&again, &batch("a", 2..8)).await;
    assert_eq!(raw.entry_ids("events"), ["0-1", "1-0", "2-0", "3-0", "4-0", "5-0", "6-0", "7-0"]);
    assert_eq!(raw.field("events", "eventrelay_id"), ids(&batch("a", 0..8)));
}

#[tokio::test]
async fn kills_in_the_middle_of_batches_leave_each_event_once_and_in_order() {
    let Some((mut server, _raw)) = server::start() else { return };
    let sink = exactly_once(&server);
    let all = Arc::new(batch("a", 0..1200));
    for (round, part) in all.chunks(100).enumerate() {
        let part: Arc<[Delivery]> = part.into();
        if round % 3 == 0 {
            deliver_in_the_end(&sink, &part).await;
            continue;
        }
        if round % 3 == 1 {
            // The answer will never come; whether the batch does is for the server to know.
            server.freeze();
        }
        let delivery = tokio::spawn({
            let (sink, part) = (Arc::clone(&sink), Arc::clone(&part));
            async move { deliver(&sink, &part).await }
        });
        tokio::time::timeout(Duration::from_millis(round as u64), std::future::pending::<()>())
            .await
            .unwrap_err();
        if round % 3 == 1 {
            server.thaw();
        }
        server.kill();
        delivery.await.unwrap();
        server.resume();
        deliver_in_the_end(&sink, &part).await;
    }
    let mut raw = server::connect_again(&server).await;
    assert_eq!(raw.field("events", "eventrelay_id"), ids(&all));
}

#[tokio::test]
async fn two_owners_of_one_stream_are_kept_apart() {
    let Some((server, mut raw)) = server::start() else { return };
    deliver_all(&exactly_once(&server), &batch("a", 0..3)).await;
    let others = [
        Owner { log_id: [7; 16], ..owner() },
        Owner { subscription: "other".to_owned(), ..owner() },
        Owner { tenant: "other".to_owned(), log_id: [7; 16], ..owner() },
    ];
    for other in others {
        let is_of_a_log = other.log_id != [0; 16];
        let sink = server::sink_of(&server, &json!({"ids": "offset"}), &other);
        let checked = within_patience(sink.check()).await;
        if is_of_a_log {
            assert!(
                matches!(&checked, Err(CheckError::Mismatch(why)) if why.contains("belongs to")),
                "{checked:?}"
            );
            let outcomes = deliver(&sink, &batch("b", 10..12)).await;
            assert!(outcomes.iter().all(|it| retried(it).contains("belongs to")), "{outcomes:?}");
        }
    }
    assert_eq!(raw.run(&["XLEN", "events"]), Reply::Number(3));
    assert_eq!(within_patience(exactly_once(&server).check()).await, Ok(()));
}

#[tokio::test]
async fn a_stream_with_entries_of_others_is_refused_and_an_empty_one_taken() {
    let Some((server, mut raw)) = server::start() else { return };
    raw.run(&["XADD", "events", "*", "a", "b"]);
    let sink = exactly_once(&server);
    let outcomes = deliver(&sink, &batch("a", 0..2)).await;
    assert!(outcomes.iter().all(|it| retried(it).contains("was there before")), "{outcomes:?}");
    assert!(matches!(within_patience(sink.check()).await, Err(CheckError::Mismatch(_))));
    assert_eq!(raw.run(&["EXISTS", "{events}:eventrelay"]), Reply::Number(0));
    raw.run(&["DEL", "events"]);
    raw.run(&["XGROUP", "CREATE", "events", "workers", "0", "MKSTREAM"]);
    assert_eq!(within_patience(sink.check()).await, Ok(()));
    deliver_all(&sink, &batch("a", 0..2)).await;
    assert_eq!(raw.entry_ids("events"), ["0-1", "1-0"]);
}

#[tokio::test]
async fn what_was_given_up_is_known_to_be_missing_after_a_crash() {
    let Some((server, mut raw)) = server::start() else { return };
    let sink = exactly_once(&server);
    deliver_all(&sink, &batch("a", 0..5)).await;
    raw.run(&["CONFIG", "SET", "maxmemory", "1"]);
    assert!(retried(&deliver(&sink, &batch("a", 5..6)).await[0]).contains("OOM"));
    raw.run(&["CONFIG", "SET", "maxmemory", "0"]);
    // The dispatcher gives 5 up and goes on, and crashes before it has saved that.
    deliver_all(&sink, &batch("a", 6..8)).await;
    assert_eq!(raw.entry_ids("events"), ["0-1", "1-0", "2-0", "3-0", "4-0", "6-0", "7-0"]);
    let again = exactly_once(&server);
    deliver_all(&again, &batch("a", 4..10)).await;
    let mut expected = raw.field("events", "eventrelay_id");
    assert_eq!(expected.len(), 10, "5 was not taken for a repetition");
    // What was passed is noted no more, so that a second crash adds nothing.
    deliver_all(&exactly_once(&server), &batch("a", 4..10)).await;
    assert_eq!(raw.field("events", "eventrelay_id"), expected);
    expected.sort_unstable();
    assert_eq!(expected, ids(&batch("a", 0..10)));
    deliver_all(&again, &batch("a", 10..11)).await;
    assert_eq!(raw.entry_ids("events").last().unwrap(), "10-0");
}

#[tokio::test]
async fn redrives_add_what_is_missing_and_replays_add_all_again() {
    let Some((server, mut raw)) = server::start() else { return };
    let sink = exactly_once(&server);
    let mut without_three = batch("a", 0..6);
    without_three.remove(3);
    deliver_all(&sink, &without_three).await;
    deliver_all(&sink, &with_purpose(batch("a", 2..4), Purpose::Redrive)).await;
    assert_eq!(raw.entry_ids("events"), ["0-1", "1-0", "2-0", "4-0", "5-0", "5-1"]);
    assert_eq!(raw.field("events", "eventrelay_id")[5], ids(&batch("a", 3..4))[0]);
    deliver_all(&sink, &with_purpose(batch("a", 0..2), Purpose::Replay)).await;
    deliver_all(&sink, &batch("a", 6..7)).await;
    assert_eq!(raw.entry_ids("events")[5..], ["5-1", "5-2", "5-3", "6-0"]);
}

#[tokio::test]
async fn entries_that_were_deleted_or_trimmed_are_not_delivered_again() {
    let Some((server, mut raw)) = server::start() else { return };
    let sink = exactly_once(&server);
    deliver_all(&sink, &batch("a", 0..10)).await;
    raw.run(&["XTRIM", "events", "MAXLEN", "0"]);
    deliver_all(&exactly_once(&server), &batch("a", 5..12)).await;
    assert_eq!(raw.entry_ids("events"), ["10-0", "11-0"]);
}

#[tokio::test]
async fn large_entries_do_not_keep_an_owner_from_its_stream() {
    let Some((server, mut raw)) = server::start() else { return };
    let large = |offset| {
        let data = Data::of_body(Some("text/plain"), vec![b'x'; 6 << 20].into(), &Limits::default());
        delivery(offset, &Event { data: data.unwrap(), ..event("a", offset) })
    };
    for offset in 0..3 {
        deliver_all(&exactly_once(&server), &[large(offset)]).await;
    }
    deliver_all(&exactly_once(&server), &with_purpose(vec![large(1)], Purpose::Redrive)).await;
    assert_eq!(raw.run(&["XLEN", "events"]), Reply::Number(3));
}

#[tokio::test]
async fn a_server_that_comes_back_empty_is_taken_over_again() {
    let Some((mut server, _raw)) = server::start() else { return };
    let sink = exactly_once(&server);
    deliver_all(&sink, &batch("a", 0..5)).await;
    server.kill();
    server.lose_everything();
    server.resume();
    let mut raw = server::connect_again(&server).await;
    until(async || deliver(&sink, &batch("a", 5..7)).await.iter().all(|it| *it == Outcome::Delivered)).await;
    assert_eq!(raw.entry_ids("events"), ["5-0", "6-0"]);
    // Lost while the connection stays.
    raw.run(&["FLUSHALL"]);
    deliver_all(&sink, &batch("a", 7..8)).await;
    assert_eq!(raw.entry_ids("events"), ["7-0"]);
    let stranger = server::sink_of(&server, &json!({"ids": "offset"}), &Owner { log_id: [7; 16], ..owner() });
    assert!(retried(&deliver(&stranger, &batch("a", 8..9)).await[0]).contains("belongs to"));
}

#[tokio::test]
async fn streams_named_by_events_each_have_their_owner() {
    let Some((server, mut raw)) = server::start() else { return };
    let sink = server::sink(&server, &json!({"ids": "offset", "stream": "{type}"}));
    assert!(!sink.keeps_order_within_batch());
    for delivery in [&batch("a", 0..1), &batch("b", 1..2), &batch("a", 2..3), &batch("x{y", 3..4)] {
        let outcomes = deliver(&sink, delivery).await;
        let is_rejected = matches!(&outcomes[0], Outcome::Reject { why } if why.contains("braces"));
        assert_eq!(is_rejected, delivery[0].event.event_type() == "x{y", "{outcomes:?}");
    }
    assert_eq!(
        (raw.entry_ids("a"), raw.entry_ids("b")),
        (vec!["0-1".into(), "2-0".into()], vec!["1-0".into()])
    );
    assert_eq!(raw.run(&["EXISTS", "{a}:eventrelay", "{b}:eventrelay"]), Reply::Number(2));
}
