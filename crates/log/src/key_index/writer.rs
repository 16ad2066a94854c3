//! Writes a key file from entries that come in order, holding a few pages and one filter partition at a time.

use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Entry;
use super::error::KeyIndexError;
use super::file_name;
use super::filter::Builder;
use super::format::{self, ENTRIES_PER_PAGE, Header, PAGE_BYTES};
use super::key_file::KeyFile;
use crate::checksum::crc32c;
use crate::disk::{Disk, File};

const WRITE_BYTES: usize = 64 * PAGE_BYTES;
/// A file is synced in pieces, so that a commit's sync never waits behind hundreds of megabytes of it.
const SYNC_BYTES: u64 = 8 << 20;

/// Where key files go and what they belong to.
#[derive(Clone)]
pub(super) struct Home {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) directory: PathBuf,
    pub(super) log_id: [u8; 16],
}

/// Writes the file for `offsets` and makes it durable under its name, replacing a file of the same name.
/// `fill` pushes at most `most_entries` entries, in ascending order of their key hashes.
pub(super) fn write(
    home: &Home,
    offsets: &Range<u64>,
    most_entries: u64,
    fill: impl FnOnce(&mut Writer) -> Result<(), KeyIndexError>,
) -> Result<KeyFile, KeyIndexError> {
    assert!(!offsets.is_empty(), "a key file covers at least one offset");
    let path = home.directory.join(file_name::complete(offsets));
    let temporary = home.directory.join(file_name::temporary(offsets));
    let written = create(&*home.disk, &temporary)
        .and_then(|file| {
            let mut writer = Writer::new(home.log_id, offsets, most_entries, file, temporary.clone());
            fill(&mut writer)?;
            writer.finish()
        })
        .and_then(|()| {
            home.disk
                .rename(&temporary, &path)
                .map_err(|error| KeyIndexError::io("rename", &temporary, error))
        });
    if let Err(error) = written {
        // What is left of it is removed at the next opening, should this fail as well.
        if let Err(error) = home.disk.remove(&temporary)
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(path = %temporary.display(), %error, "cannot remove an incomplete key file");
        }
        return Err(error);
    }
    home.disk
        .sync_directory(&home.directory)
        .map_err(|error| KeyIndexError::io("sync", &home.directory, error))?;
    // Opened as it will be after a restart: what cannot be read back must not replace anything.
    KeyFile::open(&*home.disk, &path, home.log_id, offsets.clone())
}

fn create(disk: &dyn Disk, path: &Path) -> Result<Box<dyn File>, KeyIndexError> {
    let created = match disk.create(path) {
        // A failed attempt left it.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            disk.remove(path).and_then(|()| disk.create(path))
        }
        created => created,
    };
    created.map_err(|error| KeyIndexError::io("create", path, error))
}

pub(super) struct Writer {
    log_id: [u8; 16],
    offsets: Range<u64>,
    identity: u32,
    file: Box<dyn File>,
    path: PathBuf,
    most_entries: u64,
    entries: u64,
    oldest_micros: u64,
    newest_micros: u64,
    last_key_hash: Option<u128>,
    page: Vec<Entry>,
    directory: Vec<u8>,
    filter: Builder,
    /// Encoded pages that are not yet written at `position`.
    pending: Vec<u8>,
    position: u64,
    synced: u64,
}

impl Writer {
    fn new(
        log_id: [u8; 16],
        offsets: &Range<u64>,
        most_entries: u64,
        file: Box<dyn File>,
        path: PathBuf,
    ) -> Self {
        Self {
            log_id,
            offsets: offsets.clone(),
            identity: format::identity(log_id, offsets),
            file,
            path,
            most_entries,
            entries: 0,
            oldest_micros: u64::MAX,
            newest_micros: 0,
            last_key_hash: None,
            page: Vec::with_capacity(ENTRIES_PER_PAGE),
            directory: Vec::new(),
            filter: Builder::new(most_entries),
            pending: Vec::with_capacity(WRITE_BYTES),
            position: PAGE_BYTES as u64,
            synced: 0,
        }
    }

    /// Where it is being written.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn push(&mut self, entry: Entry) -> Result<(), KeyIndexError> {
        assert!(self.last_key_hash.is_none_or(|last| last < entry.key_hash), "keys come in ascending order");
        assert!(self.offsets.contains(&entry.offset), "a record of the file's offsets");
        assert!(self.entries < self.most_entries, "no more entries than were announced");
        self.last_key_hash = Some(entry.key_hash);
        self.oldest_micros = self.oldest_micros.min(entry.append_time_micros);
        self.newest_micros = self.newest_micros.max(entry.append_time_micros);
        let high = format::high_word(entry.key_hash);
        if self.page.is_empty() {
            self.directory.extend_from_slice(&high.to_le_bytes());
        }
        self.filter.push(high);
        self.page.push(entry);
        self.entries += 1;
        if self.page.len() == ENTRIES_PER_PAGE { self.end_page() } else { Ok(()) }
    }

    fn end_page(&mut self) -> Result<(), KeyIndexError> {
        let number = (self.entries - 1) / ENTRIES_PER_PAGE as u64;
        format::encode_page(self.identity, number, &self.page, &mut self.pending);
        self.page.clear();
        if self.pending.len() >= WRITE_BYTES { self.write_pending() } else { Ok(()) }
    }

    /// Writes the rest and the header, and makes all of it durable.
    fn finish(mut self) -> Result<(), KeyIndexError> {
        if !self.page.is_empty() {
            self.end_page()?;
        }
        let filter = std::mem::replace(&mut self.filter, Builder::new(0)).finish();
        let table = filter.encode_table(self.identity);
        let header = Header {
            log_id: self.log_id,
            offsets: self.offsets.clone(),
            entries: self.entries,
            oldest_micros: if self.entries == 0 { 0 } else { self.oldest_micros },
            newest_micros: self.newest_micros,
            partitions: filter.partitions(),
            directory_crc: crc32c(self.identity, &self.directory),
            table_crc: crc32c(self.identity, &table),
            fingerprint_bytes: filter.fingerprint_bytes(),
        };
        self.pending.append(&mut self.directory);
        self.pending.extend_from_slice(&table);
        self.write_pending()?;
        for fingerprints in filter.encoded_fingerprints() {
            self.pending.extend_from_slice(&fingerprints);
            self.write_pending()?;
        }
        assert_eq!(self.position, header.file_bytes(), "the file is as long as its header says");
        self.write(&header.encode(), 0)?;
        self.sync()
    }

    fn write_pending(&mut self) -> Result<(), KeyIndexError> {
        self.write(&self.pending, self.position)?;
        self.position += self.pending.len() as u64;
        self.pending.clear();
        if self.position - self.synced >= SYNC_BYTES {
            self.sync()?;
            self.synced = self.position;
        }
        Ok(())
    }

    fn write(&self, bytes: &[u8], position: u64) -> Result<(), KeyIndexError> {
        self.file.write_at(bytes, position).map_err(|error| KeyIndexError::io("write", &self.path, error))
    }

    fn sync(&self) -> Result<(), KeyIndexError> {
        self.file.sync().map_err(|error| KeyIndexError::io("sync", &self.path, error))
    }
}
