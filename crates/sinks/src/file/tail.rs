//! Finds the end of a file's whole lines after a crash.
//!
//! What was not fsynced may be there in part: a line cut short, or, after a power failure, a file that has
//! its new length but zeros in place of some of its blocks. JSON has no zero bytes, so lines are whole up to
//! the last line end before the first zero byte.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// More than one batch's lines, and only the last batch can be damaged: every one before it was fsynced.
const WINDOW_BYTES: u64 = 64 * 1024 * 1024;
const CHUNK_BYTES: usize = 64 * 1024;

/// How many bytes of the file are whole lines.
pub(super) fn whole_lines_bytes(file: &File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let start = length.saturating_sub(WINDOW_BYTES);
    match last_line_end(file, start, length)? {
        Some(end) => Ok(end),
        // One line fills the window: all that is left is to look at everything.
        None if start > 0 => Ok(last_line_end(file, 0, length)?.unwrap_or(0)),
        None => Ok(0),
    }
}

/// The position after the last line end within `start..end` that no zero byte comes before.
fn last_line_end(file: &File, start: u64, end: u64) -> io::Result<Option<u64>> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut position = start;
    let mut found = None;
    while position < end {
        let wanted = usize::try_from(end - position).map_or(CHUNK_BYTES, |rest| rest.min(CHUNK_BYTES));
        let bytes = &mut chunk[..wanted];
        file.read_exact_at(bytes, position)?;
        let zero = bytes.iter().position(|&byte| byte == 0);
        let sound = &bytes[..zero.unwrap_or(bytes.len())];
        if let Some(index) = sound.iter().rposition(|&byte| byte == b'\n') {
            found = Some(position + index as u64 + 1);
        }
        if zero.is_some() {
            break;
        }
        position += wanted as u64;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn whole(content: &[u8]) -> u64 {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        whole_lines_bytes(&file).unwrap()
    }

    #[test]
    fn whole_lines_stay_and_the_rest_goes() {
        assert_eq!(whole(b""), 0);
        assert_eq!(whole(b"{\"a\":1}"), 0);
        assert_eq!(whole(b"{}\n"), 3);
        assert_eq!(whole(b"{}\n{\"a\":"), 3);
        assert_eq!(whole(b"{}\n\0\0\0\0"), 3);
        assert_eq!(whole(b"{}\n{\0\0\0\n{}\n"), 3, "lines after a hole are not trusted");
    }

    #[test]
    fn a_line_may_span_chunks() {
        let mut content = b"{}\n".to_vec();
        content.resize(CHUNK_BYTES * 2 + 7, b'x');
        assert_eq!(whole(&content), 3);
        content.push(b'\n');
        assert_eq!(whole(&content), content.len() as u64);
        content.push(b'y');
        assert_eq!(whole(&content), content.len() as u64 - 1);
    }
}
