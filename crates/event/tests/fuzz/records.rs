//! Records of the log, which damage that no checksum sees, or another program, may have altered.

use eventrelay_event::{StoredEvent, filter::Filter};

use crate::accepted::write_all;
use crate::drive;

#[test]
fn fuzz_records() {
    let filter = Filter::new(vec!["*a*".to_owned()], vec!["/*".to_owned()]).unwrap();
    drive("record", |input| -> Result<(usize, bool), &'static str> {
        let stored = StoredEvent::decode(1, 1, input.to_vec().into()).map_err(|error| error.why)?;
        write_all(&stored);
        assert_eq!(stored.encoded().as_ref(), input);
        let matches = filter.matches(&stored);
        assert!(!matches || stored.source().starts_with('/'));
        Ok((stored.headers().count().min(3), matches))
    });
}
