//! `Content-Type` and the names of headers, which say which form a body is in.

use eventrelay_event::ContentKind;

use crate::drive;

#[test]
fn fuzz_content_kinds() {
    drive("content-type", |input| -> String {
        let text = String::from_utf8_lossy(input);
        let (content_type, header) = text.split_once('\n').unwrap_or((&text, ""));
        format!("{:?}", ContentKind::of(Some(content_type), [header].into_iter()))
    });
}
