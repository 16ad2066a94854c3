//! Kafka's wire format, as far as the gate, the log-in and the check speak it themselves.
//!
//! ```text
//! request   ┌────────┬─────────┬─────────┬─────────────┬───────────┬──────┐
//!           │ length │ API key │ version │ correlation │ client id │ body │
//!           │ i32    │ i16     │ i16     │ i32         │ string    │      │
//!           └────────┴─────────┴─────────┴─────────────┴───────────┴──────┘
//! response  ┌────────┬─────────────┬──────┐
//!           │ length │ correlation │ body │      the length counts what follows it
//!           │ i32    │ i32         │      │
//!           └────────┴─────────────┴──────┘
//! ```
//!
//! Numbers are big-endian. An API's newer versions are *flexible*: lengths are unsigned varints, one more than the length,
//! and every structure ends with tagged fields, the header too (but for the answers of ApiVersions).

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The longest answer that is taken. Metadata of a large cluster has a few hundred KiB.
pub(super) const MAX_RESPONSE_BYTES: usize = 16 * 1024 * 1024;

/// What of a frame is not its length: correlation id.
pub(super) const RESPONSE_HEADER_BYTES: usize = 4;

/// The APIs that are spoken, by their keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ApiKey {
    Produce,
    Metadata,
    SaslHandshake,
    ApiVersions,
    InitProducerId,
    SaslAuthenticate,
}

impl ApiKey {
    const ALL: [Self; 6] = [
        Self::Produce,
        Self::Metadata,
        Self::SaslHandshake,
        Self::ApiVersions,
        Self::InitProducerId,
        Self::SaslAuthenticate,
    ];

    pub(super) fn key(self) -> i16 {
        match self {
            Self::Produce => 0,
            Self::Metadata => 3,
            Self::SaslHandshake => 17,
            Self::ApiVersions => 18,
            Self::InitProducerId => 22,
            Self::SaslAuthenticate => 36,
        }
    }

    pub(super) fn of_key(key: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|api| api.key() == key)
    }

    /// Whether a version's header and body are flexible.
    pub(super) fn is_flexible(self, version: i16) -> bool {
        match self {
            Self::Produce | Self::Metadata => version >= 9,
            Self::ApiVersions => version >= 3,
            Self::InitProducerId | Self::SaslAuthenticate => version >= 2,
            Self::SaslHandshake => false,
        }
    }
}

/// What a broker answered cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the broker's answer is not Kafka's protocol: {0}")]
pub(super) struct Malformed(pub(super) &'static str);

/// Reads one frame's parts, in their order. Never past its end.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
    flexible: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], flexible: bool) -> Self {
        Self { bytes, position: 0, flexible }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let end = self.position.checked_add(count).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or(Malformed("it ends too early"))?;
        let taken = &self.bytes[self.position..end];
        self.position = end;
        Ok(taken)
    }

    pub(super) fn i8(&mut self) -> Result<i8, Malformed> {
        Ok(i8::from_be_bytes([self.take(1)?[0]]))
    }

    pub(super) fn i16(&mut self) -> Result<i16, Malformed> {
        let bytes = self.take(2)?;
        Ok(i16::from_be_bytes([bytes[0], bytes[1]]))
    }

    pub(super) fn i32(&mut self) -> Result<i32, Malformed> {
        let bytes = self.take(4)?;
        Ok(i32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn varint(&mut self) -> Result<u32, Malformed> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.take(1)?[0];
            if shift == 28 && byte > 0x0f {
                break;
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed("a number is too long"))
    }

    /// A length, or none for null. `classic` reads it where the version is not flexible.
    fn length(
        &mut self,
        classic: fn(&mut Self) -> Result<i32, Malformed>,
    ) -> Result<Option<usize>, Malformed> {
        if self.flexible {
            let more_by_one = self.varint()?;
            return Ok(more_by_one.checked_sub(1).map(|length| length as usize));
        }
        match classic(self)? {
            -1 => Ok(None),
            length => usize::try_from(length).map(Some).map_err(|_| Malformed("a length is negative")),
        }
    }

    /// A string that may be null.
    pub(super) fn string(&mut self) -> Result<Option<&'a str>, Malformed> {
        let Some(length) = self.length(|reader| reader.i16().map(i32::from))? else { return Ok(None) };
        let text = std::str::from_utf8(self.take(length)?);
        text.map(Some).map_err(|_| Malformed("a text is not UTF-8"))
    }

    /// Bytes that may be null.
    pub(super) fn bytes(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        let Some(length) = self.length(Self::i32)? else { return Ok(None) };
        self.take(length).map(Some)
    }

    /// How many elements follow; null is none. Every element takes a byte at least, so a count that the frame has no
    /// room for is refused.
    pub(super) fn count(&mut self) -> Result<usize, Malformed> {
        let count = self.length(Self::i32)?.unwrap_or(0);
        if count > self.bytes.len() - self.position {
            return Err(Malformed("it counts more than it has"));
        }
        Ok(count)
    }

    /// Passes over tagged fields, where the version has them.
    pub(super) fn tags(&mut self) -> Result<(), Malformed> {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.varint()? {
            self.varint()?;
            let length = self.varint()?;
            self.take(length as usize)?;
        }
        Ok(())
    }

    /// Passes over an array of `i32`.
    pub(super) fn numbers(&mut self) -> Result<(), Malformed> {
        let count = self.count()?;
        self.take(count.checked_mul(4).ok_or(Malformed("a length is too large"))?)?;
        Ok(())
    }
}

/// Appends a string of a flexible or a classic version.
pub(super) fn put_string(out: &mut Vec<u8>, text: Option<&str>, flexible: bool) {
    // Nothing that is written here comes near the limits of the lengths.
    match (text, flexible) {
        (None, false) => out.extend_from_slice(&(-1i16).to_be_bytes()),
        (None, true) => put_varint(out, 0),
        (Some(text), false) => {
            let length = i16::try_from(text.len()).unwrap_or(i16::MAX);
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        (Some(text), true) => {
            put_varint(out, u32::try_from(text.len()).unwrap_or(u32::MAX - 1) + 1);
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// Appends the count of an array.
pub(super) fn put_count(out: &mut Vec<u8>, count: usize, flexible: bool) {
    if flexible {
        put_varint(out, u32::try_from(count).unwrap_or(u32::MAX - 1) + 1);
    } else {
        out.extend_from_slice(&i32::try_from(count).unwrap_or(i32::MAX).to_be_bytes());
    }
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExchangeError {
    #[error("the connection failed: {0}")]
    Io(std::io::Error),
    #[error("the broker closed the connection")]
    Closed,
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("the broker's answer has {0} bytes, more than are taken")]
    TooLong(i64),
}

/// Sends one request in a version that is not flexible and waits for its answer: the body.
pub(super) async fn exchange(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    api: ApiKey,
    version: i16,
    client_id: &str,
    body: &[u8],
) -> Result<Vec<u8>, ExchangeError> {
    assert!(!api.is_flexible(version), "requests of our own are of classic versions");
    const CORRELATION: i32 = 1;
    let mut frame = vec![0; 4];
    frame.extend_from_slice(&api.key().to_be_bytes());
    frame.extend_from_slice(&version.to_be_bytes());
    frame.extend_from_slice(&CORRELATION.to_be_bytes());
    put_string(&mut frame, Some(client_id), false);
    frame.extend_from_slice(body);
    let length = i32::try_from(frame.len() - 4).unwrap_or(i32::MAX);
    frame[..4].copy_from_slice(&length.to_be_bytes());
    stream.write_all(&frame).await?;
    stream.flush().await?;
    let answer = read_response(stream).await?;
    if answer[..RESPONSE_HEADER_BYTES] != CORRELATION.to_be_bytes() {
        return Err(Malformed("it belongs to no request").into());
    }
    Ok(answer[RESPONSE_HEADER_BYTES..].to_vec())
}

/// Reads one response frame, without its length: correlation id and body.
pub(super) async fn read_response(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, ExchangeError> {
    let length = stream.read_i32().await?;
    let taken = usize::try_from(length).ok().filter(|length| *length <= MAX_RESPONSE_BYTES);
    let taken = taken.ok_or(ExchangeError::TooLong(length.into()))?;
    if taken < RESPONSE_HEADER_BYTES {
        return Err(Malformed("it is shorter than its header").into());
    }
    // What it claims is believed only as it arrives.
    let mut frame = Vec::with_capacity(taken.min(64 * 1024));
    let read = stream.take(taken as u64).read_to_end(&mut frame).await?;
    if read < taken {
        return Err(ExchangeError::Closed);
    }
    Ok(frame)
}

impl From<std::io::Error> for ExchangeError {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        match error.kind() {
            UnexpectedEof | ConnectionReset | BrokenPipe => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_counts_come_back_in_both_spellings() {
        for flexible in [false, true] {
            let mut out = Vec::new();
            put_string(&mut out, Some("broker"), flexible);
            put_string(&mut out, None, flexible);
            put_count(&mut out, 2, flexible);
            out.extend_from_slice(&[0; 8]);
            let mut reader = Reader::new(&out, flexible);
            assert_eq!(reader.string(), Ok(Some("broker")));
            assert_eq!(reader.string(), Ok(None));
            assert_eq!(reader.count(), Ok(2));
            assert_eq!(reader.take(9).unwrap_err(), Malformed("it ends too early"));
        }
        let mut out = Vec::new();
        for value in [0, 127, 128, 300, u32::MAX] {
            out.clear();
            put_varint(&mut out, value);
            assert_eq!(Reader::new(&out, true).varint(), Ok(value));
        }
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        for (bytes, flexible) in [
            (&[0x7f, 0xff, 0, 0][..], false),
            (&[0x7f, 0xff, 0xff, 0xff, 0], false),
            (&[0xff, 0xff, 3], true),
        ] {
            assert!(
                Reader::new(bytes, flexible).string().is_err()
                    || Reader::new(bytes, flexible).count().is_err()
            );
            assert!(Reader::new(bytes, flexible).count().is_err());
        }
        assert!(Reader::new(&[0xff, 0xfe], false).string().is_err(), "a negative length that is not null");
        assert!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x7f], true).varint().is_err(), "more than 32 bits");
        assert!(Reader::new(&[2, 0xff], true).string().is_err(), "not UTF-8");
    }

    #[tokio::test]
    async fn an_answer_must_be_whole_bounded_and_of_the_request() {
        let answer = |bytes: &'static [u8]| async move {
            let (mut ours, mut theirs) = tokio::io::duplex(1024);
            theirs.write_all(bytes).await.unwrap();
            let answer = tokio::spawn(async move {
                exchange(&mut ours, ApiKey::SaslHandshake, 1, "client", b"")
                    .await
                    .map_err(|error| error.to_string())
            });
            let mut request = [0; 20];
            theirs.read_exact(&mut request).await.unwrap();
            assert_eq!(&request, b"\0\0\0\x10\0\x11\0\x01\0\0\0\x01\0\x06client");
            drop(theirs);
            answer.await.unwrap()
        };
        assert_eq!(answer(b"\0\0\0\x06\0\0\0\x01ok").await, Ok(b"ok".to_vec()));
        for (bytes, error) in [
            (&b""[..], "closed the connection"),
            (b"\0\0\0\x06\0\0\0\x01o", "closed the connection"),
            (b"\0\0\0\x06\0\0\0\x02ok", "belongs to no request"),
            (b"\0\0\0\x03\0\0\0", "shorter than its header"),
            (b"\x7f\0\0\0\0\0\0\x01", "more than are taken"),
            (b"\xff\xff\xff\xff", "more than are taken"),
            (b"HTTP/1.1 400 Bad Request\r\n", "more than are taken"),
        ] {
            let why = answer(bytes).await.unwrap_err();
            assert!(why.contains(error), "{bytes:?}: {why}");
        }
    }
}
