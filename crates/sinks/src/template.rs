//! Names that are made from an event: a topic, a subject, a routing key, a path.
//!
//! ```text
//! orders.{type}            {subject|none}            {tenant}/{date}/{hour}            {{braces}}
//! ```
//!
//! | field | |
//! |---|---|
//! | `{type}`, `{source}`, `{tenant}`, `{id}`, `{offset}` | every event has them |
//! | `{subject}`, `{key}` | an event without one is refused, unless a word for that case is given: `{key\|none}` |
//! | `{date}`, `{hour}` | when it was accepted, in UTC: `2026-01-31`, `12` |

use std::fmt::Write;

use eventrelay_event::{StoredEvent, Timestamp};

/// The most bytes of a template.
const MAX_TEMPLATE_BYTES: usize = 1024;

/// A name with places for an event's fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field { field: Field, without: Option<String> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Type,
    Source,
    Subject,
    Tenant,
    Key,
    Id,
    Offset,
    Date,
    Hour,
}

const FIELDS: [(&str, Field); 9] = [
    ("type", Field::Type),
    ("source", Field::Source),
    ("subject", Field::Subject),
    ("tenant", Field::Tenant),
    ("key", Field::Key),
    ("id", Field::Id),
    ("offset", Field::Offset),
    ("date", Field::Date),
    ("hour", Field::Hour),
];

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    #[error("must have 1 to {MAX_TEMPLATE_BYTES} bytes")]
    Length,
    #[error("has a brace that is not closed, or not opened; `{{{{` and `}}}}` stand for braces")]
    Braces,
    #[error(
        "has an unknown field in braces; the known are type, source, subject, tenant, key, id, offset, date, hour"
    )]
    UnknownField,
}

/// An event that lacks what its name is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the event has no {field}, which its destination's name is made from")]
pub(crate) struct MissingField {
    field: &'static str,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// Says what is wrong and quotes nothing.
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        if !(1..=MAX_TEMPLATE_BYTES).contains(&text.len()) {
            return Err(TemplateError::Length);
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            literal.push_str(before);
            rest = if let Some(after) = from.strip_prefix("{{") {
                literal.push('{');
                after
            } else if let Some(after) = from.strip_prefix("}}") {
                literal.push('}');
                after
            } else {
                let inner = from.strip_prefix('{').ok_or(TemplateError::Braces)?;
                let (field, after) = inner.split_once('}').ok_or(TemplateError::Braces)?;
                if !literal.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut literal)));
                }
                parts.push(Part::field(field)?);
                after
            };
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Self { parts })
    }

    /// The name, where it is the same for every event.
    pub(crate) fn fixed(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The texts between the fields.
    pub(crate) fn literals(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            Part::Field { .. } => None,
        })
    }

    /// The name with `value` in the place of each field.
    pub(crate) fn sample(&self, value: &str) -> String {
        let text = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Field { .. } => value.to_owned(),
        };
        self.parts.iter().map(text).collect()
    }

    /// The name for an event.
    ///
    /// # Errors
    /// When the event lacks a field.
    pub(crate) fn render(&self, event: &StoredEvent) -> Result<String, MissingField> {
        let mut name = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => name.push_str(text),
                Part::Field { field, without } => field.render(event, without.as_deref(), &mut name)?,
            }
        }
        Ok(name)
    }

    /// The name for an event, in which each field's value is written by `write`, and the texts between them as they are.
    ///
    /// # Errors
    /// When the event lacks a field.
    pub(crate) fn render_with(
        &self,
        event: &StoredEvent,
        write: impl Fn(&str, &mut String),
    ) -> Result<String, MissingField> {
        let (mut name, mut value) = (String::new(), String::new());
        for part in &self.parts {
            match part {
                Part::Text(text) => name.push_str(text),
                Part::Field { field, without } => {
                    value.clear();
                    field.render(event, without.as_deref(), &mut value)?;
                    write(&value, &mut name);
                }
            }
        }
        Ok(name)
    }
}

impl Part {
    fn field(inner: &str) -> Result<Self, TemplateError> {
        let (name, without) = match inner.split_once('|') {
            Some((name, without)) => (name, Some(without.to_owned())),
            None => (inner, None),
        };
        let field = FIELDS.iter().find(|(known, _)| *known == name).ok_or(TemplateError::UnknownField)?.1;
        Ok(Self::Field { field, without })
    }
}

impl Field {
    fn render(
        self,
        event: &StoredEvent,
        without: Option<&str>,
        out: &mut String,
    ) -> Result<(), MissingField> {
        let optional = |value: Option<&str>, field, out: &mut String| {
            out.push_str(value.or(without).ok_or(MissingField { field })?);
            Ok(())
        };
        match self {
            Self::Type => out.push_str(event.event_type()),
            Self::Source => out.push_str(event.source()),
            Self::Tenant => out.push_str(event.tenant()),
            Self::Subject => return optional(event.subject(), "subject", out),
            Self::Key => return optional(event.key(), "key", out),
            // Writing to a string cannot fail.
            Self::Id => write!(out, "{}", event.id()).unwrap_or_default(),
            Self::Offset => write!(out, "{}", event.offset()).unwrap_or_default(),
            Self::Date => out.push_str(&accepted(event, 0..10)),
            Self::Hour => out.push_str(&accepted(event, 11..13)),
        }
        Ok(())
    }
}

/// A part of `2026-01-31T12:00:00.000123Z`.
fn accepted(event: &StoredEvent, part: std::ops::Range<usize>) -> String {
    let mut text = [0; Timestamp::CHARS];
    Timestamp(event.append_time_micros()).encode(&mut text)[part].to_owned()
}

#[cfg(test)]
mod tests {
    use eventrelay_event::Event;

    use super::*;
    use crate::testing::{event, stored};

    fn render(template: &str, event: &Event) -> Result<String, String> {
        Template::parse(template).unwrap().render(&stored(7, event)).map_err(|error| error.to_string())
    }

    #[test]
    fn fields_are_filled_in() {
        let event = Event { key: Some("k".to_owned()), ..event(b"1") };
        assert_eq!(render("{tenant}.{type}:{key}", &event).unwrap(), "default.order.created:k");
        assert_eq!(render("{date}/{hour}/{offset}{source}", &event).unwrap(), "2026-01-31/12/7/shop");
        assert_eq!(render("{{{offset}}}", &event).unwrap(), "{7}");
        assert_eq!(render("{id}", &event).unwrap(), stored(7, &event).id().to_string());
        assert_eq!(Template::parse("orders").unwrap().fixed(), Some("orders"));
        assert_eq!(Template::parse("{type}").unwrap().fixed(), None);
    }

    #[test]
    fn values_are_written_as_asked_and_the_texts_between_them_as_they_are() {
        let template = Template::parse("/a/{source}/{{b}}").unwrap();
        let shout = |value: &str, out: &mut String| out.push_str(&value.to_uppercase());
        assert_eq!(template.render_with(&stored(7, &event(b"1")), shout).unwrap(), "/a//SHOP/{b}");
        assert_eq!(template.literals().collect::<Vec<_>>(), ["/a/", "/{b}"]);
        assert_eq!(template.sample("x"), "/a/x/{b}");
    }

    #[test]
    fn what_an_event_lacks_is_named_unless_there_is_a_word_for_it() {
        assert!(render("{subject}", &event(b"1")).unwrap_err().contains("no subject"));
        assert_eq!(render("{subject|none}-{key|}", &event(b"1")).unwrap(), "none-");
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for (text, error) in [
            ("", TemplateError::Length),
            ("{type", TemplateError::Braces),
            ("type}", TemplateError::Braces),
            ("{}", TemplateError::UnknownField),
            ("{Type}", TemplateError::UnknownField),
            ("{data.id}", TemplateError::UnknownField),
        ] {
            assert_eq!(Template::parse(text), Err(error), "{text}");
        }
    }
}
