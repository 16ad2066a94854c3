//! Opens a log: finds its segments, believes only the medium, cuts a torn tail, and refuses damage.
//!
//! 1. Lock the directory; a second process is refused.
//! 2. Read the manifest; without one, and without segments, create the log.
//! 3. Check that the segments are those that the manifest and each other's headers demand. Finish what retention began.
//! 4. Sync the last segment and the directory, then walk it on the medium: a killed process, or one whose write-back failed,
//!    leaves bytes in the page cache that a buffered read would believe and a power cut would take.
//! 5. Cut a torn tail and wipe what is behind it.
//! 6. Open the key index, and walk the segments whose keys it lacks.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::LogId;
use crate::disk::{AlignedBuffer, BLOCK_BYTES, Disk, File, Lock};
use crate::error::{Damage, DamageKind, OpenError};
use crate::frame::FrameHeader;
use crate::key_index::{Entry, KeyIndex, KeyIndexError, Rebuild};
use crate::key_rebuild::{each_key, rebuild_keys};
use crate::manifest::{MANIFEST_NAME, Manifest, ManifestFile};
use crate::options::Options;
use crate::roll::create_first;
use crate::segment::{Segment, index_name, parse_segment_name, segment_name};
use crate::segment_header::SegmentHeader;
use crate::spare::{SPARE_NEW_NAME, Spares};
use crate::sparse_index::{Place, SparseIndex};
use crate::tail_scan::{Tail, scan_tail, wipe_behind};

pub(crate) const LOCK_NAME: &str = "LOCK";
pub(crate) const KEYS_DIRECTORY: &str = "keys";

/// A log that has been checked and is ready to go on.
pub(crate) struct Opened {
    pub(crate) lock: Box<dyn Lock>,
    pub(crate) manifest: ManifestFile,
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) tail: Tail,
    pub(crate) keys: KeyIndex,
    /// The keys of the records from here on are in memory.
    pub(crate) keys_base: u64,
    pub(crate) spares: Spares,
}

/// Opens or creates the log.
pub(crate) fn open(disk: &Arc<dyn Disk>, options: &Options) -> Result<Opened, OpenError> {
    options.check()?;
    let directory = &options.directory;
    disk.create_directory(directory).map_err(|error| OpenError::io(directory, error))?;
    let lock = lock(disk.as_ref(), directory)?;
    let spares = Spares::new(Arc::clone(disk), directory.clone(), options.segment_bytes);
    let names = disk.list(directory).map_err(|error| OpenError::io(directory, error))?;
    if !names.iter().any(|name| name == MANIFEST_NAME) {
        if names.iter().any(|name| parse_segment_name(name).is_some_and(|base| base > 0)) {
            return Err(OpenError::ManifestDamaged { path: directory.join(MANIFEST_NAME) });
        }
        create(disk, options, &spares, &names)?;
    }
    let manifest = ManifestFile::open(disk.as_ref(), directory)?;
    let mut segments = open_segments(disk.as_ref(), directory, manifest.current())?;
    remove_leftovers(disk.as_ref(), directory, &segments).map_err(|error| OpenError::io(directory, error))?;
    let mut active_keys = Vec::new();
    let (active, tail) = open_active(disk.as_ref(), directory, segments.pop(), &mut active_keys)?;
    segments.push(active);
    let segments: Vec<Arc<Segment>> = segments.into_iter().map(Arc::new).collect();
    let (keys, keys_base) =
        open_keys(disk, options, manifest.current().log_id, &segments, &tail, active_keys)?;
    Ok(Opened { lock, manifest, segments, tail, keys, keys_base, spares })
}

pub(crate) fn lock(disk: &dyn Disk, directory: &Path) -> Result<Box<dyn Lock>, OpenError> {
    let path = directory.join(LOCK_NAME);
    disk.lock(&path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked(directory.to_path_buf()),
        _ => OpenError::io(&path, error),
    })
}

/// Makes the first segment, then the manifest: with the manifest the log exists. An attempt cut short is begun again.
fn create(
    disk: &Arc<dyn Disk>,
    options: &Options,
    spares: &Spares,
    names: &[String],
) -> Result<(), OpenError> {
    let directory = &options.directory;
    let io = |error| OpenError::io(directory, error);
    let log_id = LogId(rand::random());
    let first = segment_name(0);
    if names.contains(&first) {
        // No event was ever written to it: the manifest comes before the first commit.
        disk.remove(&directory.join(&first)).map_err(io)?;
    }
    let spare = spares.make().map_err(io)?;
    create_first(disk.as_ref(), directory, spare, log_id, options.clock.now_micros()).map_err(io)?;
    let manifest = Manifest { log_id, oldest_base: 0, newest_base: 0 };
    ManifestFile::create(disk.as_ref(), directory, manifest).map_err(io)?;
    tracing::info!(directory = %directory.display(), "a new log was created");
    Ok(())
}

/// Opens the segments that the manifest demands, in order, checking each header and that none is missing between.
fn open_segments(disk: &dyn Disk, directory: &Path, manifest: Manifest) -> Result<Vec<Segment>, OpenError> {
    let names = disk.list(directory).map_err(|error| OpenError::io(directory, error))?;
    let mut bases: Vec<u64> = names.iter().filter_map(|name| parse_segment_name(name)).collect();
    bases.retain(|base| *base >= manifest.oldest_base);
    bases.sort_unstable();
    let missing = |base: u64| {
        let segment = directory.join(segment_name(base));
        OpenError::Damaged(Damage { segment, position: 0, offset: base, kind: DamageKind::Missing })
    };
    if bases.first() != Some(&manifest.oldest_base) {
        return Err(missing(manifest.oldest_base));
    }
    if bases.last().is_none_or(|last| *last < manifest.newest_base) {
        return Err(missing(manifest.newest_base));
    }
    let mut segments: Vec<Segment> = Vec::with_capacity(bases.len());
    for base in bases {
        let segment = open_segment(disk, directory, base, manifest.log_id)?;
        let after = segments.last().map_or(segment.header.previous_base, Segment::base_offset);
        if segment.header.previous_base != after {
            return Err(missing(segment.header.previous_base));
        }
        segments.push(segment);
    }
    Ok(segments)
}

fn open_segment(disk: &dyn Disk, directory: &Path, base: u64, log_id: LogId) -> Result<Segment, OpenError> {
    let path = directory.join(segment_name(base));
    let io = |error| OpenError::io(&path, error);
    let file: Arc<dyn File> = Arc::from(disk.open(&path).map_err(io)?);
    let mut block = AlignedBuffer::zeroed(BLOCK_BYTES);
    let filled = file.read_medium_at(&mut block, 0).map_err(io)?;
    let damaged =
        |kind| OpenError::Damaged(Damage { segment: path.clone(), position: 0, offset: base, kind });
    let header =
        SegmentHeader::decode(&block[..filled]).map_err(|fault| damaged(DamageKind::Header(fault)))?;
    if header.base_offset != base || header.log_id != log_id {
        return Err(damaged(DamageKind::Foreign));
    }
    Ok(Segment::new(header, path, file, None))
}

/// Finishes what a crash interrupted: files below the oldest segment, half a spare, indexes without a segment.
fn remove_leftovers(disk: &dyn Disk, directory: &Path, segments: &[Segment]) -> io::Result<()> {
    let mut removed = false;
    let kept = |base: u64| segments.iter().any(|segment| segment.base_offset() == base);
    for name in disk.list(directory)? {
        let base = parse_segment_name(&name.replace(".index", ".log"));
        if name == SPARE_NEW_NAME || base.is_some_and(|base| !kept(base)) {
            disk.remove(&directory.join(name))?;
            removed = true;
        }
    }
    if removed { disk.sync_directory(directory) } else { Ok(()) }
}

/// Finds the end of the last segment, making sure of what is there.
fn open_active(
    disk: &dyn Disk,
    directory: &Path,
    last: Option<Segment>,
    keys: &mut Vec<Entry>,
) -> Result<(Segment, Tail), OpenError> {
    let Some(last) = last else {
        return Err(OpenError::ManifestDamaged { path: directory.join(MANIFEST_NAME) });
    };
    disk.sync_directory(directory).map_err(|error| OpenError::io(directory, error))?;
    let mut index = SparseIndex::default();
    let mut visit = |position: u64, header: &FrameHeader, bytes: &[u8]| {
        let append_time_micros = header.append_time_micros;
        index.note(Place { offset: header.base_offset, position, append_time_micros });
        each_key(header, bytes, &mut |entry| keys.push(entry));
    };
    let tail =
        recover_tail(last.file.as_ref(), &last.path, &last.header, Tail::empty(&last.header), &mut visit)?;
    match disk.remove(&directory.join(index_name(last.base_offset()))) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(OpenError::io(&last.path, error));
        }
        _ => {}
    }
    Ok((Segment::new(last.header, last.path, last.file, Some(index)), tail))
}

/// Makes durable what a former process wrote, finds the end on the medium, and wipes what is cut.
pub(crate) fn recover_tail(
    file: &dyn File,
    path: &Path,
    header: &SegmentHeader,
    start: Tail,
    visit: &mut dyn FnMut(u64, &FrameHeader, &[u8]),
) -> Result<Tail, OpenError> {
    file.sync().map_err(|error| OpenError::io(path, error))?;
    let tail = scan_tail(file, path, header, start, visit)?;
    if tail.wipe_end.is_some() {
        tracing::warn!(
            segment = %path.display(),
            position = tail.position,
            offset = tail.next_offset,
            "the log ended in commits that were never acknowledged; they are cut"
        );
        wipe_behind(file, &tail).map_err(|error| OpenError::io(path, error))?;
    }
    Ok(tail)
}

/// Opens the key index, and builds again what is in no file and still matters.
fn open_keys(
    disk: &Arc<dyn Disk>,
    options: &Options,
    log_id: LogId,
    segments: &[Arc<Segment>],
    tail: &Tail,
    active_keys: Vec<Entry>,
) -> Result<(KeyIndex, u64), OpenError> {
    let key_error = |error: KeyIndexError| OpenError::KeyIndex(error.to_string());
    let directory = options.directory.join(KEYS_DIRECTORY);
    let window_micros = u64::try_from(options.key_window.as_micros()).unwrap_or(u64::MAX);
    let (mut keys, coverage) =
        KeyIndex::open(Arc::clone(disk), directory, log_id.0, window_micros, tail.next_offset)
            .map_err(key_error)?;
    for problem in &coverage.problems {
        tracing::warn!(
            error = %problem.error,
            set_aside = %problem.set_aside.display(),
            from = problem.offsets.start,
            to = problem.offsets.end,
            "a key file is damaged; the keys of the segments that are still there are built again"
        );
    }
    // The window goes by append times: a clock that jumps ahead forgets nothing.
    let now = tail.last_append_time_micros;
    let oldest_micros = now.saturating_sub(window_micros);
    let in_window = segments.windows(2).find(|pair| pair[1].header.created_micros >= oldest_micros);
    let active_base = segments[segments.len() - 1].base_offset();
    let wanted = in_window.map_or(active_base, |pair| pair[0].base_offset())..tail.next_offset;
    // What the active segment holds behind the last file stays in memory; every other hole gets its file again.
    let filed = coverage.covered.last().map_or(0, |last| last.end);
    let keys_base = filed.max(active_base);
    for missing in coverage.missing(wanted) {
        let hole = missing.start..missing.end.min(keys_base);
        if !hole.is_empty() {
            let rebuild = Rebuild::new(&keys, hole);
            let rebuilt = rebuild_keys(rebuild, segments, tail.next_offset)?;
            keys.finish_rebuild(rebuilt).remove().map_err(key_error)?;
        }
    }
    active_keys.into_iter().filter(|entry| entry.offset >= keys_base).for_each(|entry| keys.insert(entry));
    let expired = keys.expire(now);
    expired.remove().map_err(key_error)?;
    Ok((keys, keys_base))
}
