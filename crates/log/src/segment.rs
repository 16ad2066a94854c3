//! The segments of an open log, and where each thing of theirs is kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use crate::disk::{Disk, File};
use crate::error::ReadError;
use crate::segment_header::SegmentHeader;
use crate::sparse_index::{Place, SparseIndex};

/// The name of the segment that begins with `base_offset`.
pub(crate) fn segment_name(base_offset: u64) -> String {
    format!("{base_offset:020}.log")
}

/// The name of its index.
pub(crate) fn index_name(base_offset: u64) -> String {
    format!("{base_offset:020}.index")
}

/// The base offset in a segment's name.
pub(crate) fn parse_segment_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok()).flatten()
}

/// One segment: the active one, or a sealed one that never changes again.
pub(crate) struct Segment {
    pub(crate) header: SegmentHeader,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn File>,
    /// `None`: sealed, and not loaded since the start.
    index: Mutex<Option<SparseIndex>>,
}

impl Segment {
    pub(crate) fn new(
        header: SegmentHeader,
        path: PathBuf,
        file: Arc<dyn File>,
        index: Option<SparseIndex>,
    ) -> Self {
        Self { header, path, file, index: Mutex::new(index) }
    }

    pub(crate) fn base_offset(&self) -> u64 {
        self.header.base_offset
    }

    /// Takes note of a frame of the active segment.
    pub(crate) fn note(&self, place: Place) {
        let mut index = self.index.lock();
        index.get_or_insert_default().note(place);
    }

    /// Writes the index of a segment that has just been sealed.
    pub(crate) fn save_index(&self, disk: &dyn Disk, directory: &Path) -> std::io::Result<()> {
        let index = self.index.lock().clone();
        match index {
            Some(index) => index.save(disk, &directory.join(index_name(self.base_offset())), &self.header),
            None => Ok(()),
        }
    }

    /// Drops a saved index from memory; a reader loads it again.
    pub(crate) fn unload_index(&self) {
        *self.index.lock() = None;
    }

    /// Looks something up in the index, loading or building it first where it is not in memory.
    pub(crate) fn seek(
        &self,
        disk: &dyn Disk,
        find: impl FnOnce(&SparseIndex) -> Option<Place>,
    ) -> Result<Option<Place>, ReadError> {
        let mut index = self.index.lock();
        if index.is_none() {
            let path = self.path.with_extension("index");
            let loaded = SparseIndex::load(disk, &path, &self.header);
            let fresh = match loaded {
                Some(loaded) => loaded,
                None => SparseIndex::build(self.file.as_ref(), &self.header)
                    .map_err(|error| ReadError::io(&self.path, error))?,
            };
            *index = Some(fresh);
        }
        Ok(index.as_ref().and_then(find))
    }
}

/// All segments, oldest first; the last is the active one. Never empty.
pub(crate) struct SegmentList {
    segments: RwLock<Arc<Vec<Arc<Segment>>>>,
}

impl SegmentList {
    pub(crate) fn new(segments: Vec<Arc<Segment>>) -> Self {
        assert!(!segments.is_empty(), "a log has an active segment");
        Self { segments: RwLock::new(Arc::new(segments)) }
    }

    /// The list as it is now.
    pub(crate) fn snapshot(&self) -> Arc<Vec<Arc<Segment>>> {
        Arc::clone(&self.segments.read())
    }

    /// The segment that holds `offset` (or would, in the active one) and the one after it.
    pub(crate) fn find(&self, offset: u64) -> Result<(Arc<Segment>, Option<Arc<Segment>>), ReadError> {
        let segments = self.snapshot();
        let after = segments.partition_point(|segment| segment.base_offset() <= offset);
        match after.checked_sub(1) {
            Some(at) => Ok((Arc::clone(&segments[at]), segments.get(at + 1).cloned())),
            None => Err(ReadError::Trimmed { offset, oldest: segments[0].base_offset() }),
        }
    }

    pub(crate) fn oldest_offset(&self) -> u64 {
        self.snapshot()[0].base_offset()
    }

    pub(crate) fn push(&self, segment: Arc<Segment>) {
        let mut list = self.segments.write();
        let mut next = Vec::clone(&list);
        next.push(segment);
        *list = Arc::new(next);
    }

    /// Takes the `count` oldest out; readers that hold one can finish.
    pub(crate) fn remove_oldest(&self, count: usize) {
        let mut list = self.segments.write();
        assert!(count < list.len(), "the active segment stays");
        *list = Arc::new(list[count..].to_vec());
    }
}
