//! Objects that are Parquet files: a row for each event.
//!
//! The names of the columns are those of the API's JSON. One group of rows, since an object is written at once. The offsets
//! are the first column, plain and never compressed, so that they can be read again by themselves (`parquet_offsets.rs`).

use std::borrow::Cow;
use std::io;
use std::sync::Arc;

use ::parquet::basic::{Compression as Codec, GzipLevel, ZstdLevel};
use ::parquet::column::writer::ColumnWriter;
use ::parquet::data_type::ByteArray;
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use ::parquet::schema::types::ColumnPath;
use bytes::Bytes;
use eventrelay_event::{DataKind, StoredEvent};

use super::content::Compression;

const SCHEMA: &str = "
    message event {
        required int64 offset;
        required binary id (STRING);
        required binary tenant (STRING);
        required binary type (STRING);
        required binary source (STRING);
        optional binary subject (STRING);
        optional binary time (STRING);
        required int64 received_at (TIMESTAMP(MICROS, true));
        optional binary key (STRING);
        optional binary content_type (STRING);
        optional binary dataschema (STRING);
        optional binary client_id (STRING);
        optional binary idempotency_key (STRING);
        optional binary headers (JSON);
        optional binary data (JSON);
        optional binary data_binary;
    }";
/// Different in each row, so a dictionary of their values is of no use.
const UNLIKE: [&str; 6] = ["offset", "id", "received_at", "headers", "data", "data_binary"];
/// What nobody looks for by its smallest and its largest value.
const NEVER_COMPARED: [&str; 3] = ["headers", "data", "data_binary"];

/// What a column holds of an event.
#[derive(Clone, Copy)]
enum Values {
    Number(fn(&StoredEvent) -> u64),
    Text(for<'a> fn(&'a StoredEvent) -> Option<Cow<'a, str>>),
    Bytes(fn(&StoredEvent) -> Option<Bytes>),
}

/// In the schema's order.
const COLUMNS: [Values; 16] = [
    Values::Number(StoredEvent::offset),
    Values::Text(|event| Some(event.id().to_string().into())),
    Values::Text(|event| Some(event.tenant().into())),
    Values::Text(|event| Some(event.event_type().into())),
    Values::Text(|event| Some(event.source().into())),
    Values::Text(|event| event.subject().map(Cow::from)),
    Values::Text(|event| event.time().map(Cow::from)),
    Values::Number(StoredEvent::append_time_micros),
    Values::Text(|event| event.key().map(Cow::from)),
    Values::Text(|event| event.content_type().map(Cow::from)),
    Values::Text(|event| event.data_schema().map(Cow::from)),
    Values::Text(|event| event.client_id().map(Cow::from)),
    Values::Text(|event| event.idempotency_key().map(Cow::from)),
    Values::Text(headers),
    Values::Bytes(json_data),
    Values::Bytes(binary_data),
];

/// Writes events as an object. Takes a while for many: not for async tasks.
pub(super) fn encode(compression: Compression, events: &[StoredEvent]) -> io::Result<Bytes> {
    write(compression, events).map(Bytes::from).map_err(io::Error::other)
}

fn write(compression: Compression, events: &[StoredEvent]) -> Result<Vec<u8>, ParquetError> {
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let bytes: usize = events.iter().map(|event| event.encoded().len()).sum();
    let out = Vec::with_capacity(bytes / 2);
    let mut file = SerializedFileWriter::new(out, schema, Arc::new(properties(compression)))?;
    let mut rows = file.next_row_group()?;
    for values in COLUMNS {
        let Some(mut column) = rows.next_column()? else { break };
        match values {
            Values::Number(of) => write_numbers(column.untyped(), events, of)?,
            Values::Text(of) => {
                write_bytes(column.untyped(), events, |event| Some(ByteArray::from(&*of(event)?)))?;
            }
            Values::Bytes(of) => {
                write_bytes(column.untyped(), events, |event| of(event).map(ByteArray::from))?;
            }
        }
        column.close()?;
    }
    rows.close()?;
    file.into_inner()
}

fn properties(compression: Compression) -> WriterProperties {
    let codec = match compression {
        Compression::None => Codec::UNCOMPRESSED,
        Compression::Gzip => Codec::GZIP(GzipLevel::default()),
        Compression::Zstd => Codec::ZSTD(ZstdLevel::default()),
    };
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("eventrelay version ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(codec)
        .set_column_compression(ColumnPath::from("offset"), Codec::UNCOMPRESSED)
        // Of the group's columns, for readers that look for a few events in many objects; not of each page.
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .set_max_row_group_row_count(None);
    for column in UNLIKE {
        builder = builder.set_column_dictionary_enabled(ColumnPath::from(column), false);
    }
    for column in NEVER_COMPARED {
        builder = builder.set_column_statistics_enabled(ColumnPath::from(column), EnabledStatistics::None);
    }
    builder.build()
}

fn write_numbers(
    column: &mut ColumnWriter<'_>,
    events: &[StoredEvent],
    of: fn(&StoredEvent) -> u64,
) -> Result<(), ParquetError> {
    let ColumnWriter::Int64ColumnWriter(column) = column else { return Err(of_another_type()) };
    let mut values = Vec::with_capacity(events.len());
    for event in events {
        values.push(i64::try_from(of(event))?);
    }
    column.write_batch(&values, None, None)?;
    Ok(())
}

/// Where there is no value, the row has none. Columns that always have one take the levels and do not keep them.
fn write_bytes(
    column: &mut ColumnWriter<'_>,
    events: &[StoredEvent],
    of: impl Fn(&StoredEvent) -> Option<ByteArray>,
) -> Result<(), ParquetError> {
    let ColumnWriter::ByteArrayColumnWriter(column) = column else { return Err(of_another_type()) };
    let (mut values, mut levels) = (Vec::with_capacity(events.len()), Vec::with_capacity(events.len()));
    for event in events {
        let value = of(event);
        levels.push(i16::from(value.is_some()));
        values.extend(value);
    }
    let is_optional = column.get_descriptor().max_def_level() > 0;
    column.write_batch(&values, is_optional.then_some(&levels), None)?;
    Ok(())
}

fn of_another_type() -> ParquetError {
    ParquetError::General("the column is of another type than its values".to_owned())
}

/// Extension attributes and trace context, as an object.
fn headers(event: &StoredEvent) -> Option<Cow<'_, str>> {
    let headers: serde_json::Map<_, _> =
        event.headers().map(|(name, value)| (name.to_owned(), value.into())).collect();
    (!headers.is_empty()).then(|| serde_json::Value::Object(headers).to_string().into())
}

/// What the API shows as `data`: the producer's JSON as it came, or a text as a string.
fn json_data(event: &StoredEvent) -> Option<Bytes> {
    match event.data()? {
        (DataKind::Json, bytes) => Some(bytes.clone()),
        (DataKind::Text, bytes) => {
            let text = String::from_utf8_lossy(bytes);
            Some(serde_json::Value::from(text).to_string().into())
        }
        (DataKind::Binary, _) => None,
    }
}

fn binary_data(event: &StoredEvent) -> Option<Bytes> {
    match event.data()? {
        (DataKind::Binary, bytes) => Some(bytes.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use eventrelay_event::Event;

    use super::super::parquet_offsets::{MAX_FOOTER_BYTES, OffsetColumn};
    use super::*;
    use crate::testing::{event, stored};

    fn offsets(object: &[u8]) -> io::Result<Vec<u64>> {
        let from = object.len().saturating_sub(usize::try_from(MAX_FOOTER_BYTES).unwrap());
        let column = OffsetColumn::find(object.len() as u64, &object[from..])?;
        let start = usize::try_from(column.start).unwrap();
        column.offsets(&object[start..start + usize::try_from(column.bytes).unwrap()])
    }

    #[test]
    fn there_is_a_value_for_each_column_of_the_schema() {
        assert_eq!(parse_message_type(SCHEMA).unwrap().get_fields().len(), COLUMNS.len());
        let object = encode(Compression::None, &[stored(7, &event(b"1"))]).unwrap();
        assert_eq!(offsets(&object).unwrap(), [7]);
    }

    #[test]
    fn offsets_of_many_pages_are_known_again_however_the_object_is_compressed() {
        let expected: Vec<u64> = (0..50_000).map(|number| number * 3 + (1 << 40)).collect();
        let long = Event { subject: Some("x".repeat(2000)), ..event(b"1") };
        for compression in Compression::ALL {
            let events: Vec<_> = expected.iter().map(|offset| stored(*offset, &event(b"1"))).collect();
            assert_eq!(offsets(&encode(compression, &events).unwrap()).unwrap(), expected);
            let events = [stored(3, &long), stored(4, &Event { data: None, ..event(b"1") })];
            assert_eq!(offsets(&encode(compression, &events).unwrap()).unwrap(), [3, 4]);
        }
    }
}
