//! The trace that an event belongs to, as W3C Trace Context (Recommendation, 2021) has it: `traceparent` and `tracestate`.
//!
//! An event keeps it as two of its headers, which are CloudEvents' distributed tracing extension, and takes it along on every
//! delivery. A trace is an aid and never a reason to refuse: one that is not valid counts as none, as the standard asks.

use crate::rules::MAX_HEADERS;
use crate::{Event, SpanId, StoredEvent, TraceId};

/// The header that names the trace and the caller's part of it.
pub const TRACEPARENT: &str = "traceparent";
/// The header with what tracing systems add.
pub const TRACESTATE: &str = "tracestate";
/// What the standard asks everybody to carry on; more may be left out, and is.
const MAX_TRACESTATE_BYTES: usize = 512;
/// `00-<trace id, 32>-<parent id, 16>-<flags, 2>`
const VERSION_00_BYTES: usize = 55;
/// More than any version that may come.
const MAX_TRACEPARENT_BYTES: usize = 256;
/// Flag: the caller records the trace.
const SAMPLED: u8 = 0x01;
/// The flags that are passed on: `sampled`, and `random` of level 2, which is about the trace's id. The others are to be zero.
const FLAGS_PASSED_ON: u8 = 0x03;

/// A valid trace context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext<'a> {
    /// The `traceparent` header's value.
    pub traceparent: &'a str,
    /// The `tracestate` header's value.
    pub tracestate: Option<&'a str>,
}

impl<'a> TraceContext<'a> {
    /// The context of these two values; `None` where there is none that is valid. A `tracestate` that is not valid is left out.
    #[must_use]
    pub fn parse(traceparent: &'a str, tracestate: Option<&'a str>) -> Option<Self> {
        is_traceparent(traceparent)
            .then(|| Self { traceparent, tracestate: tracestate.filter(|state| is_tracestate(state)) })
    }

    /// The context that an event carries.
    #[must_use]
    pub fn of(event: &'a StoredEvent) -> Option<Self> {
        let value = |wanted| event.headers().find(|(name, _)| *name == wanted).map(|(_, value)| value);
        Self::parse(value(TRACEPARENT)?, value(TRACESTATE))
    }

    /// The context that an event carries which is not stored yet.
    #[must_use]
    pub fn carried_by(event: &'a Event) -> Option<Self> {
        let value =
            |wanted| event.headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        Self::parse(value(TRACEPARENT)?, value(TRACESTATE))
    }

    /// The trace's name and that of the caller's span, when the caller records them.
    #[must_use]
    pub fn sampled(self) -> Option<(TraceId, SpanId)> {
        if self.flags()? & SAMPLED == 0 {
            return None;
        }
        let trace = u128::from_str_radix(self.traceparent.get(3..35)?, 16).ok()?;
        let parent = u64::from_str_radix(self.traceparent.get(36..52)?, 16).ok()?;
        Some((TraceId::new(trace.to_be_bytes())?, SpanId::new(parent.to_be_bytes())?))
    }

    /// The `traceparent` for whom comes next, when `span` is ours in this trace.
    #[must_use]
    pub fn traceparent_of(self, span: SpanId) -> String {
        let trace = self.traceparent.get(3..35).unwrap_or_default();
        let flags = self.flags().unwrap_or_default() & FLAGS_PASSED_ON;
        format!("00-{trace}-{span}-{flags:02x}")
    }

    fn flags(self) -> Option<u8> {
        u8::from_str_radix(self.traceparent.get(53..55)?, 16).ok()
    }

    /// Gives the context to an event that has none of its own and has room for it.
    pub fn apply(self, event: &mut Event) {
        let has_own = event.headers.iter().any(|(name, _)| name == TRACEPARENT || name == TRACESTATE);
        if has_own || event.headers.len() + 2 > MAX_HEADERS {
            return;
        }
        event.headers.push((TRACEPARENT.to_owned(), self.traceparent.to_owned()));
        if let Some(tracestate) = self.tracestate {
            event.headers.push((TRACESTATE.to_owned(), tracestate.to_owned()));
        }
    }
}

fn is_traceparent(text: &str) -> bool {
    let hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let zeros = |part: &str| part.bytes().all(|byte| byte == b'0');
    if !text.is_ascii() || text.len() > MAX_TRACEPARENT_BYTES || text.len() < VERSION_00_BYTES {
        return false;
    }
    let (known, rest) = text.split_at(VERSION_00_BYTES);
    let mut parts = known.split('-');
    let (Some(version), Some(trace), Some(parent), Some(flags), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let lengths = (version.len(), trace.len(), parent.len(), flags.len()) == (2, 32, 16, 2);
    // A later version may add to the end, after a hyphen; `ff` is none.
    let ends = rest.is_empty() || (version != "00" && rest.starts_with('-'));
    lengths
        && ends
        && version != "ff"
        && [version, trace, parent, flags].into_iter().all(hex)
        && !zeros(trace)
        && !zeros(parent)
}

fn is_tracestate(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_TRACESTATE_BYTES
        && text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tenant;

    /// The standard's own example.
    const EXAMPLE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn event() -> Event {
        Event::new(Tenant::default(), "t".to_owned(), "/s".to_owned())
    }

    #[test]
    fn what_the_standard_allows_is_taken_and_nothing_else() {
        let later = format!("cc{}-more", &EXAMPLE[2..]);
        for valid in [EXAMPLE, &later, &EXAMPLE.replace("-01", "-00")] {
            assert_eq!(
                TraceContext::parse(valid, None).map(|context| context.traceparent),
                Some(valid),
                "{valid}"
            );
        }
        for wrong in [
            "",
            "00",
            &EXAMPLE[..54],
            &format!("{EXAMPLE}-more"),
            &format!("cc{}more", &EXAMPLE[2..]),
            &EXAMPLE.replace("00-", "ff-"),
            &EXAMPLE.to_uppercase(),
            &EXAMPLE.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &EXAMPLE.replace("b7ad6b7169203331", &"0".repeat(16)),
            &EXAMPLE.replace('7', "g"),
            &EXAMPLE.replace("c-b", "-cb"),
            &"é".repeat(30),
        ] {
            assert_eq!(TraceContext::parse(wrong, None), None, "{wrong}");
        }
    }

    #[test]
    fn a_tracestate_goes_along_when_it_is_one() {
        let state = |state| TraceContext::parse(EXAMPLE, Some(state)).and_then(|context| context.tracestate);
        assert_eq!(state("congo=t61rcWkgMzE"), Some("congo=t61rcWkgMzE"));
        for wrong in ["", "a=b\r\nc: d", &"x".repeat(513)] {
            assert_eq!(state(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_sampled_trace_tells_its_names() {
        let sampled = |text: &str| TraceContext::parse(text, None).unwrap().sampled();
        let (trace, parent) = sampled(EXAMPLE).unwrap();
        assert_eq!(trace.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(parent.to_string(), "b7ad6b7169203331");
        for (flags, is_sampled) in [("-00", false), ("-02", false), ("-03", true), ("-ff", true)] {
            assert_eq!(sampled(&EXAMPLE.replace("-01", flags)).is_some(), is_sampled, "{flags}");
        }
    }

    #[test]
    fn a_span_of_ours_takes_the_callers_place() {
        let span = SpanId::new(*b"\0\0\0\0\0\0\0\x07").unwrap();
        let later = format!("cc{}-more", EXAMPLE[2..].replace("-01", "-ff"));
        let next = |text: &str| TraceContext::parse(text, None).unwrap().traceparent_of(span);
        assert_eq!(next(EXAMPLE), "00-0af7651916cd43dd8448eb211c80319c-0000000000000007-01");
        assert_eq!(next(&later), "00-0af7651916cd43dd8448eb211c80319c-0000000000000007-03");
    }

    #[test]
    fn an_event_keeps_its_own_and_takes_one_that_it_has_room_for() {
        let context = TraceContext::parse(EXAMPLE, Some("a=b")).unwrap();
        let mut without = event();
        context.apply(&mut without);
        let mut record = Vec::new();
        StoredEvent::encode(&without, &mut record);
        let stored = StoredEvent::decode(0, 0, record.into()).unwrap();
        assert_eq!(TraceContext::of(&stored), Some(context));

        assert_eq!(TraceContext::carried_by(&without), Some(context));

        let mut with = event();
        with.headers.push((TRACEPARENT.to_owned(), "its own".to_owned()));
        context.apply(&mut with);
        assert_eq!(with.headers.len(), 1);

        let mut full = event();
        full.headers = (0..MAX_HEADERS - 1).map(|n| (format!("h{n}"), String::new())).collect();
        context.apply(&mut full);
        assert_eq!(full.headers.len(), MAX_HEADERS - 1);
        full.check(&crate::EventLimits::default()).unwrap();
    }
}
