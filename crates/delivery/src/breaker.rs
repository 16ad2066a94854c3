//! The circuit breaker: when a target counts as down, and how it is tried.
//!
//! ```text
//!            too many calls failed                    the wait is over
//!  closed ──────────────────────────▶ open ─────────────────────────────▶ half open: one probe
//!    ▲                                  ▲        the probe failed: the wait doubles     │
//!    │                                  └───────────────────────────────────────────────┤
//!    └─────────────────────── the probe succeeded: from two calls at once up ───────────┘
//! ```
//!
//! A call fails when every delivery in it is to be tried again: an event that a target refuses for good says nothing
//! against the target. Calls that began before the breaker opened are not counted once it is open.

use std::collections::VecDeque;
use std::time::Duration;

use eventrelay_state::BreakerSettings;
use tokio::time::Instant;

/// Whether the target is being called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// It is.
    Closed,
    /// One probe is on its way.
    HalfOpen,
    /// It is not, until the next probe.
    Open,
}

#[derive(Debug)]
pub(crate) struct Breaker {
    settings: BreakerSettings,
    most_calls: usize,
    phase: Phase,
    /// Whether each of the latest calls failed, newest last.
    latest: VecDeque<bool>,
    failed_of_latest: usize,
    failed_in_a_row: u32,
}

#[derive(Debug)]
enum Phase {
    /// So many calls at once; less than the most while the target recovers.
    Closed {
        calls: usize,
    },
    Open {
        until: Instant,
        wait: Duration,
    },
    HalfOpen {
        wait: Duration,
    },
}

/// Whether a call may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Permit {
    Call,
    /// One delivery, whose outcome decides.
    Probe,
    No,
}

impl Breaker {
    pub(crate) fn new(settings: BreakerSettings, most_calls: usize) -> Self {
        Self {
            settings,
            most_calls,
            phase: Phase::Closed { calls: most_calls },
            latest: VecDeque::new(),
            failed_of_latest: 0,
            failed_in_a_row: 0,
        }
    }

    /// Whether a call may start while `in_flight` are on their way.
    pub(crate) fn permit(&self, in_flight: usize, now: Instant) -> Permit {
        match self.phase {
            Phase::Closed { calls } if in_flight < calls => Permit::Call,
            Phase::Open { until, .. } if now >= until => Permit::Probe,
            Phase::Closed { .. } | Phase::Open { .. } | Phase::HalfOpen { .. } => Permit::No,
        }
    }

    /// A probe was started.
    pub(crate) fn probe_started(&mut self) {
        if let Phase::Open { wait, .. } = self.phase {
            self.phase = Phase::HalfOpen { wait };
        }
    }

    /// A call ended. `probe` says what [`Self::permit`] had said when it began.
    pub(crate) fn record(&mut self, failed: bool, probe: bool, now: Instant) {
        match &mut self.phase {
            Phase::Closed { calls } => {
                if !failed {
                    *calls = (*calls + 1).min(self.most_calls);
                }
                self.count(failed);
                if self.is_down() {
                    self.open(Duration::from_millis(self.settings.initial_probe_delay_ms), now);
                }
            }
            Phase::HalfOpen { wait } if probe && failed => {
                let longer =
                    wait.saturating_mul(2).min(Duration::from_millis(self.settings.max_probe_delay_ms));
                self.open(longer, now);
            }
            Phase::HalfOpen { .. } if probe => self.phase = Phase::Closed { calls: self.most_calls.min(2) },
            Phase::Open { .. } | Phase::HalfOpen { .. } => {}
        }
    }

    /// A probe ended without an outcome, as when it could not be read: it is still to be made.
    pub(crate) fn probe_abandoned(&mut self, now: Instant) {
        if let Phase::HalfOpen { wait } = self.phase {
            self.phase = Phase::Open { until: now, wait };
        }
    }

    pub(crate) fn state(&self) -> BreakerState {
        match self.phase {
            Phase::Closed { .. } => BreakerState::Closed,
            Phase::Open { .. } => BreakerState::Open,
            Phase::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// When the next probe may start.
    pub(crate) fn probe_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Open { until, .. } => Some(until),
            Phase::Closed { .. } | Phase::HalfOpen { .. } => None,
        }
    }

    fn count(&mut self, failed: bool) {
        self.failed_in_a_row = if failed { self.failed_in_a_row.saturating_add(1) } else { 0 };
        self.latest.push_back(failed);
        self.failed_of_latest += usize::from(failed);
        if self.latest.len() > self.window()
            && let Some(true) = self.latest.pop_front()
        {
            self.failed_of_latest -= 1;
        }
    }

    fn is_down(&self) -> bool {
        let share = self.failed_of_latest as f64 / self.window() as f64;
        self.failed_in_a_row >= self.settings.consecutive_failures.get()
            || (self.latest.len() == self.window() && share >= self.settings.failure_ratio)
    }

    fn window(&self) -> usize {
        self.settings.window.get() as usize
    }

    fn open(&mut self, wait: Duration, now: Instant) {
        self.phase = Phase::Open { until: now + wait, wait };
        self.latest.clear();
        self.failed_of_latest = 0;
        self.failed_in_a_row = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker(consecutive: u32, window: u32) -> Breaker {
        let settings = BreakerSettings {
            consecutive_failures: consecutive.try_into().unwrap(),
            window: window.try_into().unwrap(),
            initial_probe_delay_ms: 100,
            max_probe_delay_ms: 350,
            ..BreakerSettings::default()
        };
        Breaker::new(settings, 8)
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_between_does_not() {
        let now = Instant::now();
        let mut breaker = breaker(3, 100);
        for failed in [true, true, false, true, true] {
            breaker.record(failed, false, now);
            assert_eq!((breaker.state(), breaker.permit(0, now)), (BreakerState::Closed, Permit::Call));
        }
        breaker.record(true, false, now);
        assert_eq!((breaker.state(), breaker.permit(0, now)), (BreakerState::Open, Permit::No));
    }

    #[test]
    fn a_share_of_failures_opens_it_once_the_window_is_full() {
        let now = Instant::now();
        let mut breaker = breaker(100, 4);
        for failed in [true, false, true] {
            breaker.record(failed, false, now);
            assert_eq!(breaker.state(), BreakerState::Closed);
        }
        breaker.record(false, false, now);
        assert_eq!(breaker.state(), BreakerState::Open);
    }

    #[test]
    fn it_probes_once_at_a_time_with_a_growing_wait_and_ramps_up() {
        let mut now = Instant::now();
        let mut breaker = breaker(1, 100);
        breaker.record(true, false, now);
        for wait_ms in [100, 200, 350, 350] {
            let wait = Duration::from_millis(wait_ms);
            assert_eq!(breaker.probe_at(), Some(now + wait));
            assert_eq!(breaker.permit(0, now + wait - Duration::from_millis(1)), Permit::No);
            now += wait;
            assert_eq!(
                breaker.permit(5, now),
                Permit::Probe,
                "calls that hang on from before do not hold it up"
            );
            breaker.probe_started();
            assert_eq!((breaker.state(), breaker.permit(0, now)), (BreakerState::HalfOpen, Permit::No));
            breaker.record(false, false, now);
            assert_eq!(breaker.state(), BreakerState::HalfOpen, "a late answer from before does not decide");
            breaker.record(true, true, now);
        }
        now += Duration::from_secs(1);
        breaker.probe_started();
        breaker.record(false, true, now);
        assert_eq!((breaker.permit(1, now), breaker.permit(2, now)), (Permit::Call, Permit::No));
        for calls in 3..=8 {
            breaker.record(false, false, now);
            assert_eq!(
                (breaker.permit(calls - 1, now), breaker.permit(calls, now)),
                (Permit::Call, Permit::No)
            );
        }
        breaker.record(false, false, now);
        assert_eq!(breaker.permit(8, now), Permit::No, "never more than the most");
    }
}
