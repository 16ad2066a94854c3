//! Power loss: which of the pending changes reach the medium, and the choices worth trying.

use std::fmt;
use std::path::PathBuf;

use super::SimulatedDisk;
use super::random::Random;

/// What a sector holds that lies within a length that reached the medium, when its data did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unwritten {
    /// Zeros, as on a file system that journals lengths after data.
    #[default]
    Zeros,
    /// What was on the medium before: the same place of the file that was removed last, else a pattern.
    OldBytes,
}

/// Which pending changes a power loss keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrashChoice {
    kept: Kept,
    pub(super) unwritten: Unwritten,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kept {
    Nothing,
    Everything,
    /// Sorted.
    Only(Vec<u64>),
}

impl CrashChoice {
    /// Only what was durable is there.
    #[must_use]
    pub fn nothing() -> Self {
        Self { kept: Kept::Nothing, unwritten: Unwritten::Zeros }
    }

    /// All that was written is there.
    #[must_use]
    pub fn everything() -> Self {
        Self { kept: Kept::Everything, unwritten: Unwritten::Zeros }
    }

    /// The changes with these [`PendingUnit::id`]s are there.
    #[must_use]
    pub fn keeping(ids: impl IntoIterator<Item = u64>) -> Self {
        let mut ids: Vec<u64> = ids.into_iter().collect();
        ids.sort_unstable();
        Self { kept: Kept::Only(ids), unwritten: Unwritten::Zeros }
    }

    /// The same, with unwritten sectors as told.
    #[must_use]
    pub fn with_unwritten(self, unwritten: Unwritten) -> Self {
        Self { unwritten, ..self }
    }

    /// Whether the change with this [`PendingUnit::id`] reaches the medium.
    #[must_use]
    pub fn keeps(&self, id: u64) -> bool {
        match &self.kept {
            Kept::Nothing => false,
            Kept::Everything => true,
            Kept::Only(ids) => ids.binary_search(&id).is_ok(),
        }
    }
}

/// One change that a crash keeps or loses as a whole: a sector, a length, or a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingUnit {
    /// Rises in the order the changes were made, over all files; the same in forks.
    pub id: u64,
    /// The call that made it.
    pub step: u64,
    /// What it is.
    pub change: UnitChange,
}

/// What a [`PendingUnit`] does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnitChange {
    /// Writes one sector.
    Sector {
        /// A name of the file.
        path: PathBuf,
        /// The sector's index in the file.
        sector: u64,
    },
    /// Sets the length.
    Length {
        /// A name of the file.
        path: PathBuf,
        /// The new length.
        bytes: u64,
        /// Whether it was longer than what the medium has.
        extends: bool,
    },
    /// Creates, renames or removes a name, as told.
    Name(String),
}

impl fmt::Display for PendingUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {}: ", self.step)?;
        match &self.change {
            UnitChange::Sector { path, sector } => write!(f, "sector {sector} of {}", path.display()),
            UnitChange::Length { path, bytes, .. } => write!(f, "length {bytes} of {}", path.display()),
            UnitChange::Name(what) => f.write_str(what),
        }
    }
}

/// A moment of a recorded run: the disk *during* a call, when what the call does is pending.
#[derive(Debug, Clone)]
pub struct CrashPoint {
    /// The call that was under way. What was acknowledged when [`SimulatedDisk::steps`] was less than this
    /// must survive.
    pub step: u64,
    /// The disk at that moment.
    pub disk: SimulatedDisk,
}

/// How many crashes to try at one moment.
#[derive(Debug, Clone, Copy)]
pub struct CrashSampling {
    /// With up to this many pending changes every subset is tried. At most 20. Default 12: 4,096 subsets.
    pub exhaustive_units: usize,
    /// With more, this many choices are drawn. Default 64.
    pub samples: usize,
    /// Seed of the drawing.
    pub seed: u64,
}

impl Default for CrashSampling {
    fn default() -> Self {
        Self { exhaustive_units: 12, samples: 64, seed: 0 }
    }
}

const MOST_EXHAUSTIVE_UNITS: usize = 20;

/// The choices to try at one moment. The first is always [`CrashChoice::nothing`].
///
/// Where a length is pending, exhaustive choices come once with zeros and once with old bytes. Drawn choices
/// begin with nothing and everything and then take turns: a prefix; a suffix; all but one; one call torn and
/// the rest kept; each change by a coin; each call whole by a coin.
#[derive(Debug)]
pub struct CrashChoices {
    units: Vec<(u64, u64)>,
    extends: bool,
    random: Random,
    next: usize,
    end: usize,
    exhaustive: bool,
}

impl CrashChoices {
    pub(super) fn new(units: &[PendingUnit], sampling: CrashSampling) -> Self {
        let extends =
            units.iter().any(|unit| matches!(unit.change, UnitChange::Length { extends: true, .. }));
        let exhaustive = units.len() <= sampling.exhaustive_units.min(MOST_EXHAUSTIVE_UNITS);
        let subsets =
            if exhaustive { (1 << units.len()) * (1 + usize::from(extends)) } else { sampling.samples };
        Self {
            units: units.iter().map(|unit| (unit.id, unit.step)).collect(),
            extends,
            random: Random::new(sampling.seed),
            next: 0,
            end: subsets,
            exhaustive,
        }
    }

    /// Whether every subset comes.
    #[must_use]
    pub fn is_exhaustive(&self) -> bool {
        self.exhaustive
    }

    fn subset(&self, number: usize) -> CrashChoice {
        let mask = number % (1 << self.units.len());
        let unwritten = if number == mask { Unwritten::Zeros } else { Unwritten::OldBytes };
        self.keep(|index, _| mask >> index & 1 == 1).with_unwritten(unwritten)
    }

    fn draw(&mut self, number: usize) -> CrashChoice {
        let count = self.units.len();
        let choice = match number {
            0 => CrashChoice::nothing(),
            1 => CrashChoice::everything(),
            _ => match number % 6 {
                2 => {
                    let cut = self.random.below(count);
                    self.keep(|index, _| index < cut)
                }
                3 => {
                    let cut = self.random.below(count);
                    self.keep(|index, _| index > cut)
                }
                4 => {
                    let missing = self.random.below(count);
                    self.keep(|index, _| index != missing)
                }
                5 => self.tear_one_call(),
                0 => {
                    let coins = self.coins(count);
                    self.keep(|index, _| coins[index])
                }
                _ => self.keep_whole_calls(),
            },
        };
        if self.extends && self.random.one_in(4) {
            choice.with_unwritten(Unwritten::OldBytes)
        } else {
            choice
        }
    }

    /// Of one call the first or the last part is missing; the others are whole.
    fn tear_one_call(&mut self) -> CrashChoice {
        let step = self.random.below(self.units.len());
        let step = self.units[step].1;
        let of_step: Vec<usize> = self
            .units
            .iter()
            .enumerate()
            .filter(|(_, unit)| unit.1 == step)
            .map(|(index, _)| index)
            .collect();
        let cut = of_step[self.random.below(of_step.len())];
        let first_part_missing = self.random.one_in(2);
        self.keep(|index, of| of != step || (if first_part_missing { index > cut } else { index < cut }))
    }

    fn keep_whole_calls(&mut self) -> CrashChoice {
        let mut steps: Vec<u64> = self.units.iter().map(|unit| unit.1).collect();
        steps.sort_unstable();
        steps.dedup();
        let coins = self.coins(steps.len());
        self.keep(|_, step| steps.binary_search(&step).is_ok_and(|index| coins[index]))
    }

    fn coins(&mut self, count: usize) -> Vec<bool> {
        (0..count).map(|_| self.random.one_in(2)).collect()
    }

    fn keep(&self, keeps: impl Fn(usize, u64) -> bool) -> CrashChoice {
        let kept = self.units.iter().enumerate().filter(|(index, (_, step))| keeps(*index, *step));
        CrashChoice::keeping(kept.map(|(_, (id, _))| *id))
    }
}

impl Iterator for CrashChoices {
    type Item = CrashChoice;

    fn next(&mut self) -> Option<CrashChoice> {
        if self.next == self.end {
            return None;
        }
        let number = self.next;
        self.next += 1;
        Some(if self.exhaustive { self.subset(number) } else { self.draw(number) })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.end - self.next, Some(self.end - self.next))
    }
}
