//! Damaged and made-up input to every decoder: none may panic, hang or believe it. The number of cases is bounded;
//! `EVENTRELAY_FUZZ_CASES` and `EVENTRELAY_FUZZ_SEED` change it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use eventrelay_event::{
    ContentKind, Event, EventLimits, StoredEvent, Tenant, cloudevents, filter::Filter, native,
};

const SEEDS: [&str; 6] = [
    r#"{"type":"order.created","source":"/shop","id":"1","time":"2026-01-31T12:00:00Z","headers":{"a":"b"},"data":{"a":[1,2.5e3,"\u00e9\ud83d\ude00"]}}"#,
    r#"[{"type":"t","source":"s","data_base64":"aGk="},{"type":"t","source":"s","content_type":"text/plain","data":"x\n"}]"#,
    "{\"type\":\"t\",\"source\":\"s\"}\n{\"type\":\"t\",\"source\":\"s\"}\n",
    r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","partitionkey":"k","ext":-1,"data":null}"#,
    r#"[{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"text/xml","data":"<a/>"}]"#,
    "\"%E2%82%AC \\\" \"",
];
const PIECES: [&str; 16] = [
    "\"",
    "\\",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\\u0000",
    "\\ud800",
    "1e999",
    "null",
    "\"type\":",
    "\u{feff}",
    "%C0%AF",
    "\n",
];

/// xorshift64*: enough to choose by, and the same everywhere.
struct Choices(u64);

impl Choices {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }

    fn mutated(&mut self, seed: &[u8]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            match self.below(6) {
                0 => bytes.truncate(at),
                1 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                2 if at < bytes.len() => drop(bytes.remove(at)),
                3 => {
                    let piece = PIECES[self.below(PIECES.len())];
                    bytes.splice(at..at, piece.bytes());
                }
                4 => {
                    let copy = bytes[at..(at + self.below(32)).min(bytes.len())].to_vec();
                    bytes.splice(at..at, copy);
                }
                _ => bytes.insert(at, b"\0\x1f\x7f\x80\xff\"\\"[self.below(7)]),
            }
        }
        bytes
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |value| value.parse().unwrap())
}

/// What was decoded must be safe to check, store and write, whatever it says.
fn use_events(events: &[Event]) {
    let filter = Filter::new(vec!["*a*".to_owned()], vec!["/*".to_owned()]).unwrap();
    for event in events {
        let _ = event.check(&EventLimits::default());
        let mut record = Vec::new();
        StoredEvent::encode(event, &mut record);
        if let Ok(stored) = StoredEvent::decode(1, 1, record.into()) {
            use_stored(&stored);
            assert!(stored.has_content_of(event));
            assert!(!filter.matches(&stored) || stored.source().starts_with('/'));
        }
    }
}

fn use_stored(stored: &StoredEvent) {
    let mut out = Vec::new();
    native::write_json(stored, &mut out);
    out.clear();
    cloudevents::write_cloudevent_json(stored, &mut out);
    assert_eq!(out.last(), Some(&b'}'));
}

#[test]
fn no_request_body_makes_a_panic() {
    let mut choices = Choices(setting("EVENTRELAY_FUZZ_SEED", 0x00e7_e27e));
    let (tenant, limits) = (Tenant::default(), EventLimits::default());
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..setting("EVENTRELAY_FUZZ_CASES", 20_000) {
        let seed = SEEDS[choices.below(SEEDS.len())];
        let body = Bytes::from(choices.mutated(seed.as_bytes()));
        let text = String::from_utf8_lossy(&body).into_owned();
        ContentKind::of(Some(&text), [text.as_str()].into_iter());
        let headers = [
            ("ce-specversion", &b"1.0"[..]),
            ("ce-id", &body),
            ("ce-source", b"/s"),
            ("ce-type", b"t"),
            (&text, b"v"),
        ];
        let answers = [
            native::decode(&body, &tenant, &limits),
            native::decode_lines(&body, &tenant, &limits),
            cloudevents::decode_structured(&body, &tenant, &limits),
            cloudevents::decode_batch(&body, &tenant, &limits),
            cloudevents::decode_binary(
                headers.into_iter(),
                Some("application/json"),
                body.clone(),
                &tenant,
                &limits,
            ),
        ];
        for answer in answers {
            match answer {
                Ok(decoded) => {
                    assert!(!decoded.events.is_empty());
                    use_events(&decoded.events);
                    taken += 1;
                }
                Err(error) => {
                    assert!(
                        !error.code().is_empty()
                            && error.position().is_none_or(|position| position <= body.len())
                    );
                    refused += 1;
                }
            }
        }
    }
    assert!(
        taken > 100 && refused > 100,
        "the cases are neither all good nor all bad: {taken} taken, {refused} refused"
    );
}

#[test]
fn no_record_makes_a_panic() {
    let mut choices = Choices(setting("EVENTRELAY_FUZZ_SEED", 0x57_0e7d));
    let body = Bytes::from_static(SEEDS[0].as_bytes());
    let decoded = native::decode(&body, &Tenant::default(), &EventLimits::default()).unwrap();
    let mut record = Vec::new();
    StoredEvent::encode(&decoded.events[0], &mut record);
    let mut refused = 0;
    for _ in 0..setting("EVENTRELAY_FUZZ_CASES", 20_000) {
        match StoredEvent::decode(1, 1, choices.mutated(&record).into()) {
            Ok(stored) => use_stored(&stored),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 100, "{refused} refused");
}
