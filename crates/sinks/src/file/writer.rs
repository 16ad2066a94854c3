//! Appends lines to the current file, begins new ones, and picks up after a crash. Blocks: not for async
//! tasks.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::name::FileName;
use super::settings::Settings;
use super::tail::whole_lines_bytes;

/// Writes the files of one prefix in one folder.
#[derive(Debug)]
pub(super) struct Writer {
    directory: PathBuf,
    prefix: String,
    max_bytes: u64,
    max_age: Duration,
    keep_files: Option<usize>,
    open: Option<Open>,
}

/// What is held from the first batch on.
#[derive(Debug)]
struct Open {
    /// Locked as long as it is open.
    _lock: File,
    /// The newest file's name, whether or not it is still written to.
    newest: Option<FileName>,
    current: Option<Current>,
}

/// The file that is written to. All of its bytes are fsynced.
#[derive(Debug)]
struct Current {
    file: File,
    path: PathBuf,
    bytes: u64,
    begun_micros: u64,
}

/// What could not be done.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("another sink or process writes the files with this prefix in {}", directory.display())]
    Locked { directory: PathBuf },
}

impl WriteError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

impl Writer {
    pub(super) fn new(directory: PathBuf, settings: &Settings) -> Self {
        Self {
            directory,
            prefix: settings.prefix.clone(),
            max_bytes: settings.max_bytes,
            max_age: Duration::from_secs(settings.max_age_seconds),
            keep_files: settings.keep_files,
            open: None,
        }
    }

    /// Writes whole lines, the first of which is that of the event at `first_offset`, and fsyncs them. When
    /// it fails, none of them counts as written.
    pub(super) fn append(
        &mut self,
        first_offset: u64,
        lines: &[u8],
        now_micros: u64,
    ) -> Result<(), WriteError> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.open()?,
        };
        let result = self.append_to(&mut open, first_offset, lines, now_micros);
        self.open = Some(open);
        result
    }

    /// Lets go of the files and the lock. The next batch opens them again.
    pub(super) fn close(&mut self) {
        self.open = None;
    }

    fn append_to(
        &self,
        open: &mut Open,
        first_offset: u64,
        lines: &[u8],
        now_micros: u64,
    ) -> Result<(), WriteError> {
        let mut current = match open.current.take() {
            Some(current) if self.has_room(&current, lines, now_micros) => current,
            _full_or_none => self.begin(open, first_offset, now_micros)?,
        };
        if let Err(source) = current.file.write_all(lines) {
            let error = WriteError::io("write to", &current.path)(source);
            // Part of a line may be there. Where it cannot be cut off the file is not written to again.
            if current.cut_back() {
                open.current = Some(current);
            }
            return Err(error);
        }
        if let Err(source) = current.file.sync_data() {
            // The kernel may have dropped what it could not write and will report no error again, so this
            // file's end can never be trusted: the batch goes to another.
            let error = WriteError::io("fsync", &current.path)(source);
            current.cut_back();
            return Err(error);
        }
        current.bytes += lines.len() as u64;
        open.current = Some(current);
        Ok(())
    }

    fn has_room(&self, current: &Current, lines: &[u8], now_micros: u64) -> bool {
        let age = Duration::from_micros(now_micros.saturating_sub(current.begun_micros));
        let fits = current.bytes == 0 || current.bytes + lines.len() as u64 <= self.max_bytes;
        fits && age < self.max_age
    }

    /// Begins a file whose name sorts after all others.
    fn begin(&self, open: &mut Open, first_offset: u64, now_micros: u64) -> Result<Current, WriteError> {
        // The clock may go back, and two files may begin in one microsecond.
        let begun_micros = open.newest.map_or(now_micros, |newest| now_micros.max(newest.begun_micros + 1));
        let name = FileName { begun_micros, first_offset };
        let path = self.directory.join(name.with_prefix(&self.prefix));
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(&path)
            .map_err(WriteError::io("create", &path))?;
        if let Err(error) = sync_directory(&self.directory) {
            let removed = fs::remove_file(&path);
            tracing::debug!(path = %path.display(), ?removed, "an event file that could not be begun was removed");
            return Err(error);
        }
        open.newest = Some(name);
        self.remove_old();
        Ok(Current { file, path, bytes: 0, begun_micros })
    }

    /// Makes the folder, takes the lock, and continues the newest file.
    fn open(&self) -> Result<Open, WriteError> {
        create_directory(&self.directory)?;
        let lock_path = self.directory.join(format!(".{}.lock", self.prefix));
        let lock = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(WriteError::io("open", &lock_path))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => WriteError::Locked { directory: self.directory.clone() },
            TryLockError::Error(source) => WriteError::io("lock", &lock_path)(source),
        })?;
        let newest = self.files()?.pop();
        let current = newest.as_ref().map(|name| self.continue_file(*name)).transpose()?;
        // The newest file may have been made just before a crash.
        sync_directory(&self.directory)?;
        Ok(Open { _lock: lock, newest, current })
    }

    fn continue_file(&self, name: FileName) -> Result<Current, WriteError> {
        let path = self.directory.join(name.with_prefix(&self.prefix));
        let file =
            OpenOptions::new().read(true).append(true).open(&path).map_err(WriteError::io("open", &path))?;
        let bytes = whole_lines_bytes(&file).map_err(WriteError::io("read", &path))?;
        let length = file.metadata().map_err(WriteError::io("read", &path))?.len();
        if bytes < length {
            tracing::warn!(path = %path.display(), cut_bytes = length - bytes, "an unfinished line was cut off");
            file.set_len(bytes).map_err(WriteError::io("cut", &path))?;
        }
        // A killed process leaves lines that are whole but not fsynced.
        file.sync_all().map_err(WriteError::io("fsync", &path))?;
        Ok(Current { file, path, bytes, begun_micros: name.begun_micros })
    }

    /// Our files in the folder, oldest first.
    fn files(&self) -> Result<Vec<FileName>, WriteError> {
        let failed = || WriteError::io("list", &self.directory);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(failed())? {
            let name = entry.map_err(failed())?.file_name();
            names.extend(name.to_str().and_then(|name| FileName::parse(&self.prefix, name)));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Removes the oldest files beyond `keep_files`. That it fails is no reason not to deliver.
    fn remove_old(&self) {
        let Some(keep_files) = self.keep_files else { return };
        let result = self.files().and_then(|names| {
            let surplus = names.len().saturating_sub(keep_files);
            for name in &names[..surplus] {
                let path = self.directory.join(name.with_prefix(&self.prefix));
                fs::remove_file(&path).map_err(WriteError::io("remove", &path))?;
            }
            if surplus > 0 { sync_directory(&self.directory) } else { Ok(()) }
        });
        if let Err(error) = result {
            tracing::warn!(%error, "old event files could not be removed");
        }
    }
}

impl Current {
    /// Cuts off what follows the last whole batch. Whether that worked.
    fn cut_back(&self) -> bool {
        match self.file.set_len(self.bytes) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "an unfinished line could not be cut off");
                false
            }
        }
    }
}

/// Makes a folder and those above it, each durable in the one above.
fn create_directory(directory: &Path) -> Result<(), WriteError> {
    if directory.is_dir() {
        return Ok(());
    }
    let parent = match directory.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    };
    create_directory(parent)?;
    match fs::create_dir(directory) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            Err(WriteError::io("create", directory)(source))
        }
        _created_or_there => sync_directory(parent),
    }
}

fn sync_directory(directory: &Path) -> Result<(), WriteError> {
    File::open(directory).and_then(|file| file.sync_all()).map_err(WriteError::io("fsync", directory))
}

#[cfg(test)]
impl Writer {
    /// Puts another open file in the place of the current one.
    pub(super) fn replace_file_for_test(&mut self, file: File) {
        if let Some(current) = self.open.as_mut().and_then(|open| open.current.as_mut()) {
            current.file = file;
        }
    }
}
