//! Faults: when a call is to go wrong, and how.

use std::collections::BTreeMap;
use std::io;

use rustix::io::Errno;

use super::operation::OperationKind;

/// Which calls a fault hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The call with this number, counted over all calls from 1.
    Step(u64),
    /// The `nth` call of this kind from now on, the next being the first.
    Call {
        /// Which method.
        kind: OperationKind,
        /// 1 is the next one.
        nth: u64,
    },
    /// Every call of this kind, until the faults are cleared.
    Every(OperationKind),
    /// Every call that could change the disk, from this number on: a file system that went read-only.
    EveryChangeFrom(u64),
}

/// How a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It fails and has done nothing. Fits every call. A sync leaves everything dirty.
    Fails(ErrorCode),
    /// A write puts down this many bytes and then fails. A direct durable write has brought just these to the
    /// medium.
    Short {
        /// How many bytes of the call are written.
        bytes: usize,
        /// What the call then says.
        error: ErrorCode,
    },
    /// A sync, a directory sync or a durable write fails on its way to the medium.
    SyncFails {
        /// What the call says.
        error: ErrorCode,
        /// What becomes of the data.
        data: FailedData,
    },
    /// A read succeeds with one bit wrong, counted from the first bit of what it read. The medium is as it was.
    FlipsBit(usize),
    /// A read succeeds with the bytes of another position in the file.
    Misdirected {
        /// Where the bytes come from.
        position: u64,
    },
}

impl Effect {
    pub(super) fn fits(self, kind: OperationKind) -> bool {
        match self {
            Self::Fails(_) => true,
            Self::Short { .. } => matches!(kind, OperationKind::Write | OperationKind::WriteDurable),
            Self::SyncFails { .. } => matches!(
                kind,
                OperationKind::Sync | OperationKind::SyncDirectory | OperationKind::WriteDurable
            ),
            Self::FlipsBit(_) | Self::Misdirected { .. } => {
                matches!(kind, OperationKind::Read | OperationKind::ReadMedium)
            }
        }
    }
}

/// What a failed sync does to the data it was to bring to the medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailedData {
    /// As ext4: the pages are marked clean. The cache shows the new bytes, the medium keeps the old ones, and
    /// a later sync returns Ok without writing them. New lengths stay pending.
    Lost,
    /// The same, but each sector (or name) is lost or has reached the medium by the disk's random numbers.
    PartlyLost,
    /// The pages stay dirty, and a later sync that returns Ok makes them durable. A direct write has no pages
    /// to keep: its data is `Lost`.
    KeptDirty,
}

/// Errors as the kernel numbers them, so that `kind()` and `raw_os_error()` are those of the real disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// `EIO`
    InputOutput,
    /// `ENOSPC`
    NoSpace,
    /// `EDQUOT`
    QuotaExceeded,
    /// `EFBIG`
    FileTooLarge,
    /// `EROFS`
    ReadOnly,
    /// `EINTR`, which network and user-space file systems can give where POSIX does not
    Interrupted,
    /// `EMFILE`
    TooManyFiles,
    /// `ENOMEM`
    OutOfMemory,
}

impl ErrorCode {
    /// The error that a call gives.
    #[must_use]
    pub fn to_error(self) -> io::Error {
        let code = match self {
            Self::InputOutput => Errno::IO,
            Self::NoSpace => Errno::NOSPC,
            Self::QuotaExceeded => Errno::DQUOT,
            Self::FileTooLarge => Errno::FBIG,
            Self::ReadOnly => Errno::ROFS,
            Self::Interrupted => Errno::INTR,
            Self::TooManyFiles => Errno::MFILE,
            Self::OutOfMemory => Errno::NOMEM,
        };
        io::Error::from_raw_os_error(code.raw_os_error())
    }
}

/// The faults that are armed, and the counts by which they are found.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults {
    armed: Vec<Fault>,
    calls: BTreeMap<OperationKind, u64>,
    hits: u64,
}

#[derive(Debug, Clone)]
struct Fault {
    when: When,
    effect: Effect,
}

impl Faults {
    /// # Panics
    /// When the effect cannot happen to that kind of call: a test that injects nothing must not pass.
    pub(super) fn arm(&mut self, when: When, effect: Effect) {
        let when = match when {
            When::Call { kind, nth } => When::Call { kind, nth: self.calls.get(&kind).unwrap_or(&0) + nth },
            other => other,
        };
        if let When::Call { kind, .. } | When::Every(kind) = when {
            assert!(effect.fits(kind), "{effect:?} cannot happen to a {kind:?}");
        }
        self.armed.push(Fault { when, effect });
    }

    pub(super) fn clear(&mut self) {
        self.armed.clear();
    }

    pub(super) fn hits(&self) -> u64 {
        self.hits
    }

    /// Counts a call and tells what is to go wrong with it. An effect that does not fit the call is a plain
    /// `EIO`.
    pub(super) fn count(&mut self, step: u64, kind: OperationKind) -> Option<Effect> {
        let calls = self.calls.entry(kind).or_insert(0);
        *calls += 1;
        let hit = self.armed.iter().find(|fault| match fault.when {
            When::Step(at) => at == step,
            When::Call { kind: of, nth } => of == kind && nth == *calls,
            When::Every(of) => of == kind,
            When::EveryChangeFrom(from) => step >= from && kind.changes_disk(),
        })?;
        self.hits += 1;
        Some(if hit.effect.fits(kind) { hit.effect } else { Effect::Fails(ErrorCode::InputOutput) })
    }
}
