//! The strict HTTP/1.1 message framing check: where heads and bodies begin and end, and what is ambiguous about it.
//!
//! An HTTP parser that is lenient about framing can be made to disagree with another one in front of it
//! (request smuggling). hyper is lenient in places and gives the application no sight of what it forgave, so the
//! bytes are checked here, before hyper sees them. Everything that passes has one reading only:
//!
//! - lines end with CR LF, and neither CR nor LF stands alone;
//! - a request has one `Content-Length` (digits only) or one `Transfer-Encoding: chunked`, never both;
//! - an HTTP/1.1 request has exactly one `Host`;
//! - methods and header names are tokens, nothing holds a control character, no header is folded, and no space stands
//!   before a header's colon;
//! - chunk sizes are hexadecimal digits, chunk lines and trailers are bounded.
//!
//! The invariant that makes this safe: **a head is approved as a whole or not at all**, so a refused request never
//! reaches hyper, not even in part.

use memchr::{memchr, memchr2};

/// Why a connection's bytes are refused. The connection cannot be used on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Violation {
    BareLineEnd = 1,
    HeadTooLarge,
    TooManyHeaders,
    MalformedRequestLine,
    UnsupportedVersion,
    MalformedHeader,
    ContentLength,
    AmbiguousLength,
    TransferEncoding,
    Host,
    Connect,
    MalformedChunk,
    HeadTimeout,
}

impl Violation {
    const ALL: [Self; 13] = [
        Self::BareLineEnd,
        Self::HeadTooLarge,
        Self::TooManyHeaders,
        Self::MalformedRequestLine,
        Self::UnsupportedVersion,
        Self::MalformedHeader,
        Self::ContentLength,
        Self::AmbiguousLength,
        Self::TransferEncoding,
        Self::Host,
        Self::Connect,
        Self::MalformedChunk,
        Self::HeadTimeout,
    ];

    /// The violation whose number (`as u8`) it is.
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|violation| *violation as u8 == number)
    }
}

/// Bounds of what is between bodies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FramingLimits {
    /// The most bytes of a head, and of all trailers of a body.
    pub(crate) head_bytes: usize,
    /// The most headers of a head.
    pub(crate) headers: usize,
}

/// A chunk's size line may be this long, extensions included.
const CHUNK_LINE_BYTES: usize = 256;

/// Where in the stream of messages a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    /// Before or within a head.
    Head,
    /// Within a body of known length: bytes to come.
    Sized(u64),
    /// At a chunk's size line.
    ChunkLine,
    /// Within a chunk: bytes to come.
    Chunk(u64),
    /// At the line end after a chunk.
    ChunkEnd,
    /// At the trailers: bytes seen so far.
    Trailers(usize),
    /// The check is off (HTTP/2, which frames itself).
    Opaque,
}

/// The check of one connection's incoming bytes.
#[derive(Debug)]
pub(crate) struct Framing {
    position: Position,
    limits: FramingLimits,
    head: Head,
}

/// What is known of the head so far. `checked` bytes of it are whole lines.
#[derive(Debug, Default, Clone, Copy)]
struct Head {
    checked: usize,
    lines: usize,
    minor_version: u8,
    hosts: usize,
    content_length: Option<u64>,
    chunked: bool,
}

/// A line without its CR LF, or nothing while its end has not come.
fn next_line(bytes: &[u8]) -> Result<Option<&[u8]>, Violation> {
    let Some(end) = memchr2(b'\r', b'\n', bytes) else {
        return Ok(None);
    };
    match (bytes[end], bytes.get(end + 1)) {
        (b'\r', Some(b'\n')) => Ok(Some(&bytes[..end])),
        (b'\r', None) => Ok(None),
        _ => Err(Violation::BareLineEnd),
    }
}

impl Framing {
    pub(crate) fn new(limits: FramingLimits) -> Self {
        Self { position: Position::Head, limits, head: Head::default() }
    }

    /// Turns the check off.
    pub(crate) fn set_opaque(&mut self) {
        self.position = Position::Opaque;
    }

    pub(crate) fn is_opaque(&self) -> bool {
        self.position == Position::Opaque
    }

    /// Whether the stream stands between messages or within a head.
    pub(crate) fn is_at_head(&self) -> bool {
        self.position == Position::Head
    }

    /// The bytes of a sized body that are still to come: these need no look.
    pub(crate) fn sized_remaining(&self) -> u64 {
        if let Position::Sized(remaining) = self.position { remaining } else { 0 }
    }

    /// Checks `bytes`, which follow what was approved before, and says how many of them are approved.
    /// What is not approved must be offered again, with more behind it.
    pub(crate) fn approve(&mut self, bytes: &[u8]) -> (usize, Option<Violation>) {
        let mut approved = 0;
        loop {
            match self.step(&bytes[approved..]) {
                Ok(0) => return (approved, None),
                Ok(count) => approved += count,
                Err(violation) => return (approved, Some(violation)),
            }
        }
    }

    /// Approves up to the next place where something changes; 0 when more bytes are needed.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        match self.position {
            Position::Opaque => Ok(bytes.len()),
            Position::Head => self.step_head(bytes),
            Position::Sized(remaining) => {
                let (count, left) = take(bytes, remaining);
                self.position = if left == 0 { Position::Head } else { Position::Sized(left) };
                Ok(count)
            }
            Position::ChunkLine => self.step_chunk_line(bytes),
            Position::Chunk(remaining) => {
                let (count, left) = take(bytes, remaining);
                self.position = if left == 0 { Position::ChunkEnd } else { Position::Chunk(left) };
                Ok(count)
            }
            Position::ChunkEnd => match bytes {
                [] | [b'\r'] => Ok(0),
                [b'\r', b'\n', ..] => {
                    self.position = Position::ChunkLine;
                    Ok(2)
                }
                _ => Err(Violation::MalformedChunk),
            },
            Position::Trailers(seen) => self.step_trailers(bytes, seen),
        }
    }

    fn step_head(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        while let Some(line) = next_line(&bytes[self.head.checked..])? {
            self.head.checked += line.len() + 2;
            if self.head.checked > self.limits.head_bytes {
                return Err(Violation::HeadTooLarge);
            }
            if line.is_empty() && self.head.lines > 0 {
                let length = self.head.checked;
                self.position = self.head.finish()?;
                self.head = Head::default();
                return Ok(length);
            }
            // One empty line may come before a request line (RFC 9112, 2.2).
            if line.is_empty() {
                if self.head.checked > 2 {
                    return Err(Violation::MalformedRequestLine);
                }
                continue;
            }
            self.head.line(line)?;
            if self.head.lines > self.limits.headers + 1 {
                return Err(Violation::TooManyHeaders);
            }
        }
        if bytes.len() >= self.limits.head_bytes { Err(Violation::HeadTooLarge) } else { Ok(0) }
    }

    fn step_chunk_line(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        let window = &bytes[..bytes.len().min(CHUNK_LINE_BYTES)];
        let Some(line) = next_line(window).map_err(|_| Violation::MalformedChunk)? else {
            return if window.len() == CHUNK_LINE_BYTES { Err(Violation::MalformedChunk) } else { Ok(0) };
        };
        let size = &line[..memchr(b';', line).unwrap_or(line.len())];
        let size = parse_hexadecimal(size).ok_or(Violation::MalformedChunk)?;
        self.position = if size == 0 { Position::Trailers(0) } else { Position::Chunk(size) };
        Ok(line.len() + 2)
    }

    fn step_trailers(&mut self, bytes: &[u8], seen: usize) -> Result<usize, Violation> {
        let Some(line) = next_line(bytes).map_err(|_| Violation::MalformedChunk)? else {
            let too_long = seen + bytes.len() > self.limits.head_bytes;
            return if too_long { Err(Violation::HeadTooLarge) } else { Ok(0) };
        };
        let seen = seen + line.len() + 2;
        if seen > self.limits.head_bytes {
            return Err(Violation::HeadTooLarge);
        }
        self.position = if line.is_empty() { Position::Head } else { Position::Trailers(seen) };
        Ok(line.len() + 2)
    }
}

impl Head {
    fn line(&mut self, line: &[u8]) -> Result<(), Violation> {
        self.lines += 1;
        if self.lines == 1 {
            return self.request_line(line);
        }
        // A line that begins with a space would continue the one before it (obsolete folding), and is no token.
        let colon = memchr(b':', line).ok_or(Violation::MalformedHeader)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if !is_token(name) || !value.iter().all(is_field_text) {
            return Err(Violation::MalformedHeader);
        }
        match name {
            name if name.eq_ignore_ascii_case(b"content-length") => {
                let length = parse_decimal(value).ok_or(Violation::ContentLength)?;
                if self.content_length.replace(length).is_some() {
                    Err(Violation::ContentLength)
                } else {
                    Ok(())
                }
            }
            name if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                let first = !std::mem::replace(&mut self.chunked, true);
                if first && value.eq_ignore_ascii_case(b"chunked") {
                    Ok(())
                } else {
                    Err(Violation::TransferEncoding)
                }
            }
            name if name.eq_ignore_ascii_case(b"host") => {
                self.hosts += 1;
                if value.is_empty() { Err(Violation::Host) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    fn request_line(&mut self, line: &[u8]) -> Result<(), Violation> {
        let method_length = memchr(b' ', line).ok_or(Violation::MalformedRequestLine)?;
        let (method, rest) = line.split_at(method_length);
        let target_length = memchr(b' ', &rest[1..]).ok_or(Violation::MalformedRequestLine)?;
        let (target, version) = rest[1..].split_at(target_length);
        if !is_token(method) || target.is_empty() || !target.iter().all(u8::is_ascii_graphic) {
            return Err(Violation::MalformedRequestLine);
        }
        self.minor_version = match version {
            b" HTTP/1.1" => 1,
            b" HTTP/1.0" => 0,
            version if version.starts_with(b" HTTP/") => return Err(Violation::UnsupportedVersion),
            _ => return Err(Violation::MalformedRequestLine),
        };
        // The bytes after a CONNECT are no messages, so nothing after it could be checked.
        if method == b"CONNECT" { Err(Violation::Connect) } else { Ok(()) }
    }

    /// What follows this head.
    fn finish(&self) -> Result<Position, Violation> {
        if self.hosts > 1 || (self.hosts == 0 && self.minor_version == 1) {
            return Err(Violation::Host);
        }
        match (self.content_length, self.chunked) {
            (Some(_), true) => Err(Violation::AmbiguousLength),
            (None, true) if self.minor_version == 0 => Err(Violation::TransferEncoding),
            (None, true) => Ok(Position::ChunkLine),
            (None | Some(0), false) => Ok(Position::Head),
            (Some(length), false) => Ok(Position::Sized(length)),
        }
    }
}

/// Whether it can be a method or a header's name (RFC 9110, 5.6.2).
fn is_token(text: &[u8]) -> bool {
    const LEGAL: [bool; 256] = {
        let mut legal = [false; 256];
        let mut byte = 0;
        while byte < 256 {
            #[expect(clippy::cast_possible_truncation, reason = "below 256")]
            let character = byte as u8;
            legal[byte] = character.is_ascii_alphanumeric();
            byte += 1;
        }
        let others = b"!#$%&'*+-.^_`|~";
        let mut place = 0;
        while place < others.len() {
            legal[others[place] as usize] = true;
            place += 1;
        }
        legal
    };
    !text.is_empty() && text.iter().all(|byte| LEGAL[usize::from(*byte)])
}

/// Whether a header's value may have it: no control character but the tabulator.
fn is_field_text(byte: &u8) -> bool {
    *byte >= b' ' && *byte != 0x7f || *byte == b'\t'
}

/// How many of `bytes` belong to the `remaining` ones, and how many then remain.
fn take(bytes: &[u8], remaining: u64) -> (usize, u64) {
    let count = usize::try_from(remaining).map_or(bytes.len(), |remaining| remaining.min(bytes.len()));
    (count, remaining - count as u64)
}

fn parse_decimal(text: &[u8]) -> Option<u64> {
    // `str::parse` takes a leading plus sign.
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn parse_hexadecimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 15 || !text.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: FramingLimits = FramingLimits { head_bytes: 512, headers: 8 };

    /// Offers the bytes in pieces of `step`, as a slow client would send them, and tells what came of it.
    fn offer(stream: &[u8], step: usize) -> (usize, Option<Violation>, Framing) {
        let mut framing = Framing::new(LIMITS);
        let (mut approved, mut end) = (0, 0);
        while end < stream.len() {
            end = (end + step).min(stream.len());
            let (count, violation) = framing.approve(&stream[approved..end]);
            approved += count;
            if violation.is_some() {
                return (approved, violation, framing);
            }
        }
        (approved, None, framing)
    }

    fn refused(stream: &[u8]) -> Violation {
        let whole = offer(stream, stream.len());
        for step in [1, 2, 3, 7] {
            assert_eq!(
                offer(stream, step).1,
                whole.1,
                "the verdict depends on the pieces ({step} bytes each)"
            );
        }
        whole.1.expect("refused")
    }

    fn accepted(stream: &[u8]) {
        for step in [1, 2, 3, 7, stream.len()] {
            let (approved, violation, framing) = offer(stream, step);
            assert_eq!((approved, violation), (stream.len(), None), "{step} bytes each");
            assert!(framing.is_at_head());
        }
    }

    #[test]
    fn well_formed_messages_pass_however_they_are_cut() {
        accepted(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        accepted(b"GET / HTTP/1.0\r\n\r\n");
        accepted(b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
        accepted(b"POST / HTTP/1.1\r\nhost:a\r\ncontent-LENGTH: 5\r\n\r\na\nb\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
        accepted(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n5;x=y\r\n12\n45\r\nA\r\n0123456789\r\n0\r\nT: 1\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }

    #[test]
    fn a_refused_head_is_not_approved_even_in_part() {
        let good = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let stream = [
            good.as_slice(),
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        ]
        .concat();
        for step in [1, 5, stream.len()] {
            let (approved, violation, _) = offer(&stream, step);
            assert_eq!((approved, violation), (good.len(), Some(Violation::AmbiguousLength)));
        }
    }

    #[test]
    fn both_lengths_are_refused_in_either_order() {
        assert_eq!(
            refused(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n"),
            Violation::AmbiguousLength
        );
        assert_eq!(
            refused(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Violation::AmbiguousLength
        );
    }

    #[test]
    fn line_ends_that_stand_alone_are_refused() {
        assert_eq!(refused(b"GET / HTTP/1.1\nHost: a\n\n"), Violation::BareLineEnd);
        assert_eq!(refused(b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\nY: 2\r\n\r\n"), Violation::BareLineEnd);
        assert_eq!(refused(b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\rY: 2\r\n\r\n"), Violation::BareLineEnd);
        assert_eq!(refused(b"GET / HTTP/1.1\r\nHost: a\r\n\n"), Violation::BareLineEnd);
    }

    #[test]
    fn lengths_of_more_than_one_reading_are_refused() {
        for value in ["+5", "-1", "", "5, 5", "0x5", "5 5", "99999999999999999999999"] {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {value}\r\n\r\n");
            assert_eq!(refused(head.as_bytes()), Violation::ContentLength, "{value:?}");
        }
        assert_eq!(
            refused(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n"),
            Violation::ContentLength
        );
        for value in ["gzip, chunked", "identity", "chunked, chunked", "xchunked", ""] {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {value}\r\n\r\n");
            assert_eq!(refused(head.as_bytes()), Violation::TransferEncoding, "{value:?}");
        }
        assert_eq!(
            refused(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Violation::TransferEncoding
        );
        assert_eq!(
            refused(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\n"),
            Violation::MalformedHeader
        );
        assert_eq!(refused(b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n"), Violation::MalformedHeader);
    }

    #[test]
    fn a_request_names_one_host() {
        assert_eq!(refused(b"GET / HTTP/1.1\r\n\r\n"), Violation::Host);
        assert_eq!(refused(b"GET / HTTP/1.1\r\nHost:\r\n\r\n"), Violation::Host);
        assert_eq!(refused(b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n"), Violation::Host);
    }

    #[test]
    fn heads_are_bounded() {
        let flood = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: y\r\n".repeat(8));
        assert_eq!(refused(flood.as_bytes()), Violation::TooManyHeaders);
        let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(600));
        assert_eq!(refused(long.as_bytes()), Violation::HeadTooLarge);
    }

    #[test]
    fn chunks_that_are_not_are_refused() {
        let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        for body in
            ["5\n12345\r\n", "g\r\n", "5\r\n123456\r\n", "0x5\r\n", "\r\n", "+5\r\n", "fffffffffffffffff\r\n"]
        {
            let (approved, violation, _) = offer(&[head, body.as_bytes()].concat(), 1000);
            assert!(approved >= head.len());
            assert_eq!(violation, Some(Violation::MalformedChunk), "{body:?}");
        }
        let endless = [head.as_slice(), b"1;", &b"x".repeat(300)].concat();
        assert_eq!(refused(&endless), Violation::MalformedChunk);
        let trailers = [head.as_slice(), b"0\r\n", &b"x: y\r\n".repeat(100)].concat();
        assert_eq!(refused(&trailers), Violation::HeadTooLarge);
    }

    #[test]
    fn a_request_line_has_three_parts_and_a_known_version() {
        assert_eq!(refused(b"GET /\r\nHost: a\r\n\r\n"), Violation::MalformedRequestLine);
        assert_eq!(refused(b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"), Violation::UnsupportedVersion);
        assert_eq!(refused(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"), Violation::Connect);
        assert_eq!(refused(b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), Violation::MalformedRequestLine);
    }

    #[test]
    fn what_is_not_text_is_refused() {
        for line in ["X\0: 1", "X: a\0b", "X: a\x7fb", "X Y: 1", "X\u{e9}: 1", ": 1", "nothing"] {
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n");
            assert_eq!(refused(head.as_bytes()), Violation::MalformedHeader, "{line:?}");
        }
        for line in ["G\0T / HTTP/1.1", "GET /\t HTTP/1.1", "GET /\u{e9} HTTP/1.1", "G(T / HTTP/1.1"] {
            let head = format!("{line}\r\nHost: a\r\n\r\n");
            assert_eq!(refused(head.as_bytes()), Violation::MalformedRequestLine, "{line:?}");
        }
        accepted(b"GET /a?b=%20 HTTP/1.1\r\nHost: a\r\nX: \xff\t\"y\"\r\n\r\n");
    }

    #[test]
    fn every_violation_can_be_told_by_its_number() {
        for violation in Violation::ALL {
            assert_eq!(Violation::from_number(violation as u8), Some(violation));
        }
        assert_eq!(Violation::from_number(0), None);
    }
}
