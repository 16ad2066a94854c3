//! The message that an event becomes, as CloudEvents' AMQP binding has it.
//!
//! | mode | headers | content type | body |
//! |---|---|---|---|
//! | binary | `cloudEvents_id`, `cloudEvents_source`, …: every attribute, as text | the event's own | the data, byte for byte |
//! | structured | none | `application/cloudevents+json` | the event in CloudEvents' JSON |
//!
//! Both are persistent (delivery mode 2) and have the event's id for their message id, its type for their type, and for
//! their timestamp the second at which the event was accepted.
//!
//! AMQP 0-9-1 bounds some parts: names and the content type by 255 bytes, and all properties and headers together by one
//! frame. An event that has more is refused, since to send it would cost the connection.

use std::collections::BTreeMap;

use bytes::Bytes;
use eventrelay_event::StoredEvent;
use eventrelay_event::cloudevents::attributes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};

use super::settings::{AttributePrefix, KIND, MAX_NAME_BYTES, Settings};
use crate::content_mode::{self, ContentMode, STRUCTURED_CONTENT_TYPE};
use crate::template::Template;
use crate::{SinkError, settings};

const PERSISTENT: u8 = 2;
/// The fixed fields of the properties: flags, sizes, content type, delivery mode, message id, timestamp, type.
const FIXED_PROPERTIES_BYTES: usize = 1024;
/// A header's own name length, type and value length.
const HEADER_OVERHEAD_BYTES: usize = 6;

/// A message, ready to be published.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) exchange: ShortString,
    pub(super) routing_key: ShortString,
    pub(super) properties: BasicProperties,
    pub(super) body: Bytes,
}

/// Makes messages of events.
#[derive(Debug)]
pub(super) struct MessageTemplate {
    /// None is the default exchange.
    exchange: Option<Template>,
    routing_key: Template,
    mode: ContentMode,
    prefix: AttributePrefix,
}

impl MessageTemplate {
    pub(super) fn new(settings: &Settings) -> Result<Self, SinkError> {
        let template = |field, text: &str| {
            let template = Template::parse(text);
            let template = template.map_err(|error| settings::refused(KIND, field, error.to_string()))?;
            if let Some(name) = template.fixed() {
                settings::within(KIND, field, &name.len(), 0..=MAX_NAME_BYTES)?;
            }
            Ok(template)
        };
        let exchange = &settings.exchange;
        Ok(Self {
            exchange: if exchange.is_empty() { None } else { Some(template("exchange", exchange)?) },
            routing_key: template("routing_key", &settings.routing_key)?,
            mode: settings.content_mode,
            prefix: settings.attribute_prefix,
        })
    }

    /// The exchange, where it is the same for every event; empty for the default one.
    pub(super) fn fixed_exchange(&self) -> Option<&str> {
        match &self.exchange {
            None => Some(""),
            Some(template) => template.fixed(),
        }
    }

    /// The routing key, where it is the same for every event.
    pub(super) fn fixed_routing_key(&self) -> Option<&str> {
        self.routing_key.fixed()
    }

    /// Makes the message of an event, or says why there is none. `frame_bytes` is the most that one frame may have.
    pub(super) fn message(&self, event: &StoredEvent, frame_bytes: usize) -> Result<Message, String> {
        let exchange = match &self.exchange {
            None => String::new(),
            Some(template) => template.render(event).map_err(|missing| missing.to_string())?,
        };
        let routing_key = self.routing_key.render(event).map_err(|missing| missing.to_string())?;
        let (headers, content_type, body) = match self.mode {
            ContentMode::Binary => {
                (self.headers(event, frame_bytes)?, event.content_type(), content_mode::binary_payload(event))
            }
            ContentMode::Structured => (
                BTreeMap::new(),
                Some(STRUCTURED_CONTENT_TYPE),
                content_mode::structured_payload(event).into(),
            ),
        };
        let mut properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_message_id(short("the id", event.id().to_string())?)
            .with_timestamp(event.append_time_micros() / 1_000_000)
            .with_headers(FieldTable::from(headers));
        if let Some(content_type) = content_type {
            properties = properties.with_content_type(short("the content type", content_type)?);
        }
        // The type is in the headers too: where AMQP has no room for it, nothing is lost.
        if let Ok(event_type) = ShortString::try_new(event.event_type()) {
            properties = properties.with_type(event_type);
        }
        let exchange = short("the exchange's name", exchange)?;
        Ok(Message { exchange, routing_key: short("the routing key", routing_key)?, properties, body })
    }

    fn headers(
        &self,
        event: &StoredEvent,
        frame_bytes: usize,
    ) -> Result<BTreeMap<ShortString, AMQPValue>, String> {
        let mut bytes = FIXED_PROPERTIES_BYTES;
        let mut headers = BTreeMap::new();
        for (attribute, value) in attributes(event) {
            let name = format!("{}{attribute}", self.prefix.text());
            bytes += name.len() + value.len() + HEADER_OVERHEAD_BYTES;
            if bytes > frame_bytes {
                return Err(format!(
                    "the event's attributes do not fit into an AMQP frame of {frame_bytes} bytes"
                ));
            }
            headers.insert(
                short("a header's name", name)?,
                AMQPValue::LongString(LongString::from(value.as_bytes())),
            );
        }
        Ok(headers)
    }
}

/// A text as AMQP has it for names.
fn short(what: &str, text: impl Into<String>) -> Result<ShortString, String> {
    let text = text.into();
    let bytes = text.len();
    ShortString::try_new(text)
        .map_err(|_| format!("{what} has {bytes} bytes; AMQP has room for {MAX_NAME_BYTES}"))
}

#[cfg(test)]
mod tests {
    use eventrelay_event::Event;
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{APPENDED_MICROS, event, stored};

    const FRAME: usize = 131_072;

    fn template(extra: &Value) -> Result<MessageTemplate, String> {
        let mut value = json!({"servers": ["amqp://a"], "exchange": "events", "routing_key": "{type}"});
        value.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let settings: Settings = serde_json::from_value(value).unwrap();
        MessageTemplate::new(&settings).map_err(|error| error.to_string())
    }

    fn header(message: &Message, name: &str) -> Option<String> {
        match message.properties.headers().as_ref()?.inner().get(name)? {
            AMQPValue::LongString(value) => Some(value.to_string()),
            other => panic!("{name} is {other:?}"),
        }
    }

    #[test]
    fn binary_mode_has_every_attribute_in_a_header_and_the_data_as_it_came() {
        let event = Event {
            id: Some("ü 1".to_owned()),
            key: Some("k".to_owned()),
            content_type: Some("application/json".to_owned()),
            ..event(br#"{"n": 1.0}"#)
        };
        let stored = stored(7, &event);
        let message = template(&json!({})).unwrap().message(&stored, FRAME).unwrap();
        assert_eq!((message.exchange.as_str(), message.routing_key.as_str()), ("events", "order.created"));
        assert_eq!(message.body, &br#"{"n": 1.0}"#[..]);
        for (name, value) in [
            ("cloudEvents_specversion", "1.0"),
            ("cloudEvents_id", "ü 1"),
            ("cloudEvents_source", "/shop"),
            ("cloudEvents_type", "order.created"),
            ("cloudEvents_partitionkey", "k"),
        ] {
            assert_eq!(header(&message, name).as_deref(), Some(value), "{name}");
        }
        let properties = &message.properties;
        assert_eq!(*properties.delivery_mode(), Some(2));
        assert_eq!(properties.message_id().as_ref().unwrap().as_str(), stored.id().to_string());
        assert_eq!(properties.content_type().as_ref().unwrap().as_str(), "application/json");
        assert_eq!(properties.kind().as_ref().unwrap().as_str(), "order.created");
        assert_eq!(*properties.timestamp(), Some(APPENDED_MICROS / 1_000_000));
        let colon = template(&json!({"attribute_prefix": "cloudEvents:"})).unwrap();
        assert_eq!(header(&colon.message(&stored, FRAME).unwrap(), "cloudEvents:id").as_deref(), Some("ü 1"));
    }

    #[test]
    fn structured_mode_has_the_event_in_the_body() {
        let template = template(&json!({"content_mode": "structured"})).unwrap();
        let message = template.message(&stored(7, &event(b"[1]")), FRAME).unwrap();
        let body: Value = serde_json::from_slice(&message.body).unwrap();
        assert_eq!((&body["type"], &body["data"]), (&json!("order.created"), &json!([1])));
        assert_eq!(message.properties.content_type().as_ref().unwrap().as_str(), STRUCTURED_CONTENT_TYPE);
        assert_eq!(header(&message, "cloudEvents_id"), None);
    }

    #[test]
    fn what_does_not_fit_into_amqp_is_refused() {
        let template = template(&json!({"routing_key": "{type}.{key}"})).unwrap();
        let refused = |event: &Event| template.message(&stored(7, event), FRAME).unwrap_err();
        assert!(refused(&event(b"1")).contains("no key"));
        let long = Event { key: Some("k".repeat(250)), ..event(b"1") };
        assert!(refused(&long).contains("the routing key has 264 bytes"));
        let keyed = || Event { key: Some("k".to_owned()), ..event(b"1") };
        let content_type = format!("text/{}", "x".repeat(251));
        assert!(
            refused(&Event { content_type: Some(content_type), ..keyed() })
                .contains("content type has 256 bytes")
        );
        let headers = |count| (0..count).map(|n| (format!("h{n}"), "x".repeat(4096))).collect();
        assert!(
            refused(&Event { headers: headers(40), ..keyed() }).contains("do not fit into an AMQP frame")
        );
        assert!(template.message(&stored(7, &Event { headers: headers(30), ..keyed() }), FRAME).is_ok());
    }

    #[test]
    fn names_that_are_the_same_for_all_are_known_and_bounded() {
        let default = template(&json!({"exchange": "", "routing_key": "queue"})).unwrap();
        assert_eq!((default.fixed_exchange(), default.fixed_routing_key()), (Some(""), Some("queue")));
        let made = template(&json!({"exchange": "{tenant}"})).unwrap();
        assert_eq!((made.fixed_exchange(), made.fixed_routing_key()), (None, None));
        for (field, text) in [("exchange", "x".repeat(256)), ("routing_key", "{nonsense}".to_owned())] {
            assert!(template(&json!({field: text})).unwrap_err().contains(&format!("`{field}`")));
        }
    }
}
