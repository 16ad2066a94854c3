//! Lets old segments go: the oldest first, whole, and only sealed ones.
//!
//! A segment that a subscription still needs (its durable cursor is below the segment's end) stays in spite of age, size and
//! count, until the log is larger than the hard limit. Crossing that limit takes data from a subscription, so it is loud.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::core::Core;
use crate::options::Retention;
use crate::segment::{Segment, index_name};

/// What [`plan`] decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Plan {
    /// How many of the oldest segments go.
    pub(crate) count: usize,
    /// Whether one of them is needed, and goes because of the hard limit.
    pub(crate) crosses_hard_limit: bool,
}

/// A sealed segment as retention sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sealed {
    pub(crate) end_offset: u64,
    /// No event in it is newer.
    pub(crate) newest_micros: u64,
}

/// How many of the sealed segments, oldest first, may go. The active one counts as one more.
pub(crate) fn plan(
    retention: &Retention,
    sealed: &[Sealed],
    segment_bytes: u64,
    needed_offset: u64,
    now_micros: u64,
) -> Plan {
    let mut plan = Plan::default();
    for segment in sealed {
        let kept = sealed.len() - plan.count + 1;
        let kept_bytes = kept as u64 * segment_bytes;
        let age = Duration::from_micros(now_micros.saturating_sub(segment.newest_micros));
        let unwanted = retention.max_age.is_some_and(|limit| age > limit)
            || retention.max_bytes.is_some_and(|limit| kept_bytes > limit)
            || retention.max_segments.is_some_and(|limit| kept > limit);
        let needed = segment.end_offset > needed_offset;
        let over_hard_limit = retention.hard_limit_bytes.is_some_and(|limit| kept_bytes > limit);
        if !over_hard_limit && (needed || !unwanted) {
            break;
        }
        plan.count += 1;
        plan.crosses_hard_limit |= needed;
    }
    plan
}

impl Core {
    /// Lets go what may go now.
    pub(crate) fn apply_retention(&self) -> io::Result<()> {
        let segments = self.segments.snapshot();
        let sealed: Vec<Sealed> = segments
            .windows(2)
            .map(|pair| Sealed {
                end_offset: pair[1].base_offset(),
                newest_micros: pair[1].header.created_micros,
            })
            .collect();
        let now = self.options.clock.now_micros();
        let mut plan =
            plan(&self.options.retention, &sealed, self.options.segment_bytes, self.needed_offset(), now);
        // A segment stays until its keys are in a file: they must outlive it.
        let unfiled_from = self.committer.lock().keys.unfiled_from();
        plan.count =
            plan.count.min(sealed.iter().take_while(|segment| segment.end_offset <= unfiled_from).count());
        if plan.count == 0 {
            return Ok(());
        }
        let oldest_base = segments[plan.count].base_offset();
        if plan.crosses_hard_limit {
            self.hard_limit_crossed.store(true, Ordering::Release);
            self.metrics.hard_limit_crossings.inc();
            tracing::error!(
                needed_offset = self.needed_offset(),
                oldest_kept_offset = oldest_base,
                "the log's hard limit is crossed: events that a subscription has not had yet are let go"
            );
        }
        // Durable before the first file goes, so that opening knows a missing one from one let go.
        self.manifest.lock().update(|manifest| manifest.oldest_base = oldest_base)?;
        self.segments.remove_oldest(plan.count);
        for segment in &segments[..plan.count] {
            self.let_go(segment)?;
        }
        self.disk.sync_directory(&self.options.directory)
    }

    /// Removes a segment's files, or makes the segment the spare.
    fn let_go(&self, segment: &Arc<Segment>) -> io::Result<()> {
        tracing::info!(segment = %segment.path.display(), "retention lets a segment go");
        self.metrics.segments_let_go.inc();
        match self.disk.remove(&self.options.directory.join(index_name(segment.base_offset()))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        if !self.spares.recycle(&segment.path)? {
            self.disk.remove(&segment.path)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(count: u64) -> Vec<Sealed> {
        (1..=count).map(|i| Sealed { end_offset: i * 10, newest_micros: i * 1_000_000 }).collect()
    }

    fn plan_of(retention: &Retention, needed_offset: u64) -> (usize, bool) {
        let plan = plan(retention, &sealed(4), 100, needed_offset, 5_000_000);
        (plan.count, plan.crosses_hard_limit)
    }

    #[test]
    fn nothing_goes_without_a_bound() {
        assert_eq!(plan_of(&Retention::default(), u64::MAX), (0, false));
    }

    #[test]
    fn each_bound_lets_the_oldest_go() {
        let by_age = Retention { max_age: Some(Duration::from_millis(2_500)), ..Retention::default() };
        assert_eq!(plan_of(&by_age, u64::MAX), (2, false));
        let by_bytes = Retention { max_bytes: Some(300), ..Retention::default() };
        assert_eq!(plan_of(&by_bytes, u64::MAX), (2, false));
        let by_count = Retention { max_segments: Some(1), ..Retention::default() };
        assert_eq!(plan_of(&by_count, u64::MAX), (4, false), "the active one always stays");
    }

    #[test]
    fn what_a_subscription_needs_stays_until_the_hard_limit() {
        let soft = Retention { max_segments: Some(1), ..Retention::default() };
        assert_eq!(plan_of(&soft, 19), (1, false), "offset 19 is in the second segment");
        assert_eq!(plan_of(&soft, 20), (2, false));
        assert_eq!(plan_of(&soft, 0), (0, false));
        let hard = Retention { hard_limit_bytes: Some(300), ..soft };
        assert_eq!(plan_of(&hard, 0), (2, true), "five segments of 100 bytes come down to three");
        assert_eq!(plan_of(&hard, u64::MAX), (4, false));
    }
}
