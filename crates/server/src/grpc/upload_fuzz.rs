//! Messages that nobody wrote, cut anywhere: the framing is followed to the same place, what is held is what is not yet
//! whole, and no more.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use eventrelay_fuzz::{Target, cuts, fuzz};
use tokio::sync::Semaphore;

use super::{Bytes, Framing, PREFIX_BYTES, Upload, UploadLimits};

const MAX_BYTES: usize = 5_000;
const MEMORY_BYTES: usize = 1 << 20;

/// How much of the last message is there, once all whole ones are passed; none when one is too large. Written another
/// way than what it is compared with: all at once, and by recursion.
fn partial(input: &[u8]) -> Option<usize> {
    let Some((prefix, rest)) = input.split_first_chunk::<PREFIX_BYTES>() else { return Some(input.len()) };
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
    if length > MAX_BYTES {
        return None;
    }
    rest.get(length..).map_or(Some(input.len()), partial)
}

#[test]
fn fuzz_grpc_framing() {
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus/grpc-framing");
    let words: [&[u8]; 5] =
        [b"\0\0\0\0\0", b"\0\0\0\0\x05hello", b"\0\0\0\x13\x88", b"\0\0\0\x13\x89", &[b'x'; 1000]];
    let target = Target { name: "grpc-framing", corpus: &corpus, words: &words, max_bytes: 20_000 };
    fuzz(target, |input| {
        let expected = partial(input);
        let mut whole = Framing::default();
        let all_at_once = whole.advance(input, MAX_BYTES);
        assert_eq!(all_at_once.is_ok(), expected.is_some());
        let in_pieces = follow(&cuts(input));
        assert_eq!(in_pieces, expected, "the cuts change what is found");
        if let Some(expected) = expected {
            assert_eq!(whole.partial_bytes, expected);
            assert!(whole.missing_bytes <= MAX_BYTES);
        }
        (expected.map(usize::checked_ilog2), all_at_once.ok())
    });
}

/// Takes the pieces one by one, as a call's body does. Gives what is held at the end; none when it was refused.
fn follow(pieces: &[&[u8]]) -> Option<usize> {
    let memory = Arc::new(Semaphore::new(MEMORY_BYTES));
    let limits = UploadLimits {
        message_bytes: MAX_BYTES,
        message_timeout: Duration::from_secs(60),
        memory: Arc::clone(&memory),
        retry_after: Duration::from_secs(1),
    };
    let mut upload = Upload::new((), &limits);
    let mut refused = false;
    for piece in pieces {
        refused = upload.account(&Bytes::copy_from_slice(piece)).is_err();
        if refused {
            break;
        }
        let held = MEMORY_BYTES - memory.available_permits();
        assert_eq!(held, upload.framing.partial_bytes, "what is not yet whole is held");
        assert!(held <= PREFIX_BYTES + MAX_BYTES);
    }
    let held = MEMORY_BYTES - memory.available_permits();
    drop(upload);
    assert_eq!(memory.available_permits(), MEMORY_BYTES, "all memory is given back");
    (!refused).then_some(held)
}
