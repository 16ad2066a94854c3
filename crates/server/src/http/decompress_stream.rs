//! A streamed body as it was before it was compressed: piece by piece, so that a few kilobytes that become gigabytes take no
//! more memory than any other body.
//!
//! What a decompressor needs beside its pieces is its window, which the compressed bytes themselves ask for. gzip's is small;
//! a frame of zstd says how large its own must be (RFC 8878, 3.1.1.1), and is told to whoever counts memory before it is
//! begun:
//!
//! ```text
//! ┌──────────────┬───────────────────────────────────┬──────────────────────┬────────────┬──────────────────────────┐
//! │ magic, u32LE │ descriptor: size flag │ single │ … │ window, where not    │ dictionary │ content size, where the  │
//! │ 0xFD2FB528   │ 2 bits, 1 bit, …, 2 bits of dict. │ single, u8           │ 0, 1, 2, 4 │ descriptor says, LE      │
//! └──────────────┴───────────────────────────────────┴──────────────────────┴────────────┴──────────────────────────┘
//! ```

use std::io::{self, Write};

use bytes::{Buf, Bytes, BytesMut};
use flate2::write::MultiGzDecoder;
use zstd::stream::raw::{Decoder as ZstdDecoder, InBuffer, Operation, OutBuffer};

use super::decompress::{Encoding, PIECE_BYTES, ZSTD_WINDOW_LOG, limited};

/// What gzip's decompressor takes: its window, its output and its state.
const GZIP_BYTES: usize = 96 << 10;
const ZSTD_MAGIC: u32 = 0xFD2F_B528;

/// What a step has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// There may be more to come of what was fed.
    More,
    /// All of it has come out.
    Hungry,
    /// It cannot go on without a window of so many bytes in all.
    Window(usize),
}

/// A body's decompressor.
pub(crate) struct StreamDecoder {
    format: Format,
    /// What was fed and not used up.
    input: Bytes,
    /// Whether anything was ever fed: of nothing comes nothing, whatever the format.
    began: bool,
    /// The window that was granted.
    window_bytes: usize,
}

enum Format {
    Identity,
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    Zstd {
        decoder: ZstdDecoder<'static>,
        piece: Box<[u8]>,
        /// Whether the frame at hand goes on.
        in_frame: bool,
    },
}

impl StreamDecoder {
    /// # Errors
    /// When there is no decompressor to be had.
    pub(crate) fn new(encoding: Encoding) -> io::Result<Self> {
        let format = match encoding {
            Encoding::Identity => Format::Identity,
            Encoding::Gzip => Format::Gzip(Box::new(MultiGzDecoder::new(Vec::new()))),
            Encoding::Zstd => Format::Zstd {
                decoder: limited(ZstdDecoder::new()?)?,
                piece: vec![0; PIECE_BYTES].into_boxed_slice(),
                in_frame: false,
            },
        };
        Ok(Self { format, input: Bytes::new(), began: false, window_bytes: 0 })
    }

    /// Gives it more; what it had is used up but for the head of a frame.
    pub(crate) fn feed(&mut self, bytes: Bytes) {
        self.began |= !bytes.is_empty();
        if self.input.is_empty() {
            self.input = bytes;
        } else {
            self.input = [&self.input[..], &bytes[..]].concat().into();
        }
    }

    /// Grants the window that a step asked for.
    pub(crate) fn grant_window(&mut self, bytes: usize) {
        self.window_bytes = self.window_bytes.max(bytes);
    }

    /// Appends a piece of what comes out.
    ///
    /// # Errors
    /// When it is not what the head says, or asks for too large a window. What was appended is good even then.
    pub(crate) fn step(&mut self, out: &mut BytesMut) -> io::Result<Step> {
        match &mut self.format {
            Format::Identity => {
                out.extend_from_slice(&self.input);
                self.input = Bytes::new();
                Ok(Step::Hungry)
            }
            Format::Gzip(_) if self.window_bytes < GZIP_BYTES => Ok(Step::Window(GZIP_BYTES)),
            Format::Gzip(decoder) => step_gzip(decoder, &mut self.input, out),
            Format::Zstd { decoder, piece, in_frame } => {
                if !*in_frame {
                    match window_of(&self.input) {
                        None => return Ok(Step::Hungry),
                        Some(bytes) if bytes > 1 << ZSTD_WINDOW_LOG => {
                            return Err(io::Error::other("a frame asks for a window over 8 MiB"));
                        }
                        // Without the piece, which comes with the first frame.
                        Some(bytes) => {
                            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX) + PIECE_BYTES;
                            if bytes > self.window_bytes {
                                return Ok(Step::Window(bytes));
                            }
                        }
                    }
                }
                step_zstd(decoder, piece, in_frame, &mut self.input, out)
            }
        }
    }

    /// The body has come to its end.
    ///
    /// # Errors
    /// When what was compressed has not.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let is_whole = match &mut self.format {
            Format::Identity => true,
            Format::Gzip(decoder) if self.began => {
                decoder.try_finish()?;
                true
            }
            Format::Gzip(_) => true,
            Format::Zstd { in_frame, .. } => !*in_frame && self.input.is_empty(),
        };
        if is_whole { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

fn step_gzip(
    decoder: &mut MultiGzDecoder<Vec<u8>>,
    input: &mut Bytes,
    out: &mut BytesMut,
) -> io::Result<Step> {
    let stepped = if input.is_empty() {
        // Until then it keeps what it has for the next write.
        decoder.flush().map(|()| Step::Hungry)
    } else {
        // One write brings out no more than its own buffer has room for.
        match decoder.write(input) {
            Ok(0) if decoder.get_ref().is_empty() => Err(io::ErrorKind::InvalidData.into()),
            Ok(used) => {
                input.advance(used);
                Ok(Step::More)
            }
            Err(error) => Err(error),
        }
    };
    // What came before a fault is good.
    out.extend_from_slice(decoder.get_ref());
    decoder.get_mut().clear();
    stepped
}

fn step_zstd(
    decoder: &mut ZstdDecoder<'static>,
    piece: &mut [u8],
    in_frame: &mut bool,
    input: &mut Bytes,
    out: &mut BytesMut,
) -> io::Result<Step> {
    let mut taken = InBuffer::around(&input[..]);
    let mut given = OutBuffer::around(&mut *piece);
    let expected = decoder.run(&mut taken, &mut given)?;
    let (used, length) = (taken.pos(), given.pos());
    *in_frame = expected != 0;
    input.advance(used);
    out.extend_from_slice(&piece[..length]);
    if used == 0 && length == 0 && !input.is_empty() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // A full piece may have been too small for what was there.
    let step = if input.is_empty() && length < piece.len() { Step::Hungry } else { Step::More };
    Ok(step)
}

/// The window that the frame which begins here asks for; `None` while its head has not come whole. What is no such frame is
/// for the decompressor to judge, and needs none.
fn window_of(frame: &[u8]) -> Option<u64> {
    let (magic, rest) = frame.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*magic) != ZSTD_MAGIC {
        return Some(0);
    }
    let (descriptor, rest) = rest.split_first()?;
    let is_single = descriptor & 0x20 != 0;
    if !is_single {
        let window = rest.first()?;
        let base = 1_u64 << (10 + (window >> 3));
        return Some(base + base / 8 * u64::from(window & 7));
    }
    let dictionary_bytes = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let size_bytes = [1, 2, 4, 8][usize::from(descriptor >> 6)];
    let field = rest.get(dictionary_bytes..dictionary_bytes + size_bytes)?;
    let mut size = [0; 8];
    size[..size_bytes].copy_from_slice(field);
    let size = u64::from_le_bytes(size);
    Some(if size_bytes == 2 { size + 256 } else { size })
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// As a tool makes it that does not know how much there will be.
    fn zstd(bytes: &[u8], window_log: u32) -> Vec<u8> {
        let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
        encoder.window_log(window_log).unwrap();
        encoder.write_all(bytes).unwrap();
        encoder.flush().unwrap();
        encoder.finish().unwrap()
    }

    /// Feeds the body in pieces; gives what came out, the largest piece, and the largest window.
    fn decode(encoding: Encoding, body: &[u8], piece: usize) -> io::Result<(Vec<u8>, usize, usize)> {
        let mut decoder = StreamDecoder::new(encoding)?;
        let (mut whole, mut largest, mut window) = (Vec::new(), 0, 0);
        for piece in body.chunks(piece) {
            decoder.feed(Bytes::copy_from_slice(piece));
            loop {
                let mut out = BytesMut::new();
                let step = decoder.step(&mut out)?;
                largest = largest.max(out.len());
                whole.extend_from_slice(&out);
                match step {
                    Step::More => {}
                    Step::Hungry => break,
                    Step::Window(bytes) => {
                        decoder.grant_window(bytes);
                        window = window.max(bytes);
                    }
                }
            }
        }
        decoder.finish()?;
        Ok((whole, largest, window))
    }

    #[test]
    fn what_went_in_comes_out_however_it_was_cut() {
        let text: Vec<u8> = (0..200_000_u32).flat_map(|n| n.to_string().into_bytes()).collect();
        let (head, tail) = text.split_at(1000);
        for (encoding, body) in [
            (Encoding::Identity, text.clone()),
            (Encoding::Gzip, [gzip(head), gzip(tail)].concat()),
            (Encoding::Zstd, [zstd::encode_all(head, 3).unwrap(), zstd(tail, 20)].concat()),
        ] {
            for piece in [1, 7, 4096, usize::MAX] {
                let (whole, largest, _) = decode(encoding, &body, piece).unwrap();
                assert!(whole == text, "{encoding:?} in pieces of {piece}");
                assert!(encoding == Encoding::Identity || largest <= 2 * PIECE_BYTES, "{largest}");
            }
            assert_eq!(decode(encoding, b"", 1).unwrap().0, b"");
        }
    }

    #[test]
    fn a_piece_stays_small_whatever_it_becomes() {
        let zeros = vec![0; 64 << 20];
        for (encoding, body) in [(Encoding::Gzip, gzip(&zeros)), (Encoding::Zstd, zstd(&zeros, 20))] {
            let (whole, largest, window) = decode(encoding, &body, usize::MAX).unwrap();
            assert_eq!(whole.len(), zeros.len());
            assert!(largest <= 2 * PIECE_BYTES && window <= 2 << 20, "{largest} {window}");
        }
    }

    #[test]
    fn all_that_was_fed_has_come_out_before_more_is_needed() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(b"a line\n").unwrap();
        encoder.flush().unwrap();
        let flushed_gzip = encoder.get_ref().clone();
        let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
        encoder.write_all(b"a line\n").unwrap();
        encoder.flush().unwrap();
        let flushed_zstd = encoder.get_ref().clone();
        for (encoding, body) in [(Encoding::Gzip, flushed_gzip), (Encoding::Zstd, flushed_zstd)] {
            let mut decoder = StreamDecoder::new(encoding).unwrap();
            decoder.grant_window(8 << 20);
            decoder.feed(body.into());
            let mut out = BytesMut::new();
            while decoder.step(&mut out).unwrap() != Step::Hungry {}
            assert_eq!(out, "a line\n", "{encoding:?}");
            assert!(decoder.finish().is_err(), "it has not ended");
        }
    }

    #[test]
    fn what_is_not_what_the_head_says_is_an_error() {
        let (gzipped, zstandard) = (gzip(b"text"), zstd(b"text", 20));
        let mut flipped = gzipped.clone();
        let checksum = flipped.len() - 5;
        flipped[checksum] ^= 1;
        for (encoding, body) in [
            (Encoding::Gzip, &b"text, plain and simple"[..]),
            (Encoding::Zstd, b"text, plain and simple"),
            (Encoding::Gzip, &gzipped[..gzipped.len() - 1]),
            (Encoding::Zstd, &zstandard[..zstandard.len() - 1]),
            (Encoding::Zstd, &zstandard[..3]),
            (Encoding::Gzip, &[&gzipped[..], b"more"].concat()),
            (Encoding::Zstd, &[&zstandard[..], b"more"].concat()),
            (Encoding::Gzip, &flipped),
            (Encoding::Zstd, &zstd(b"text", 24)),
        ] {
            for piece in [1, usize::MAX] {
                assert!(decode(encoding, body, piece).is_err(), "{encoding:?} {body:?}");
            }
        }
    }

    #[test]
    fn a_window_is_known_from_a_frames_head() {
        for log in [10, 17, 20, 23] {
            assert_eq!(window_of(&zstd(b"text", log)), Some(1 << log));
        }
        let single = zstd::bulk::compress(&vec![7; 5000], 3).unwrap();
        assert_eq!(window_of(&single), Some(5000));
        for cut in 0..6 {
            assert_eq!(window_of(&single[..cut]), None);
        }
        assert_eq!(window_of(b"GET "), Some(0));
    }
}
