//! Reads single events back from the log: from memory where it can, else from the file without blocking the runtime.

use std::sync::Arc;

use eventrelay_event::{EventId, StoredEvent, Tenant};
use eventrelay_log::{Frame, Log, ReadError};
use tokio::sync::Semaphore;

use crate::{FindError, Publisher};

/// How many reads of files go on at once, so that look-ups of old events take a bounded share of threads and disk.
const FILE_READS_AT_ONCE: usize = 8;

#[derive(Debug)]
pub(crate) struct Lookup {
    log: Log,
    file_reads: Arc<Semaphore>,
}

impl Publisher {
    /// The event of this name, when it is the tenant's and still kept.
    ///
    /// Names can be guessed. One that is another tenant's, or that has the wrong time, takes the same work as the right
    /// one, and gives the same answer as one that never was.
    ///
    /// # Errors
    /// When the log cannot be read there.
    pub async fn find(&self, id: EventId, tenant: &Tenant) -> Result<Option<StoredEvent>, FindError> {
        let Some(event) = self.lookup.event(id.offset()).await? else {
            return Ok(None);
        };
        let same_id = event.id() == id;
        let same_tenant = event.tenant() == tenant.as_str();
        Ok((same_id & same_tenant).then_some(event))
    }
}

impl Lookup {
    pub(crate) fn new(log: Log) -> Self {
        Self { log, file_reads: Arc::new(Semaphore::new(FILE_READS_AT_ONCE)) }
    }

    /// The event at `offset`; `None` when there is none yet, or none any more.
    pub(crate) async fn event(&self, offset: u64) -> Result<Option<StoredEvent>, FindError> {
        let frame = match self.log.read_cached(offset) {
            Some(frame) => Some(frame),
            None if offset >= self.log.durable_offset() => None,
            None => self.read_file(offset).await?,
        };
        // A frame without the record is a gap that a repair has left.
        let Some(record) = frame.and_then(|frame| frame.record(offset)) else {
            return Ok(None);
        };
        Ok(Some(StoredEvent::decode(offset, record.append_time_micros, record.payload)?))
    }

    async fn read_file(&self, offset: u64) -> Result<Option<Frame>, FindError> {
        let permit =
            Arc::clone(&self.file_reads).acquire_owned().await.map_err(|_| FindError::Interrupted)?;
        let log = self.log.clone();
        let read = tokio::task::spawn_blocking(move || {
            // The permit goes with the read, which goes on when its asker has gone.
            let _permit = permit;
            log.read(offset)
        });
        match read.await.map_err(|_| FindError::Interrupted)? {
            Err(ReadError::Trimmed { .. }) => Ok(None),
            frame => Ok(frame?),
        }
    }
}
