//! What a broker does with the messages of a Produce request: Kafka's rules of sequence.
//!
//! librdkafka's mock cluster looks at sequence numbers of transactional producers only: of others it takes a request that was sent
//! behind a failed one, which librdkafka then rightly takes for a proof that the failed one had arrived. No test of what follows a
//! failure in flight can use it.

use std::collections::{HashMap, VecDeque};
use std::ops::RangeInclusive;

const INVALID_PRODUCER_EPOCH: i16 = 47;
const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;

/// How many batches of a producer a broker remembers, to know a repetition.
const BATCHES_REMEMBERED: usize = 5;

/// A partition.
#[derive(Debug, Default)]
pub(crate) struct PartitionLog {
    /// The key and the value of each message.
    pub(crate) messages: Vec<(String, String)>,
    producers: HashMap<i64, ProducerState>,
}

#[derive(Debug)]
struct ProducerState {
    epoch: i16,
    batches: VecDeque<RangeInclusive<i32>>,
}

/// A Produce request: one partition's batch, uncompressed, by an idempotent producer.
#[derive(Debug)]
pub(crate) struct Produced {
    pub(crate) partition: usize,
    producer: i64,
    epoch: i16,
    sequences: RangeInclusive<i32>,
    messages: Vec<(String, String)>,
}

impl PartitionLog {
    /// Appends a batch where it is the next one; the error code of the answer.
    ///
    /// The rules are those of `ProducerAppendInfo` and `ProducerStateEntry` in Kafka's storage module.
    pub(crate) fn append(&mut self, produced: &Produced) -> i16 {
        let new = ProducerState { epoch: produced.epoch, batches: VecDeque::new() };
        let state = self.producers.entry(produced.producer).or_insert(new);
        if produced.epoch < state.epoch {
            return INVALID_PRODUCER_EPOCH;
        }
        if produced.epoch > state.epoch {
            *state = ProducerState { epoch: produced.epoch, batches: VecDeque::new() };
        }
        if state.batches.contains(&produced.sequences) {
            return 0;
        }
        let next = state.batches.back().map_or(0, |latest| latest.end() + 1);
        if *produced.sequences.start() != next {
            return OUT_OF_ORDER_SEQUENCE_NUMBER;
        }
        if state.batches.len() == BATCHES_REMEMBERED {
            state.batches.pop_front();
        }
        state.batches.push_back(produced.sequences.clone());
        self.messages.extend_from_slice(&produced.messages);
        0
    }
}

impl Produced {
    /// Reads a request of version 3 to 8. `header, transactional id string, acks i16, timeout i32, [ topic string,
    /// [ partition i32, batch bytes ] ]`.
    pub(crate) fn read(request: &[u8]) -> Self {
        let mut reader = Reader { bytes: &request[8..] };
        reader.skip_text();
        reader.skip_text();
        reader.take(6);
        assert_eq!(reader.i32(), 1, "librdkafka sends one topic a request");
        reader.skip_text();
        assert_eq!(reader.i32(), 1, "and one partition");
        let partition = usize::try_from(reader.i32()).unwrap();
        reader.i32();
        Self::of_batch(partition, reader)
    }

    /// A record batch of format 2.
    fn of_batch(partition: usize, mut reader: Reader<'_>) -> Self {
        // Offset, length, leader's epoch.
        reader.take(8 + 4 + 4);
        assert_eq!(reader.take(1), [2], "the format");
        reader.take(4);
        assert_eq!(reader.take(2)[1] & 7, 0, "it is compressed");
        // The last offset, two times.
        reader.take(4 + 8 + 8);
        let producer = i64::from_be_bytes(reader.take(8).try_into().unwrap());
        let epoch = i16::from_be_bytes(reader.take(2).try_into().unwrap());
        let first = reader.i32();
        let count = reader.i32();
        assert!(producer >= 0 && first >= 0 && count > 0, "it is not idempotent");
        let messages = (0..count).map(|_| reader.record()).collect();
        Self { partition, producer, epoch, sequences: first..=first + count - 1, messages }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.bytes.split_at(length);
        self.bytes = rest;
        taken
    }

    fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.take(4).try_into().unwrap())
    }

    fn skip_text(&mut self) {
        let length = i16::from_be_bytes(self.take(2).try_into().unwrap());
        self.take(usize::try_from(length).unwrap_or(0));
    }

    /// A number in zigzag and groups of seven bits.
    fn varint(&mut self) -> i64 {
        let (mut value, mut shift) = (0u64, 0);
        loop {
            let byte = self.take(1)[0];
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return (value >> 1).cast_signed() ^ -(value & 1).cast_signed();
            }
        }
    }

    fn text(&mut self) -> String {
        let length = usize::try_from(self.varint()).unwrap_or(0);
        String::from_utf8(self.take(length).to_vec()).unwrap()
    }

    /// `length, attributes i8, time, offset, key, value, headers`: the key and the value.
    fn record(&mut self) -> (String, String) {
        let length = usize::try_from(self.varint()).unwrap();
        let mut record = Reader { bytes: self.take(length) };
        record.take(1);
        record.varint();
        record.varint();
        (record.text(), record.text())
    }
}
