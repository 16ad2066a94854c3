//! Frames and lines that nobody wrote, cut anywhere: what is found does not depend on the cuts, and no more memory is asked
//! for than there may be.

use std::path::PathBuf;
use std::time::Duration;

use eventrelay_fuzz::{Target, cuts, fuzz};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::receive_buffer::ReceiveBuffer;
use crate::payloads::framing::{Framing, Next};

const MAX_BYTES: usize = 40_000;
/// What buffers may have together, beyond that: enough for one.
const MEMORY_BYTES: usize = 256 << 10;

/// The payloads that were found, and whether one was too large.
type Found = (Vec<Vec<u8>>, bool);

/// As a connection reads: into a buffer that grows, from which payloads are taken.
struct Receiver<'a> {
    framing: Framing,
    memory: &'a Semaphore,
    buffer: ReceiveBuffer<'a>,
    searched: usize,
    room_bytes: usize,
    found: Found,
}

impl<'a> Receiver<'a> {
    fn new(framing: Framing, memory: &'a Semaphore) -> Self {
        let buffer = ReceiveBuffer::new(memory);
        Self { framing, memory, buffer, searched: 0, room_bytes: 1, found: (Vec::new(), false) }
    }

    async fn receive(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() && !self.found.1 {
            if self.buffer.is_empty() {
                self.buffer.release();
            }
            let deadline = Instant::now() + Duration::from_secs(60);
            assert!(
                self.buffer.make_room(self.room_bytes, deadline).await.is_ok(),
                "there is memory for one"
            );
            let room = self.buffer.room();
            let count = room.len().min(piece.len());
            assert!(count > 0, "room for a byte at least");
            room[..count].copy_from_slice(&piece[..count]);
            self.buffer.filled(count);
            piece = &piece[count..];
            // As much as was received again, whatever was announced, or what a busy connection gets.
            let reserved = MEMORY_BYTES - self.memory.available_permits();
            assert!(reserved <= self.buffer.received().len().max(64 << 10), "{reserved} bytes are reserved");
            self.take_payloads();
        }
    }

    fn take_payloads(&mut self) {
        loop {
            let received = self.buffer.received();
            match self.framing.next(received, 0, self.searched, MAX_BYTES) {
                Next::Payload { range, end } => {
                    assert!(range.len() <= MAX_BYTES && range.end <= end && end <= received.len());
                    self.found.0.push(received[range].to_vec());
                    self.buffer.consume(end);
                    self.searched = 0;
                }
                Next::Blank { end } => {
                    assert!(end > 0);
                    self.buffer.consume(end);
                    self.searched = 0;
                }
                Next::Partial { room_bytes } => {
                    assert!(room_bytes <= 4 + MAX_BYTES);
                    self.searched = received.len();
                    self.room_bytes = room_bytes;
                    return;
                }
                Next::TooLarge => {
                    self.found.1 = true;
                    return;
                }
            }
        }
    }
}

fn receive(framing: Framing, pieces: &[&[u8]]) -> Found {
    let memory = Semaphore::new(MEMORY_BYTES);
    let mut receiver = Receiver::new(framing, &memory);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        for piece in pieces {
            receiver.receive(piece).await;
        }
    });
    let found = std::mem::take(&mut receiver.found);
    drop(receiver);
    assert_eq!(memory.available_permits(), MEMORY_BYTES, "all memory is given back");
    found
}

fn written(framing: Framing, payloads: &[Vec<u8>]) -> Vec<u8> {
    let one = |payload: &Vec<u8>| match framing {
        Framing::Frames => [&u32::try_from(payload.len()).unwrap().to_le_bytes()[..], payload].concat(),
        Framing::Lines => [payload, &b"\n"[..]].concat(),
    };
    payloads.iter().flat_map(one).collect()
}

#[test]
fn fuzz_tcp_framing() {
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus/tcp-framing");
    let words: [&[u8]; 6] =
        [b"{}\n", b"\r\n", b"\x05\0\0\0hello", b"\x40\x9c\0\0", b"\x41\x9c\0\0", &[b'x'; 5000]];
    let target = Target { name: "tcp-framing", corpus: &corpus, words: &words, max_bytes: 100_000 };
    fuzz(target, |input| {
        [Framing::Frames, Framing::Lines].map(|framing| {
            let whole = receive(framing, &[input]);
            assert_eq!(receive(framing, &cuts(input)), whole, "the cuts change what is found");
            assert_eq!(receive(framing, &[&written(framing, &whole.0)]), (whole.0.clone(), false));
            (whole.0.len().min(4), whole.0.iter().map(Vec::len).max().map(usize::checked_ilog2), whole.1)
        })
    });
}
