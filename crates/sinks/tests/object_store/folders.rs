//! Which folder an event's object is in, whatever the event says.

use std::collections::BTreeSet;

use eventrelay_event::Event;
use eventrelay_sinks::{Delivery, Outcome};
use serde_json::json;

use crate::broker_events::{deliver, deliver_all, delivery, event, rejected};
use crate::stores::{Store, lines};

/// An event with a key, at an offset.
fn keyed(offset: u64, key: &str) -> Delivery {
    delivery(offset, &Event { key: Some(key.to_owned()), ..event("order.created", offset) })
}

const HOSTILE: [&str; 16] = [
    "../../etc/passwd",
    "..",
    "a/../../b",
    "%2e%2e%2f",
    "%2E%2e/",
    "%00",
    "a\\b",
    "a b+c&d=e",
    "#1",
    "?list-type=2",
    "~`'\"<>|*",
    "ü€\u{1f600}",
    "\u{202e}txt",
    " ",
    ".",
    "-",
];

#[tokio::test]
async fn a_value_is_one_folder_whatever_it_says_and_is_found_again() {
    for store in Store::all() {
        for subject in [false, true] {
            let hostile: Vec<_> = HOSTILE
                .into_iter()
                .zip(0..)
                .map(|(value, offset)| {
                    let plain = event("order.created", offset);
                    let event = if subject {
                        Event { subject: Some(value.to_owned()), ..plain }
                    } else {
                        Event { key: Some(value.to_owned()), ..plain }
                    };
                    delivery(offset, &event)
                })
                .collect();
            let settings = json!({"path": if subject { "v@1,2+3/s={subject}" } else { "v@1,2+3/k={key}" }});
            deliver_all(&store.sink(&settings), &hostile).await;
            let before = store.objects();
            // What was found under its name is not written again.
            deliver_all(&store.sink(&settings), &hostile).await;
            assert!(store.objects() == before, "something was not found again");
        }
        let objects = store.objects();
        assert_eq!(objects.len(), HOSTILE.len() * 2);
        for key in objects.keys() {
            let parts: Vec<_> = key.split('/').collect();
            assert_eq!((parts.len(), parts[0]), (3, "v@1,2+3"), "{key}");
            let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"=-_.%".contains(&byte);
            assert!(parts[1].bytes().all(legal), "{key}");
        }
        let values: BTreeSet<_> =
            objects.keys().map(|key| key.split('/').nth(1).unwrap().to_owned()).collect();
        for folder in
            ["k=..%2F..%2Fetc%2Fpasswd", "s=%252e%252e%252f", "k=%C3%BC%E2%82%AC%F0%9F%98%80", "s=%231"]
        {
            assert!(values.contains(folder), "{folder}: {values:?}");
        }
    }
}

#[tokio::test]
async fn a_value_that_makes_no_folder_is_refused_by_itself() {
    for store in Store::all() {
        // s3s-fs keeps a file with a longer name beside each object.
        let longest = if matches!(store, Store::S3(_)) { 80 } else { 255 };
        let sink = store.sink(&json!({"path": "a/{key}"}));
        let batch = [
            keyed(0, "x"),
            keyed(1, ""),
            keyed(2, "."),
            keyed(3, ".."),
            keyed(4, &"x".repeat(256)),
            keyed(5, &"ü".repeat(43)),
            keyed(6, &"x".repeat(longest)),
        ];
        let outcomes = deliver(&sink, &batch).await;
        for outcome in &outcomes[1..4] {
            assert!(rejected(outcome).contains("empty segment, or one of dots"), "{outcome:?}");
        }
        for outcome in &outcomes[4..6] {
            assert!(rejected(outcome).contains("longer than"), "{outcome:?}");
        }
        assert_eq!([&outcomes[0], &outcomes[6]], [&Outcome::Delivered; 2]);
        assert_eq!(store.offsets(), [0, 6]);
    }
}

#[tokio::test]
async fn a_batch_over_many_folders_is_one_object_in_each() {
    for store in Store::all() {
        let sink = store.sink(&json!({"path": "customer={key}", "compression": "none"}));
        let batch: Vec<_> = (0..600).map(|offset| keyed(offset, &format!("c{}", offset * 7 % 60))).collect();
        deliver_all(&sink, &batch).await;
        let objects = store.objects();
        assert_eq!(objects.len(), 60);
        for (key, bytes) in &objects {
            let offsets: Vec<_> =
                lines(key, bytes).iter().map(|line| line["offset"].as_u64().unwrap()).collect();
            assert!(offsets.len() == 10 && offsets.is_sorted(), "{key}: {offsets:?}");
            let customer = key.split_once('/').unwrap().0.to_owned();
            assert!(
                offsets.iter().all(|offset| format!("customer=c{}", offset * 7 % 60) == customer),
                "{key}"
            );
        }
        assert_eq!(store.offsets(), (0..600).collect::<Vec<_>>());
    }
}
