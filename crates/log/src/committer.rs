//! Turns what waits into the next frame: checks keys, gives offsets, encodes.
//!
//! Only one thread at a time holds the committer, so keys need no locks and no two publishers race for an offset. It does no
//! I/O but for a key that is probably in a file.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::commit_queue::{Answer, AppendedGroup, RecordOutcome, Submission};
use crate::disk::{AlignedBuffer, BLOCK_BYTES};
use crate::error::{AppendError, Refusal};
use crate::frame::{FRAME_HEADER_BYTES, FrameFields, FrameKind, begin_frame, finish_frame, padded};
use crate::in_flight::Reply;
use crate::key_index::{Entry, KeyIndex};
use crate::options::Options;
use crate::record::{Group, Key};
use crate::segment::Segment;
use crate::tail_scan::Tail;

/// The state of the log's end.
pub(crate) struct Committer {
    pub(crate) segment: Arc<Segment>,
    /// Where the next frame goes.
    pub(crate) position: u64,
    pub(crate) next_offset: u64,
    pub(crate) last_append_time_micros: u64,
    /// The highest durable offset that a frame names.
    pub(crate) marked_offset: u64,
    pub(crate) keys: KeyIndex,
    /// The keys of the records from here on are in memory, those below in files.
    pub(crate) keys_base: u64,
    /// Offsets whose keys are in a file that turned out to be damaged, and that are to be built again.
    pub(crate) damaged_keys: Option<Range<u64>>,
    /// Whether a roll has begun that must succeed before anything more is written.
    pub(crate) must_roll: bool,
    segment_bytes: u64,
    max_commit_bytes: usize,
    /// The keys of the group at hand, to find one that repeats within it.
    group_keys: HashMap<u128, Known>,
}

/// A frame that is encoded and has its place, and who waits for it.
pub(crate) struct Prepared {
    pub(crate) segment: Arc<Segment>,
    pub(crate) position: u64,
    /// How many records it has; none when nothing is to be written.
    pub(crate) count: u32,
    pub(crate) replies: Vec<Reply>,
    /// What the groups took of the queue.
    pub(crate) released_bytes: usize,
}

/// Where a key's first holder is.
#[derive(Clone, Copy)]
struct Known {
    fingerprint: u64,
    offset: u64,
    append_time_micros: u64,
}

impl Committer {
    pub(crate) fn new(
        segment: Arc<Segment>,
        tail: &Tail,
        keys: KeyIndex,
        keys_base: u64,
        options: &Options,
    ) -> Self {
        Self {
            segment,
            position: tail.position,
            next_offset: tail.next_offset,
            last_append_time_micros: tail.last_append_time_micros,
            marked_offset: tail.marked_offset,
            keys,
            keys_base,
            damaged_keys: None,
            must_roll: false,
            segment_bytes: options.segment_bytes,
            max_commit_bytes: options.max_commit_bytes,
            group_keys: HashMap::new(),
        }
    }

    /// Goes on behind `tail` of the same segment.
    pub(crate) fn set_tail(&mut self, tail: &Tail) {
        self.position = tail.position;
        self.next_offset = tail.next_offset;
        self.last_append_time_micros = self.last_append_time_micros.max(tail.last_append_time_micros);
        self.marked_offset = tail.marked_offset;
    }

    /// Whether a frame with `body_bytes` still fits the segment. One block stays free for a mark.
    pub(crate) fn fits_segment(&self, body_bytes: usize) -> bool {
        let frame_bytes = padded(FRAME_HEADER_BYTES + body_bytes) + BLOCK_BYTES;
        !self.must_roll && self.position + frame_bytes as u64 <= self.segment_bytes
    }

    /// Whether a mark would say more than the frames do.
    pub(crate) fn wants_mark(&self) -> bool {
        self.marked_offset < self.next_offset && self.has_room_for_mark()
    }

    pub(crate) fn has_room_for_mark(&self) -> bool {
        !self.must_roll && self.position + BLOCK_BYTES as u64 <= self.segment_bytes
    }

    /// The append time of what is written now: never before that of what was written.
    pub(crate) fn advance_time(&mut self, now_micros: u64) -> u64 {
        self.last_append_time_micros = self.last_append_time_micros.max(now_micros);
        self.last_append_time_micros
    }

    /// Encodes as many of the pending groups as fit one frame, in order, into `buffer`.
    pub(crate) fn prepare(
        &mut self,
        pending: &mut VecDeque<Submission>,
        durable_offset: u64,
        now_micros: u64,
        buffer: &mut AlignedBuffer,
    ) -> Prepared {
        begin_frame(buffer);
        let now = self.advance_time(now_micros);
        let base_offset = self.next_offset;
        let mut replies = Vec::with_capacity(pending.len());
        let mut released_bytes = 0;
        while let Some(Submission { group, .. }) = pending.front() {
            let body_bytes = buffer.len() - FRAME_HEADER_BYTES + group.bytes();
            if !replies.is_empty() && (body_bytes > self.max_commit_bytes || !self.fits_segment(body_bytes)) {
                break;
            }
            let Some(Submission { group, waiter }) = pending.pop_front() else {
                break;
            };
            released_bytes += group.bytes();
            replies.push(Reply { waiter, answer: self.append(&group, now, buffer) });
        }
        let count = u32::try_from(self.next_offset - base_offset).unwrap_or(u32::MAX);
        let prepared = Prepared {
            segment: Arc::clone(&self.segment),
            position: self.position,
            count,
            replies,
            released_bytes,
        };
        if count > 0 {
            self.finish(buffer, FrameKind::Records { count }, base_offset, durable_offset);
        }
        prepared
    }

    /// Encodes a mark into `buffer`; its position.
    pub(crate) fn prepare_mark(
        &mut self,
        durable_offset: u64,
        now_micros: u64,
        buffer: &mut AlignedBuffer,
    ) -> u64 {
        assert!(self.next_offset == durable_offset, "a mark is written when nothing is in flight");
        self.advance_time(now_micros);
        begin_frame(buffer);
        let position = self.position;
        self.finish(buffer, FrameKind::Mark, self.next_offset, durable_offset);
        position
    }

    fn finish(&mut self, buffer: &mut AlignedBuffer, kind: FrameKind, base_offset: u64, durable_offset: u64) {
        let append_time_micros = self.last_append_time_micros;
        let fields = FrameFields { kind, base_offset, append_time_micros, durable_offset };
        finish_frame(buffer, self.segment.header.frame_seed(), &fields);
        self.position += buffer.len() as u64;
        assert!(self.position <= self.segment_bytes, "a frame fits its segment");
        self.marked_offset = self.marked_offset.max(durable_offset);
    }

    /// Appends one group to the frame: all of it but the records that are known, or nothing.
    fn append(&mut self, group: &Group, now: u64, buffer: &mut AlignedBuffer) -> Answer {
        let mut outcomes = SmallVec::with_capacity(group.len());
        if group.records.iter().all(|record| record.key.is_none()) {
            outcomes.extend((self.next_offset..).take(group.len()).map(|offset| appended(offset, now)));
            buffer.extend_from_slice(&group.bytes);
        } else {
            self.resolve(group, now, &mut outcomes)?;
            copy_new(group, &outcomes, buffer);
            self.learn_keys(group, &outcomes);
        }
        self.next_offset += outcomes.iter().filter(|outcome| is_appended(outcome)).count() as u64;
        Ok(AppendedGroup { records: outcomes })
    }

    /// Gives each record its offset, or finds the one that its key has already. Changes nothing that lasts.
    fn resolve(
        &mut self,
        group: &Group,
        now: u64,
        outcomes: &mut SmallVec<[RecordOutcome; 1]>,
    ) -> Result<(), AppendError> {
        self.group_keys.clear();
        let mut next = self.next_offset;
        for (index, record) in group.records.iter().enumerate() {
            let known = record.key.map(|key| self.known(key, now)).transpose()?.flatten();
            let outcome = match (record.key, known) {
                (Some(key), Some(known)) if known.fingerprint != key.fingerprint => {
                    return Err(AppendError::KeyConflict { index, offset: known.offset });
                }
                (_, Some(Known { offset, append_time_micros, .. })) => {
                    RecordOutcome::Exists { offset, append_time_micros }
                }
                (key, None) => {
                    if let Some(Key { hash, fingerprint }) = key.filter(|_| group.len() > 1) {
                        self.group_keys
                            .insert(hash, Known { fingerprint, offset: next, append_time_micros: now });
                    }
                    next += 1;
                    appended(next - 1, now)
                }
            };
            outcomes.push(outcome);
        }
        Ok(())
    }

    fn known(&mut self, key: Key, now: u64) -> Result<Option<Known>, AppendError> {
        if let Some(known) = self.group_keys.get(&key.hash) {
            return Ok(Some(*known));
        }
        let entry = self.keys.get(key.hash, now).map_err(|error| {
            tracing::error!(%error, "a look-up in the key index failed");
            self.damaged_keys = error.offsets_to_rebuild();
            AppendError::Refused(Refusal::Unavailable { why: format!("the key index: {error}").into() })
        })?;
        Ok(entry.map(|Entry { fingerprint, offset, append_time_micros, .. }| Known {
            fingerprint,
            offset,
            append_time_micros,
        }))
    }

    fn learn_keys(&mut self, group: &Group, outcomes: &[RecordOutcome]) {
        for (record, outcome) in group.records.iter().zip(outcomes) {
            if let (Some(Key { hash, fingerprint }), RecordOutcome::Appended { offset, append_time_micros }) =
                (record.key, *outcome)
            {
                self.keys.insert(Entry { key_hash: hash, fingerprint, offset, append_time_micros });
            }
        }
    }
}

/// Copies the records that are new, in one piece where all are.
fn copy_new(group: &Group, outcomes: &[RecordOutcome], buffer: &mut AlignedBuffer) {
    if outcomes.iter().all(is_appended) {
        buffer.extend_from_slice(&group.bytes);
        return;
    }
    let mut start = 0;
    for (record, outcome) in group.records.iter().zip(outcomes) {
        if is_appended(outcome) {
            buffer.extend_from_slice(&group.bytes[start..record.end]);
        }
        start = record.end;
    }
}

fn appended(offset: u64, append_time_micros: u64) -> RecordOutcome {
    RecordOutcome::Appended { offset, append_time_micros }
}

fn is_appended(outcome: &RecordOutcome) -> bool {
    matches!(outcome, RecordOutcome::Appended { .. })
}
