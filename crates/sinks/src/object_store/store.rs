//! What is done with a store: create an object, replace one, find the slots of a folder. Reading is in `reading.rs`.
//!
//! A write that was begun is carried through, in a task of its own, when the call that began it is dropped: a directory's
//! cannot be stopped, and a request may be carried out by the store all the same. While it goes on it has the call's [`Turn`],
//! so that no other call looks what is there before it has ended. A request ends with its timeout; `close` waits for all.

use std::collections::BTreeSet;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use object_store::path::Path;
use object_store::{ObjectStoreExt as _, PutMode, PutOptions, PutPayload};
use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::failure::{FailureKind, StoreFailure};
use super::name::Names;
use super::target::Target;

/// So many names come with one request.
const PAGE_NAMES: usize = 1000;
/// How far before an event its slot is looked for at first; then sixteen times as far, and so on.
const FIRST_DISTANCE: u64 = 65_536;
/// What is behind this many names is not looked for: 200 requests.
const MAX_NAMES: usize = 200 * PAGE_NAMES;

/// A call's right to write: nobody else has it before the call and all of its writes have ended.
pub(super) type Turn = Arc<OwnedMutexGuard<()>>;

/// Whether an object was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Created {
    Now,
    /// There is one with this name, or a request for it is under way.
    Before,
}

/// An object of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slot {
    /// The offset of its first event.
    pub(super) first: u64,
    pub(super) path: Path,
    pub(super) bytes: u64,
}

/// The slots that events from one offset to another can be in.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// In the order of their offsets.
    pub(super) slots: Vec<Slot>,
    /// The events that have an object of their own beside them.
    pub(super) late: BTreeSet<u64>,
    /// Whether there are others behind them.
    pub(super) more_behind: bool,
}

/// A store.
pub(super) struct Store {
    pub(super) target: Target,
    pub(super) timeout: Duration,
    /// Those that go on, whether anybody waits for them or not.
    writes: TaskTracker,
}

impl Store {
    /// `timeout` is what each request may take.
    pub(super) fn new(target: Target, timeout: Duration) -> Self {
        Self { target, timeout, writes: TaskTracker::new() }
    }

    /// What may be shown of it.
    pub(super) fn shown(&self) -> &str {
        &self.target.shown
    }

    /// The folder, where it is one of this machine's.
    pub(super) fn directory(&self) -> Option<&FilePath> {
        self.target.directory.as_deref()
    }

    /// Makes an object, unless there is one with its name. When it fails, the object may yet come to be; in a directory, only
    /// as long as the turn lasts.
    pub(super) async fn create(
        &self,
        turn: &Turn,
        folder: &str,
        name: &str,
        object: &Bytes,
    ) -> Result<Created, StoreFailure> {
        match self.put(Some(Arc::clone(turn)), folder, name, object, PutMode::Create).await {
            Ok(()) => Ok(Created::Now),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(Created::Before),
            Err(error) => Err(StoreFailure::of_error(&error)),
        }
    }

    /// Makes an object, or replaces the one with its name.
    pub(super) async fn replace(&self, folder: &str, name: &str, object: &Bytes) -> Result<(), StoreFailure> {
        let put = self.put(None, folder, name, object, PutMode::Overwrite).await;
        put.map_err(|error| StoreFailure::of_error(&error))
    }

    async fn put(
        &self,
        turn: Option<Turn>,
        folder: &str,
        name: &str,
        object: &Bytes,
        mode: PutMode,
    ) -> object_store::Result<()> {
        let path = self.folder(folder)?.join(name);
        let options = PutOptions { mode, ..PutOptions::default() };
        let payload = PutPayload::from_bytes(object.clone());
        let objects = Arc::clone(&self.target.objects);
        // A request ends when it is given up; what a directory is doing goes on until it is done.
        let limit = if self.directory().is_some() { Duration::MAX } else { self.timeout };
        let write = self.writes.spawn(async move {
            let result = timeout(limit, objects.put_opts(&path, payload, options)).await;
            drop(turn);
            result
        });
        match timeout(self.timeout, write).await {
            Ok(Ok(Ok(result))) => result.map(drop),
            Ok(Ok(Err(_elapsed))) | Err(_elapsed) => Err(self.timed_out()),
            Ok(Err(stopped)) => Err(failed(StoreFailure::new(FailureKind::Other, stopped.to_string()))),
        }
    }

    /// The last slot at or before `low`, and those from there up to `high`.
    pub(super) async fn slots(
        &self,
        names: &Names,
        folder: &str,
        low: u64,
        high: u64,
    ) -> Result<Slots, StoreFailure> {
        let folder = self.folder(folder).map_err(|error| StoreFailure::of_error(&error))?;
        let search = Search { names, folder, low, high };
        let everywhere = self.target.directory.is_some();
        // Most folders end within a page.
        let limit = if everywhere { usize::MAX } else { PAGE_NAMES };
        if let Some(found) = self.search(&search, None, limit).await? {
            return Ok(found);
        }
        let mut distance = FIRST_DISTANCE;
        loop {
            let from = low.saturating_sub(distance);
            let found = self.search(&search, Some(from), MAX_NAMES).await?;
            let found = found.ok_or_else(|| {
                let why = format!("there are more than {MAX_NAMES} objects about offset {low} in a folder");
                StoreFailure::new(FailureKind::Other, why)
            })?;
            if from == 0 || found.slots.first().is_some_and(|slot| slot.first <= low) {
                return Ok(found);
            }
            distance = distance.saturating_mul(16);
        }
    }

    /// Looks through names from that of an offset on; none where there are more than `limit`.
    async fn search(
        &self,
        search: &Search<'_>,
        from: Option<u64>,
        limit: usize,
    ) -> Result<Option<Slots>, StoreFailure> {
        let objects = &self.target.objects;
        let mut names = match from {
            None => objects.list(Some(&search.folder)),
            Some(from) => {
                let offset = search.folder.clone().join(Names::before_slot(from));
                objects.list_with_offset(Some(&search.folder), &offset)
            }
        };
        // A directory's names come in no order.
        let ordered = self.target.directory.is_none();
        let mut found = Found::default();
        for _ in 0..limit {
            let next = timeout(self.timeout, names.next());
            let next = next.await.unwrap_or_else(|_| Some(Err(self.timed_out())));
            let Some(meta) = next.transpose().map_err(|error| StoreFailure::of_error(&error))? else {
                return Ok(Some(found.into_slots()));
            };
            match search.found(&meta) {
                Some(Name::Slot(slot)) => {
                    let is_behind = slot.first > search.high;
                    found.add(slot, search);
                    if is_behind && ordered {
                        return Ok(Some(found.into_slots()));
                    }
                }
                Some(Name::Late(offset)) => {
                    found.late.insert(offset);
                }
                None => {}
            }
        }
        Ok(None)
    }

    /// Asks for one name, to see whether we may.
    pub(super) async fn list_one(&self) -> Result<(), StoreFailure> {
        let mut names = self.target.objects.list(None);
        let next = timeout(self.timeout, names.next()).await;
        match next.unwrap_or_else(|_| Some(Err(self.timed_out()))) {
            None | Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(StoreFailure::of_error(&error)),
        }
    }

    /// Asks for an object that is not there, to see whether its bucket is.
    pub(super) async fn get_nothing(&self, name: &str) -> Result<(), StoreFailure> {
        let path = self.target.base.clone().join(name);
        let get = self.target.objects.get(&path);
        match timeout(self.timeout, get).await.unwrap_or_else(|_| Err(self.timed_out())) {
            Ok(_) => Ok(()),
            Err(error) => Err(StoreFailure::of_error(&error)),
        }
    }

    /// Waits for the writes that go on, each at most as long as a request may take, and ends the connections.
    pub(super) async fn close(&self) {
        self.writes.close();
        if timeout(self.timeout, self.writes.wait()).await.is_err() {
            tracing::warn!(store = self.shown(), "a write did not end in time");
        }
        if let Some(http) = &self.target.http {
            http.close().await;
        }
    }

    /// A folder's values are encoded already, and are not to be once more.
    fn folder(&self, folder: &str) -> object_store::Result<Path> {
        Ok(Path::parse(format!("{}/{folder}", self.target.base))?)
    }

    pub(super) fn timed_out(&self) -> object_store::Error {
        let why = format!("the store did not answer within {} ms", self.timeout.as_millis());
        failed(StoreFailure::new(FailureKind::Unreachable, why))
    }
}

fn failed(failure: StoreFailure) -> object_store::Error {
    object_store::Error::Generic { store: "store", source: Box::new(failure) }
}

/// What is looked for.
struct Search<'a> {
    names: &'a Names,
    folder: Path,
    low: u64,
    high: u64,
}

/// What an object of ours is.
enum Name {
    Slot(Slot),
    Late(u64),
}

impl Search<'_> {
    /// What of ours this is, directly in the folder; a straggler only where it may be one of those that are looked for.
    fn found(&self, meta: &object_store::ObjectMeta) -> Option<Name> {
        let mut inside = meta.location.prefix_match(&self.folder)?;
        let name = inside.next()?;
        if inside.next().is_some() {
            return None;
        }
        if let Some(offset) = self.names.parse_late(name.as_ref()) {
            return (self.low..=self.high).contains(&offset).then_some(Name::Late(offset));
        }
        let first = self.names.parse_slot(name.as_ref())?;
        Some(Name::Slot(Slot { first, path: meta.location.clone(), bytes: meta.size }))
    }
}

/// What was found on the way.
#[derive(Default)]
struct Found {
    floor: Option<Slot>,
    inside: Vec<Slot>,
    late: BTreeSet<u64>,
    more_behind: bool,
}

impl Found {
    fn add(&mut self, slot: Slot, search: &Search<'_>) {
        if slot.first > search.high {
            self.more_behind = true;
        } else if slot.first > search.low {
            self.inside.push(slot);
        } else if self.floor.as_ref().is_none_or(|floor| floor.first <= slot.first) {
            self.floor = Some(slot);
        }
    }

    fn into_slots(mut self) -> Slots {
        self.inside.sort_by_key(|slot| slot.first);
        let mut slots: Vec<_> = self.floor.into_iter().collect();
        slots.append(&mut self.inside);
        Slots { slots, late: self.late, more_behind: self.more_behind }
    }
}
