//! The message that an event becomes, as CloudEvents' NATS binding has it.
//!
//! | mode | headers | payload |
//! |---|---|---|
//! | binary | `ce-id`, `ce-source`, `ce-type`, `ce-datacontenttype`, …: every attribute, percent-encoded | the data, byte for byte |
//! | structured | `Content-Type: application/cloudevents+json` | the event in CloudEvents' JSON |
//!
//! Both have `Nats-Msg-Id`, and `Nats-Expected-Stream` where the settings name a stream. A replay is wanted although the
//! stream may have had it a moment ago, so each try of it has an id of its own.
//!
//! # Subjects
//! A subject has 1 to 1,024 bytes, in tokens with dots between; no token is empty, is a wildcard or holds white space or
//! control characters. An event whose fields make another subject is refused: a name made up for it would be found by
//! nobody.
//!
//! Subjects that begin with `$` or the prefix of answers are the server's own: a message to `$JS.API.STREAM.DELETE.…`
//! deletes a stream. So that no producer can write to them by the type of an event, they are refused wherever the
//! first token comes from the event; where the settings spell it out (`$KV.settings.{key}`), it is meant.

use async_nats::header::{HeaderMap, HeaderName, HeaderValue};
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use eventrelay_event::cloudevents::{attributes, encode_header_value};

use super::settings::{KIND, Settings};
use crate::content_mode::{self, ContentMode, STRUCTURED_CONTENT_TYPE};
use crate::template::Template;
use crate::{Delivery, Purpose, SinkError, settings};

const MAX_SUBJECT_BYTES: usize = 1024;

/// A message, ready to be published.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) subject: String,
    headers: HeaderMap,
    payload: Bytes,
}

impl Message {
    /// The subject, and what goes to it.
    pub(super) fn into_parts(self) -> (String, PublishMessage) {
        (self.subject, PublishMessage::build().headers(self.headers).payload(self.payload))
    }
}

/// Makes messages of events.
#[derive(Debug)]
pub(super) struct MessageTemplate {
    subject: Template,
    /// Whether the settings spell out the subject's first token.
    first_token_is_fixed: bool,
    message_id: Template,
    mode: ContentMode,
    stream: Option<String>,
    inbox_prefix: String,
}

impl MessageTemplate {
    pub(super) fn new(settings: &Settings) -> Result<Self, SinkError> {
        let template = |field, text| {
            Template::parse(text).map_err(|error| settings::refused(KIND, field, error.to_string()))
        };
        let template_of_messages = Self {
            subject: template("subject", &settings.subject)?,
            first_token_is_fixed: first_token(&settings.subject)
                .is_some_and(|token| !token.contains(['{', '}'])),
            message_id: template("message_id", &settings.message_id)?,
            mode: settings.content_mode,
            stream: settings.stream.clone(),
            inbox_prefix: settings.inbox_prefix.clone(),
        };
        template_of_messages.check(&settings.subject)?;
        Ok(template_of_messages)
    }

    /// The subject, where it is the same for every event.
    pub(super) fn fixed_subject(&self) -> Option<&str> {
        self.subject.fixed()
    }

    /// The stream that must take the messages, where the settings name one.
    pub(super) fn stream(&self) -> Option<&str> {
        self.stream.as_deref()
    }

    /// Makes the message of an event, or says why there is none.
    pub(super) fn message(&self, delivery: &Delivery) -> Result<Message, String> {
        let event = &delivery.event;
        let subject = self.subject.render(event).map_err(|missing| missing.to_string())?;
        self.check_subject(&subject).map_err(|why| format!("the subject {subject:?} {why}"))?;
        let mut headers = HeaderMap::new();
        let payload = match self.mode {
            ContentMode::Binary => {
                let content_type = event.content_type().map(|value| ("datacontenttype", value.into()));
                for (attribute, value) in attributes(event).chain(content_type) {
                    headers.insert(header_name(&format!("ce-{attribute}"))?, header_value(&value));
                }
                content_mode::binary_payload(event)
            }
            ContentMode::Structured => {
                headers.insert(header_name("Content-Type")?, header_value(STRUCTURED_CONTENT_TYPE));
                content_mode::structured_payload(event).into()
            }
        };
        headers.insert(async_nats::header::NATS_MESSAGE_ID, header_value(&self.message_id(delivery)?));
        if let Some(stream) = &self.stream {
            headers.insert(async_nats::header::NATS_EXPECTED_STREAM, header_value(stream));
        }
        Ok(Message { subject, headers, payload })
    }

    fn message_id(&self, delivery: &Delivery) -> Result<String, String> {
        let id = self.message_id.render(&delivery.event).map_err(|missing| missing.to_string())?;
        Ok(match delivery.purpose {
            Purpose::Live | Purpose::Redrive => id,
            Purpose::Replay => format!("{id}-replay-{:016x}", rand::random::<u64>()),
        })
    }

    /// Refuses what no event could make a subject of.
    fn check(&self, text: &str) -> Result<(), SinkError> {
        let refused = |why: &str| settings::refused(KIND, "subject", why);
        if let Some(subject) = self.fixed_subject() {
            self.check_subject(subject).map_err(refused)?;
        }
        if text.contains(['*', '>']) || text.chars().any(|it| it.is_whitespace() || it.is_control()) {
            return Err(refused("has a wildcard, white space or a control character"));
        }
        let first = first_token(text).unwrap_or(text);
        if self.first_token_is_fixed && (matches!(first, "$JS" | "$SYS") || first == self.first_inbox_token())
        {
            return Err(refused("is one of the server's own"));
        }
        Ok(())
    }

    fn check_subject(&self, subject: &str) -> Result<(), &'static str> {
        if subject.len() > MAX_SUBJECT_BYTES {
            return Err("has more than 1,024 bytes");
        }
        for token in subject.split('.') {
            if token.is_empty() {
                return Err("has an empty token");
            }
            if matches!(token, "*" | ">") {
                return Err("has a wildcard for a token");
            }
            if token.chars().any(|character| character.is_whitespace() || character.is_control()) {
                return Err("has white space or a control character");
            }
        }
        let first = first_token(subject).unwrap_or(subject);
        if !self.first_token_is_fixed
            && self.fixed_subject().is_none()
            && (first.starts_with('$') || first == self.first_inbox_token())
        {
            return Err("is one of the server's own");
        }
        Ok(())
    }

    fn first_inbox_token(&self) -> &str {
        first_token(&self.inbox_prefix).unwrap_or(&self.inbox_prefix)
    }
}

/// What stands before the first dot, if there is one.
fn first_token(text: &str) -> Option<&str> {
    text.split_once('.').map(|(first, _)| first)
}

/// A value as the binding has it: visible ASCII, so that no value can end a header or begin another.
fn header_value(value: &str) -> HeaderValue {
    HeaderValue::from(encode_header_value(value).into_owned())
}

fn header_name(name: &str) -> Result<HeaderName, String> {
    name.parse().map_err(|_| format!("{name:?} cannot be the name of a header"))
}

#[cfg(test)]
mod tests {
    use eventrelay_event::Event;
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{event, stored};

    fn template(extra: &Value) -> Result<MessageTemplate, String> {
        let mut value = json!({"servers": ["nats://a"], "subject": "events.{type}"});
        value.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let settings: Settings = serde_json::from_value(value).unwrap();
        MessageTemplate::new(&settings).map_err(|error| error.to_string())
    }

    fn delivery(event: &Event, purpose: Purpose) -> Delivery {
        Delivery { event: stored(7, event), attempt: 1, purpose, span: None, keep_exchange: false }
    }

    fn header(message: &Message, name: &str) -> Option<String> {
        message.headers.get(name).map(|value| value.as_str().to_owned())
    }

    #[test]
    fn binary_mode_has_every_attribute_in_a_header_and_the_data_as_it_came() {
        let event = Event {
            id: Some("ü 1".to_owned()),
            subject: Some("a\"b%c".to_owned()),
            key: Some("k".to_owned()),
            content_type: Some("application/json; charset=utf-8".to_owned()),
            headers: vec![("traceparent".to_owned(), "00-x".to_owned())],
            ..event(br#"{"n": 1.0}"#)
        };
        let message = template(&json!({})).unwrap().message(&delivery(&event, Purpose::Live)).unwrap();
        assert_eq!(message.subject, "events.order.created");
        assert_eq!(message.payload, &br#"{"n": 1.0}"#[..]);
        for (name, value) in [
            ("ce-specversion", "1.0"),
            ("ce-id", "%C3%BC%201"),
            ("ce-source", "/shop"),
            ("ce-type", "order.created"),
            ("ce-subject", "a%22b%25c"),
            ("ce-partitionkey", "k"),
            ("ce-traceparent", "00-x"),
            ("ce-datacontenttype", "application/json;%20charset=utf-8"),
            ("Nats-Msg-Id", &stored(7, &event).id().to_string()),
        ] {
            assert_eq!(header(&message, name).as_deref(), Some(value), "{name}");
        }
        assert_eq!(message.headers.len(), 9);
    }

    #[test]
    fn structured_mode_has_the_event_in_the_payload() {
        let template = template(&json!({"content_mode": "structured", "stream": "EVENTS"})).unwrap();
        let message = template.message(&delivery(&event(b"[1]"), Purpose::Live)).unwrap();
        let payload: Value = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!((&payload["type"], &payload["data"]), (&json!("order.created"), &json!([1])));
        assert_eq!(header(&message, "Content-Type").as_deref(), Some("application/cloudevents+json"));
        assert_eq!(header(&message, "Nats-Expected-Stream").as_deref(), Some("EVENTS"));
        assert_eq!(header(&message, "ce-id"), None);
    }

    #[test]
    fn a_repetition_has_the_same_id_and_each_replay_another() {
        let template = template(&json!({"message_id": "{id}-audit"})).unwrap();
        let id = |purpose| {
            let message = template.message(&delivery(&event(b"1"), purpose)).unwrap();
            header(&message, "Nats-Msg-Id").unwrap()
        };
        let live = id(Purpose::Live);
        assert_eq!(live, format!("{}-audit", stored(7, &event(b"1")).id()));
        assert_eq!(id(Purpose::Redrive), live);
        let (first, second) = (id(Purpose::Replay), id(Purpose::Replay));
        assert!(first.starts_with(&live) && second.starts_with(&live));
        assert!(first != live && first != second);
    }

    #[test]
    fn what_makes_no_subject_is_refused() {
        let template = template(&json!({"subject": "{type}.{key}"})).unwrap();
        let refused = |event_type: &str, key: Option<&str>| {
            let event =
                Event { event_type: event_type.to_owned(), key: key.map(str::to_owned), ..event(b"1") };
            template.message(&delivery(&event, Purpose::Live)).unwrap_err()
        };
        for (event_type, key, why) in [
            ("order", None, "no key"),
            ("order created", Some("k"), "white space"),
            ("order..created", Some("k"), "empty token"),
            ("order", Some("*"), "wildcard"),
            ("order", Some("a.>"), "wildcard"),
            (&"a.a".repeat(400), Some("k"), "1,024 bytes"),
            ("$JS.API.STREAM.DELETE", Some("ORDERS"), "server's own"),
            ("$KV.settings", Some("k"), "server's own"),
            ("_INBOX", Some("k"), "server's own"),
        ] {
            let error = refused(event_type, key);
            assert!(error.contains(why), "{event_type} {key:?}: {error}");
        }
    }

    #[test]
    fn settings_that_make_no_subject_are_refused() {
        for subject in [
            "a b",
            "a..b",
            ".a",
            "a.",
            "a.*",
            "a.>",
            "{type}.>",
            "$JS.API.{type}",
            "$SYS.x",
            "_INBOX.x",
            "a.{x}",
            "a\n",
        ] {
            let error = template(&json!({"subject": subject})).unwrap_err();
            assert!(error.contains("`subject`"), "{subject}: {error}");
        }
        let in_a_bucket = template(&json!({"subject": "$KV.settings.{type}"})).unwrap();
        let message = in_a_bucket.message(&delivery(&event(b"1"), Purpose::Live)).unwrap();
        assert_eq!(message.subject, "$KV.settings.order.created");
        assert!(template(&json!({"message_id": "{nonsense}"})).unwrap_err().contains("`message_id`"));
    }
}
