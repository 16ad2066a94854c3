//! Looks whether the store is there and lets us do what deliveries need, without writing to it.
//!
//! | | exactly once | at least once |
//! |---|---|---|
//! | bucket | a page of its names is asked for | an object is asked for that is not there |
//! | directory | the nearest folder above it that is there must let us write | the same |
//!
//! Whether we may write, and whether the store has conditional writes, is not known before the first object. Who may only
//! write (at least once needs no more) is told so for an object that is not there too, so that is no failure then.

use std::path::Path;

use rustix::fs::{Access, access};

use super::ObjectStoreSink;
use super::chain::Writer;
use super::failure::{FailureKind, StoreFailure};
use crate::CheckError;

/// A name that no object has.
const NOTHING: &str = "eventrelay-check-of-rights";
/// What stores say where they will not say whether an object is there.
const MAY_BE_WRITE_ONLY: [&str; 3] =
    ["AccessDenied", "AuthorizationPermissionMismatch", "AuthorizationFailure"];
/// What they say where there is no bucket.
const NO_BUCKET: [&str; 2] = ["NoSuchBucket", "ContainerNotFound"];

pub(super) async fn check(sink: &ObjectStoreSink) -> Result<(), CheckError> {
    let Writer { store, .. } = &sink.writer;
    if let Some(directory) = store.directory() {
        let directory = directory.to_owned();
        let checking = tokio::task::spawn_blocking(move || check_directory(&directory));
        return checking.await.map_err(|stopped| CheckError::Unreachable(stopped.to_string()))?;
    }
    let result = match sink.chains {
        Some(_) => store.list_one().await,
        None => match store.get_nothing(NOTHING).await {
            Err(failure) if is_fine(&failure) => Ok(()),
            result => result,
        },
    };
    result.map_err(StoreFailure::into_check_error)
}

fn is_fine(failure: &StoreFailure) -> bool {
    let code = failure.code.as_deref().unwrap_or_default();
    match failure.kind {
        FailureKind::Missing => !NO_BUCKET.contains(&code),
        FailureKind::Forbidden => MAY_BE_WRITE_ONLY.contains(&code),
        FailureKind::Unreachable | FailureKind::Other => false,
    }
}

fn check_directory(directory: &Path) -> Result<(), CheckError> {
    let Some(existing) = directory.ancestors().find(|path| path.exists()) else {
        return Err(CheckError::Missing(format!("no folder above {} is there", directory.display())));
    };
    if !existing.is_dir() {
        return Err(CheckError::Mismatch(format!("{} is not a folder", existing.display())));
    }
    access(existing, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| CheckError::Forbidden(format!("{}: {error}", existing.display())))
}
