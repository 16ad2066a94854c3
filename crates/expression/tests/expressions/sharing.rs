//! One tree of an event's data for all who look at it, in bounded memory.

use eventrelay_expression::{DocumentCache, Subject};

use super::*;

fn at(offset: u64, json: &str) -> StoredEvent {
    let mut record = Vec::new();
    StoredEvent::encode(&event_with(Some(json_data(json))), &mut record);
    StoredEvent::decode(offset, RECEIVED_MICROS, record.into()).unwrap()
}

#[test]
fn a_hundred_filters_build_one_tree() {
    let cache = DocumentCache::new(1 << 20);
    let filters: Vec<_> = (0..100).map(|n| filter(&format!("data.n == {n}"))).collect();
    for offset in 0..50 {
        let event = at(offset, &format!(r#"{{"n":{offset}}}"#));
        let matches = filters
            .iter()
            .filter(|filter| filter.decide(&Subject::shared(&event, &cache)).verdict == Verdict::Match);
        assert_eq!(matches.count(), 1);
    }
    assert_eq!(cache.built(), 50, "one for each event");
}

#[test]
fn who_does_not_ask_for_data_builds_nothing() {
    let cache = DocumentCache::new(1 << 20);
    let event = at(1, r#"{"n":1}"#);
    for cel in [
        "event.type == 'order.created'",
        "event.type == 'other' && data.n == 1",
        "event.type.startsWith('x') ? data.n > 1 : true",
    ] {
        assert!(!matches!(filter(cel).decide(&Subject::shared(&event, &cache)).verdict, Verdict::Failed(_)));
    }
    assert_eq!((cache.built(), cache.bytes()), (0, 0));
}

#[test]
fn memory_is_bounded_and_the_latest_stay() {
    let limit = 64 << 10;
    let cache = DocumentCache::new(limit);
    let filter = filter("data.a[0] == 1");
    let ask = |event: &StoredEvent| filter.decide(&Subject::shared(event, &cache)).verdict;
    let json = format!(r#"{{"a":[{}]}}"#, vec!["1"; 50].join(","));
    for offset in 0..2_000 {
        assert_eq!(ask(&at(offset, &json)), Verdict::Match);
        assert!(cache.bytes() <= limit, "{}", cache.bytes());
    }
    assert!(cache.bytes() > limit / 2, "it is used: {}", cache.bytes());
    let built = cache.built();
    ask(&at(1_999, &json));
    assert_eq!(cache.built(), built, "the latest is there");
    ask(&at(0, &json));
    assert_eq!(cache.built(), built + 1, "the first is not");
    let large = format!(r#"{{"a":[{}]}}"#, vec!["1"; 50_000].join(","));
    assert_eq!(ask(&at(9_999, &large)), Verdict::Match);
    assert!(cache.bytes() <= limit, "one that is too large is not kept");
}

#[test]
fn threads_that_come_at_once_build_one_tree() {
    let cache = DocumentCache::new(1 << 20);
    let filter = filter("data.n >= 0");
    let events: Vec<_> = (0..200).map(|offset| at(offset, &format!(r#"{{"n":{offset}}}"#))).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for event in &events {
                    assert_eq!(filter.decide(&Subject::shared(event, &cache)).verdict, Verdict::Match);
                }
            });
        }
    });
    assert_eq!(cache.built(), 200);
}
