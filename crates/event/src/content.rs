//! What a retry must repeat: everything of an event but its trace context, which a client's tracing makes anew for
//! each try. The order of headers does not count, for a JSON object and a header block have none.

use std::hash::Hasher;

use smallvec::SmallVec;

use crate::{Data, DataKind, Event, StoredEvent, TRACEPARENT, TRACESTATE};

impl Event {
    /// Feeds the hasher with the content. Two events of the same content feed it the same bytes on every machine and
    /// in every release; of other events, other bytes.
    ///
    /// First, as a u64 LE each and one more than it is, so that what is absent counts 0: the length of each text field
    /// and of the data, the number of headers, and the lengths of their names and values. Then the data's kind; then
    /// the texts, the headers and the data themselves.
    pub fn hash_content(&self, hasher: &mut impl Hasher) {
        let fields = self.fields();
        let mut headers: SmallVec<[(&str, &str); 8]> = content_headers(self.headers()).collect();
        headers.sort_unstable();
        let header_lengths = headers.iter().flat_map(|(name, value)| [Some(name.len()), Some(value.len())]);
        let data_length = self.data.as_ref().map(|data| data.bytes().len());
        let lengths = fields
            .iter()
            .map(|field| field.map(str::len))
            .chain([data_length, Some(headers.len())])
            .chain(header_lengths);
        let mut head: SmallVec<[u8; 128]> = SmallVec::new();
        for length in lengths {
            head.extend_from_slice(&length.map_or(0, |length| length as u64 + 1).to_le_bytes());
        }
        head.push(match self.data.as_ref().map(Data::kind) {
            None => 0,
            Some(DataKind::Json) => 1,
            Some(DataKind::Text) => 2,
            Some(DataKind::Binary) => 3,
        });
        // One write, for a hasher takes longer over a write than over its bytes.
        hasher.write(&head);
        for text in
            fields.into_iter().flatten().chain(headers.into_iter().flat_map(|(name, value)| [name, value]))
        {
            hasher.write(text.as_bytes());
        }
        if let Some(data) = &self.data {
            hasher.write(data.bytes());
        }
    }

    fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl StoredEvent {
    /// Whether a publish of `event` is a repetition of the one that stored this.
    #[must_use]
    pub fn has_content_of(&self, event: &Event) -> bool {
        let data = event.data.as_ref().map(|data| (data.kind(), data.bytes()));
        self.fields() == event.fields() && self.data() == data && self.has_headers_of(event)
    }

    fn has_headers_of(&self, event: &Event) -> bool {
        // Names are unique within an event, so as many headers, each found, are the same headers.
        content_headers(self.headers()).count() == content_headers(event.headers()).count()
            && content_headers(self.headers()).all(|header| event.headers().any(|other| other == header))
    }
}

fn content_headers<'a>(
    headers: impl Iterator<Item = (&'a str, &'a str)>,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    headers.filter(|(name, _)| !matches!(*name, TRACEPARENT | TRACESTATE))
}

#[cfg(test)]
mod tests {
    use std::hash::DefaultHasher;

    use bytes::Bytes;

    use super::*;
    use crate::Tenant;

    fn event() -> Event {
        let mut event = Event::new(Tenant::default(), "order.created".to_owned(), "/shop".to_owned());
        event.id = Some("1".to_owned());
        event.headers = vec![header("a", "1"), header("b", "2"), header("traceparent", "00-x")];
        event.data = Some(Data::text("hello".to_owned()));
        event
    }

    fn header(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    fn hash(event: &Event) -> u64 {
        let mut hasher = DefaultHasher::new();
        event.hash_content(&mut hasher);
        hasher.finish()
    }

    fn stored(event: &Event) -> StoredEvent {
        let mut record = Vec::new();
        StoredEvent::encode(event, &mut record);
        StoredEvent::decode(0, 0, record.into()).unwrap()
    }

    #[test]
    fn a_retry_may_change_its_trace_and_the_order_of_headers() {
        let first = event();
        let mut retry = event();
        retry.headers = vec![header("tracestate", "y"), header("b", "2"), header("a", "1")];
        assert_eq!(hash(&first), hash(&retry));
        assert!(stored(&first).has_content_of(&retry));
    }

    #[test]
    fn a_change_of_any_other_part_is_seen() {
        type Change = fn(&mut Event);
        let changes: [Change; 17] = [
            |event| event.tenant = Tenant::parse("other").unwrap(),
            |event| event.event_type.push('x'),
            |event| event.source.push('x'),
            |event| event.id = None,
            |event| event.subject = Some(String::new()),
            |event| event.time = Some("x".to_owned()),
            |event| event.key = Some("1".to_owned()),
            |event| event.content_type = Some("1".to_owned()),
            |event| event.data_schema = Some("1".to_owned()),
            |event| event.idempotency_key = Some("1".to_owned()),
            |event| event.headers[0].1.push('x'),
            |event| event.headers[0].0.push('x'),
            |event| event.headers[0] = header("traceparent2", "x"),
            |event| event.headers.truncate(1),
            |event| event.data = None,
            |event| event.data = Some(Data::binary(Bytes::from_static(b"hello"))),
            |event| event.data = Some(Data::text("hellO".to_owned())),
        ];
        for (index, change) in changes.iter().enumerate() {
            let mut other = event();
            change(&mut other);
            assert_ne!(hash(&event()), hash(&other), "change {index}");
            assert!(!stored(&event()).has_content_of(&other), "change {index}");
            assert!(stored(&other).has_content_of(&other), "change {index}");
        }
    }
}
