//! A key file that is open for look-ups: filter and page directory in memory, entries on disk.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Entry;
use super::error::{KeyIndexError, Part};
use super::filter::{Filter, Loader};
use super::format::{
    self, ENTRIES_PER_PAGE, Header, HeaderFault, PAGE_BYTES, PARTITION_BYTES, Page, Partition, VERSION,
    u64_at,
};
use crate::checksum::crc32c;
use crate::disk::{Disk, File};

/// How many pages are read at once by who reads them all.
const PAGES_PER_READ: usize = 16;

pub(super) struct KeyFile {
    source: Source,
    header: Header,
    /// The high words of each page's first key hash.
    directory: Box<[u64]>,
    filter: Filter,
}

impl KeyFile {
    /// Opens a file and checks all of it but the entry pages, which are checked when they are read.
    /// `offsets` are those of its name.
    pub(super) fn open(
        disk: &dyn Disk,
        path: &Path,
        log_id: [u8; 16],
        offsets: Range<u64>,
    ) -> Result<Self, KeyIndexError> {
        let file = disk.open_read_only(path).map_err(|error| KeyIndexError::io("open", path, error))?;
        let identity = format::identity(log_id, &offsets);
        let source = Source { path: path.to_path_buf(), file, offsets, identity };
        let header = source.read_header(log_id)?;
        let directory = source.read_directory(&header)?;
        let filter = source.read_filter(&header)?;
        Ok(Self { source, header, directory, filter })
    }

    pub(super) fn path(&self) -> &Path {
        &self.source.path
    }

    pub(super) fn offsets(&self) -> Range<u64> {
        self.source.offsets.clone()
    }

    pub(super) fn entries(&self) -> u64 {
        self.header.entries
    }

    pub(super) fn oldest_micros(&self) -> u64 {
        self.header.oldest_micros
    }

    pub(super) fn newest_micros(&self) -> u64 {
        self.header.newest_micros
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.directory) + self.filter.memory_bytes()
    }

    /// The record with this key.
    pub(super) fn find(&self, key_hash: u128) -> Result<Option<Entry>, KeyIndexError> {
        let high = format::high_word(key_hash);
        if self.filter.may_contain(high) { self.find_in_pages(key_hash, high) } else { Ok(None) }
    }

    /// Reads one page: the last that begins at or before the key's high word. When it begins just there, and the key is
    /// not in it, keys with the same high word may be at the end of the page before.
    // Apart, so that a look-up that the filter ends needs no room for a page.
    #[inline(never)]
    fn find_in_pages(&self, key_hash: u128, high: u64) -> Result<Option<Entry>, KeyIndexError> {
        let first = self.directory.partition_point(|page_high| *page_high < high).saturating_sub(1);
        let end = self.directory.partition_point(|page_high| *page_high <= high);
        let mut bytes = [0; PAGE_BYTES];
        for number in (first..end).rev() {
            let found = self.source.read_page(number as u64, &mut bytes)?.find(key_hash);
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// All entries in order. Every page is checked.
    pub(super) fn read_entries(self: &Arc<Self>) -> EntryReader {
        EntryReader {
            file: Arc::clone(self),
            read_ahead: Vec::new(),
            next_page: 0,
            entries: Vec::new(),
            position: 0,
        }
    }
}

impl std::fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyFile").field("path", &self.source.path).field("header", &self.header).finish()
    }
}

/// The file itself, and what its parts must prove to belong to.
struct Source {
    path: PathBuf,
    file: Box<dyn File>,
    offsets: Range<u64>,
    identity: u32,
}

impl Source {
    fn read_header(&self, log_id: [u8; 16]) -> Result<Header, KeyIndexError> {
        let mut bytes = [0; PAGE_BYTES];
        self.read(Part::Header, &mut bytes, 0)?;
        let header = Header::decode(&bytes).map_err(|fault| match fault {
            HeaderFault::Damaged(why) => self.damaged(Part::Header, why),
            HeaderFault::NewerVersion(version) => {
                KeyIndexError::NewerVersion { path: self.path.clone(), version, supported: VERSION }
            }
        })?;
        if header.log_id != log_id {
            return Err(self.damaged(Part::Header, "it belongs to another log"));
        }
        if header.offsets != self.offsets {
            return Err(self.damaged(Part::Header, "its offsets are not those of its name"));
        }
        let bytes = self.file.len().map_err(|error| KeyIndexError::io("measure", &self.path, error))?;
        if bytes != header.file_bytes() {
            return Err(self.damaged(Part::File, "its length is not what its header says"));
        }
        Ok(header)
    }

    fn read_directory(&self, header: &Header) -> Result<Box<[u64]>, KeyIndexError> {
        let mut bytes = vec![0; self.length(Part::Directory, header.pages() * 8)?];
        self.read(Part::Directory, &mut bytes, header.directory_position())?;
        if crc32c(self.identity, &bytes) != header.directory_crc {
            return Err(self.damaged(Part::Directory, "the checksum does not match"));
        }
        let directory: Box<[u64]> = bytes.chunks_exact(8).map(|word| u64_at(word, 0)).collect();
        if !directory.is_sorted() {
            return Err(self.damaged(Part::Directory, "it is not in order"));
        }
        Ok(directory)
    }

    /// Partition after partition, so that the encoded form of all of them is never in memory at once.
    fn read_filter(&self, header: &Header) -> Result<Filter, KeyIndexError> {
        let mut table = vec![0; header.partitions as usize * PARTITION_BYTES];
        self.read(Part::PartitionTable, &mut table, header.table_position())?;
        if crc32c(self.identity, &table) != header.table_crc {
            return Err(self.damaged(Part::PartitionTable, "the checksum does not match"));
        }
        let mut loader = Loader::default();
        let mut position = header.fingerprints_position();
        let mut bytes = Vec::new();
        for (number, line) in (0..header.partitions).zip(table.chunks_exact(PARTITION_BYTES)) {
            let part = Part::Filter(number);
            let partition = Partition::decode(line);
            let length = u64::from(partition.fingerprints) * 2;
            if length > header.file_bytes() - position {
                return Err(self.damaged(part, "it reaches beyond the file"));
            }
            bytes.resize(self.length(part, length)?, 0);
            self.read(part, &mut bytes, position)?;
            loader.add(self.identity, &partition, &bytes).map_err(|why| self.damaged(part, why))?;
            position += length;
        }
        if position != header.file_bytes() {
            return Err(self.damaged(Part::PartitionTable, "it does not account for the whole file"));
        }
        Ok(loader.finish())
    }

    fn read_page<'a>(&self, number: u64, bytes: &'a mut [u8; PAGE_BYTES]) -> Result<Page<'a>, KeyIndexError> {
        self.read(Part::Page(number), bytes, (1 + number) * PAGE_BYTES as u64)?;
        Page::check(self.identity, number, bytes).map_err(|why| self.damaged(Part::Page(number), why))
    }

    /// Fills `bytes`; a file that is too short is damaged.
    fn read(&self, part: Part, bytes: &mut [u8], position: u64) -> Result<(), KeyIndexError> {
        match self.file.read_at(bytes, position) {
            Ok(count) if count == bytes.len() => Ok(()),
            Ok(_) => Err(self.damaged(part, "the file is too short")),
            Err(error) => Err(KeyIndexError::Unreadable {
                path: self.path.clone(),
                part,
                offsets: self.offsets.clone(),
                error: Arc::new(error),
            }),
        }
    }

    fn length(&self, part: Part, bytes: u64) -> Result<usize, KeyIndexError> {
        usize::try_from(bytes).map_err(|_| self.damaged(part, "it is larger than this machine's memory"))
    }

    fn damaged(&self, part: Part, why: &'static str) -> KeyIndexError {
        KeyIndexError::Damaged { path: self.path.clone(), part, offsets: self.offsets.clone(), why }
    }
}

/// Goes through all entries of a file, holding a few pages at a time.
#[derive(Debug)]
pub(super) struct EntryReader {
    file: Arc<KeyFile>,
    /// Pages that were read ahead, of which the first is `next_page`.
    read_ahead: Vec<u8>,
    next_page: u64,
    /// The entries of the page before that, of which those from `position` on come next.
    entries: Vec<Entry>,
    position: usize,
}

impl EntryReader {
    /// The next entry; `None` after the last.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, KeyIndexError> {
        if self.position == self.entries.len() {
            if self.next_page == self.file.header.pages() {
                return Ok(None);
            }
            self.decode_page()?;
        }
        let entry = self.entries[self.position];
        self.position += 1;
        Ok(Some(entry))
    }

    fn decode_page(&mut self) -> Result<(), KeyIndexError> {
        if self.read_ahead.is_empty() {
            self.read_pages()?;
        }
        let (source, number) = (&self.file.source, self.next_page);
        let damaged = |why| source.damaged(Part::Page(number), why);
        let page = Page::check(source.identity, number, &self.read_ahead[..PAGE_BYTES]).map_err(damaged)?;
        let expected =
            (self.file.header.entries - number * ENTRIES_PER_PAGE as u64).min(ENTRIES_PER_PAGE as u64);
        if page.len() as u64 != expected {
            return Err(damaged("it has not as many entries as the header says"));
        }
        let mut last = self.entries.last().map(|entry| entry.key_hash);
        self.entries.clear();
        for index in 0..page.len() {
            let entry = page.entry(index);
            if last.is_some_and(|last| last >= entry.key_hash) {
                return Err(damaged("its entries are not in order"));
            }
            last = Some(entry.key_hash);
            self.entries.push(entry);
        }
        self.position = 0;
        self.next_page += 1;
        self.read_ahead.drain(..PAGE_BYTES);
        Ok(())
    }

    fn read_pages(&mut self) -> Result<(), KeyIndexError> {
        let left = self.file.header.pages() - self.next_page;
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(PAGES_PER_READ);
        self.read_ahead.resize(count * PAGE_BYTES, 0);
        let position = (1 + self.next_page) * PAGE_BYTES as u64;
        self.file.source.read(Part::Page(self.next_page), &mut self.read_ahead, position)
    }
}
