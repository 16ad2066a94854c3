//! The driver finds what it is there to find.

use std::path::PathBuf;

use super::*;

/// A folder with one seed.
fn corpus(seed: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("seed"), seed).unwrap();
    let path = folder.path().to_owned();
    (folder, path)
}

/// Fails behind four checks, each of which one change may pass; all four at once come about by no chance.
fn behind_checks(input: &[u8]) -> usize {
    let passed = input.iter().zip(b"{\"%\n").take_while(|(byte, wanted)| byte == wanted).count();
    assert!(passed < 4, "found");
    passed
}

#[test]
fn a_fault_behind_several_checks_is_found_and_made_small() {
    let (_folder, corpus) = corpus(b"seed seed seed seed");
    let target = Target { name: "self-test", corpus: &corpus, words: &[], max_bytes: 100 };
    let mut failed = false;
    for _ in 0..20 {
        failed |= catch_unwind(|| fuzz(target, behind_checks)).is_err();
        if failed {
            break;
        }
    }
    assert!(failed, "it was not found");
    let small = shrinking::shrink(b"{\"%\n and much more that is not to blame", |input| {
        catch_unwind(|| behind_checks(input)).is_err()
    });
    assert_eq!(small, b"{\"%\n");
}

#[test]
fn pieces_are_the_whole() {
    for length in 0..200_u8 {
        let bytes: Vec<u8> = (0..length).collect();
        assert_eq!(cuts(&bytes).concat(), bytes);
    }
}
