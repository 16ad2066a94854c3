//! A batch's rows as one array a column, written straight into the message to the server.
//!
//! ```text
//! i32 dimensions (1) · i32 may hold nulls (1) · u32 element type · i32 length · i32 first index (1)
//! then for each element: i32 bytes, or -1 for NULL · the value in its type's binary form
//! ```

use std::error::Error;

use bytes::{BufMut, BytesMut};
use eventrelay_event::cloudevents::write_cloudevent_json;
use eventrelay_event::native::write_json;
use eventrelay_event::{DataKind, EventId, StoredEvent, Timestamp};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_postgres::types::{IsNull, Kind, ToSql, Type, to_sql_checked};

use super::columns::Field;
use crate::Delivery;

/// PostgreSQL counts time from the year 2000.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// How a column's values are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Uuid,
    BigInt,
    Timestamp,
    Jsonb,
    Json,
    Bytes,
    /// As text, from which PostgreSQL makes the column's type.
    Text,
}

impl Encoding {
    /// How a field's values are sent for a column of a type.
    pub(super) fn of(field: &Field, column: &Type) -> Self {
        let is_text = [Type::TEXT, Type::VARCHAR, Type::BPCHAR, Type::NAME].contains(column);
        match field {
            Field::Id if *column == Type::UUID => Self::Uuid,
            Field::Offset if *column == Type::INT8 => Self::BigInt,
            // A time's text would lose its offset on the way into a type without one.
            Field::Time | Field::ReceivedAt if !is_text => Self::Timestamp,
            Field::Headers | Field::Data | Field::Event | Field::CloudEvent => match *column {
                Type::JSONB => Self::Jsonb,
                Type::JSON => Self::Json,
                Type::BYTEA => Self::Bytes,
                _ => Self::Text,
            },
            _ => Self::Text,
        }
    }

    /// The array's type, as SQL names it.
    pub(super) fn array_type(self) -> &'static str {
        match self {
            Self::Uuid => "uuid[]",
            Self::BigInt => "bigint[]",
            Self::Timestamp => "timestamptz[]",
            Self::Jsonb => "jsonb[]",
            Self::Json => "json[]",
            Self::Bytes => "bytea[]",
            Self::Text => "text[]",
        }
    }

    fn element(self) -> Type {
        match self {
            Self::Uuid => Type::UUID,
            Self::BigInt => Type::INT8,
            Self::Timestamp => Type::TIMESTAMPTZ,
            Self::Jsonb => Type::JSONB,
            Self::Json => Type::JSON,
            Self::Bytes => Type::BYTEA,
            Self::Text => Type::TEXT,
        }
    }
}

/// One column of a batch, as a statement's parameter.
#[derive(Debug)]
pub(super) struct ColumnValues<'a> {
    pub(super) batch: &'a [Delivery],
    pub(super) field: &'a Field,
    pub(super) encoding: Encoding,
}

impl ToSql for ColumnValues<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_i32(1);
        out.put_i32(1);
        out.put_u32(self.encoding.element().oid());
        out.put_i32(i32::try_from(self.batch.len())?);
        out.put_i32(1);
        for delivery in self.batch {
            let start = out.len();
            out.put_i32(-1);
            if write_value(self.field, self.encoding, &delivery.event, out)? {
                let bytes = i32::try_from(out.len() - start - 4)?;
                out[start..start + 4].copy_from_slice(&bytes.to_be_bytes());
            }
        }
        Ok(IsNull::No)
    }

    fn accepts(column: &Type) -> bool {
        matches!(column.kind(), Kind::Array(_))
    }

    to_sql_checked!();
}

/// Appends a field's value; says false when the event has none.
fn write_value(
    field: &Field,
    encoding: Encoding,
    event: &StoredEvent,
    out: &mut BytesMut,
) -> Result<bool, Box<dyn Error + Sync + Send>> {
    let text = match field {
        Field::Id if encoding == Encoding::Uuid => {
            out.put_slice(&event.id().to_bytes());
            return Ok(true);
        }
        Field::Id => {
            out.put_slice(event.id().encode(&mut [0; EventId::CHARS]).as_bytes());
            return Ok(true);
        }
        Field::Offset => {
            write_offset(encoding, event.offset(), out)?;
            return Ok(true);
        }
        Field::Time => {
            write_time(encoding, event.time(), event.append_time_micros(), out)?;
            return Ok(true);
        }
        Field::ReceivedAt => {
            write_time(encoding, None, event.append_time_micros(), out)?;
            return Ok(true);
        }
        Field::Data => return write_data(encoding, event, out),
        Field::Headers => return write_headers(encoding, event, out),
        Field::Event => {
            write_document(encoding, out, |json| write_json(event, json));
            return Ok(true);
        }
        Field::CloudEvent => {
            write_document(encoding, out, |json| write_cloudevent_json(event, json));
            return Ok(true);
        }
        Field::Tenant => Some(event.tenant()),
        Field::Type => Some(event.event_type()),
        Field::Source => Some(event.source()),
        Field::Subject => event.subject(),
        Field::Key => event.key(),
        Field::ContentType => event.content_type(),
        Field::DataSchema => event.data_schema(),
        Field::ClientId => event.client_id(),
        Field::IdempotencyKey => event.idempotency_key(),
        Field::Header(wanted) => event.headers().find(|(name, _)| name == wanted).map(|(_, value)| value),
    };
    if let Some(text) = text {
        out.put_slice(text.as_bytes());
    }
    Ok(text.is_some())
}

fn write_offset(
    encoding: Encoding,
    offset: u64,
    out: &mut BytesMut,
) -> Result<(), Box<dyn Error + Sync + Send>> {
    if encoding == Encoding::BigInt {
        out.put_i64(i64::try_from(offset)?);
    } else {
        out.put_slice(offset.to_string().as_bytes());
    }
    Ok(())
}

/// The producer's time, or else when the event was accepted.
fn write_time(
    encoding: Encoding,
    given: Option<&str>,
    accepted_micros: u64,
    out: &mut BytesMut,
) -> Result<(), Box<dyn Error + Sync + Send>> {
    if encoding != Encoding::Timestamp {
        let mut buffer = [0; Timestamp::CHARS];
        let text = given.unwrap_or_else(|| Timestamp(accepted_micros).encode(&mut buffer));
        out.put_slice(text.as_bytes());
        return Ok(());
    }
    // It was checked when it was published, by the same parser.
    let given = given.and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
    let micros = match given {
        Some(time) => i64::try_from(time.unix_timestamp_nanos().div_euclid(1000))?,
        None => i64::try_from(accepted_micros)?,
    };
    out.put_i64(micros - EPOCH_MICROS);
    Ok(())
}

fn write_data(
    encoding: Encoding,
    event: &StoredEvent,
    out: &mut BytesMut,
) -> Result<bool, Box<dyn Error + Sync + Send>> {
    let Some((kind, bytes)) = event.data() else { return Ok(false) };
    begin_document(encoding, out);
    let as_json = matches!(encoding, Encoding::Jsonb | Encoding::Json);
    match kind {
        DataKind::Text if as_json => serde_json::to_writer(out.writer(), std::str::from_utf8(bytes)?)?,
        DataKind::Binary if encoding != Encoding::Bytes => {
            use base64::Engine as _;
            let text = base64::engine::general_purpose::STANDARD.encode(bytes);
            if as_json {
                serde_json::to_writer(out.writer(), &text)?;
            } else {
                out.put_slice(text.as_bytes());
            }
        }
        DataKind::Json | DataKind::Text | DataKind::Binary => out.put_slice(bytes),
    }
    Ok(true)
}

fn write_headers(
    encoding: Encoding,
    event: &StoredEvent,
    out: &mut BytesMut,
) -> Result<bool, Box<dyn Error + Sync + Send>> {
    let mut headers = event.headers().peekable();
    if headers.peek().is_none() {
        return Ok(false);
    }
    begin_document(encoding, out);
    let mut separator = b'{';
    for (name, value) in headers {
        out.put_u8(separator);
        serde_json::to_writer(out.writer(), name)?;
        out.put_u8(b':');
        serde_json::to_writer(out.writer(), value)?;
        separator = b',';
    }
    out.put_u8(b'}');
    Ok(true)
}

fn write_document(encoding: Encoding, out: &mut BytesMut, write: impl FnOnce(&mut Vec<u8>)) {
    begin_document(encoding, out);
    let mut json = Vec::new();
    write(&mut json);
    out.put_slice(&json);
}

/// The binary form of `jsonb` is a version and the text.
fn begin_document(encoding: Encoding, out: &mut BytesMut) {
    if encoding == Encoding::Jsonb {
        out.put_u8(1);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use eventrelay_event::{Data, Event};

    use super::*;
    use crate::Purpose;
    use crate::testing::{APPENDED_MICROS, event, stored};

    fn element(field: &Field, encoding: Encoding, event: &Event) -> Option<Vec<u8>> {
        let mut out = BytesMut::new();
        write_value(field, encoding, &stored(7, event), &mut out).unwrap().then(|| out.to_vec())
    }

    #[test]
    fn an_array_has_a_header_and_the_length_of_each_element() {
        let with_key = Event { key: Some("k".to_owned()), ..event(b"1") };
        let batch = [stored(1, &with_key), stored(2, &event(b"1"))].map(|event| Delivery {
            event,
            attempt: 1,
            purpose: Purpose::Live,
            span: None,
            keep_exchange: false,
        });
        let column = ColumnValues { batch: &batch, field: &Field::Key, encoding: Encoding::Text };
        let mut out = BytesMut::new();
        column.to_sql(&Type::TEXT_ARRAY, &mut out).unwrap();
        let expected = [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 25, 0, 0, 0, 2, 0, 0, 0, 1];
        assert_eq!(out[..20], expected);
        assert_eq!(out[20..], [0, 0, 0, 1, b'k', 255, 255, 255, 255]);
    }

    #[test]
    fn data_goes_as_its_column_can_take_it() {
        let json = event(br#"{"a": 1.50}"#);
        let text = Event { data: Some(Data::text("a\"b".to_owned())), ..event(b"1") };
        let binary = Event { data: Some(Data::binary(Bytes::from_static(b"\0\xff"))), ..event(b"1") };
        let none = Event { data: None, ..event(b"1") };
        for (event, jsonb, plain, raw) in [
            (&json, &b"\x01{\"a\": 1.50}"[..], &b"{\"a\": 1.50}"[..], &b"{\"a\": 1.50}"[..]),
            (&text, b"\x01\"a\\\"b\"", b"a\"b", b"a\"b"),
            (&binary, b"\x01\"AP8=\"", b"AP8=", b"\0\xff"),
        ] {
            assert_eq!(element(&Field::Data, Encoding::Jsonb, event).unwrap(), jsonb);
            assert_eq!(element(&Field::Data, Encoding::Json, event).unwrap(), jsonb[1..]);
            assert_eq!(element(&Field::Data, Encoding::Text, event).unwrap(), plain);
            assert_eq!(element(&Field::Data, Encoding::Bytes, event).unwrap(), raw);
        }
        assert_eq!(element(&Field::Data, Encoding::Jsonb, &none), None);
    }

    #[test]
    fn times_are_counted_from_2000_whatever_their_offset() {
        let micros = |time: Option<&str>| {
            let event = Event { time: time.map(str::to_owned), ..event(b"1") };
            let bytes = element(&Field::Time, Encoding::Timestamp, &event).unwrap();
            i64::from_be_bytes(bytes.try_into().unwrap())
        };
        assert_eq!(micros(Some("2000-01-01T00:00:00Z")), 0);
        assert_eq!(micros(Some("2000-01-01T23:30:00.000001+23:30")), 1);
        assert_eq!(micros(Some("1999-12-31T23:59:59.9999995Z")), -1);
        assert!(micros(Some("0000-01-01T00:00:00Z")) < 0);
        assert_eq!(micros(None), i64::try_from(APPENDED_MICROS).unwrap() - EPOCH_MICROS);
    }

    #[test]
    fn headers_are_one_object() {
        let headers = vec![("a".to_owned(), "\"x\"".to_owned()), ("b".to_owned(), "ü".to_owned())];
        let event = Event { headers, ..event(b"1") };
        assert_eq!(
            element(&Field::Headers, Encoding::Json, &event).unwrap(),
            r#"{"a":"\"x\"","b":"ü"}"#.as_bytes()
        );
        assert_eq!(element(&Field::Header("b".to_owned()), Encoding::Text, &event).unwrap(), "ü".as_bytes());
        assert_eq!(element(&Field::Header("c".to_owned()), Encoding::Text, &event), None);
        assert_eq!(element(&Field::Headers, Encoding::Json, &super::tests::event(b"1")), None);
    }

    #[test]
    fn a_column_decides_how_its_field_is_sent() {
        for (field, column, encoding) in [
            (Field::Id, Type::UUID, Encoding::Uuid),
            (Field::Id, Type::TEXT, Encoding::Text),
            (Field::Offset, Type::INT8, Encoding::BigInt),
            (Field::Offset, Type::NUMERIC, Encoding::Text),
            (Field::Time, Type::TIMESTAMPTZ, Encoding::Timestamp),
            (Field::Time, Type::TIMESTAMP, Encoding::Timestamp),
            (Field::Time, Type::VARCHAR, Encoding::Text),
            (Field::Data, Type::JSONB, Encoding::Jsonb),
            (Field::Data, Type::BYTEA, Encoding::Bytes),
            (Field::Data, Type::INT4, Encoding::Text),
            (Field::Key, Type::UUID, Encoding::Text),
        ] {
            assert_eq!(Encoding::of(&field, &column), encoding, "{field:?} {column}");
        }
    }
}
