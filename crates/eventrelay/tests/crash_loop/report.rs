//! The figures of a run, for people.

use std::fmt::Write as _;
use std::time::Duration;

use crate::deliveries::Seen;
use crate::findings::Kind;
use crate::lives::Tally;
use crate::world::World;

/// What an examination counted.
pub(crate) struct Report {
    pub(crate) log_events: usize,
    pub(crate) sightings: usize,
    /// How long the quiet phase took to deliver what was left.
    pub(crate) settling: Duration,
    /// By subscription.
    pub(crate) seen: Vec<(&'static str, Seen)>,
}

impl Report {
    pub(crate) fn text(&self, rounds: u64, tally: Tally, took: Duration, world: &World) -> String {
        let Tally { kills_serving, kills_draining, kills_recovering, drains } = tally;
        let kills = kills_serving + kills_draining + kills_recovering;
        let entries = world.ledger.entries();
        let count = |wanted: fn(&crate::ledger::Entry) -> bool| entries.iter().filter(|e| wanted(e)).count();
        let mut text = String::new();
        let mut row = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<22} {value}");
        };
        row("rounds", format!("{rounds} in {:.0} s", took.as_secs_f64()));
        row(
            "kills",
            format!(
                "{kills}: {kills_serving} serving, {kills_draining} draining, {kills_recovering} recovering; {drains} full drains"
            ),
        );
        row("events published", entries.len().to_string());
        row("  acknowledged", count(|entry| entry.acknowledged.is_some()).to_string());
        row("  unknown at least once", count(|entry| entry.unknown).to_string());
        row("  refused at least once", world.ledger.refused().to_string());
        row("  in the log", self.log_events.to_string());
        row("shown to a reader", self.sightings.to_string());
        row("settled within", format!("{:.1} s", self.settling.as_secs_f64()));
        for (name, seen) in &self.seen {
            let (events, again) = seen.taken();
            let ratio = 100.0 * again as f64 / (events as f64).max(1.0);
            let came = seen.deliveries;
            row(
                &format!("to {name}"),
                format!("{came} deliveries, {events} events taken, {again} again ({ratio:.2} %)"),
            );
        }
        for kind in Kind::ALL {
            row(&format!("{kind:?}").to_lowercase(), world.findings.count(kind).to_string());
        }
        text
    }
}
