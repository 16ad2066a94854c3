//! Compressed bodies (`Content-Encoding: gzip` or `zstd`), bounded by what they become and not by what they are.
//!
//! A few kilobytes can become gigabytes, so the limit of a body holds for what comes out too, memory is reserved as it
//! comes out, and the work gives others their turn after each piece. zstd makes its reader keep a window of the sender's
//! choice; one of more than 8 MiB is refused, as RFC 9659 has it for HTTP.

use std::io::{self, Read};

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, StatusCode};
use zstd::stream::raw::{DParameter, Decoder as RawZstdDecoder};
use zstd::stream::read::Decoder as ZstdDecoder;

use super::problem::Problem;
use super::upload::{Received, UploadLimits};

/// What comes out before others get their turn.
pub(super) const PIECE_BYTES: usize = 64 << 10;
/// The largest window of zstd, as a power of two.
pub(super) const ZSTD_WINDOW_LOG: u32 = 23;

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Not at all.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Encoding {
    /// What the head says.
    ///
    /// # Errors
    /// 415 when it is another encoding, or several.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut found = Self::Identity;
        for value in headers.get_all(CONTENT_ENCODING) {
            let one = match value.as_bytes().to_ascii_lowercase().as_slice() {
                b"identity" => continue,
                b"gzip" | b"x-gzip" => Self::Gzip,
                b"zstd" => Self::Zstd,
                _ => return Err(unsupported()),
            };
            if found != Self::Identity {
                return Err(unsupported());
            }
            found = one;
        }
        Ok(found)
    }

    /// The body as it was before it was compressed.
    ///
    /// # Errors
    /// 400 when it is not what the head says, 413 when it becomes too large, 503 when there is no memory for it.
    pub(crate) async fn decompress<'a>(
        self,
        received: Received<'a>,
        limits: &'a UploadLimits,
    ) -> Result<Received<'a>, Problem> {
        let compressed = &received.bytes[..];
        match self {
            Self::Identity => Ok(received),
            Self::Gzip => read_all(MultiGzDecoder::new(compressed), limits).await,
            Self::Zstd => {
                let _window = limits.reserve_window(1 << ZSTD_WINDOW_LOG).await?;
                read_all(zstd_decoder(compressed).map_err(|error| malformed(&error))?, limits).await
            }
        }
    }
}

fn zstd_decoder(compressed: &[u8]) -> io::Result<ZstdDecoder<'static, &[u8]>> {
    let mut decoder = ZstdDecoder::with_buffer(compressed)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG)?;
    Ok(decoder)
}

/// A decompressor for streams that refuses larger windows.
pub(super) fn limited(mut decoder: RawZstdDecoder<'static>) -> io::Result<RawZstdDecoder<'static>> {
    decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))?;
    Ok(decoder)
}

async fn read_all<'a>(
    mut decoder: impl Read + Send,
    limits: &'a UploadLimits,
) -> Result<Received<'a>, Problem> {
    let mut memory = limits.reserve(PIECE_BYTES).await?;
    let mut bytes = vec![0; PIECE_BYTES];
    let mut length = 0;
    loop {
        if length == bytes.len() {
            // One byte more than may be, to see that there is one.
            let more = bytes.len().min((limits.max_bytes + 1).saturating_sub(length).max(1));
            memory.merge(limits.reserve(more).await?);
            bytes.reserve_exact(more);
            bytes.resize(length + more, 0);
        }
        let piece_end = bytes.len().min(length + PIECE_BYTES);
        match decoder.read(&mut bytes[length..piece_end]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(malformed(&error)),
        }
        if length > limits.max_bytes {
            return Err(limits.too_large("once it is decompressed"));
        }
        tokio::task::yield_now().await;
    }
    bytes.truncate(length);
    Ok(Received::new(Bytes::from(bytes), memory))
}

fn malformed(error: &io::Error) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "malformed_compression", "The body cannot be decompressed")
        .detail(error.to_string())
}

fn unsupported() -> Problem {
    Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_content_encoding",
        "The content encoding is not supported",
    )
    .detail("It must be gzip, zstd or none")
}
