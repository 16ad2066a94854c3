//! What is on the disk: the log and the delivery state, opened together, for each must agree with the other.

use std::sync::Arc;

use eventrelay_log::Log;
use eventrelay_log::disk::{DurableWrites, RealDisk};
use eventrelay_state::{LogIdentity, OpenMode, State};

use super::{StartError, settings};
use crate::{Config, LogWriteMode};

/// The open log and state.
#[derive(Debug)]
pub(super) struct Stores {
    pub(super) log: Log,
    pub(super) state: State,
}

impl Stores {
    /// Opens the log, which locks the data directory, then the state that belongs to it.
    pub(super) async fn open(config: &Config, create_missing_state: bool) -> Result<Self, StartError> {
        let config = config.clone();
        let open = move || open_blocking(&config, create_missing_state);
        tokio::task::spawn_blocking(open).await.map_err(|_| StartError::CutShort)?
    }

    /// Closes the state, then the log. False when one of them failed.
    pub(super) async fn close(&self) -> bool {
        self.state.close().await;
        let log = self.log.clone();
        let closed = tokio::task::spawn_blocking(move || log.close()).await;
        if let Err(error) = &closed {
            tracing::error!(%error, "the log failed while it was closed");
        }
        closed.is_ok()
    }
}

fn open_blocking(config: &Config, create_missing_state: bool) -> Result<Stores, StartError> {
    let durable_writes = match config.log.write_mode {
        LogWriteMode::Direct => DurableWrites::Direct,
        LogWriteMode::Buffered => DurableWrites::Buffered,
    };
    let log = Log::open(Arc::new(RealDisk::new(durable_writes)), settings::log_options(config))?;
    let identity = LogIdentity {
        log_id: log.id().0,
        oldest_offset: log.oldest_offset(),
        end_offset: log.durable_offset(),
    };
    let mode = if create_missing_state { OpenMode::CreateBesideLog } else { OpenMode::Normal };
    match State::open(&config.state_path(), identity, mode) {
        Ok(state) => Ok(Stores { log, state }),
        Err(error) => {
            log.close();
            Err(error.into())
        }
    }
}
