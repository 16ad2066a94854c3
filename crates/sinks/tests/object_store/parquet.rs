//! Objects that are Parquet files, read again by DuckDB; and what is taken for one of them.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use bytes::Bytes;
use eventrelay_event::json::Limits;
use eventrelay_event::{Data, Event};
use eventrelay_sinks::{Delivery, Purpose};
use serde_json::{Value, json};

use crate::broker_events::{APPENDED_MICROS, batch, deliver, deliver_all, delivery, event, ids, retried};
use crate::components::Component;
use crate::stores::{Objects, Store, merged};

/// A reader that is not ours.
struct DuckDb(Component);

impl DuckDb {
    fn start() -> Option<Self> {
        Component::start("duckdb").map(Self)
    }

    /// The rows that a query gives.
    fn query(&self, query: &str) -> Vec<Value> {
        let mut stream = TcpStream::connect(self.0.address()).unwrap();
        writeln!(stream, "{}", query.replace('\n', " ")).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        match serde_json::from_str(&answer).unwrap() {
            Value::Array(rows) => rows,
            error => panic!("{query}: {error}"),
        }
    }

    /// What is selected of all Parquet objects together, in the order of their offsets.
    fn select(&self, columns: &str, objects: &Objects) -> Vec<Value> {
        let directory = tempfile::tempdir_in(self.0.directory()).unwrap();
        let objects = objects.iter().filter(|(key, _)| key.ends_with(".parquet"));
        for (index, (_, object)) in objects.enumerate() {
            std::fs::write(directory.path().join(format!("{index}.parquet")), object).unwrap();
        }
        let files = directory.path().display();
        self.query(&format!(r#"select {columns} from read_parquet('{files}/*.parquet') order by "offset""#))
    }

    fn offsets(&self, objects: &Objects) -> Vec<u64> {
        let rows = self.select(r#""offset""#, objects);
        rows.iter().map(|row| row["offset"].as_u64().unwrap()).collect()
    }
}

fn parquet(extra: &Value) -> Value {
    merged(json!({"content": "parquet"}), extra)
}

fn at(offsets: impl IntoIterator<Item = u64>) -> Vec<Delivery> {
    offsets.into_iter().map(|offset| delivery(offset, &event("order.created", offset))).collect()
}

/// With all that an event may have.
fn full(data: Option<Data>) -> Event {
    Event {
        id: Some("o-1/1".to_owned()),
        subject: Some("ü\"\n\u{1f600}".to_owned()),
        time: Some("2026-01-31T13:00:00.5+01:00".to_owned()),
        key: Some(String::new()),
        content_type: Some("application/vnd.order+json".to_owned()),
        data_schema: Some("https://example.com/order".to_owned()),
        headers: vec![("tenure".to_owned(), "\"7\"".to_owned()), ("b".to_owned(), String::new())],
        idempotency_key: Some("i-1".to_owned()),
        data,
        ..Event::new(eventrelay_event::Tenant::default(), "order.created".to_owned(), "/shop".to_owned())
    }
}

#[tokio::test]
async fn another_reader_finds_all_of_an_event() {
    let Some(duckdb) = DuckDb::start() else { return };
    let json = |text: &'static str| Data::json(Bytes::from_static(text.as_bytes()), &Limits::default());
    let batch = [
        delivery(5, &full(Some(json("{\"a\": [1.50,\n null]}").unwrap()))),
        delivery(1 << 50, &full(Some(Data::text("line\n\"\\ ü".to_owned())))),
    ];
    for compression in ["none", "gzip", "zstd"] {
        let store = Store::local();
        deliver_all(&store.sink(&parquet(&json!({"compression": compression}))), &batch).await;
        let columns = "* replace (epoch_us(received_at) as received_at)";
        let expected = |offset: u64, index: usize, data: &str| {
            json!({
                "offset": offset, "id": ids(&batch)[index], "tenant": "default", "type": "order.created",
                "source": "/shop", "subject": "ü\"\n\u{1f600}", "time": "2026-01-31T13:00:00.5+01:00",
                "received_at": APPENDED_MICROS, "key": "", "content_type": "application/vnd.order+json",
                "dataschema": "https://example.com/order", "client_id": "o-1/1", "idempotency_key": "i-1",
                "headers": r#"{"b":"","tenure":"\"7\""}"#, "data": data, "data_binary": null,
            })
        };
        let rows = duckdb.select(columns, &store.objects());
        let expected = [expected(5, 0, "{\"a\": [1.50,\n null]}"), expected(1 << 50, 1, r#""line\n\"\\ ü""#)];
        assert_eq!(rows, expected, "{compression}");
    }
}

#[tokio::test]
async fn columns_have_types_that_readers_know() {
    let Some(duckdb) = DuckDb::start() else { return };
    let store = Store::local();
    deliver_all(&store.sink(&parquet(&json!({}))), &at(0..1)).await;
    let types = "typeof(\"offset\") as a, typeof(id) as b, typeof(received_at) as c, typeof(data) as d, \
                 typeof(headers) as e, typeof(data_binary) as f, data->>'number' as g";
    let row = &duckdb.select(types, &store.objects())[0];
    let expected = json!({
        "a": "BIGINT", "b": "VARCHAR", "c": "TIMESTAMP WITH TIME ZONE", "d": "JSON", "e": "JSON", "f": "BLOB",
        "g": "0",
    });
    assert_eq!(row, &expected);
}

#[tokio::test]
async fn what_an_event_lacks_is_null() {
    let Some(duckdb) = DuckDb::start() else { return };
    let store = Store::local();
    let bare = Event { data: None, ..event("order.created", 0) };
    // Alone, and beside one that has it all.
    deliver_all(&store.sink(&parquet(&json!({"path": "bare"}))), &[delivery(0, &bare)]).await;
    let both = [delivery(1, &full(None)), delivery(2, &bare)];
    deliver_all(&store.sink(&parquet(&json!({"path": "both"}))), &both).await;
    let optional = "subject, time, key, content_type, dataschema, client_id, idempotency_key, headers, data, data_binary";
    let rows = duckdb.select(optional, &store.objects());
    let nulls = |row: &Value| row.as_object().unwrap().values().filter(|value| value.is_null()).count();
    assert_eq!(rows.iter().map(nulls).collect::<Vec<_>>(), [10, 2, 10], "{rows:?}");
}

#[tokio::test]
async fn binary_and_large_data_come_back_as_they_were() {
    let Some(duckdb) = DuckDb::start() else { return };
    let store = Store::local();
    let noise = |bytes: usize| {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_le_bytes()[3]
        };
        (0..bytes).map(|_| next()).collect::<Vec<_>>()
    };
    let large = noise(3_000_000);
    let text = format!("\"{}\"", "x".repeat(2_000_000));
    let data = |data| Event { data: Some(data), ..event("order.created", 0) };
    let batch = [
        delivery(0, &data(Data::binary(Bytes::from_static(b"PAR1\0\xff\n")))),
        delivery(1, &data(Data::binary(large.clone().into()))),
        delivery(2, &data(Data::json(text.clone().into(), &Limits::default()).unwrap())),
        delivery(3, &data(Data::binary(Bytes::new()))),
    ];
    deliver_all(&store.sink(&parquet(&json!({}))), &batch).await;
    deliver_all(&store.sink(&parquet(&json!({}))), &batch).await;
    let columns = "data_binary is null as none, hex(data_binary[:8]) as head, octet_length(data_binary) as bytes, \
                   sha256(data_binary) as hash, length(data) as chars";
    let rows = duckdb.select(columns, &store.objects());
    assert_eq!(rows.len(), 4);
    assert_eq!((&rows[0]["head"], &rows[0]["bytes"]), (&json!("5041523100FF0A"), &json!(7)));
    let hash = {
        use sha2::{Digest as _, Sha256};
        Sha256::digest(&large).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    assert_eq!((&rows[1]["bytes"], &rows[1]["hash"]), (&json!(3_000_000), &json!(hash)));
    assert_eq!((&rows[2]["none"], &rows[2]["chars"]), (&json!(true), &json!(text.len())));
    assert_eq!((&rows[3]["none"], &rows[3]["bytes"]), (&json!(false), &json!(0)));
}

#[tokio::test]
async fn each_event_is_in_one_object_whatever_is_repeated() {
    let Some(duckdb) = DuckDb::start() else { return };
    for store in Store::all() {
        let settings = parquet(&json!({}));
        let mut end = 0;
        for offsets in [0..10, 10..13, 5..20, 0..20, 19..21, 3..4, 0..40, 12..41] {
            deliver_all(&store.sink(&settings), &at(offsets.clone())).await;
            end = end.max(offsets.end);
        }
        assert_eq!(duckdb.offsets(&store.objects()), (0..end).collect::<Vec<_>>());
        assert_eq!(store.objects().len(), 6);
        // What lay between, as dead letters do.
        let sink = store.sink(&settings);
        deliver_all(&sink, &at([50, 51, 53])).await;
        for _ in 0..2 {
            let late = at([52]).into_iter().map(|late| Delivery { purpose: Purpose::Redrive, ..late });
            deliver_all(&sink, &late.collect::<Vec<_>>()).await;
            deliver_all(&store.sink(&settings), &at(40..60)).await;
        }
        assert_eq!(duckdb.offsets(&store.objects()), (0..60).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_batch_of_many_pages_is_found_again() {
    let Some(duckdb) = DuckDb::start() else { return };
    let store = Store::local();
    let offsets = 0..60_000;
    deliver_all(&store.sink(&parquet(&json!({}))), &at(offsets.clone())).await;
    deliver_all(&store.sink(&parquet(&json!({}))), &at(59_990..60_010)).await;
    let sums =
        duckdb.select("count(*) as n, sum(\"offset\")::bigint as s, 0 as \"offset\"", &store.objects());
    assert_eq!(sums, [json!({"n": 60_010, "s": (0..60_010_u64).sum::<u64>(), "offset": 0})]);
    assert_eq!(store.objects().len(), 2);
}

#[tokio::test]
async fn lines_and_parquet_beside_each_other_hide_nothing() {
    let Some(duckdb) = DuckDb::start() else { return };
    for store in Store::all() {
        let mut end = 10;
        for settings in [json!({}), parquet(&json!({})), json!({"compression": "none"}), parquet(&json!({}))]
        {
            deliver_all(&store.sink(&settings), &at(0..end)).await;
            end += 10;
        }
        let mut objects = store.objects();
        let mut offsets = duckdb.offsets(&objects);
        objects.retain(|key, _| !key.ends_with(".parquet"));
        for (key, object) in &objects {
            let lines = crate::stores::lines(key, object);
            offsets.extend(lines.iter().map(|line| line["offset"].as_u64().unwrap()));
        }
        offsets.sort_unstable();
        assert_eq!((offsets, objects.len()), ((0..40).collect::<Vec<_>>(), 2));
    }
}

#[tokio::test]
async fn at_least_once_the_same_batch_replaces_itself() {
    let Some(duckdb) = DuckDb::start() else { return };
    let store = Store::local();
    for _ in 0..2 {
        let sink = store.sink(&parquet(&json!({"exactly_once": false})));
        deliver_all(&sink, &batch("order.created", 0..20)).await;
    }
    assert_eq!(duckdb.offsets(&store.objects()), (0..20).collect::<Vec<_>>());
}

/// Something that ends as a Parquet file does, with this footer.
fn with_footer(footer: &[u8]) -> Vec<u8> {
    let length = u32::try_from(footer.len()).unwrap().to_le_bytes();
    [b"PAR1", footer, length.as_slice(), b"PAR1"].concat()
}

#[tokio::test]
async fn what_is_no_parquet_file_of_ours_is_not_taken_for_delivered_events() {
    let store = Store::local();
    let settings = parquet(&json!({}));
    deliver_all(&store.sink(&settings), &at(0..10)).await;
    let Store::Local(directory) = &store else { unreachable!() };
    let key = store.objects().into_keys().next().unwrap();
    assert!(key.ends_with(".parquet"), "{key}");
    let path = directory.path().join("archive").join(key);
    let whole = std::fs::read(&path).unwrap();
    let mut hostile = vec![
        b"hello\n".to_vec(),
        b"PAR1".to_vec(),
        b"PAR1PAR1".to_vec(),
        whole[..whole.len() - 3].to_vec(),
        // Its footer would be larger than all of it.
        [&whole[..whole.len() - 8], &[0xff; 4], b"PAR1"].concat(),
        // Structures in structures; a schema of 2^31 elements; booleans without end, ten thousand times.
        with_footer(&[0x1c; 60_000]),
        with_footer(&[0x15, 0x02, 0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07, 0x48]),
        with_footer(&[0x19, 0xf1, 0xff, 0xff, 0xff, 0xff, 0x07].repeat(9_000)),
        with_footer(&[]),
        with_footer(&[0]),
    ];
    if let Some(duckdb) = DuckDb::start() {
        let other = duckdb.0.directory().join("other.parquet");
        let copy = format!("copy (select 7::bigint as \"offset\") to '{}' (format parquet)", other.display());
        duckdb.query(&copy);
        hostile.push(std::fs::read(other).unwrap());
    }
    for object in hostile {
        std::fs::write(&path, &object).unwrap();
        let outcomes = deliver(&store.sink(&settings), &at(5..12)).await;
        for outcome in &outcomes {
            let why = retried(outcome);
            assert!(why.contains("00000000000000000000-") && why.contains("cannot be read"), "{why}");
        }
    }
    std::fs::write(&path, &whole).unwrap();
    deliver_all(&store.sink(&settings), &at(5..12)).await;
    assert_eq!(store.objects().len(), 2);
}
