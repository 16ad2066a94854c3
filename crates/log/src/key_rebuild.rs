//! Builds keys again from the records of the segments: at opening, where a key file is missing, and later, where one turns out
//! to be damaged.

use std::sync::Arc;

use crate::disk::BLOCK_BYTES;
use crate::error::{Damage, DamageKind, OpenError};
use crate::frame::{FRAME_HEADER_BYTES, FrameHeader, FrameKind};
use crate::frame_walker::FrameWalker;
use crate::key_index::{Entry, KeyIndexError, Rebuild, Rebuilt};
use crate::record::decode_record;
use crate::segment::Segment;

/// Walks the segments for the keys of the offsets that are to be rebuilt. Offsets that no segment holds any more are left out.
/// Blocking, at the disk's speed.
pub(crate) fn rebuild_keys(
    mut rebuild: Rebuild,
    segments: &[Arc<Segment>],
    log_end: u64,
) -> Result<Rebuilt, OpenError> {
    let key_error = |error: KeyIndexError| OpenError::KeyIndex(error.to_string());
    let offsets = rebuild.offsets();
    tracing::info!(from = offsets.start, to = offsets.end, "building the key index from the log");
    let ends = segments.iter().skip(1).map(|next| next.base_offset()).chain([log_end]);
    for (segment, end) in segments.iter().zip(ends) {
        if segment.base_offset() < offsets.end && end > offsets.start {
            walk_keys(segment, end, &mut |entry| match offsets.contains(&entry.offset) {
                true => rebuild.add(entry).map_err(key_error),
                false => Ok(()),
            })?;
        }
    }
    rebuild.finish().map_err(key_error)
}

/// Shows the key of every keyed record in a verified frame.
pub(crate) fn each_key(header: &FrameHeader, frame: &[u8], show: &mut dyn FnMut(Entry)) {
    let FrameKind::Records { .. } = header.kind else {
        return;
    };
    let body = &frame[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + header.body_bytes];
    let (mut at, mut offset) = (0, header.base_offset);
    while let Some(span) = decode_record(body, at) {
        if let Some(key) = span.key {
            show(Entry {
                key_hash: key.hash,
                fingerprint: key.fingerprint,
                offset,
                append_time_micros: header.append_time_micros,
            });
        }
        offset += 1;
        at = span.payload_end;
    }
}

fn walk_keys(
    segment: &Segment,
    end_offset: u64,
    show: &mut dyn FnMut(Entry) -> Result<(), OpenError>,
) -> Result<(), OpenError> {
    let io = |error| OpenError::io(&segment.path, error);
    let mut walker = FrameWalker::new(segment.file.as_ref()).map_err(io)?;
    let (mut position, mut offset) = (BLOCK_BYTES as u64, segment.base_offset());
    while offset < end_offset {
        let Some((header, bytes)) = walker.frame_at(position, segment.header.frame_seed()).map_err(io)?
        else {
            let segment = segment.path.clone();
            return Err(OpenError::Damaged(Damage { segment, position, offset, kind: DamageKind::Frame }));
        };
        let mut failed = Ok(());
        each_key(&header, bytes, &mut |entry| {
            if failed.is_ok() {
                failed = show(entry);
            }
        });
        failed?;
        position += bytes.len() as u64;
        offset = header.end_offset();
    }
    Ok(())
}
