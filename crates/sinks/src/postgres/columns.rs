//! Which columns a table's rows have, and what each is filled from.
//!
//! | field | what it is | created as |
//! |---|---|---|
//! | `id` | the event's id | `uuid NOT NULL` |
//! | `offset` | its place in the log | `bigint NOT NULL` |
//! | `tenant`, `type`, `source` | every event has them | `text NOT NULL` |
//! | `subject`, `key`, `content_type`, `dataschema`, `client_id`, `idempotency_key` | as the producer gave them | `text` |
//! | `time` | when it happened; when it was accepted, where the producer does not say | `timestamptz NOT NULL` |
//! | `received_at` | when it was accepted | `timestamptz NOT NULL` |
//! | `headers` | all headers as one object | `jsonb` |
//! | `header.NAME` | one header | `text` |
//! | `data` | the data. Text is a JSON string, and what is no text one of base64 | `jsonb` |
//! | `event` | the whole event, in the form that HTTP gives it | `jsonb NOT NULL` |
//! | `cloudevent` | the whole event, as a CloudEvent in JSON | `jsonb NOT NULL` |
//!
//! A column may be of any type that PostgreSQL can make its field's text from. In one of type `bytea`, `data` is its very
//! bytes; in one of type `json` or `text`, JSON data keeps the producer's spelling.

use std::collections::BTreeMap;

use super::identifier::Identifier;
use super::settings::KIND;
use crate::{SinkError, settings};

/// The columns where the settings name none.
const DEFAULT: [(&str, Field); 12] = [
    ("event_id", Field::Id),
    ("event_offset", Field::Offset),
    ("tenant", Field::Tenant),
    ("type", Field::Type),
    ("source", Field::Source),
    ("subject", Field::Subject),
    ("key", Field::Key),
    ("time", Field::Time),
    ("received_at", Field::ReceivedAt),
    ("content_type", Field::ContentType),
    ("headers", Field::Headers),
    ("data", Field::Data),
];

const NAMES: [(&str, Field); 17] = [
    ("id", Field::Id),
    ("offset", Field::Offset),
    ("tenant", Field::Tenant),
    ("type", Field::Type),
    ("source", Field::Source),
    ("subject", Field::Subject),
    ("key", Field::Key),
    ("time", Field::Time),
    ("received_at", Field::ReceivedAt),
    ("content_type", Field::ContentType),
    ("dataschema", Field::DataSchema),
    ("client_id", Field::ClientId),
    ("idempotency_key", Field::IdempotencyKey),
    ("headers", Field::Headers),
    ("data", Field::Data),
    ("event", Field::Event),
    ("cloudevent", Field::CloudEvent),
];

/// What a column is filled from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Field {
    Id,
    Offset,
    Tenant,
    Type,
    Source,
    Subject,
    Key,
    Time,
    ReceivedAt,
    ContentType,
    DataSchema,
    ClientId,
    IdempotencyKey,
    Headers,
    Header(String),
    Data,
    Event,
    CloudEvent,
}

/// One column of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: Identifier,
    pub(super) field: Field,
    /// Whether it is part of the key that tells rows apart.
    pub(super) is_key: bool,
}

/// The columns that the settings ask for, at least one.
///
/// # Errors
/// Names the field of the settings that is wrong.
pub(super) fn columns(
    columns: &BTreeMap<String, String>,
    on_conflict: &[String],
) -> Result<Vec<Column>, SinkError> {
    let mut found = Vec::new();
    if columns.is_empty() {
        for (name, field) in DEFAULT {
            found.push(column("columns", name, field)?);
        }
    }
    for (name, field) in columns {
        let setting = format!("columns.{name}");
        let field = Field::parse(field).ok_or_else(|| {
            let known: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
            let why = format!("no such field; the known are {}, header.NAME", known.join(", "));
            settings::refused(KIND, &setting, why)
        })?;
        found.push(column(&setting, name, field)?);
    }
    for (index, key) in on_conflict.iter().enumerate() {
        let setting = format!("on_conflict[{index}]");
        let column = found
            .iter_mut()
            .find(|column| column.name.as_str() == key)
            .ok_or_else(|| settings::refused(KIND, &setting, "is none of the columns that are filled"))?;
        if std::mem::replace(&mut column.is_key, true) {
            return Err(settings::refused(KIND, &setting, "is given twice"));
        }
    }
    Ok(found)
}

fn column(setting: &str, name: &str, field: Field) -> Result<Column, SinkError> {
    let name = Identifier::new(name).map_err(|why| settings::refused(KIND, setting, why))?;
    Ok(Column { name, field, is_key: false })
}

impl Field {
    fn parse(text: &str) -> Option<Self> {
        if let Some(header) = text.strip_prefix("header.").filter(|name| !name.is_empty()) {
            return Some(Self::Header(header.to_owned()));
        }
        NAMES.iter().find(|(name, _)| *name == text).map(|(_, field)| field.clone())
    }

    /// The type of its column in a table that is created here, and whether every event has the field.
    pub(super) fn created_as(&self) -> (&'static str, bool) {
        match self {
            Self::Id => ("uuid", true),
            Self::Offset => ("bigint", true),
            Self::Tenant | Self::Type | Self::Source => ("text", true),
            Self::Time | Self::ReceivedAt => ("timestamptz", true),
            Self::Subject
            | Self::Key
            | Self::ContentType
            | Self::DataSchema
            | Self::ClientId
            | Self::IdempotencyKey
            | Self::Header(_) => ("text", false),
            Self::Headers | Self::Data => ("jsonb", false),
            Self::Event | Self::CloudEvent => ("jsonb", true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)], keys: &[&str]) -> Result<Vec<Column>, String> {
        let map = pairs.iter().map(|(name, field)| ((*name).to_owned(), (*field).to_owned())).collect();
        let keys: Vec<_> = keys.iter().map(|key| (*key).to_owned()).collect();
        columns(&map, &keys).map_err(|error| error.to_string())
    }

    #[test]
    fn without_settings_there_are_the_documented_ones() {
        let names: Vec<_> = of(&[], &[]).unwrap().iter().map(|it| it.name.as_str().to_owned()).collect();
        assert_eq!(
            names.join(" "),
            "event_id event_offset tenant type source subject key time received_at content_type headers data"
        );
        assert!(of(&[], &["event_id"]).unwrap()[0].is_key);
    }

    #[test]
    fn any_field_fills_any_column() {
        let columns = of(&[("trace", "header.traceparent"), ("who", "subject")], &["who"]).unwrap();
        assert_eq!(columns[0].field, Field::Header("traceparent".to_owned()));
        assert!(!columns[0].is_key && columns[1].is_key);
        for (name, field) in NAMES {
            assert_eq!(of(&[("c", name)], &[]).unwrap()[0].field, field);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (pairs, keys, expected) in [
            (&[("c", "payload")][..], &[][..], "`columns.c`"),
            (&[("c", "header.")], &[], "`columns.c`"),
            (&[("", "data")], &[], "`columns.`"),
            (&[("c", "data")], &["d"], "`on_conflict[0]`"),
            (&[("c", "data")], &["c", "c"], "`on_conflict[1]`"),
        ] {
            let error = of(pairs, keys).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
