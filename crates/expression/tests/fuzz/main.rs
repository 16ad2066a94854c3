//! Made-up expressions on made-up data: each is refused, or evaluated, within a time.
//!
//! An input is an expression, a line feed and an event's data. How long this runs, and how to repeat a run, is said in
//! `eventrelay_fuzz`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use eventrelay_event::filter::Filter;
use eventrelay_event::{Data, Event, EventLimits, StoredEvent, Tenant, json};
use eventrelay_expression::{EventFilter, Reason, Subject, Transform, TransformError, Verdict};
use eventrelay_fuzz::Target;

/// For compiling and evaluating one input, without optimisation and on a busy machine.
const LIMIT: Duration = Duration::from_secs(2);

const WORDS: [&[u8]; 24] = [
    b"data",
    b".all(x, ",
    b".map(x, ",
    b".filter(y, ",
    b".exists(y, ",
    b"has(data.a)",
    b"event.type",
    b"event.headers",
    b".matches('(a*)*')",
    b" + ",
    b" == ",
    b" && ",
    b" || ",
    b" ? ",
    b" : ",
    b"[0]",
    b"'aaaaaaaa'",
    b".replace('a', 'aa')",
    b".split('')",
    b".join('x')",
    b"duration('1h')",
    b"9223372036854775807",
    b"1e308",
    b"[1,2,3,4,5,6,7,8]",
];

fn stored(data: &[u8]) -> StoredEvent {
    let data = Data::json(data.to_vec().into(), &json::Limits::default())
        .unwrap_or_else(|_| Data::binary(data.to_vec().into()));
    let event = Event::new(Tenant::default(), "order.created".to_owned(), "/shop".to_owned());
    let mut record = Vec::new();
    StoredEvent::encode(&Event { data: Some(data), ..event }, &mut record);
    StoredEvent::decode(1, 1, record.into()).unwrap()
}

fn reason(reason: Reason) -> &'static str {
    reason.name()
}

#[test]
fn fuzz_expressions() {
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/expression");
    let target = Target { name: "expression", corpus: &corpus, words: &WORDS, max_bytes: 8 << 10 };
    eventrelay_fuzz::fuzz(target, |input| {
        let input = String::from_utf8_lossy(input);
        let (cel, data) = input.rsplit_once('\n').unwrap_or((&input, "null"));
        let begun = Instant::now();
        let event = stored(data.as_bytes());
        let subject = Subject::alone(&event);
        let filtered = match EventFilter::new(Filter::default(), Some(cel)) {
            Err(error) => {
                assert!(!error.message.is_empty() && !error.to_string().is_empty());
                let words = error.message.split('`').next().unwrap_or_default().to_owned();
                return (words, "refused");
            }
            Ok(filter) => match filter.decide(&subject).verdict {
                Verdict::Match => "match",
                Verdict::NoMatch(_) => "no match",
                Verdict::Failed(error) | Verdict::OverBudget(error) => reason(error.reason),
            },
        };
        let transformed =
            match Transform::compile(cel).unwrap().apply(&subject, &EventLimits::default()).event {
                Ok(event) => {
                    let (_, data) = event.data().unwrap();
                    json::validate(data, &json::Limits::default()).unwrap();
                    "transformed"
                }
                Err(TransformError::Evaluation(error)) => reason(error.reason),
                Err(_) => "not written",
            };
        assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
        (filtered.to_owned(), transformed)
    });
}
