//! The log as its users see it.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::commit_queue::{CommitQueue, Reservation, Ticket};
use crate::committer::Committer;
use crate::core::{Core, Status, Turn};
use crate::disk::{AlignedBuffer, Disk, Lock};
use crate::error::{AppendError, OpenError, ReadError, Refusal};
use crate::frame::{FRAME_HEADER_BYTES, Frame};
use crate::frame_cache::FrameCache;
use crate::in_flight::InFlight;
use crate::maintenance::Chores;
use crate::metrics::{LogMetrics, register};
use crate::opening::{Opened, open};
use crate::options::{Options, SyncMode};
use crate::reader::Reader;
use crate::segment::SegmentList;

/// A log's name, drawn at random when it is created. It is part of every checksum, and a secret of the data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogId(pub [u8; 16]);

/// The totally ordered, append-only, checksummed sequence of records in one directory. Cheap to clone; closed when the last
/// clone is dropped, or by [`Log::close`].
#[derive(Clone)]
pub struct Log {
    core: Arc<Core>,
    running: Arc<Running>,
}

/// The threads of an open log, and the lock on its directory.
struct Running {
    core: Arc<Core>,
    threads: Mutex<Threads>,
}

struct Threads {
    committing: Vec<JoinHandle<()>>,
    background: Vec<JoinHandle<()>>,
    lock: Option<Box<dyn Lock>>,
}

impl Log {
    /// Opens the log in `options.directory`, or creates one there. Blocking.
    pub fn open(disk: Arc<dyn Disk>, options: Options) -> Result<Self, OpenError> {
        let opened = open(&disk, &options)?;
        if options.sync != SyncMode::Commit {
            tracing::warn!(sync = ?options.sync, "the log acknowledges events before they are on the disk: a crash loses some");
        }
        let directory = options.directory.clone();
        let (core, lock) = assemble(disk, options, opened);
        let threads = Threads { committing: Vec::new(), background: Vec::new(), lock: Some(lock) };
        let running = Arc::new(Running { core: Arc::clone(&core), threads: Mutex::new(threads) });
        // From here on, dropping `running` stops what has been started.
        running.start().map_err(|error| OpenError::io(&directory, error))?;
        Ok(Self { core, running })
    }

    /// The log's name.
    #[must_use]
    pub fn id(&self) -> LogId {
        self.core.id
    }

    /// The first offset that retention has kept.
    #[must_use]
    pub fn oldest_offset(&self) -> u64 {
        self.core.segments.oldest_offset()
    }

    /// Every offset below it is on disk. Readers and acknowledgements never pass it.
    #[must_use]
    pub fn durable_offset(&self) -> u64 {
        self.core.in_flight.durable_offset()
    }

    /// Tells when the durable offset moves.
    #[must_use]
    pub fn watch_durable_offset(&self) -> watch::Receiver<u64> {
        self.core.in_flight.watch()
    }

    /// The most bytes that a group may have.
    #[must_use]
    pub fn max_group_bytes(&self) -> usize {
        self.core.options.max_commit_bytes - FRAME_HEADER_BYTES
    }

    /// Waits for room for `bytes` in the commit queue. The caller sets the deadline: dropping the future gives up the place.
    ///
    /// # Errors
    /// When the group can never be taken, or the log takes nothing now.
    pub async fn reserve(&self, bytes: usize) -> Result<Reservation<'_>, AppendError> {
        let limit = self.max_group_bytes();
        if bytes > limit {
            return Err(AppendError::Refused(Refusal::TooLarge { bytes, limit }));
        }
        if let Some(refusal) = self.core.refusal() {
            return Err(AppendError::Refused(refusal));
        }
        self.core.queue.reserve(bytes).await
    }

    /// Queues a group for the next commit.
    ///
    /// # Panics
    /// When the reservation is not for as many bytes as the group has.
    pub fn append(&self, reservation: Reservation<'_>, group: crate::Group) -> Ticket {
        self.core.queue.push(reservation, group)
    }

    /// The frame that holds `offset`, when it is in memory. Never blocks on the disk.
    #[must_use]
    pub fn read_cached(&self, offset: u64) -> Option<Frame> {
        self.core.reader.read_cached(offset)
    }

    /// The frame that holds `offset`, from memory or the file; `None` at or past the durable offset. Blocking.
    pub fn read(&self, offset: u64) -> Result<Option<Frame>, ReadError> {
        self.core.reader.read(offset, self.durable_offset())
    }

    /// The first offset whose append time is at or after `micros`; the durable offset when there is none. Blocking.
    pub fn seek_time(&self, micros: u64) -> Result<u64, ReadError> {
        self.core.reader.seek_time(micros, self.durable_offset())
    }

    /// Where the newest record with this key hash is, when it was appended within the window. May read a page from a file.
    ///
    /// # Errors
    /// When the key index cannot be read.
    pub fn find_key(&self, hash: u128) -> Result<Option<u64>, Refusal> {
        let committer = self.core.committer.lock();
        let found = committer.keys.get(hash, committer.last_append_time_micros);
        drop(committer);
        found
            .map(|entry| entry.map(|entry| entry.offset))
            .map_err(|error| Refusal::Unavailable { why: format!("the key index: {error}").into() })
    }

    /// Tells retention the lowest offset that a *durable* cursor still needs; `u64::MAX` when there is none. Until it is told,
    /// every segment counts as needed.
    pub fn set_needed_offset(&self, offset: u64) {
        self.core.needed_offset.store(offset, Ordering::Release);
    }

    /// Whether it takes events.
    #[must_use]
    pub fn status(&self) -> Status {
        self.core.status()
    }

    /// Whether retention had to let go what a subscription needed (the hard limit), since the start.
    #[must_use]
    pub fn hard_limit_crossed(&self) -> bool {
        self.core.hard_limit_crossed.load(Ordering::Acquire)
    }

    /// Bytes of all segment files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.core.bytes()
    }

    /// Registers the log's metrics under `eventrelay_log_`.
    pub fn register_metrics(&self, registry: &mut Registry) {
        register(&self.core, registry);
    }

    /// Commits what is queued, writes a mark, and stops the threads. Later appends are refused; reads still work. Blocking.
    pub fn close(&self) {
        self.running.close();
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directory = self.core.options.directory.display();
        write!(f, "Log({directory}, {}..{})", self.oldest_offset(), self.durable_offset())
    }
}

/// Puts the parts together.
pub(crate) fn assemble(disk: Arc<dyn Disk>, options: Options, opened: Opened) -> (Arc<Core>, Box<dyn Lock>) {
    let Opened { lock, manifest, segments, tail, keys, keys_base, spares } = opened;
    let active = Arc::clone(&segments[segments.len() - 1]);
    let committer = Committer::new(active, &tail, keys, keys_base, &options);
    let cache = Arc::new(FrameCache::new(options.tail_cache_bytes));
    let segments = Arc::new(SegmentList::new(segments));
    let core = Core {
        id: manifest.current().log_id,
        queue: CommitQueue::new(options.queue_bytes),
        turn: Mutex::new(Turn { pending: std::collections::VecDeque::new() }),
        committer: Mutex::new(committer),
        in_flight: InFlight::new(tail.next_offset, Arc::clone(&cache)),
        reader: Reader::new(Arc::clone(&disk), Arc::clone(&segments), cache),
        segments,
        spares,
        manifest: Mutex::new(manifest),
        chores: Chores::default(),
        status: Mutex::new(Status::Writable),
        needed_offset: AtomicU64::new(0),
        hard_limit_crossed: AtomicBool::new(false),
        metrics: LogMetrics::new(),
        disk,
        options,
    };
    (Arc::new(core), lock)
}

impl Running {
    fn start(&self) -> io::Result<()> {
        let mut threads = self.threads.lock();
        for i in 0..self.core.options.commits_in_flight {
            threads.committing.push(self.spawn(format!("log-commit-{i}"), Core::run_commit_thread)?);
        }
        threads.background.push(self.spawn("log-spare".into(), |core| core.spares.run())?);
        threads.background.push(self.spawn("log-maintenance".into(), Core::run_maintenance_thread)?);
        Ok(())
    }

    /// Starts a thread whose panic poisons the log, for what it left undone nobody knows.
    fn spawn(&self, name: String, run: fn(&Core)) -> io::Result<JoinHandle<()>> {
        let core = Arc::clone(&self.core);
        std::thread::Builder::new().name(name.clone()).spawn(move || {
            if catch_unwind(AssertUnwindSafe(|| run(&core))).is_err() {
                core.poison(&format!("the thread {name} panicked").into());
            }
        })
    }

    fn close(&self) {
        let mut threads = self.threads.lock();
        self.core.queue.close();
        join(&mut threads.committing);
        self.core.spares.close();
        self.core.chores.close();
        join(&mut threads.background);
        if let Some(lock) = threads.lock.take() {
            self.write_last_mark();
            drop(lock);
        }
        let mut status = self.core.status.lock();
        if matches!(*status, Status::Writable | Status::DiskFull) {
            *status = Status::Closed;
        }
    }

    /// Leaves proof in the log that all of it was acknowledged. The directory's lock must still be held.
    fn write_last_mark(&self) {
        self.core.mark(&mut AlignedBuffer::with_capacity(0));
        if self.core.options.sync != SyncMode::Commit {
            let segment = Arc::clone(&self.core.committer.lock().segment);
            if let Err(error) = segment.file.sync() {
                self.core.poison(&format!("the last sync failed: {error}").into());
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.close();
    }
}

fn join(threads: &mut Vec<JoinHandle<()>>) {
    for thread in threads.drain(..) {
        // A panic has poisoned the log already.
        let _ = thread.join();
    }
}
