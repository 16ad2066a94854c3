//! Removes what a log no longer needs: quarantined files, half-made ones, damaged indexes.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::Disk;
use crate::error::OpenError;
use crate::opening::{KEYS_DIRECTORY, lock};
use crate::spare::SPARE_NEW_NAME;

/// Where repair sets damaged files aside.
pub(super) const QUARANTINE_DIRECTORY: &str = "quarantine";

/// What was removed.
#[derive(Debug, Clone, Default)]
pub struct Cleaned {
    /// The files.
    pub removed: Vec<PathBuf>,
    /// Their bytes.
    pub bytes: u64,
}

/// Removes them for good. The log must not be open.
pub fn clean(disk: &dyn Disk, directory: &Path) -> Result<Cleaned, OpenError> {
    let _lock = lock(disk, directory)?;
    let mut cleaned = Cleaned::default();
    let half_made = |name: &str| name == SPARE_NEW_NAME || name.ends_with(".new");
    remove_in(disk, directory, &half_made, &mut cleaned)?;
    remove_in(disk, &directory.join(QUARANTINE_DIRECTORY), &|_| true, &mut cleaned)?;
    remove_in(disk, &directory.join(KEYS_DIRECTORY), &|name| name.contains(".damaged"), &mut cleaned)?;
    Ok(cleaned)
}

fn remove_in(
    disk: &dyn Disk,
    directory: &Path,
    unwanted: &dyn Fn(&str) -> bool,
    cleaned: &mut Cleaned,
) -> Result<(), OpenError> {
    let names = match disk.list(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        listed => listed.map_err(|error| OpenError::io(directory, error))?,
    };
    let mut removed = false;
    for name in names.iter().filter(|name| unwanted(name)) {
        let path = directory.join(name);
        let io = |error| OpenError::io(&path, error);
        cleaned.bytes += disk.open_read_only(&path).and_then(|file| file.len()).map_err(io)?;
        disk.remove(&path).map_err(io)?;
        cleaned.removed.push(path);
        removed = true;
    }
    if removed {
        disk.sync_directory(directory).map_err(|error| OpenError::io(directory, error))?;
    }
    Ok(())
}
