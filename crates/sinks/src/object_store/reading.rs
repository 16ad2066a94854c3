//! Reads which events an object of ours holds.
//!
//! What is there may be anybody's: only so much is read and decompressed of an object, and one that is not ours is a failure
//! that names it, never taken for one without events.

use std::io;
use std::ops::Range;
use std::path::PathBuf;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{GetOptions, GetRange};
use tokio::time::timeout;

use super::content::{Compression, ObjectKind};
use super::failure::{FailureKind, StoreFailure};
use super::guarded_http::PIECE_BYTES;
use super::ndjson::OffsetReader;
use super::parquet_offsets::{MAX_FOOTER_BYTES, OffsetColumn};
use super::store::{Slot, Store};

/// More than any object of ours has.
const MAX_OBJECT_BYTES: u64 = 1024 * 1024 * 1024;

/// Why it is not known what an object holds.
enum Unreadable {
    Store(StoreFailure),
    /// What is wrong with the object.
    Object(String),
}

impl Store {
    /// Which events an object holds, in order.
    pub(super) async fn offsets(&self, slot: &Slot) -> Result<Vec<u64>, StoreFailure> {
        if slot.bytes == 0 {
            return Ok(Vec::new());
        }
        let name = slot.path.filename().unwrap_or_default();
        let read = match ObjectKind::of_name(name) {
            _ if slot.bytes > MAX_OBJECT_BYTES => {
                Err(Unreadable::Object(format!("it has {} bytes", slot.bytes)))
            }
            ObjectKind::Lines(compression) => self.offsets_of_lines(slot, compression).await,
            ObjectKind::Parquet => self.offsets_of_parquet(slot).await,
        };
        let offsets = read.map_err(|unreadable| match unreadable {
            Unreadable::Store(failure) => failure,
            Unreadable::Object(why) => {
                StoreFailure::new(FailureKind::Other, format!("{name} cannot be read: {why}"))
            }
        })?;
        self.make_durable(&slot.path).await?;
        Ok(offsets)
    }

    /// JSON lines are read as a whole, piece by piece.
    async fn offsets_of_lines(&self, slot: &Slot, compression: Compression) -> Result<Vec<u64>, Unreadable> {
        let mut reader = OffsetReader::new(compression)?;
        let mut position = 0;
        while position < slot.bytes {
            let end = slot.bytes.min(position + PIECE_BYTES);
            let piece = self.piece(&slot.path, position..end).await?;
            position = end;
            // Decompressing takes its time.
            let reading = tokio::task::spawn_blocking(move || reader.read(&piece).map(|()| reader));
            reader = reading.await.map_err(|stopped| Unreadable::Object(stopped.to_string()))??;
        }
        Ok(reader.finish()?)
    }

    /// Of a Parquet file, the end is read, and then the column with the offsets, where it is not in that.
    async fn offsets_of_parquet(&self, slot: &Slot) -> Result<Vec<u64>, Unreadable> {
        let end_from = slot.bytes.saturating_sub(MAX_FOOTER_BYTES);
        let end = self.piece(&slot.path, end_from..slot.bytes).await?;
        let column = OffsetColumn::find(slot.bytes, &end)?;
        let range = column.start..column.start + column.bytes;
        let within = |position: u64| usize::try_from(position.checked_sub(end_from)?).ok();
        let column_bytes = match (within(range.start), within(range.end)) {
            (Some(start), Some(behind)) => end.slice(start..behind),
            _ => self.piece(&slot.path, range).await?,
        };
        Ok(column.offsets(&column_bytes)?)
    }

    async fn piece(&self, path: &Path, range: Range<u64>) -> Result<Bytes, Unreadable> {
        let bytes = range.end - range.start;
        if bytes == 0 {
            return Ok(Bytes::new());
        }
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        let get = async { self.target.objects.get_opts(path, options).await?.bytes().await };
        let piece = timeout(self.timeout, get).await.unwrap_or_else(|_| Err(self.timed_out()));
        let piece = piece.map_err(|error| Unreadable::Store(StoreFailure::of_error(&error)))?;
        if piece.len() as u64 != bytes {
            return Err(Unreadable::Object("its size has changed".to_owned()));
        }
        Ok(piece)
    }

    /// A file that is there may have been left by a killed process: it is fsynced, and every folder up to ours.
    async fn make_durable(&self, path: &Path) -> Result<(), StoreFailure> {
        let Some(directory) = self.target.directory.clone() else { return Ok(()) };
        let Some(inside) = path.prefix_match(&self.target.base) else { return Ok(()) };
        let parts: PathBuf = inside.map(|part| part.as_ref().to_owned()).collect();
        let syncing = tokio::task::spawn_blocking(move || {
            let file = directory.join(&parts);
            let until = directory.parent().unwrap_or(&directory);
            file.ancestors()
                .take_while(|path| path.starts_with(until))
                .try_for_each(|path| std::fs::File::open(path)?.sync_all())
        });
        let failed = |why: String| StoreFailure::new(FailureKind::Other, format!("cannot fsync: {why}"));
        syncing
            .await
            .map_err(|stopped| failed(stopped.to_string()))?
            .map_err(|error| failed(error.to_string()))
    }
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        Self::Object(error.to_string())
    }
}
