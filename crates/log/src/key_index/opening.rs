//! What is done with the files in the key directory when the index opens.
//!
//! - Temporary files are remains of an interrupted task and are removed.
//! - A file that is damaged, or that the log cannot have written as it is now, is renamed to `*.keys.damaged`.
//! - A file whose offsets another one covers as well was an input of a merge that a crash kept from removing it.
//! - Files that overlap otherwise cannot come to be; neither is believed.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{KeyIndexError, Part};
use super::file_name::{self, Kind};
use super::key_file::KeyFile;
use super::writer::Home;

/// Which offsets the key files answer for.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    /// Ascending, apart from each other.
    pub(crate) covered: Vec<Range<u64>>,
    /// Files that were set aside.
    pub(crate) problems: Vec<Problem>,
}

/// A file that was set aside.
#[derive(Debug)]
pub(crate) struct Problem {
    /// Its name now.
    pub(crate) set_aside: PathBuf,
    /// The offsets that it covered.
    pub(crate) offsets: Range<u64>,
    pub(crate) error: KeyIndexError,
}

impl Coverage {
    fn of(files: &[Arc<KeyFile>], problems: Vec<Problem>) -> Self {
        let mut covered: Vec<Range<u64>> = Vec::new();
        for offsets in files.iter().map(|file| file.offsets()) {
            match covered.last_mut() {
                Some(last) if last.end == offsets.start => last.end = offsets.end,
                _ => covered.push(offsets),
            }
        }
        Self { covered, problems }
    }

    /// The parts of `wanted` that no file covers, ascending: the log has to read those records again.
    pub(crate) fn missing(&self, wanted: Range<u64>) -> Vec<Range<u64>> {
        let mut missing = Vec::new();
        let mut start = wanted.start;
        for covered in &self.covered {
            if start < covered.start.min(wanted.end) {
                missing.push(start..covered.start.min(wanted.end));
            }
            start = start.max(covered.end);
        }
        if start < wanted.end {
            missing.push(start..wanted.end);
        }
        missing
    }
}

/// The good files in the directory, oldest first. Creates the directory when it is missing.
pub(super) fn open_files(home: &Home, log_end: u64) -> Result<(Vec<Arc<KeyFile>>, Coverage), KeyIndexError> {
    let directory = &home.directory;
    home.disk.create_directory(directory).map_err(|error| KeyIndexError::io("create", directory, error))?;
    let names = home.disk.list(directory).map_err(|error| KeyIndexError::io("list", directory, error))?;
    let mut files = Vec::new();
    let mut problems = Vec::new();
    let mut useless = Vec::new();
    for name in names {
        let path = directory.join(&name);
        match file_name::kind(&name) {
            Kind::Other => {}
            Kind::Temporary => useless.push(path),
            Kind::Complete(offsets) => match open_file(home, &path, offsets.clone(), log_end) {
                Ok(file) => files.push(Arc::new(file)),
                Err(error) if error.offsets_to_rebuild().is_some() => {
                    problems.push(set_aside(home, &path, offsets, error)?);
                }
                Err(error) => return Err(error),
            },
        }
    }
    let sorted = sort_out(files);
    for file in sorted.overlapping {
        let error = damaged(&file, "it overlaps another file, which cannot be");
        problems.push(set_aside(home, file.path(), file.offsets(), error)?);
    }
    useless.extend(sorted.superseded.iter().map(|file| file.path().to_path_buf()));
    if !useless.is_empty() || !problems.is_empty() {
        // What supersedes others must be durable under its name before they go.
        sync_directory(home)?;
    }
    for path in &useless {
        home.disk.remove(path).map_err(|error| KeyIndexError::io("remove", path, error))?;
    }
    if !useless.is_empty() {
        sync_directory(home)?;
    }
    let coverage = Coverage::of(&sorted.good, problems);
    Ok((sorted.good, coverage))
}

fn open_file(home: &Home, path: &Path, offsets: Range<u64>, log_end: u64) -> Result<KeyFile, KeyIndexError> {
    let file = KeyFile::open(&*home.disk, path, home.log_id, offsets.clone())?;
    if offsets.end > log_end {
        Err(damaged(&file, "it covers offsets that the log does not have"))
    } else {
        Ok(file)
    }
}

fn damaged(file: &KeyFile, why: &'static str) -> KeyIndexError {
    KeyIndexError::Damaged { path: file.path().to_path_buf(), part: Part::File, offsets: file.offsets(), why }
}

fn set_aside(
    home: &Home,
    path: &Path,
    offsets: Range<u64>,
    error: KeyIndexError,
) -> Result<Problem, KeyIndexError> {
    let set_aside = home.directory.join(file_name::damaged(&offsets));
    home.disk.rename(path, &set_aside).map_err(|error| KeyIndexError::io("rename", path, error))?;
    Ok(Problem { set_aside, offsets, error })
}

fn sync_directory(home: &Home) -> Result<(), KeyIndexError> {
    home.disk
        .sync_directory(&home.directory)
        .map_err(|error| KeyIndexError::io("sync", &home.directory, error))
}

#[derive(Default)]
struct Sorted {
    /// Ascending and apart from each other.
    good: Vec<Arc<KeyFile>>,
    superseded: Vec<Arc<KeyFile>>,
    overlapping: Vec<Arc<KeyFile>>,
}

fn sort_out(files: Vec<Arc<KeyFile>>) -> Sorted {
    let all: Vec<Range<u64>> = files.iter().map(|file| file.offsets()).collect();
    let (overlapping, mut whole): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|file| all.iter().any(|other| cross(&file.offsets(), other)));
    let mut sorted = Sorted { overlapping, ..Sorted::default() };
    // A file comes after those that contain it.
    whole.sort_by_key(|file| (file.offsets().start, u64::MAX - file.offsets().end));
    for file in whole {
        match sorted.good.last() {
            Some(last) if file.offsets().end <= last.offsets().end => sorted.superseded.push(file),
            _ => sorted.good.push(file),
        }
    }
    sorted
}

/// Whether the two overlap and neither contains the other.
fn cross(one: &Range<u64>, other: &Range<u64>) -> bool {
    let (first, second) = if one.start <= other.start { (one, other) } else { (other, one) };
    first.start < second.start && second.start < first.end && first.end < second.end
}
