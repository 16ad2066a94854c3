//! The names on the disk: as every process sees them, as the medium surely has them, and the changes between.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::inode::{Id, take_id};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    File(Id),
    Directory,
}

/// A change of names that a crash keeps or loses as a whole.
#[derive(Debug, Clone)]
pub(super) struct PendingName {
    pub(super) id: Id,
    pub(super) step: u64,
    pub(super) change: NameChange,
}

#[derive(Debug, Clone)]
pub(super) enum NameChange {
    Create { path: PathBuf, inode: Id },
    Rename { from: PathBuf, to: PathBuf, inode: Id },
    Remove { path: PathBuf, inode: Id },
    MakeDirectory { path: PathBuf },
}

impl NameChange {
    /// Applies it to what is there, which may lack any change made before it.
    fn apply(&self, entries: &mut BTreeMap<PathBuf, Entry>) {
        match self {
            Self::Create { path, inode } => {
                entries.insert(path.clone(), Entry::File(*inode));
            }
            Self::Rename { from, to, inode } => {
                remove_if(entries, from, *inode);
                entries.insert(to.clone(), Entry::File(*inode));
            }
            Self::Remove { path, inode } => remove_if(entries, path, *inode),
            Self::MakeDirectory { path } => {
                entries.insert(path.clone(), Entry::Directory);
            }
        }
    }

    fn touches(&self, directory: &Path) -> bool {
        let is_in = |path: &Path| path.parent() == Some(directory);
        match self {
            Self::Create { path, .. } | Self::Remove { path, .. } | Self::MakeDirectory { path } => {
                is_in(path)
            }
            Self::Rename { from, to, .. } => is_in(from) || is_in(to),
        }
    }

    fn inode(&self) -> Option<Id> {
        match self {
            Self::Create { inode, .. } | Self::Rename { inode, .. } | Self::Remove { inode, .. } => {
                Some(*inode)
            }
            Self::MakeDirectory { .. } => None,
        }
    }
}

impl fmt::Display for NameChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { path, .. } => write!(f, "create {}", path.display()),
            Self::Rename { from, to, .. } => write!(f, "rename {} to {}", from.display(), to.display()),
            Self::Remove { path, .. } => write!(f, "remove {}", path.display()),
            Self::MakeDirectory { path } => write!(f, "make directory {}", path.display()),
        }
    }
}

fn remove_if(entries: &mut BTreeMap<PathBuf, Entry>, path: &Path, inode: Id) {
    if entries.get(path) == Some(&Entry::File(inode)) {
        entries.remove(path);
    }
}

/// Whole paths, so that a directory's content is found by its name; `/` and the current directory always exist.
#[derive(Debug, Clone, Default)]
pub(super) struct Namespace {
    visible: BTreeMap<PathBuf, Entry>,
    durable: BTreeMap<PathBuf, Entry>,
    pending: Vec<PendingName>,
}

impl Namespace {
    pub(super) fn file(&self, path: &Path) -> io::Result<Id> {
        match self.visible.get(path) {
            Some(Entry::File(inode)) => Ok(*inode),
            Some(Entry::Directory) => Err(io::ErrorKind::IsADirectory.into()),
            None if is_root(path) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn exists(&self, path: &Path) -> bool {
        is_root(path) || self.visible.contains_key(path)
    }

    pub(super) fn check_directory(&self, path: &Path) -> io::Result<()> {
        match self.visible.get(path) {
            Some(Entry::Directory) => Ok(()),
            Some(Entry::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None if is_root(path) => Ok(()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn check_parent(&self, path: &Path) -> io::Result<()> {
        path.parent().map_or(Err(io::ErrorKind::NotFound.into()), |parent| self.check_directory(parent))
    }

    /// The files right in a directory.
    pub(super) fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.check_directory(directory)?;
        let files = self.files().filter(|(path, _)| path.parent() == Some(directory));
        Ok(files
            .filter_map(|(path, _)| path.file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .collect())
    }

    pub(super) fn files(&self) -> impl Iterator<Item = (&Path, Id)> {
        self.visible.iter().filter_map(|(path, entry)| match entry {
            Entry::File(inode) => Some((path.as_path(), *inode)),
            Entry::Directory => None,
        })
    }

    pub(super) fn pending(&self) -> &[PendingName] {
        &self.pending
    }

    /// A name of the file, or the one it had when it was last seen.
    pub(super) fn name_of(&self, inode: Id) -> Option<&Path> {
        let entries = self.visible.iter().chain(&self.durable);
        entries.filter(|(_, entry)| **entry == Entry::File(inode)).map(|(path, _)| path.as_path()).next()
    }

    /// Visible at once, and pending.
    pub(super) fn change(&mut self, change: NameChange, step: u64, next_id: &mut u64) {
        change.apply(&mut self.visible);
        self.pending.push(PendingName { id: take_id(next_id), step, change });
    }

    /// Visible and durable at once: how a test puts a file in place.
    pub(super) fn put(&mut self, path: &Path, inode: Id) {
        for entries in [&mut self.visible, &mut self.durable] {
            for directory in path.ancestors().skip(1).filter(|ancestor| !is_root(ancestor)) {
                entries.insert(directory.to_owned(), Entry::Directory);
            }
            entries.insert(path.to_owned(), Entry::File(inode));
        }
    }

    /// Makes durable what happened in the directory up to the change numbered `covered_to`.
    pub(super) fn settle_directory(&mut self, directory: &Path, covered_to: u64) {
        self.settle(|pending| pending.id.0 <= covered_to && pending.change.touches(directory));
    }

    pub(super) fn settle_step(&mut self, step: u64) {
        self.settle(|pending| pending.step == step);
    }

    fn settle(&mut self, chosen: impl Fn(&PendingName) -> bool) {
        let (settled, remaining) =
            std::mem::take(&mut self.pending).into_iter().partition(|pending| chosen(pending));
        self.pending = remaining;
        let settled: Vec<PendingName> = settled;
        for pending in settled {
            pending.change.apply(&mut self.durable);
        }
    }

    /// The changes in the directory will never reach the medium, though every process sees them.
    pub(super) fn lose_directory(&mut self, directory: &Path, mut chosen: impl FnMut() -> bool) {
        self.pending.retain(|pending| !pending.change.touches(directory) || !chosen());
    }

    /// The names after power loss with the changes that `keep` names.
    pub(super) fn crashed(&self, keep: impl Fn(Id) -> bool) -> Self {
        let mut entries = self.durable.clone();
        for pending in self.pending.iter().filter(|pending| keep(pending.id)) {
            pending.change.apply(&mut entries);
        }
        // What lies in a directory that was never made durable cannot be reached. Parents come first in the
        // map.
        let mut reachable: BTreeMap<PathBuf, Entry> = BTreeMap::new();
        for (path, entry) in entries {
            let has_parent = path
                .parent()
                .is_some_and(|parent| is_root(parent) || reachable.get(parent) == Some(&Entry::Directory));
            if has_parent {
                reachable.insert(path, entry);
            }
        }
        Self { visible: reachable.clone(), durable: reachable, pending: Vec::new() }
    }

    /// Every file that has a name, or may have one after a crash.
    pub(super) fn inodes(&self) -> BTreeSet<Id> {
        let entries = self.visible.values().chain(self.durable.values());
        let named = entries.filter_map(|entry| match entry {
            Entry::File(inode) => Some(*inode),
            Entry::Directory => None,
        });
        named.chain(self.pending.iter().filter_map(|pending| pending.change.inode())).collect()
    }
}

pub(super) fn is_root(path: &Path) -> bool {
    path.parent().is_none() || path == Path::new(".")
}
