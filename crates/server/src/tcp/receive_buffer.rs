//! What a connection has received and not yet used up.
//!
//! Every connection may have [`OWN_BYTES`]; more is reserved from the memory that all buffers share, and only as bytes
//! arrive, so that a client which announces much and sends nothing reserves nothing. A connection that waits with nothing
//! received has no buffer at all.

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

/// What every connection may have.
const OWN_BYTES: usize = 16 << 10;
/// What one that sends much gets when there is memory: enough for a few hundred small frames with one read.
const BUSY_BYTES: usize = 64 << 10;

/// The buffer of one connection.
#[derive(Debug)]
pub(crate) struct ReceiveBuffer<'a> {
    /// Its length is the room that there is.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// One permit is one byte.
    memory: &'a Semaphore,
    reserved: Option<SemaphorePermit<'a>>,
    /// Whether the last read filled all the room, so that a larger buffer would save reads.
    is_busy: bool,
}

/// There was no memory for a large payload in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoMemory;

impl<'a> ReceiveBuffer<'a> {
    /// An empty one, which has no memory yet.
    pub(crate) fn new(memory: &'a Semaphore) -> Self {
        Self { bytes: Vec::new(), start: 0, end: 0, memory, reserved: None, is_busy: false }
    }

    /// What was received and is not used up.
    pub(crate) fn received(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Uses up the first bytes.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.end, "no more than was received");
    }

    /// Gives the memory back. Only for an empty one.
    pub(crate) fn release(&mut self) {
        debug_assert!(self.is_empty(), "what was received is not lost");
        (self.bytes, self.start, self.end) = (Vec::new(), 0, 0);
        self.reserved = None;
    }

    /// Makes room for at least one more byte of a payload for which `payload_bytes` of room are worth having.
    ///
    /// # Errors
    /// When the memory that all buffers share has no room until the deadline.
    pub(crate) async fn make_room(
        &mut self,
        payload_bytes: usize,
        deadline: Instant,
    ) -> Result<(), NoMemory> {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.bytes.len() < OWN_BYTES {
            self.bytes.resize(OWN_BYTES, 0);
        }
        if self.is_busy && self.bytes.len() < BUSY_BYTES {
            self.is_busy = false;
            if let Ok(permit) = self.memory.try_acquire_many(permits(BUSY_BYTES - self.bytes.len())) {
                self.grow(BUSY_BYTES, permit);
            }
        }
        if self.end == self.bytes.len() {
            // No more than twice what has come, whatever was announced.
            let wanted = payload_bytes.clamp(self.end + 1, 2 * self.end);
            let more = self.memory.acquire_many(permits(wanted - self.bytes.len()));
            match timeout_at(deadline, more).await {
                Ok(Ok(permit)) => self.grow(wanted, permit),
                Ok(Err(_)) | Err(_) => return Err(NoMemory),
            }
        }
        Ok(())
    }

    fn grow(&mut self, bytes: usize, permit: SemaphorePermit<'a>) {
        self.bytes.resize(bytes, 0);
        match &mut self.reserved {
            Some(reserved) => reserved.merge(permit),
            None => self.reserved = Some(permit),
        }
    }

    /// The room that there is.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[self.end..]
    }

    /// So many bytes of the room have been received.
    pub(crate) fn filled(&mut self, count: usize) {
        self.end += count;
        self.is_busy = self.end == self.bytes.len();
    }
}

/// Buffers are bounded by what a payload may have, which fits (checked with the options).
fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
