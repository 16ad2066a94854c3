//! Reads as much of Thrift's compact protocol as the structures of a Parquet file take.
//!
//! The bytes may be anybody's, so nothing is allocated by what they say, structures nest so deep and no deeper, and every
//! step takes at least one byte: reading ends, in time that their number bounds.
//!
//! ```text
//! struct   (delta of the field's id, 4 bits; type, 4 bits; where delta is 0 the id as a varint; value)… 0
//! list     (size, 4 bits, 15 where a varint follows; type of the elements, 4 bits) element…
//! number   a varint, zigzag: the lowest bit is the sign
//! binary   length as a varint, bytes
//! ```

use std::io;

/// Deeper than anything in a Parquet file that has no nested columns.
const MAX_DEPTH: usize = 16;
/// A varint of 64 bits has no more bytes.
const MAX_VARINT_BYTES: u32 = 10;

/// The type of a value, as the protocol numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WireType(u8);

impl WireType {
    const TRUE: Self = Self(1);
    const FALSE: Self = Self(2);
    const I8: Self = Self(3);
    const I16: Self = Self(4);
    pub(super) const I32: Self = Self(5);
    pub(super) const I64: Self = Self(6);
    const DOUBLE: Self = Self(7);
    pub(super) const BINARY: Self = Self(8);
    pub(super) const LIST: Self = Self(9);
    const SET: Self = Self(10);
    pub(super) const STRUCT: Self = Self(12);
}

/// Where reading has come to.
#[derive(Debug)]
pub(super) struct ThriftReader<'a> {
    rest: &'a [u8],
    depth: usize,
}

impl<'a> ThriftReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, depth: 0 }
    }

    /// What was not read.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Reads a structure. `field` is given each field's id and type, and reads its value, or says with `false` that it does not
    /// care: then the value is passed over.
    pub(super) fn structure(
        &mut self,
        mut field: impl FnMut(&mut Self, i64, WireType) -> io::Result<bool>,
    ) -> io::Result<()> {
        self.deeper(|reader| {
            let mut id = 0;
            loop {
                let head = reader.byte()?;
                if head == 0 {
                    return Ok(());
                }
                id = match head >> 4 {
                    0 => reader.number()?,
                    delta => id + i64::from(delta),
                };
                if !(0..=i64::from(i16::MAX)).contains(&id) {
                    return Err(broken());
                }
                let wire_type = WireType(head & 0xf);
                if !field(reader, id, wire_type)? {
                    reader.skip(wire_type)?;
                }
            }
        })
    }

    /// The type and the number of a list's elements, which follow.
    pub(super) fn list(&mut self) -> io::Result<(WireType, u64)> {
        let head = self.byte()?;
        let count = if head >> 4 == 0xf { self.varint()? } else { u64::from(head >> 4) };
        // Each takes a byte at least.
        if count > self.rest.len() as u64 {
            return Err(broken());
        }
        Ok((WireType(head & 0xf), count))
    }

    /// An integer of any width.
    pub(super) fn number(&mut self) -> io::Result<i64> {
        let zigzag = self.varint()?;
        Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }

    /// The same, where it counts something.
    pub(super) fn count(&mut self) -> io::Result<u64> {
        u64::try_from(self.number()?).map_err(|_| broken())
    }

    pub(super) fn binary(&mut self) -> io::Result<&'a [u8]> {
        let length = usize::try_from(self.varint()?).map_err(|_| broken())?;
        self.take(length)
    }

    /// Passes over a value, as a field of a structure has it.
    pub(super) fn skip(&mut self, wire_type: WireType) -> io::Result<()> {
        match wire_type {
            // The type says it all.
            WireType::TRUE | WireType::FALSE => Ok(()),
            other => self.skip_element(other),
        }
    }

    fn skip_element(&mut self, wire_type: WireType) -> io::Result<()> {
        match wire_type {
            WireType::TRUE | WireType::FALSE | WireType::I8 => self.byte().map(drop),
            WireType::I16 | WireType::I32 | WireType::I64 => self.varint().map(drop),
            WireType::DOUBLE => self.take(8).map(drop),
            WireType::BINARY => self.binary().map(drop),
            WireType::STRUCT => self.structure(|_, _, _| Ok(false)),
            WireType::LIST | WireType::SET => self.deeper(|reader| {
                let (element, count) = reader.list()?;
                (0..count).try_for_each(|_| reader.skip_element(element))
            }),
            // Maps, of which Parquet has none, and what does not exist.
            _ => Err(broken()),
        }
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        if self.depth == MAX_DEPTH {
            return Err(broken());
        }
        self.depth += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn varint(&mut self) -> io::Result<u64> {
        let mut value = 0;
        for index in 0..MAX_VARINT_BYTES {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(broken())
    }

    fn byte(&mut self) -> io::Result<u8> {
        let (first, rest) = self.rest.split_first().ok_or_else(broken)?;
        self.rest = rest;
        Ok(*first)
    }

    fn take(&mut self, length: usize) -> io::Result<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or_else(broken)?;
        self.rest = rest;
        Ok(bytes)
    }
}

fn broken() -> io::Error {
    io::Error::other("its structure is broken")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of a structure with a number, a list of numbers and a structure, beside a field that nobody knows.
    fn read(bytes: &[u8]) -> io::Result<Vec<i64>> {
        let mut found = Vec::new();
        let mut reader = ThriftReader::new(bytes);
        reader.structure(|reader, id, wire_type| {
            match (id, wire_type) {
                (1, WireType::I64) => found.push(reader.number()?),
                (2, WireType::LIST) => {
                    let (_, count) = reader.list()?;
                    for _ in 0..count {
                        found.push(reader.number()?);
                    }
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(found)
    }

    #[test]
    fn fields_are_read_and_what_is_unknown_is_passed_over() {
        let bytes = [
            0x16, 0x03, // field 1, i64: -2
            0x19, 0x26, 0x02, 0xac, 0x02, // field 2, list of two i64: 1, 150
            0x1c, 0x11, 0x18, 0x02, b'a', b'b', 0x00, // field 3, structure: true, "ab"
            0x0a, 0x80, 0x01, 0x21, 0x01, 0x02, // field 64, set of two booleans
            0x17, 0, 0, 0, 0, 0, 0, 0, 0, // field 65, double
            0x00,
        ];
        assert_eq!(read(&bytes).unwrap(), [-2, 1, 150]);
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn what_would_take_long_or_much_is_refused() {
        let deep = [0x1c; 1000];
        let deep_lists = [[0x19].as_slice(), &[0x19; 1000]].concat();
        let huge_list = [0x19, 0xf6, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
        // Booleans of a list take no bytes with some; with us they do.
        let booleans = [0x19, 0xf1, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
        let huge_binary = [0x18, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
        let endless_number = [0x16; 1].into_iter().chain([0x80; 20]).collect::<Vec<_>>();
        let map = [0x1b, 0x01, 0x55, 0x02, 0x02, 0x00];
        let ids_that_run_over = [[0x06, 0xfe, 0xff, 0x03, 0x02].as_slice(), &[0xf6, 0x02], &[0]].concat();
        for bytes in [
            &deep[..],
            &deep_lists,
            &huge_list,
            &booleans,
            &huge_binary,
            &endless_number,
            &map,
            &ids_that_run_over,
        ] {
            assert!(read(bytes).is_err(), "{bytes:?}");
        }
    }
}
