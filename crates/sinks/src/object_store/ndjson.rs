//! Objects of JSON lines: a line for each event, compressed or not; and which events those are.
//!
//! ```text
//! {"id":"0197…","offset":1200,"tenant":…}                        format = "event", as the API shows it
//! {"eventrelayoffset":"1200","specversion":"1.0","id":…}         format = "cloudevents", with one extension of ours
//! ```
//!
//! The offset stands at the beginning of each line, where nothing of the producer's comes before it, so what an object holds
//! can be told without trusting what its events say.

use std::io::{self, Write};

use bytes::Bytes;
use eventrelay_event::StoredEvent;
use eventrelay_event::cloudevents::write_cloudevent_json;
use eventrelay_event::native::write_json;
use flate2::write::{GzEncoder, MultiGzDecoder};
use zstd::stream::{raw, zio};

use super::content::{Compression, Format, MAX_OFFSETS};

/// CloudEvents' extension that holds an event's offset.
const OFFSET_EXTENSION: &str = "eventrelayoffset";
const ZSTD_LEVEL: i32 = 3;
/// What is kept of a line to tell its offset: more than comes before the end of that.
const LINE_HEAD_BYTES: usize = 96;
/// More than any object of ours has, decompressed: what has more is not one.
const MAX_CONTENT_BYTES: u64 = 4 * 1024 * 1024 * 1024;

/// Whether an event can be written as a line.
pub(super) fn check(format: Format, event: &StoredEvent) -> Result<(), &'static str> {
    let spoiled = format == Format::Cloudevents && event.headers().any(|(name, _)| name == OFFSET_EXTENSION);
    if spoiled { Err("the event has an attribute `eventrelayoffset` of its own") } else { Ok(()) }
}

/// Writes events as an object. Takes a while for many: not for async tasks.
pub(super) fn encode(format: Format, compression: Compression, events: &[StoredEvent]) -> io::Result<Bytes> {
    let bytes: usize = events.iter().map(|event| event.encoded().len()).sum();
    match compression {
        Compression::None => {
            let mut out = Vec::with_capacity(bytes * 2);
            write_lines(format, events, &mut out)?;
            Ok(out.into())
        }
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(Vec::with_capacity(bytes / 4), flate2::Compression::default());
            write_lines(format, events, &mut encoder)?;
            Ok(encoder.finish()?.into())
        }
        Compression::Zstd => {
            let mut encoder = zstd::Encoder::new(Vec::with_capacity(bytes / 4), ZSTD_LEVEL)?;
            encoder.include_checksum(true)?;
            write_lines(format, events, &mut encoder)?;
            Ok(encoder.finish()?.into())
        }
    }
}

fn write_lines(format: Format, events: &[StoredEvent], out: &mut impl Write) -> io::Result<()> {
    let mut line = Vec::new();
    for event in events {
        line.clear();
        match format {
            Format::Event => write_json(event, &mut line),
            Format::Cloudevents => {
                write!(line, "{{\"{OFFSET_EXTENSION}\":\"{}\"", event.offset())?;
                let before = line.len();
                write_cloudevent_json(event, &mut line);
                // Its opening brace: another member follows ours.
                line[before] = b',';
            }
        }
        line.push(b'\n');
        out.write_all(&line)?;
    }
    Ok(())
}

/// Reads which events an object holds, piece by piece.
pub(super) struct OffsetReader {
    decoder: Decoder,
}

/// The one that notices when a frame is cut off.
type ZstdDecoder = zio::Writer<LineScanner, raw::Decoder<'static>>;

enum Decoder {
    Plain(LineScanner),
    Gzip(MultiGzDecoder<LineScanner>),
    Zstd(Box<ZstdDecoder>),
}

impl OffsetReader {
    pub(super) fn new(compression: Compression) -> io::Result<Self> {
        let scanner = LineScanner::default();
        let decoder = match compression {
            Compression::None => Decoder::Plain(scanner),
            Compression::Gzip => Decoder::Gzip(MultiGzDecoder::new(scanner)),
            Compression::Zstd => Decoder::Zstd(Box::new(zio::Writer::new(scanner, raw::Decoder::new()?))),
        };
        Ok(Self { decoder })
    }

    /// Takes the next piece. Takes a while for much: not for async tasks.
    pub(super) fn read(&mut self, piece: &[u8]) -> io::Result<()> {
        match &mut self.decoder {
            Decoder::Plain(scanner) => scanner.write_all(piece),
            Decoder::Gzip(decoder) => decoder.write_all(piece),
            Decoder::Zstd(decoder) => decoder.write_all(piece),
        }
    }

    /// The offsets, in order, once all was read.
    pub(super) fn finish(self) -> io::Result<Vec<u64>> {
        let scanner = match self.decoder {
            Decoder::Plain(scanner) => scanner,
            Decoder::Gzip(decoder) => decoder.finish()?,
            Decoder::Zstd(mut decoder) => {
                decoder.finish()?;
                decoder.into_inner().0
            }
        };
        scanner.finish()
    }
}

/// Takes the offset out of each line.
#[derive(Default)]
struct LineScanner {
    /// The beginning of the line that is being read.
    head: Vec<u8>,
    offsets: Vec<u64>,
    bytes: u64,
}

impl LineScanner {
    fn finish(mut self) -> io::Result<Vec<u64>> {
        if !self.head.is_empty() {
            return Err(io::Error::other("it ends within a line"));
        }
        self.offsets.sort_unstable();
        Ok(self.offsets)
    }

    fn extend_head(&mut self, part: &[u8]) {
        let room = LINE_HEAD_BYTES - self.head.len();
        self.head.extend_from_slice(&part[..part.len().min(room)]);
    }
}

impl Write for LineScanner {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.bytes += piece.len() as u64;
        if self.bytes > MAX_CONTENT_BYTES || self.offsets.len() > MAX_OFFSETS {
            return Err(io::Error::other("it is larger than any object of ours"));
        }
        let mut rest = piece;
        while let Some(end) = line_end(rest) {
            self.extend_head(&rest[..end]);
            let offset =
                offset_of(&self.head).ok_or_else(|| io::Error::other("it holds a line that is not ours"))?;
            self.offsets.push(offset);
            self.head.clear();
            rest = &rest[end + 1..];
        }
        self.extend_head(rest);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn line_end(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == b'\n')
}

/// The offset that a line of ours begins with.
fn offset_of(line: &[u8]) -> Option<u64> {
    const ID_CHARS: usize = 36;
    let (digits, end) = match line.strip_prefix(b"{\"id\":\"") {
        Some(rest) => (rest.get(ID_CHARS..)?.strip_prefix(b"\",\"offset\":")?, b','),
        None => {
            let rest = line.strip_prefix(b"{\"")?.strip_prefix(OFFSET_EXTENSION.as_bytes())?;
            (rest.strip_prefix(b"\":\"")?, b'"')
        }
    };
    let length = digits.iter().position(|byte| *byte == end)?;
    let digits = &digits[..length];
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use eventrelay_event::Event;

    use super::*;
    use crate::testing::{event, stored};

    fn events(offsets: &[u64]) -> Vec<StoredEvent> {
        let nasty = Event {
            headers: vec![("offset".to_owned(), "\"},\n{\"id\":\"".to_owned())],
            ..event(b"{\"a\":\"\\n{\\\"id\\\":\",\n\"offset\":7}")
        };
        offsets.iter().map(|offset| stored(*offset, &nasty)).collect()
    }

    fn read(compression: Compression, object: &[u8], piece_bytes: usize) -> io::Result<Vec<u64>> {
        let mut reader = OffsetReader::new(compression)?;
        for piece in object.chunks(piece_bytes) {
            reader.read(piece)?;
        }
        reader.finish()
    }

    #[test]
    fn what_was_written_is_known_again_however_it_is_read() {
        let offsets = [0, 1, 5, 1 << 40, u64::MAX >> 2];
        for format in [Format::Event, Format::Cloudevents] {
            for compression in Compression::ALL {
                let object = encode(format, compression, &events(&offsets)).unwrap();
                for piece_bytes in [1, 7, 4096] {
                    assert_eq!(read(compression, &object, piece_bytes).unwrap(), offsets, "{format:?}");
                }
            }
        }
        assert_eq!(read(Compression::None, b"", 1).unwrap(), [0; 0]);
    }

    #[test]
    fn each_line_is_the_event() {
        let object = encode(Format::Cloudevents, Compression::None, &events(&[7, 8])).unwrap();
        let lines: Vec<serde_json::Value> = object
            .split(|byte| *byte == b'\n')
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1]["eventrelayoffset"], "8");
        assert_eq!((&lines[1]["specversion"], &lines[1]["data"]["offset"]), (&"1.0".into(), &7.into()));
    }

    #[test]
    fn what_is_cut_or_not_ours_is_not_taken_for_it() {
        for compression in Compression::ALL {
            let object = encode(Format::Event, compression, &events(&[7, 8])).unwrap();
            assert!(read(compression, &object[..object.len() - 1], 64).is_err(), "{compression:?}");
        }
        for line in [
            "{\"offset\":7}\n",
            "{\"id\":\"short\",\"offset\":7,\n",
            "{\"id\":\"019c1234-0000-7000-8000-000000000007\",\"offset\":7x,\n",
            "{\"id\":\"019c1234-0000-7000-8000-000000000007\",\"data\":{\"offset\":7}}\n",
            "\n",
            "{\"eventrelayoffset\":7}\n",
        ] {
            assert!(read(Compression::None, line.as_bytes(), 64).is_err(), "{line}");
        }
    }

    #[test]
    fn an_event_that_would_spoil_its_line_is_refused() {
        let headers = vec![("eventrelayoffset".to_owned(), "1".to_owned())];
        let spoiled = stored(7, &Event { headers, ..event(b"1") });
        assert!(check(Format::Cloudevents, &spoiled).is_err());
        assert!(check(Format::Event, &spoiled).is_ok());
    }
}
