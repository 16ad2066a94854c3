//! The entry of a stream that an event becomes.
//!
//! | layout | fields, in this order |
//! |---|---|
//! | `cloudevents` | `specversion`, `id`, `source`, `type`, … : every attribute under its own name, `datacontenttype`, `eventrelay_id` (the event's id), `eventrelay_replay` = `1` where it is replayed, `data` as it came |
//! | `eventrail` | `event_id`, `event_type`, `source`, `retry` = `0`, `created_at`; `replay` = `1` where it is replayed |
//!
//! A dead letter has the fields of its event and some more:
//!
//! | layout | |
//! |---|---|
//! | `cloudevents` | `eventrelay_error`, `eventrelay_attempts`, `eventrelay_dead_at` |
//! | `eventrail` | `retry` is the number of retries; `dlq_at`, `error` |
//!
//! Times of `eventrail` are RFC 3339 in UTC, with whole seconds, as its workers read them. `retry` is the workers' own count of
//! what they tried, so what is new to them begins with 0, however often we tried to deliver it.

use std::borrow::Cow;

use eventrelay_event::cloudevents::attributes;
use eventrelay_event::{DataKind, Purpose, StoredEvent, Timestamp};
use redis::Cmd;

use super::settings::{KIND, Layout, Settings};
use crate::template::Template;
use crate::{DeadLetterCopy, Delivery, SinkError, settings};

const MAX_STREAM_BYTES: usize = 1024;
/// More than most entries have: name and value of each field, and what stands before them.
const USUAL_ARGUMENTS: usize = 32;
/// What the names of fields, ids and times have together.
const USUAL_OVERHEAD_BYTES: usize = 320;

/// Makes entries of events.
#[derive(Debug)]
pub(super) struct EntryTemplate {
    stream: Template,
    dead_letter_stream: Option<Template>,
    layout: Layout,
    max_len: Option<u64>,
    dead_letter_max_len: Option<u64>,
}

impl EntryTemplate {
    /// Reads the settings' templates.
    ///
    /// # Errors
    /// Names the field.
    pub(super) fn new(settings: &Settings) -> Result<Self, SinkError> {
        let template = |field, text: &str| {
            let template = Template::parse(text);
            template.map_err(|error| settings::refused(KIND, field, error.to_string()))
        };
        let stream = settings.stream().ok_or_else(|| {
            settings::refused(KIND, "stream", "must be given, but for the layout `eventrail`")
        })?;
        let dead_letter_stream = settings.dead_letter_stream();
        Ok(Self {
            stream: template("stream", stream)?,
            dead_letter_stream: dead_letter_stream
                .map(|text| template("dead_letter_stream", text))
                .transpose()?,
            layout: settings.layout,
            max_len: settings.max_len,
            dead_letter_max_len: settings.dead_letter_max_len,
        })
    }

    /// The stream, where it is the same for every event.
    pub(super) fn fixed_stream(&self) -> Option<&str> {
        self.stream.fixed()
    }

    /// Whether there is a stream for dead letters.
    pub(super) fn takes_dead_letters(&self) -> bool {
        self.dead_letter_stream.is_some()
    }

    /// The dead letters' stream, where it is the same for every event.
    pub(super) fn fixed_dead_letter_stream(&self) -> Option<&str> {
        self.dead_letter_stream.as_ref().and_then(Template::fixed)
    }

    /// The key of the stream that an event goes to, or why there is none.
    pub(super) fn stream(&self, event: &StoredEvent) -> Result<Cow<'_, str>, String> {
        name(&self.stream, event)
    }

    /// The key of the stream that a dead letter goes to, or why there is none.
    pub(super) fn dead_letter_stream(&self, event: &StoredEvent) -> Result<Cow<'_, str>, String> {
        let template = self.dead_letter_stream.as_ref().ok_or("no stream takes dead letters")?;
        name(template, event)
    }

    /// Appends an event to a stream. The id is `*`, for Redis to choose it, or one in full.
    pub(super) fn append(&self, delivery: &Delivery, stream: &str, id: &str) -> Cmd {
        let event = &delivery.event;
        let mut command = begin(event, stream, self.max_len, id);
        match self.layout {
            Layout::CloudEvents => cloudevents_fields(&mut command, event, delivery.purpose),
            Layout::Eventrail => eventrail_fields(&mut command, event, 0, delivery.purpose),
        }
        command
    }

    /// Appends a dead letter to a stream.
    pub(super) fn append_dead_letter(&self, letter: &DeadLetterCopy, stream: &str) -> Cmd {
        let event = &letter.event;
        let mut command = begin(event, stream, self.dead_letter_max_len, "*");
        match self.layout {
            Layout::CloudEvents => {
                cloudevents_fields(&mut command, event, Purpose::Live);
                command.arg("eventrelay_error").arg(&letter.reason);
                command.arg("eventrelay_attempts").arg(letter.attempts);
                command.arg("eventrelay_dead_at").arg(Timestamp(letter.dead_at_micros).to_string());
            }
            Layout::Eventrail => {
                let retries = letter.attempts.saturating_sub(1);
                eventrail_fields(&mut command, event, retries, Purpose::Live);
                command.arg("dlq_at").arg(whole_seconds(letter.dead_at_micros));
                command.arg("error").arg(&letter.reason);
            }
        }
        command
    }
}

/// The most bytes that one argument of an event's entry has.
pub(super) fn largest_argument_bytes(event: &StoredEvent) -> u64 {
    // All else is bounded far below any limit of Redis.
    event.data().map_or(0, |(_, data)| data.len() as u64)
}

fn name<'a>(template: &'a Template, event: &StoredEvent) -> Result<Cow<'a, str>, String> {
    let name = match template.fixed() {
        Some(name) => Cow::Borrowed(name),
        None => Cow::Owned(template.render(event).map_err(|missing| missing.to_string())?),
    };
    if (1..=MAX_STREAM_BYTES).contains(&name.len()) {
        Ok(name)
    } else {
        Err(format!("the stream's key has {} bytes, and must have 1 to {MAX_STREAM_BYTES}", name.len()))
    }
}

fn begin(event: &StoredEvent, stream: &str, max_len: Option<u64>, id: &str) -> Cmd {
    let bytes = event.encoded().len() + stream.len() + USUAL_OVERHEAD_BYTES;
    let mut command = Cmd::with_capacity(USUAL_ARGUMENTS, bytes);
    command.arg("XADD").arg(stream);
    if let Some(max_len) = max_len {
        command.arg("MAXLEN").arg("~").arg(max_len);
    }
    command.arg(id);
    command
}

fn cloudevents_fields(command: &mut Cmd, event: &StoredEvent, purpose: Purpose) {
    for (attribute, value) in attributes(event) {
        command.arg(attribute).arg(&*value);
    }
    let of_data = match event.data() {
        Some((DataKind::Json, _)) => Some("application/json"),
        Some((DataKind::Text, _)) => Some("text/plain; charset=utf-8"),
        Some((DataKind::Binary, _)) => Some("application/octet-stream"),
        None => None,
    };
    if let Some(content_type) = event.content_type().or(of_data) {
        command.arg("datacontenttype").arg(content_type);
    }
    command.arg("eventrelay_id").arg(event.id().to_string());
    if purpose == Purpose::Replay {
        command.arg("eventrelay_replay").arg("1");
    }
    if let Some((_, data)) = event.data() {
        command.arg("data").arg(&data[..]);
    }
}

fn eventrail_fields(command: &mut Cmd, event: &StoredEvent, retries: u32, purpose: Purpose) {
    command.arg("event_id").arg(event.id().to_string());
    command.arg("event_type").arg(event.event_type());
    command.arg("source").arg(event.source());
    command.arg("retry").arg(retries);
    command.arg("created_at").arg(whole_seconds(event.append_time_micros()));
    if purpose == Purpose::Replay {
        command.arg("replay").arg("1");
    }
}

/// `2026-01-31T12:00:00Z`
fn whole_seconds(micros: u64) -> String {
    let mut buffer = [0; Timestamp::CHARS];
    let text = Timestamp(micros).encode(&mut buffer);
    format!("{}Z", &text[..19])
}

#[cfg(test)]
mod tests {
    use eventrelay_event::Event;
    use redis::Arg;
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{APPENDED_MICROS, event, stored};

    fn template(extra: &Value) -> Result<EntryTemplate, String> {
        let mut value = json!({"servers": ["redis://a"], "stream": "events.{type}"});
        value.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let settings: Settings = serde_json::from_value(value).unwrap();
        EntryTemplate::new(&settings).map_err(|error| error.to_string())
    }

    fn delivery(event: &Event, purpose: Purpose) -> Delivery {
        Delivery { event: stored(7, event), attempt: 4, purpose, span: None, keep_exchange: false }
    }

    fn shown(command: &Cmd) -> Vec<String> {
        let text = |argument| match argument {
            Arg::Simple(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            _ => panic!("no argument is a cursor"),
        };
        command.args_iter().map(text).collect()
    }

    #[test]
    fn cloudevents_have_every_attribute_and_the_data_as_it_came() {
        let event = Event {
            id: Some("ü 1".to_owned()),
            key: Some("k".to_owned()),
            headers: vec![("traceparent".to_owned(), "00-x".to_owned())],
            ..event(br#"{"n": 1.0}"#)
        };
        let template = template(&json!({"max_len": 1000})).unwrap();
        let delivery = delivery(&event, Purpose::Live);
        let stream = template.stream(&delivery.event).unwrap();
        let id = delivery.event.id().to_string();
        assert_eq!(
            shown(&template.append(&delivery, &stream, "*")),
            [
                "XADD",
                "events.order.created",
                "MAXLEN",
                "~",
                "1000",
                "*",
                "specversion",
                "1.0",
                "id",
                "ü 1",
                "source",
                "/shop",
                "type",
                "order.created",
                "partitionkey",
                "k",
                "traceparent",
                "00-x",
                "datacontenttype",
                "application/json",
                "eventrelay_id",
                &id,
                "data",
                r#"{"n": 1.0}"#
            ]
        );
    }

    #[test]
    fn eventrail_has_its_five_fields_and_says_what_is_replayed() {
        let template = template(&json!({"layout": "eventrail"})).unwrap();
        let live = delivery(&event(b"1"), Purpose::Live);
        let id = live.event.id().to_string();
        let fields = [
            "event_id",
            &id,
            "event_type",
            "order.created",
            "source",
            "/shop",
            "retry",
            "0",
            "created_at",
            "2026-01-31T12:00:00Z",
        ];
        assert_eq!(shown(&template.append(&live, "s", "7-0"))[3..], fields);
        let replayed = template.append(&delivery(&event(b"1"), Purpose::Replay), "s", "*");
        assert_eq!(shown(&replayed)[13..], ["replay", "1"]);
    }

    #[test]
    fn a_dead_letter_says_why_and_when() {
        let letter = DeadLetterCopy {
            event: stored(7, &event(b"[1]")),
            attempts: 6,
            reason: "in vain".to_owned(),
            dead_at_micros: APPENDED_MICROS + 1_000_000,
        };
        let eventrail = template(&json!({"layout": "eventrail", "dead_letter_max_len": 5})).unwrap();
        let stream = eventrail.dead_letter_stream(&letter.event).unwrap();
        let fields = shown(&eventrail.append_dead_letter(&letter, &stream));
        assert_eq!(fields[..6], ["XADD", "eventrail.events.dlq", "MAXLEN", "~", "5", "*"]);
        assert_eq!(fields[12..14], ["retry", "5"]);
        assert_eq!(fields[16..], ["dlq_at", "2026-01-31T12:00:01Z", "error", "in vain"]);
        let default = template(&json!({"dead_letter_stream": "dead.{type}"})).unwrap();
        let fields = shown(&default.append_dead_letter(&letter, "dead"));
        let added = ["eventrelay_error", "in vain", "eventrelay_attempts", "6", "eventrelay_dead_at"];
        assert_eq!(fields[fields.len() - 6..fields.len() - 1], added);
        assert!(fields.contains(&"[1]".to_owned()));
    }

    #[test]
    fn a_stream_needs_a_key_of_some_bytes() {
        let keyed = template(&json!({"stream": "{key|}"})).unwrap();
        assert!(keyed.stream(&stored(7, &event(b"1"))).unwrap_err().contains("0 bytes"));
        let long = Event { key: Some("k".repeat(1025)), ..event(b"1") };
        assert!(keyed.stream(&stored(7, &long)).unwrap_err().contains("1025 bytes"));
        let missing = template(&json!({"stream": "{subject}"})).unwrap();
        assert!(missing.stream(&stored(7, &event(b"1"))).unwrap_err().contains("no subject"));
        assert!(template(&json!({"stream": "{nonsense}"})).unwrap_err().contains("`stream`"));
        assert!(
            template(&json!({"dead_letter_stream": "{x}"})).unwrap_err().contains("`dead_letter_stream`")
        );
        assert!(template(&json!({"stream": null})).unwrap_err().contains("must be given"));
    }
}
