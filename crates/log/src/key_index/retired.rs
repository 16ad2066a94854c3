//! What the index no longer asks, to be disposed of where that holds nobody up.

use std::path::PathBuf;
use std::sync::Arc;

use super::active::ActiveKeys;
use super::error::KeyIndexError;
use super::key_file::KeyFile;
use super::writer::Home;

/// Files to remove and memory to free. Both take milliseconds, so not under the committer's lock.
#[must_use = "its files have to be removed"]
pub(crate) struct Retired {
    home: Home,
    pub(super) keys: Vec<Arc<ActiveKeys>>,
    files: Vec<Arc<KeyFile>>,
    pub(super) paths: Vec<PathBuf>,
}

impl Retired {
    pub(super) fn files(home: &Home, files: Vec<Arc<KeyFile>>) -> Self {
        let paths = files.iter().map(|file| file.path().to_path_buf()).collect();
        Self { home: home.clone(), keys: Vec::new(), files, paths }
    }

    /// Frees the memory and removes the files. Blocking. Tries all of them and tells the first failure; a file that
    /// stays is removed at a later opening.
    pub(crate) fn remove(self) -> Result<(), KeyIndexError> {
        drop(self.keys);
        drop(self.files);
        if self.paths.is_empty() {
            return Ok(());
        }
        let mut outcome = Ok(());
        for path in &self.paths {
            let removed =
                self.home.disk.remove(path).map_err(|error| KeyIndexError::io("remove", path, error));
            outcome = outcome.and(removed);
        }
        let directory = &self.home.directory;
        let synced = self
            .home
            .disk
            .sync_directory(directory)
            .map_err(|error| KeyIndexError::io("sync", directory, error));
        outcome.and(synced)
    }
}
