//! The inputs that mutations begin from: the seeds, and what has taken a way of its own since.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// How many inputs are kept beside the seeds; then a new one takes the place of an older.
const MOST_FOUND: usize = 2_000;

/// The inputs of one run.
#[derive(Debug)]
pub(crate) struct Corpus {
    inputs: Vec<Vec<u8>>,
    names: Vec<String>,
    ways: HashSet<u64>,
}

impl Corpus {
    /// Reads the seeds.
    pub(crate) fn read(folder: &Path) -> Self {
        let entries =
            std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        // The same seed makes the same run.
        files.sort();
        assert!(!files.is_empty(), "{} has no seeds", folder.display());
        let inputs = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
        let names = files.iter().map(|file| file.display().to_string()).collect();
        Self { inputs, names, ways: HashSet::new() }
    }

    /// The seeds and the names of their files.
    pub(crate) fn seeds(&self) -> Vec<(Vec<u8>, String)> {
        self.inputs.iter().cloned().zip(self.names.iter().cloned()).collect()
    }

    /// The way that a seed takes is known.
    pub(crate) fn take_down(&mut self, way: u64) {
        self.ways.insert(way);
    }

    /// Keeps an input that took a way which none took before.
    pub(crate) fn keep_if_new(&mut self, way: u64, input: Vec<u8>) {
        if !self.ways.insert(way) {
            return;
        }
        let found = self.inputs.len() - self.names.len();
        if found < MOST_FOUND {
            self.inputs.push(input);
        } else {
            let place = self.names.len() + self.ways.len() % MOST_FOUND;
            self.inputs[place] = input;
        }
    }

    /// All inputs that there are.
    pub(crate) fn inputs(&self) -> &[Vec<u8>] {
        &self.inputs
    }

    /// How many ways have been taken.
    pub(crate) fn ways(&self) -> usize {
        self.ways.len()
    }
}

/// Writes a failing input to a file of its own.
pub(crate) fn keep_failing(target: &str, input: &[u8]) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let root = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let folder = root.join("fuzz").join(target);
    std::fs::create_dir_all(&folder).unwrap();
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    let file = folder.join(format!("{:016x}", hasher.finish()));
    std::fs::write(&file, input).unwrap();
    file
}
