//! What an object is named and what is in it.

use bytes::Bytes;
use eventrelay_event::{Data, Event};
use eventrelay_sinks::Outcome;
use serde_json::{Value, json};

use crate::broker_events::{batch, deliver, deliver_all, delivery, event, ids, rejected};
use crate::stores::{Store, lines};

const FOLDER: &str = "type=order.created/date=2026-01-31/hour=12";

#[tokio::test]
async fn an_object_holds_a_line_for_each_event_in_their_order() {
    for store in Store::all() {
        for (compression, ending) in [("none", "ndjson"), ("gzip", "ndjson.gz"), ("zstd", "ndjson.zst")] {
            for format in ["event", "cloudevents"] {
                let path = format!("{compression}/{format}/type={{type}}/date={{date}}/hour={{hour}}");
                let sink = store.sink(&json!({"compression": compression, "format": format, "path": path}));
                let batch = batch("order.created", 1200..1300);
                deliver_all(&sink, &batch).await;

                let folder = format!("{compression}/{format}/{FOLDER}/");
                let objects = store.objects();
                let (key, bytes) = objects.iter().find(|(key, _)| key.starts_with(&folder)).unwrap();
                let name = &key[folder.len()..];
                let (first, rest) = name.split_once('-').unwrap();
                let (owner, extension) = rest.split_once('.').unwrap();
                assert_eq!((first, owner.len(), extension), ("00000000000000001200", 12, ending), "{key}");
                let lines = lines(key, bytes);
                let found: Vec<_> = lines.iter().map(|line| line["id"].as_str().unwrap()).collect();
                assert_eq!(found, ids(&batch));
                let numbers: Vec<_> =
                    lines.iter().map(|line| line["data"]["number"].as_u64().unwrap()).collect();
                assert_eq!(numbers, (1200..1300).collect::<Vec<_>>());
            }
        }
        assert_eq!(store.objects().len(), 6);
    }
}

#[tokio::test]
async fn every_kind_of_data_comes_back_as_it_was() {
    let store = Store::local();
    let data = |data| Event { data, ..event("order.created", 0) };
    let events = [
        delivery(0, &data(None)),
        delivery(1, &data(Some(Data::text("line\nline\u{2028} \"\\ ü".to_owned())))),
        delivery(2, &data(Some(Data::binary(Bytes::from_static(b"\0\xff\n{\"offset\":7}\n"))))),
    ];
    for format in ["event", "cloudevents"] {
        deliver_all(&store.sink(&json!({"format": format, "path": format})), &events).await;
    }
    let objects = store.objects();
    let found: Vec<_> = objects.iter().map(|(key, bytes)| lines(key, bytes)).collect();
    let [cloudevents, events] = found.as_slice() else { panic!("{} objects", found.len()) };
    for lines in [cloudevents, events] {
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0].get("data"), None);
        assert_eq!(lines[1]["data"], "line\nline\u{2028} \"\\ ü");
        assert_eq!(lines[2]["data_base64"], "AP8KeyJvZmZzZXQiOjd9Cg==");
    }
    assert_eq!(events[2]["offset"], 2);
    assert_eq!(
        (&cloudevents[2]["eventrelayoffset"], &cloudevents[2]["specversion"]),
        (&json!("2"), &json!("1.0"))
    );
}

#[tokio::test]
async fn an_event_that_cannot_be_written_holds_up_no_neighbour() {
    let store = Store::local();
    let sink = store.sink(&json!({"format": "cloudevents", "path": "{key}"}));
    let keyed = |key: Option<&str>| Event { key: key.map(str::to_owned), ..event("order.created", 0) };
    let headers = vec![("eventrelayoffset".to_owned(), "7".to_owned())];
    let batch = [
        delivery(0, &keyed(Some("a"))),
        delivery(1, &keyed(None)),
        delivery(2, &keyed(Some(".."))),
        delivery(3, &Event { headers, ..keyed(Some("a")) }),
        delivery(4, &keyed(Some("a"))),
    ];
    let outcomes = deliver(&sink, &batch).await;
    assert!(rejected(&outcomes[1]).contains("no key"));
    assert!(rejected(&outcomes[2]).contains("of dots"));
    assert!(rejected(&outcomes[3]).contains("eventrelayoffset"));
    assert_eq!([&outcomes[0], &outcomes[4]], [&Outcome::Delivered; 2]);
    let objects = store.objects();
    let (key, bytes) = objects.iter().next().unwrap();
    let offsets: Vec<Value> = lines(key, bytes).iter().map(|line| line["eventrelayoffset"].clone()).collect();
    assert_eq!((objects.len(), offsets), (1, vec![json!("0"), json!("4")]));
}
