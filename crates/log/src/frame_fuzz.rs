//! Frames that nobody wrote. A checksum keeps all of them from being believed, so here the checksum is made to fit: what is
//! behind it must not trust a single field.

use std::path::PathBuf;

use bytes::Bytes;
use eventrelay_fuzz::{Target, fuzz};

use crate::LogId;
use crate::checksum::crc32c;
use crate::disk::{AlignedBuffer, BLOCK_BYTES};
use crate::frame::{
    FRAME_HEADER_BYTES, Frame, FrameFields, FrameHeader, FrameKind, begin_frame, finish_frame, peek_header,
    reseed_frame, verify_frame,
};
use crate::record::Group;
use crate::segment_header::{FrameSeed, SegmentHeader};
use crate::wire::put;

const GENERATION: u64 = 5;

fn seed() -> FrameSeed {
    FrameSeed::new(LogId([1; 16]), 0, GENERATION)
}

fn drive<Way: std::hash::Hash>(name: &str, run: impl Fn(&[u8]) -> Way) {
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let words: [&[u8]; 5] = [b"ERFR\x01\0\0\0", b"ERFR\x01\x01", b"ERFR\x01\x02", &[5, 0, 0, 0, 1], &[0; 64]];
    fuzz(Target { name, corpus: &corpus, words: &words, max_bytes: 3 * BLOCK_BYTES }, run);
}

/// The input in whole blocks.
fn blocks(input: &[u8]) -> AlignedBuffer {
    let mut buffer = AlignedBuffer::with_capacity(0);
    buffer.extend_from_slice(input);
    buffer.resize(input.len().next_multiple_of(BLOCK_BYTES).max(BLOCK_BYTES));
    buffer
}

/// Whether it looked like a frame, was as long as it said, and how its records added up.
type Way = Option<(u8, bool, Option<(usize, bool)>)>;

#[test]
fn fuzz_frames() {
    drive("frame", |input| -> Way {
        let mut buffer = blocks(input);
        let header = peek_header(&buffer)?;
        let kind = buffer[5];
        let bytes = header.frame_bytes();
        assert!(bytes.is_multiple_of(BLOCK_BYTES) && bytes >= FRAME_HEADER_BYTES + header.body_bytes);
        assert!(header.end_offset() >= header.base_offset);
        if bytes > buffer.len() {
            return Some((kind, false, None));
        }
        buffer.resize(bytes);
        reseed_frame(&mut buffer, seed());
        assert!(verify_frame(&buffer, seed()), "the checksum fits");
        assert!(
            !verify_frame(&buffer, FrameSeed::new(LogId([1; 16]), 1, GENERATION)),
            "but no other segment's"
        );
        let header = peek_header(&buffer)?;
        if header.kind == FrameKind::Mark {
            return Some((kind, true, None));
        }
        let frame = Frame::new(&header, &Bytes::copy_from_slice(&buffer));
        Some((kind, true, Some(use_records(&header, &frame))))
    });
}

/// Reads all records. Gives how many there are, and whether they are what the header says.
fn use_records(header: &FrameHeader, frame: &Frame) -> (usize, bool) {
    let mut group = Group::new();
    for (record, offset) in frame.records_from(0).zip(frame.base_offset..) {
        assert_eq!(record.offset, offset, "offsets are dense");
        group.push(record.key, |out| out.extend_from_slice(&record.payload));
    }
    let records = group.len();
    // Nothing is made of nothing.
    assert!(group.bytes() <= header.body_bytes);
    for skipped in [1, records as u64 / 2, records as u64] {
        let rest = frame.records_from(frame.base_offset + skipped).count() as u64;
        assert_eq!(rest, (records as u64).saturating_sub(skipped));
    }
    assert!(frame.record(frame.base_offset.wrapping_sub(1)).is_none());
    let adds_up = FrameKind::Records { count: records as u32 } == header.kind;
    if adds_up {
        written_again(header, &group);
    }
    (records.min(4), adds_up)
}

/// What was read is what is written, and reads the same.
fn written_again(header: &FrameHeader, group: &Group) {
    let mut buffer = AlignedBuffer::with_capacity(0);
    begin_frame(&mut buffer);
    buffer.extend_from_slice(&group.bytes);
    let FrameHeader { kind, base_offset, append_time_micros, durable_offset, .. } = *header;
    finish_frame(&mut buffer, seed(), &FrameFields { kind, base_offset, append_time_micros, durable_offset });
    let again = peek_header(&buffer).unwrap();
    assert!(verify_frame(&buffer, seed()) && again.frame_bytes() == buffer.len());
    assert_eq!(FrameHeader { body_bytes: header.body_bytes, ..again }, *header);
    let frame = Frame::new(&again, &Bytes::copy_from_slice(&buffer));
    let mut read = Group::new();
    for record in frame.records_from(0) {
        read.push(record.key, |out| out.extend_from_slice(&record.payload));
    }
    assert_eq!(read.bytes, group.bytes);
}

#[test]
fn fuzz_segment_headers() {
    drive("segment-header", |input| -> String {
        let mut buffer = blocks(input);
        let crc = crc32c(0, &buffer[..BLOCK_BYTES - 4]);
        put(&mut buffer, BLOCK_BYTES - 4, &crc.to_le_bytes());
        match SegmentHeader::decode(&buffer[..BLOCK_BYTES]) {
            Ok(header) => {
                assert_eq!(SegmentHeader::decode(&header.encode()).ok(), Some(header));
                "a header".to_owned()
            }
            Err(fault) => format!("{:?}", std::mem::discriminant(&fault)),
        }
    });
}
