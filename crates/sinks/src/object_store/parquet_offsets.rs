//! Which events a Parquet object of ours holds: the offsets are its first column, which can be read by itself.
//!
//! ```text
//! PAR1 │ column `offset`: (page's header, offsets of 8 bytes, little-endian)… │ other columns │ footer │ its length │ PAR1
//!      └─ never compressed, never encoded, never null: `parquet_rows.rs` ─────┘               └─ where the column is
//! ```
//!
//! So two reads of a known size are enough, and neither decompression nor decoding is needed. This is done here and not by the
//! library: an object may be anybody's, and the library believes what a footer says of sizes and nesting (it would
//! allocate gigabytes, or run out of stack, and take the process with it). Nor does it take the feature `parquet`, so a
//! build without it still knows what is there.

use std::io;

use super::content::MAX_OFFSETS;
use super::thrift::{ThriftReader, WireType};

const MAGIC: &[u8] = b"PAR1";
/// The footer's length and the magic behind it.
const TAIL_BYTES: usize = 8;
/// The most that is read of an object's end. Our footers have some 4 KiB.
pub(super) const MAX_FOOTER_BYTES: u64 = 64 * 1024;
/// The most that is read of the column: so many offsets, and the headers of their pages.
const MAX_COLUMN_BYTES: u64 = MAX_OFFSETS as u64 * 8 + 64 * 1024;

const COLUMN: &[u8] = b"offset";
// Parquet's numbers for what our column is.
const TYPE_INT64: i64 = 2;
const CODEC_NONE: i64 = 0;
const PAGE_OF_DATA: i64 = 0;
const ENCODING_PLAIN: i64 = 0;

/// Where the column is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct OffsetColumn {
    rows: u64,
    /// Its first byte within the object.
    pub(super) start: u64,
    pub(super) bytes: u64,
}

/// What is said of the first column.
#[derive(Default)]
struct Column {
    is_ours: bool,
    column_type: Option<i64>,
    codec: Option<i64>,
    start: Option<u64>,
    bytes: Option<u64>,
    has_dictionary: bool,
}

impl OffsetColumn {
    /// Finds it by an object's last bytes, [`MAX_FOOTER_BYTES`] or as many as there are.
    pub(super) fn find(object_bytes: u64, end: &[u8]) -> io::Result<Self> {
        let (footer, tail) = end
            .len()
            .checked_sub(TAIL_BYTES)
            .map(|footer_end| end.split_at(footer_end))
            .filter(|(_, tail)| tail.ends_with(MAGIC))
            .ok_or_else(|| io::Error::other("it is no Parquet file, or is cut off"))?;
        let length = tail.first_chunk().map_or(0, |length| u32::from_le_bytes(*length));
        let length = usize::try_from(length).map_err(|_| not_ours())?;
        let start = footer.len().checked_sub(length).ok_or_else(not_ours)?;
        let column = read_footer(&footer[start..])?;

        // Behind the first magic, before the footer.
        let behind = column.start.checked_add(column.bytes).ok_or_else(not_ours)?;
        let footer_start = object_bytes.checked_sub((TAIL_BYTES + length) as u64).ok_or_else(not_ours)?;
        let is_inside = column.start >= MAGIC.len() as u64 && behind <= footer_start;
        if !is_inside || column.bytes > MAX_COLUMN_BYTES || column.rows > MAX_OFFSETS as u64 {
            return Err(not_ours());
        }
        Ok(column)
    }

    /// The offsets, in order, by the column's bytes.
    pub(super) fn offsets(self, column: &[u8]) -> io::Result<Vec<u64>> {
        // No more than there are bytes for, whatever the footer says.
        let mut offsets = Vec::with_capacity(column.len() / 8);
        let mut rest = column;
        while !rest.is_empty() {
            let mut reader = ThriftReader::new(rest);
            let bytes = read_page_header(&mut reader)?;
            let bytes = usize::try_from(bytes).map_err(|_| not_ours())?;
            let (page, behind) = reader.rest().split_at_checked(bytes).ok_or_else(not_ours)?;
            let (values, remainder) = page.as_chunks::<8>();
            if !remainder.is_empty() {
                return Err(not_ours());
            }
            for value in values {
                let offset = u64::try_from(i64::from_le_bytes(*value)).map_err(|_| not_ours())?;
                offsets.push(offset);
            }
            rest = behind;
        }
        if offsets.len() as u64 != self.rows {
            return Err(not_ours());
        }
        offsets.sort_unstable();
        Ok(offsets)
    }
}

/// `FileMetaData` of Parquet's format: how many rows, and the one group of them.
fn read_footer(footer: &[u8]) -> io::Result<OffsetColumn> {
    let (mut rows, mut column) = (None, None);
    ThriftReader::new(footer).structure(|reader, id, wire_type| {
        match (id, wire_type) {
            (3, WireType::I64) => rows = Some(reader.count()?),
            (4, WireType::LIST) => {
                let (WireType::STRUCT, 1) = reader.list()? else { return Err(not_ours()) };
                column = Some(read_row_group(reader)?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let (Some(rows), Some(column)) = (rows, column) else { return Err(not_ours()) };
    let plain =
        column.column_type == Some(TYPE_INT64) && column.codec == Some(CODEC_NONE) && !column.has_dictionary;
    match (column.start, column.bytes) {
        (Some(start), Some(bytes)) if column.is_ours && plain => Ok(OffsetColumn { rows, start, bytes }),
        _ => Err(not_ours()),
    }
}

/// `RowGroup`: what it says of its first column.
fn read_row_group(reader: &mut ThriftReader<'_>) -> io::Result<Column> {
    let mut first = None;
    reader.structure(|reader, id, wire_type| {
        if (id, wire_type) != (1, WireType::LIST) {
            return Ok(false);
        }
        let (element, count) = reader.list()?;
        if element != WireType::STRUCT {
            return Err(not_ours());
        }
        for _ in 0..count {
            let column = read_column(reader)?;
            first.get_or_insert(column);
        }
        Ok(true)
    })?;
    first.ok_or_else(not_ours)
}

/// `ColumnChunk` and the `ColumnMetaData` within.
fn read_column(reader: &mut ThriftReader<'_>) -> io::Result<Column> {
    let mut column = Column::default();
    reader.structure(|reader, id, wire_type| {
        if (id, wire_type) != (3, WireType::STRUCT) {
            return Ok(false);
        }
        reader.structure(|reader, id, wire_type| {
            match (id, wire_type) {
                (1, WireType::I32) => column.column_type = Some(reader.number()?),
                (3, WireType::LIST) => column.is_ours = is_our_path(reader)?,
                (4, WireType::I32) => column.codec = Some(reader.number()?),
                (7, WireType::I64) => column.bytes = Some(reader.count()?),
                (9, WireType::I64) => column.start = Some(reader.count()?),
                (11, _) => {
                    column.has_dictionary = true;
                    return Ok(false);
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(true)
    })?;
    Ok(column)
}

fn is_our_path(reader: &mut ThriftReader<'_>) -> io::Result<bool> {
    let (element, count) = reader.list()?;
    if element != WireType::BINARY {
        return Err(not_ours());
    }
    let mut is_ours = count == 1;
    for _ in 0..count {
        is_ours &= reader.binary()? == COLUMN;
    }
    Ok(is_ours)
}

/// `PageHeader`: how many bytes of plain offsets follow.
fn read_page_header(reader: &mut ThriftReader<'_>) -> io::Result<u64> {
    let (mut page_type, mut sizes, mut values, mut encoding) = (None, [None; 2], None, None);
    reader.structure(|reader, id, wire_type| {
        match (id, wire_type) {
            (1, WireType::I32) => page_type = Some(reader.number()?),
            (2, WireType::I32) => sizes[0] = Some(reader.count()?),
            (3, WireType::I32) => sizes[1] = Some(reader.count()?),
            (5, WireType::STRUCT) => reader.structure(|reader, id, wire_type| {
                match (id, wire_type) {
                    (1, WireType::I32) => values = Some(reader.count()?),
                    (2, WireType::I32) => encoding = Some(reader.number()?),
                    _ => return Ok(false),
                }
                Ok(true)
            })?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let bytes = values.and_then(|values| values.checked_mul(8));
    if page_type == Some(PAGE_OF_DATA) && encoding == Some(ENCODING_PLAIN) && sizes == [bytes; 2] {
        return bytes.ok_or_else(not_ours);
    }
    Err(not_ours())
}

fn not_ours() -> io::Error {
    io::Error::other("it is no Parquet file of ours")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An object as `parquet_rows.rs` has written it, with the offsets 7, 8 and 2^40.
    const SMALL: &[u8] = include_bytes!("../../tests/object_store/small.parquet");

    fn read(object: &[u8]) -> io::Result<Vec<u64>> {
        let from = object.len().saturating_sub(usize::try_from(MAX_FOOTER_BYTES).unwrap());
        let column = OffsetColumn::find(object.len() as u64, &object[from..])?;
        let start = usize::try_from(column.start).unwrap();
        column.offsets(&object[start..start + usize::try_from(column.bytes).unwrap()])
    }

    #[test]
    fn what_the_library_wrote_is_read() {
        assert_eq!(read(SMALL).unwrap(), [7, 8, 1 << 40]);
    }

    #[test]
    fn what_is_cut_anywhere_is_refused() {
        for length in 0..SMALL.len() {
            assert!(read(&SMALL[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn no_byte_that_is_another_is_a_panic_or_gives_more_offsets() {
        for position in 0..SMALL.len() {
            for flip in [0x01, 0x0f, 0x80, 0xff] {
                let mut object = SMALL.to_vec();
                object[position] ^= flip;
                if let Ok(offsets) = read(&object) {
                    assert_eq!(offsets.len(), 3, "{position} {flip}");
                }
            }
        }
    }

    #[test]
    fn sizes_that_are_not_true_are_refused() {
        let ends = |length: u32| [&[0; 100], length.to_le_bytes().as_slice(), MAGIC].concat();
        for object in [ends(0), ends(100), ends(101), ends(u32::MAX), MAGIC.to_vec(), Vec::new()] {
            assert!(read(&object).is_err());
        }
        let column = OffsetColumn { rows: 1 << 40, start: 4, bytes: 0 };
        assert!(column.offsets(&[]).is_err());
        assert_eq!(OffsetColumn::default().offsets(&[]).unwrap(), [0; 0]);
    }
}
