//! What an object is: JSON lines (`ndjson.rs`) or a Parquet file (`parquet_rows.rs`, `parquet_offsets.rs`), compressed or not.
//! Its name tells which, so what a folder holds can be read whatever the settings were when it was written.

use std::io;

use bytes::Bytes;
use eventrelay_event::StoredEvent;
use serde::Deserialize;

use super::ndjson;

/// More events than any object of ours has: what has more is not one.
pub(super) const MAX_OFFSETS: usize = 1_000_000;
/// What our Parquet files are called.
const PARQUET_EXTENSION: &str = "parquet";

/// What objects are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// Lines of JSON, one for each event.
    #[default]
    Ndjson,
    /// Parquet, a row for each event. Takes the feature `parquet` of cargo.
    Parquet,
}

/// What a line of JSON holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The event as the API shows it.
    #[default]
    Event,
    /// CloudEvents 1.0 JSON.
    Cloudevents,
}

/// How objects are compressed: JSON lines as a whole, Parquet page by page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all: `.ndjson`.
    None,
    /// gzip: `.ndjson.gz`.
    Gzip,
    /// Zstandard: `.ndjson.zst`.
    #[default]
    Zstd,
}

/// How a subscription's objects are made.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Encoding {
    pub(super) content: Content,
    pub(super) format: Format,
    pub(super) compression: Compression,
}

/// What an object is, as far as its name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ObjectKind {
    Lines(Compression),
    /// However its pages are compressed.
    Parquet,
}

impl Encoding {
    pub(super) fn kind(self) -> ObjectKind {
        match self.content {
            Content::Ndjson => ObjectKind::Lines(self.compression),
            Content::Parquet => ObjectKind::Parquet,
        }
    }

    /// Whether an event can be written.
    pub(super) fn check(self, event: &StoredEvent) -> Result<(), &'static str> {
        match self.content {
            Content::Ndjson => ndjson::check(self.format, event),
            Content::Parquet => Ok(()),
        }
    }

    /// Writes events as an object. Takes a while for many: not for async tasks.
    pub(super) fn encode(self, events: &[StoredEvent]) -> io::Result<Bytes> {
        match self.content {
            Content::Ndjson => ndjson::encode(self.format, self.compression, events),
            #[cfg(feature = "parquet")]
            Content::Parquet => super::parquet_rows::encode(self.compression, events),
            // The settings are refused before.
            #[cfg(not(feature = "parquet"))]
            Content::Parquet => Err(io::Error::other("this build has no feature `parquet`")),
        }
    }
}

impl Compression {
    pub(super) const ALL: [Self; 3] = [Self::None, Self::Gzip, Self::Zstd];
}

impl ObjectKind {
    /// What the names of objects end with.
    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Lines(Compression::None) => "ndjson",
            Self::Lines(Compression::Gzip) => "ndjson.gz",
            Self::Lines(Compression::Zstd) => "ndjson.zst",
            Self::Parquet => PARQUET_EXTENSION,
        }
    }

    pub(super) fn of_extension(extension: &str) -> Option<Self> {
        Self::all().find(|kind| kind.extension() == extension)
    }

    /// By the whole name.
    pub(super) fn of_name(name: &str) -> Self {
        let known = |kind: &Self| name.ends_with(kind.extension());
        Self::all().find(known).unwrap_or(Self::Lines(Compression::None))
    }

    fn all() -> impl Iterator<Item = Self> {
        Compression::ALL.into_iter().map(Self::Lines).chain([Self::Parquet])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_what_the_object_is() {
        for kind in ObjectKind::all() {
            assert_eq!(ObjectKind::of_extension(kind.extension()), Some(kind));
            assert_eq!(ObjectKind::of_name(&format!("0012-abc-late.{}", kind.extension())), kind);
        }
        assert_eq!(ObjectKind::of_extension("parquet.zst"), None);
    }
}
