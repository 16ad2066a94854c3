//! An event as a Kafka message: CloudEvents 1.0's Kafka protocol binding.
//!
//! | part | `binary` | `structured` |
//! |---|---|---|
//! | key | the event's `key`; none where it has none | the same |
//! | value | the data, byte for byte; none (a tombstone, in a compacted topic) where it has none | the whole event as JSON |
//! | `content-type` | the data's | `application/cloudevents+json; charset=UTF-8` |
//! | `ce_…` | each attribute: `ce_specversion`, `ce_id`, `ce_source`, `ce_type`, …; the key is `ce_partitionkey` too | none |
//! | `eventrelay_id` | our id of the event, the same at every attempt: what to recognise a repetition by | the same |
//! | `eventrelay_replay` | `1` where it was asked for again by a replay | the same |
//!
//! `ce_id` is the producer's own id where it gave one; only `eventrelay_id` is ours in any case.

use std::borrow::Cow;
use std::collections::BTreeMap;

use eventrelay_event::cloudevents::{attributes, write_cloudevent_json};
use eventrelay_event::{DataKind, StoredEvent};
use rdkafka::message::{Header, OwnedHeaders};

use super::settings::{Format, KIND, Settings};
use crate::template::{MissingField, Template};
use crate::{Delivery, Purpose, SinkError, settings};

const CONTENT_TYPE: &str = "content-type";
const STRUCTURED: &str = "application/cloudevents+json; charset=UTF-8";
/// The event's id, in every message.
const ID_HEADER: &str = "eventrelay_id";
const REPLAY_HEADER: &str = "eventrelay_replay";
const RESERVED_PREFIXES: [&str; 2] = ["ce_", "eventrelay_"];

const MAX_HEADERS: usize = 32;
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// What Kafka takes for a topic's name.
const MAX_TOPIC_CHARS: usize = 249;

/// What goes to Kafka of an event.
pub(super) struct Message<'a> {
    pub(super) topic: &'a str,
    pub(super) key: Option<&'a str>,
    pub(super) value: Option<Cow<'a, [u8]>>,
    pub(super) headers: OwnedHeaders,
    /// Of key, value and headers.
    pub(super) bytes: usize,
}

/// Headers in the making.
struct HeaderList {
    native: OwnedHeaders,
    bytes: usize,
}

/// Makes messages of events.
#[derive(Debug)]
pub(super) struct MessageTemplate {
    topic: Template,
    format: Format,
    headers: Vec<(String, Template)>,
}

/// Why no message can be made of an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum MessageError {
    #[error(transparent)]
    Missing(#[from] MissingField),
    #[error(
        "`{0}` is no topic's name: 1 to {MAX_TOPIC_CHARS} of a-z, A-Z, 0-9, '.', '_' and '-', and not '.' or '..'"
    )]
    Topic(String),
}

impl MessageTemplate {
    /// Reads the settings' templates.
    ///
    /// # Errors
    /// Names the field.
    pub(super) fn new(settings: &Settings) -> Result<Self, SinkError> {
        let parse = |field: &str, text: &str| {
            Template::parse(text).map_err(|error| settings::refused(KIND, field, error.to_string()))
        };
        let topic = parse("topic", &settings.topic)?;
        if let Some(name) = topic.fixed() {
            check_topic(name).map_err(|error| settings::refused(KIND, "topic", error.to_string()))?;
        }
        Ok(Self { topic, format: settings.format, headers: headers(&settings.headers)? })
    }

    /// The topic, where it is the same for every event.
    pub(super) fn fixed_topic(&self) -> Option<&str> {
        self.topic.fixed()
    }

    /// The topic that an event goes to.
    ///
    /// # Errors
    /// When the event lacks what the template asks for, or names what cannot be a topic.
    pub(super) fn topic(&self, event: &StoredEvent) -> Result<Cow<'_, str>, MessageError> {
        if let Some(name) = self.topic.fixed() {
            return Ok(Cow::Borrowed(name));
        }
        let name = self.topic.render(event)?;
        check_topic(&name)?;
        Ok(Cow::Owned(name))
    }

    /// Makes a message to `topic` of an event.
    ///
    /// # Errors
    /// When the event lacks what a header's template asks for.
    pub(super) fn message<'a>(
        &self,
        delivery: &'a Delivery,
        topic: &'a str,
    ) -> Result<Message<'a>, MissingField> {
        let event = &delivery.event;
        // Without room for all of them librdkafka would copy the list again and again.
        let native = OwnedHeaders::new_with_capacity(self.headers.len() + 16);
        let mut headers = HeaderList { native, bytes: 0 }.add(ID_HEADER, &event.id().to_string());
        if delivery.purpose == Purpose::Replay {
            headers = headers.add(REPLAY_HEADER, "1");
        }
        let value = match self.format {
            Format::Binary => {
                headers = binary_headers(event, headers);
                event.data().map(|(_, bytes)| Cow::Borrowed(&bytes[..]))
            }
            Format::Structured => {
                headers = headers.add(CONTENT_TYPE, STRUCTURED);
                let mut json = Vec::with_capacity(event.encoded().len() * 2);
                write_cloudevent_json(event, &mut json);
                Some(Cow::Owned(json))
            }
        };
        for (name, template) in &self.headers {
            headers = match template.fixed() {
                Some(value) => headers.add(name, value),
                None => headers.add(name, &template.render(event)?),
            };
        }
        let key = event.key();
        let bytes = headers.bytes + key.map_or(0, str::len) + value.as_ref().map_or(0, |value| value.len());
        Ok(Message { topic, key, value, headers: headers.native, bytes })
    }
}

fn binary_headers(event: &StoredEvent, mut headers: HeaderList) -> HeaderList {
    let mut name = String::with_capacity(24);
    for (attribute, value) in attributes(event) {
        name.clear();
        name.push_str("ce_");
        name.push_str(attribute);
        headers = headers.add(&name, &value);
    }
    let of_data = match event.data() {
        Some((DataKind::Json, _)) => Some("application/json"),
        Some((DataKind::Text, _)) => Some("text/plain; charset=utf-8"),
        Some((DataKind::Binary, _)) => Some("application/octet-stream"),
        None => None,
    };
    match event.content_type().or(of_data) {
        Some(content_type) => headers.add(CONTENT_TYPE, content_type),
        None => headers,
    }
}

impl HeaderList {
    fn add(self, key: &str, value: &str) -> Self {
        let bytes = self.bytes + key.len() + value.len();
        Self { native: self.native.insert(Header { key, value: Some(value) }), bytes }
    }
}

fn check_topic(name: &str) -> Result<(), MessageError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let fits = (1..=MAX_TOPIC_CHARS).contains(&name.len()) && name.bytes().all(is_plain);
    if fits && !matches!(name, "." | "..") {
        return Ok(());
    }
    let shown = name.chars().filter(|shown| !shown.is_control()).take(MAX_TOPIC_CHARS).collect();
    Err(MessageError::Topic(shown))
}

fn headers(given: &BTreeMap<String, String>) -> Result<Vec<(String, Template)>, SinkError> {
    settings::within(KIND, "headers", &given.len(), 0..=MAX_HEADERS)?;
    let bytes: usize = given.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > MAX_HEADER_BYTES {
        let why = format!("{bytes} bytes together, more than {MAX_HEADER_BYTES}");
        return Err(settings::refused(KIND, "headers", why));
    }
    let mut taken = Vec::with_capacity(given.len());
    for (name, value) in given {
        let refused = |why: &str| settings::refused(KIND, format!("headers.{name}"), why);
        // Names have a case in Kafka, but whoever reads them may not care.
        let lower = name.to_ascii_lowercase();
        if lower == CONTENT_TYPE || RESERVED_PREFIXES.iter().any(|prefix| lower.starts_with(prefix)) {
            return Err(refused("this header cannot be set"));
        }
        if name.is_empty() || name.contains(char::is_control) {
            return Err(refused("not a header's name"));
        }
        let template = Template::parse(value).map_err(|error| refused(&error.to_string()))?;
        taken.push((name.clone(), template));
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use eventrelay_event::Event;
    use rdkafka::message::Headers as _;
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{event, stored};

    fn template(extra: &Value) -> Result<MessageTemplate, String> {
        let mut value = json!({"brokers": ["b"], "topic": "orders"});
        value.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let settings: Settings = settings::parse(KIND, &value).unwrap();
        MessageTemplate::new(&settings).map_err(|error| error.to_string())
    }

    fn delivery(event: &Event) -> Delivery {
        Delivery {
            event: stored(7, event),
            attempt: 1,
            purpose: Purpose::Live,
            span: None,
            keep_exchange: false,
        }
    }

    fn header_texts(message: &Message<'_>) -> Vec<String> {
        let text = |header: Header<'_, &[u8]>| {
            format!("{}={}", header.key, String::from_utf8_lossy(header.value.unwrap()))
        };
        let mut texts: Vec<_> = message.headers.iter().map(text).collect();
        texts.sort();
        texts
    }

    fn full() -> Event {
        Event {
            id: Some("o-1".to_owned()),
            key: Some("customer 1 ü".to_owned()),
            subject: Some("s".to_owned()),
            headers: vec![("traceparent".to_owned(), "00-1".to_owned())],
            ..event(b"{\"a\":1}")
        }
    }

    #[test]
    fn binary_mode_has_attributes_as_headers_and_the_data_as_value() {
        let template = template(&json!({"headers": {"x-team": "{tenant}/{key|none}"}})).unwrap();
        let delivery = delivery(&full());
        let message = template.message(&delivery, "orders").unwrap();
        assert_eq!((message.topic, message.key), ("orders", Some("customer 1 ü")));
        assert_eq!(message.value.as_deref(), Some(&b"{\"a\":1}"[..]));
        let id = format!("eventrelay_id={}", delivery.event.id());
        let mut expected = vec![
            "ce_id=o-1",
            "ce_partitionkey=customer 1 ü",
            "ce_source=/shop",
            "ce_specversion=1.0",
            "ce_subject=s",
            "ce_traceparent=00-1",
            "ce_type=order.created",
            "content-type=application/json",
            &id,
            "x-team=default/customer 1 ü",
        ];
        expected.sort_unstable();
        assert_eq!(header_texts(&message), expected);
    }

    #[test]
    fn structured_mode_has_the_whole_event_as_value() {
        let template = template(&json!({"format": "structured"})).unwrap();
        let delivery = delivery(&full());
        let message = template.message(&delivery, "orders").unwrap();
        let value: Value = serde_json::from_slice(&message.value.clone().unwrap()).unwrap();
        assert_eq!(value["partitionkey"], "customer 1 ü");
        assert_eq!((&value["data"], &value["id"]), (&json!({"a": 1}), &json!("o-1")));
        let headers = header_texts(&message);
        assert_eq!(headers[0], "content-type=application/cloudevents+json; charset=UTF-8");
        assert_eq!(headers.len(), 2, "{headers:?}");
    }

    #[test]
    fn without_data_and_key_there_is_neither_value_nor_key() {
        let template = template(&json!({})).unwrap();
        let delivery = delivery(&Event { data: None, ..event(b"1") });
        let message = template.message(&delivery, "orders").unwrap();
        assert_eq!((message.key, message.value.is_none()), (None, true));
        assert!(!header_texts(&message).iter().any(|header| header.starts_with("content-type")));
    }

    #[test]
    fn a_replay_says_so() {
        let template = template(&json!({})).unwrap();
        let delivery = Delivery { purpose: Purpose::Replay, ..delivery(&full()) };
        assert!(
            header_texts(&template.message(&delivery, "orders").unwrap())
                .contains(&"eventrelay_replay=1".to_owned())
        );
    }

    #[test]
    fn topics_are_named_by_events_as_far_as_kafka_takes_it() {
        let template = template(&json!({"topic": "{tenant}.{type}"})).unwrap();
        assert_eq!(template.fixed_topic(), None);
        let topic = |event_type: &str| {
            let delivery = delivery(&Event { event_type: event_type.to_owned(), ..event(b"1") });
            template.topic(&delivery.event).map(Cow::into_owned).map_err(|error| error.to_string())
        };
        assert_eq!(topic("order.created"), Ok("default.order.created".to_owned()));
        for event_type in ["order/created", "ü", "a b", &"x".repeat(250)] {
            assert!(topic(event_type).unwrap_err().contains("is no topic's name"), "{event_type}");
        }
        let by_subject = self::template(&json!({"topic": "{subject}"})).unwrap();
        let without = delivery(&event(b"1"));
        assert!(matches!(by_subject.topic(&without.event), Err(MessageError::Missing(_))));
    }

    #[test]
    fn names_that_are_ours_or_none_are_refused() {
        for (extra, field) in [
            (json!({"topic": "or ders"}), "topic"),
            (json!({"topic": ".."}), "topic"),
            (json!({"topic": "{data}"}), "topic"),
            (json!({"headers": {"CE_id": "x"}}), "headers.CE_id"),
            (json!({"headers": {"Content-Type": "x"}}), "headers.Content-Type"),
            (json!({"headers": {"eventrelay_id": "x"}}), "headers.eventrelay_id"),
            (json!({"headers": {"": "x"}}), "headers."),
            (json!({"headers": {"a\u{0}b": "x"}}), "headers.a"),
            (json!({"headers": {"a": "{nothing}"}}), "headers.a"),
            (json!({"headers": {"a": "x".repeat(16 * 1024)}}), "headers"),
        ] {
            let error = template(&extra).unwrap_err();
            assert!(error.contains(&format!("`{field}")), "{extra}: {error}");
        }
    }
}
