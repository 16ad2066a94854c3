//! Filters and transforms: what passes, what dies with a reason, and what stops the subscription.

use eventrelay_event::{Data, Event, StoredEvent, Tenant, json};

use super::*;

fn append(world: &World, json: &str) {
    let data = Data::json(json.to_owned().into(), &json::Limits::default()).unwrap();
    let event = Event::new(Tenant::default(), "t".to_owned(), "/test".to_owned());
    world.log.append(&Event { data: Some(data), ..event });
}

fn deliver_all(changes: serde_json::Value) -> World {
    World::new(spec(changes), 1, |_| Step::Deliver)
}

#[tokio::test(start_paused = true)]
async fn an_expression_chooses_and_what_is_missing_does_not_match() {
    let world = deliver_all(json!({ "filter": { "types": ["t"], "cel": "data.n >= 2" } }));
    for json in [r#"{"n":1}"#, r#"{"n":2}"#, "{}", "null", r#"{"n":3.5}"#] {
        append(&world, json);
    }
    let running = world.start();
    world.until_durable_cursor(5).await;
    assert_eq!(world.sink.delivered().into_iter().collect::<Vec<_>>(), [1, 4]);
    assert!(world.store.durable().dead_letters.is_empty());
    assert_eq!(running.stats.metrics.filter_missing.get(), 2);
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_that_the_filter_makes_no_sense_for_is_a_dead_letter() {
    let world = deliver_all(json!({ "filter": { "cel": "data.n >= 2" } }));
    for json in [r#"{"n":"two"}"#, r#"{"n":2}"#] {
        append(&world, json);
    }
    let running = world.start();
    world.until_durable_cursor(2).await;
    assert_eq!(world.sink.delivered().into_iter().collect::<Vec<_>>(), [1]);
    let letter = world.store.durable().dead_letters[&0].clone();
    assert_eq!(letter.reason, "the filter fails: line 1, column 8: `>=` does not take a string and an int");
    assert_eq!((letter.attempts, letter.event), (0, Some(world.log.payload(0))));
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn a_filter_that_fails_for_everything_stops_the_subscription() {
    let world = deliver_all(json!({ "filter": { "cel": "data.n >= 2" } }));
    for _ in 0..150 {
        append(&world, r#"{"n":"two"}"#);
    }
    let running = world.start();
    world.until_durable_cursor(100).await;
    settle_down().await;
    let RunState::FilterStopped { why } = running.run_state() else { panic!("{:?}", running.run_state()) };
    assert!(why.contains("event 100") && why.contains("100 events in a row"), "{why}");
    assert_eq!(world.store.durable().dead_letters.len(), 100);
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn over_budget_stops_at_the_event_and_skips_nothing_while_others_go_on() {
    let world = deliver_all(json!({ "filter": { "cel": "data.l.all(a, data.l.all(b, a == b))" } }));
    append(&world, r#"{"l":[1]}"#);
    append(&world, &format!(r#"{{"l":[{}]}}"#, vec!["1"; 2_000].join(",")));
    append(&world, r#"{"l":[2]}"#);
    let other = World { log: world.log.clone(), ..deliver_all(json!({})) };
    let (running, others) = (world.start(), other.start());
    other.until_delivered(0..3).await;
    world.until_delivered([0]).await;
    world
        .until("the subscription is stopped", || {
            matches!(running.run_state(), RunState::FilterStopped { .. })
        })
        .await;
    let RunState::FilterStopped { why } = running.run_state() else { panic!("{:?}", running.run_state()) };
    assert!(why.contains("event 1") && why.contains("steps"), "{why}");
    pass(Duration::from_secs(60)).await;
    assert_eq!(world.sink.delivered().into_iter().collect::<Vec<_>>(), [0]);
    running.resume();
    pass(Duration::from_secs(1)).await;
    assert!(matches!(running.run_state(), RunState::FilterStopped { .. }), "nothing has changed");
    running.crash().await;
    others.crash().await;

    let mended = World { spec: spec(json!({ "filter": { "cel": "data.l[0] > 0" } })), ..world };
    let running = mended.start();
    mended.until_delivered([1, 2]).await;
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn subscriptions_build_the_tree_of_an_event_once() {
    let first = deliver_all(json!({ "filter": { "cel": "data.n >= 0" } }));
    let mut running = Vec::new();
    for n in 0..20 {
        append(&first, &format!(r#"{{"n":{n}}}"#));
    }
    let worlds: Vec<World> = (0..100)
        .map(|n| World {
            log: first.log.clone(),
            chunks: first.chunks.clone(),
            documents: first.documents.clone(),
            ..deliver_all(json!({ "filter": { "cel": format!("data.n != {n}") } }))
        })
        .collect();
    running.extend(worlds.iter().map(World::start));
    for world in &worlds {
        world.until_durable_cursor(20).await;
    }
    assert_eq!(first.documents.built(), 20, "one for each event, not for each subscription");
    for running in running {
        running.crash().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_transform_changes_what_the_sink_sees_and_nothing_else() {
    let changes = json!({ "transform": "{'double': data.n * 2}" });
    let world = World::new(spec(changes), 10, |delivery| {
        let data = delivery.event.data().map(|(_, bytes)| bytes.to_vec());
        let is_right = data == Some(format!(r#"{{"double":{}}}"#, 2 * delivery.event.offset()).into_bytes());
        if !is_right || delivery.event.offset() == 2 { Step::Reject } else { Step::Deliver }
    });
    for n in 0..3 {
        append(&world, &format!(r#"{{"n":{n}}}"#));
    }
    append(&world, r#"{"n":null}"#);
    let running = world.start();
    world.until_durable_cursor(4).await;
    assert_eq!(world.sink.delivered().into_iter().collect::<Vec<_>>(), [0, 1]);
    let letters = world.store.durable().dead_letters;
    assert_eq!(letters[&2].event, Some(world.log.payload(2)), "as it is in the log");
    assert_eq!(letters[&3].event, Some(world.log.payload(3)));
    assert_eq!(
        letters[&3].reason,
        "the transform fails: line 1, column 19: `*` does not take null and an int"
    );
    assert!(world.sink.seen().iter().all(|seen| seen.offset != 3), "the sink never saw it");
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn a_retry_is_transformed_anew() {
    let attempts = json!({ "transform": "{'n': data.n}", "retry": { "max_attempts": 3 } });
    let world = World::new(spec(attempts), 1, |delivery| {
        let transformed: StoredEvent = delivery.event.clone();
        assert_eq!(transformed.content_type(), Some("application/json"));
        if delivery.attempt == 1 { Step::Retry } else { Step::Deliver }
    });
    append(&world, r#"{"n":1,"more":2}"#);
    let running = world.start();
    world.until_delivered([0]).await;
    assert_eq!(world.sink.seen().len(), 2);
    running.crash().await;
}

#[tokio::test(start_paused = true)]
async fn a_replay_is_filtered_and_ends_where_its_filter_costs_too_much() {
    let world = deliver_all(json!({ "filter": { "cel": "size(data.l) != 1" } }));
    append(&world, r#"{"l":[1]}"#);
    append(&world, r#"{"l":[1,2]}"#);
    append(&world, &format!(r#"{{"l":[{}]}}"#, vec!["1"; 2_000].join(",")));
    let running = world.start();
    world.until_durable_cursor(3).await;
    let before = world.sink.seen().len();
    let id = world.replay(&running, ReplayKind::Replay, 0..2, None).await;
    world.until_replay_is(id, &ReplayState::Done).await;
    let again: Vec<u64> = world.sink.seen()[before..].iter().map(|seen| seen.offset).collect();
    assert_eq!(again, [1], "the subscription's own filter holds");
    let costly = serde_json::from_value(json!({ "cel": "data.l.all(a, data.l.all(b, a == b))" })).unwrap();
    let id = world.replay_filtered(&running, ReplayKind::Replay, 0..3, None, costly).await;
    let failed = || matches!(world.store.durable().replays.get(&id), Some(it) if matches!(it.state, ReplayState::Failed { .. }));
    world.until("the replay fails", failed).await;
    assert_eq!(running.run_state(), RunState::Running, "the subscription itself goes on");
    running.crash().await;
}
