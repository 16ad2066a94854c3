//! What consumers find in a stream.

use eventrelay_sinks::{Guarantee, Purpose};
use serde_json::json;

use crate::broker_events::{batch, deliver_all, delivery, event, ids};
use crate::raw_client::Reply;
use crate::server;

#[tokio::test]
async fn an_entry_has_the_attributes_and_the_data_byte_for_byte() {
    let Some((server, mut raw)) = server::start() else { return };
    let sink = server::sink(&server, &json!({}));
    let delivery = delivery(3, &event("order.created", 3));
    deliver_all(&sink, std::slice::from_ref(&delivery)).await;
    let id = delivery.event.id().to_string();
    let entries = raw.entries("events");
    assert_eq!(entries.len(), 1);
    let expected = [
        "specversion",
        "1.0",
        "id",
        &id,
        "source",
        "/shop",
        "type",
        "order.created",
        "datacontenttype",
        "application/json",
        "eventrelay_id",
        &id,
        "data",
        r#"{"number": 3}"#,
    ];
    // Without a time of the producer's there may be that of the append.
    let shown: Vec<_> = entries[0].1.chunks(2).filter(|field| field[0] != "time").flatten().collect();
    assert_eq!(shown, expected);
    assert_eq!(sink.guarantee(), Guarantee::AtLeastOnce);
    assert!(!sink.needs_strict_order() && sink.keeps_order_within_batch());
}

#[tokio::test]
async fn the_eventrail_preset_is_what_its_workers_read() {
    let Some((server, mut raw)) = server::start() else { return };
    let settings = json!({"servers": [format!("redis://{}", server.address())], "layout": "eventrail"});
    let sink = eventrelay_sinks::build(
        "redis",
        &settings,
        &crate::broker_events::owner(),
        &crate::broker_events::loopback(),
    )
    .unwrap();
    let mut again = delivery(4, &event("order.paid", 4));
    (again.attempt, again.purpose) = (3, Purpose::Replay);
    let deliveries = [delivery(3, &event("order.created", 3)), again];
    deliver_all(&sink, &deliveries).await;
    let ids = ids(&deliveries);
    let common = |id: &str, event_type: &str| {
        let fields = [
            "event_id",
            id,
            "event_type",
            event_type,
            "source",
            "/shop",
            "retry",
            "0",
            "created_at",
            "2026-01-31T12:00:00Z",
        ];
        fields.map(str::to_owned).to_vec()
    };
    let entries: Vec<_> = raw.entries("eventrail.events").into_iter().map(|(_, fields)| fields).collect();
    let mut replayed = common(&ids[1], "order.paid");
    replayed.extend(["replay".to_owned(), "1".to_owned()]);
    assert_eq!(entries, [common(&ids[0], "order.created"), replayed]);
    // Its workers find their group, and all that was there before they came.
    let read = ["XREADGROUP", "GROUP", "eventrail.cg", "api-1", "STREAMS", "eventrail.events", ">"];
    assert_eq!(raw.run(&read).list()[0].list()[1].list().len(), 2);
}

#[tokio::test]
async fn a_batch_keeps_its_order_and_streams_are_named_by_events() {
    let Some((server, mut raw)) = server::start() else { return };
    let sink = server::sink(&server, &json!({"stream": "events.{type}"}));
    assert!(!sink.keeps_order_within_batch(), "one stream may be refused and the next not");
    let mut mixed = batch("a", 0..300);
    mixed.extend(batch("b", 300..600));
    deliver_all(&sink, &mixed).await;
    let expected = ids(&mixed);
    assert_eq!(raw.field("events.a", "eventrelay_id"), expected[..300]);
    assert_eq!(raw.field("events.b", "eventrelay_id"), expected[300..]);
}

#[tokio::test]
async fn a_stream_is_trimmed_to_about_what_is_asked_for() {
    let Some((server, mut raw)) = server::start() else { return };
    raw.run(&["CONFIG", "SET", "stream-node-max-entries", "10"]);
    let sink = server::sink(&server, &json!({"max_len": 50}));
    for start in [0, 500] {
        deliver_all(&sink, &batch("order.created", start..start + 500)).await;
    }
    let length = raw.run(&["XLEN", "events"]).number();
    assert!((50..100).contains(&length), "{length}");
}

#[tokio::test]
async fn a_database_is_chosen_by_its_number() {
    let Some((server, mut raw)) = server::start() else { return };
    deliver_all(&server::sink(&server, &json!({"database": 3})), &batch("order.created", 0..2)).await;
    assert_eq!(raw.run(&["XLEN", "events"]), Reply::Number(0));
    raw.run(&["SELECT", "3"]);
    assert_eq!(raw.run(&["XLEN", "events"]), Reply::Number(2));
}

#[tokio::test]
async fn a_batch_is_one_write_of_the_servers() {
    let Some((server, mut raw)) = server::start() else { return };
    let sink = server::sink(&server, &json!({"create_group": "workers"}));
    deliver_all(&sink, &batch("order.created", 0..1)).await;
    let commands = |raw: &mut crate::raw_client::RawClient| {
        let info = raw.run(&["INFO", "commandstats"]).text().to_owned();
        let calls = |name: &str| {
            let line = info.lines().find(|line| line.starts_with(&format!("cmdstat_{name}:calls=")));
            line.map_or(0, |line| line.split(['=', ',']).nth(1).unwrap().parse::<u64>().unwrap())
        };
        (calls("exec"), calls("xadd"), calls("xgroup|create"))
    };
    let (execs, adds, groups) = commands(&mut raw);
    deliver_all(&sink, &batch("order.created", 1..1001)).await;
    assert_eq!(commands(&mut raw), (execs + 1, adds + 1000, groups + 1));
}
