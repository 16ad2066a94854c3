//! The server's lives: how each ends, and what is done to it before the next.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::findings::Kind;
use crate::harness::{RelayProcess, eventrelay};
use crate::random::Random;
use crate::world::World;

/// How long a life under load is at most.
const LONGEST_LIFE_MS: u64 = 1_200;

/// What was done to the server.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    /// Killed while it served.
    pub(crate) kills_serving: u32,
    /// Killed while it drained.
    pub(crate) kills_draining: u32,
    /// Killed before it had recovered.
    pub(crate) kills_recovering: u32,
    /// Left to drain to the end.
    pub(crate) drains: u32,
}

/// Starts servers on one data directory and ends them.
#[derive(Debug)]
pub(crate) struct Lives<'a> {
    pub(crate) directory: &'a Path,
    world: &'a World,
    random: Random,
    pub(crate) tally: Tally,
}

impl<'a> Lives<'a> {
    pub(crate) fn new(directory: &'a Path, world: &'a World, random: Random) -> Self {
        Self { directory, world, random, tally: Tally::default() }
    }

    /// One life, from its start to its end.
    pub(crate) fn live_and_die(&mut self) {
        if self.random.one_in(4) {
            for _ in 0..=self.random.below(3) {
                self.kill_while_recovering();
            }
        }
        let relay = self.start();
        match self.random.below(10) {
            0..6 => {
                let life = self.random.time_up_to_ms(LONGEST_LIFE_MS);
                self.kill(relay, life);
            }
            6 => {
                let life = self.random.time_up_to_ms(20);
                self.kill(relay, life);
            }
            7..9 => self.kill_while_draining(relay),
            _ => self.drain(relay),
        }
    }

    /// Starts the server and tells the clients.
    pub(crate) fn start(&self) -> RelayProcess {
        match RelayProcess::spawn(self.serve()) {
            Ok(relay) => {
                self.world.target.rise(relay.http());
                relay
            }
            Err(failure) => panic!("the server did not recover: {failure:?}"),
        }
    }

    fn serve(&self) -> Command {
        let mut command = eventrelay(self.directory);
        command.args(["serve", "--http-listen", "127.0.0.1:0"]);
        command
    }

    fn kill(&mut self, mut relay: RelayProcess, life: Duration) {
        self.expect_to_last(&mut relay, life);
        self.world.target.fall();
        relay.kill();
        self.tally.kills_serving += 1;
    }

    fn kill_while_recovering(&mut self) {
        let mut relay = RelayProcess::launch(self.serve());
        let moment = self.random.time_up_to_ms(150);
        self.expect_to_last(&mut relay, moment);
        relay.kill();
        self.tally.kills_recovering += 1;
    }

    fn kill_while_draining(&mut self, mut relay: RelayProcess) {
        let life = self.random.time_up_to_ms(LONGEST_LIFE_MS);
        self.expect_to_last(&mut relay, life);
        self.world.target.fall();
        relay.signal(Signal::TERM);
        let moment = self.random.time_up_to_ms(40);
        if relay.ends_within(moment) {
            self.expect_success(&mut relay);
            self.tally.drains += 1;
        } else {
            relay.kill();
            self.tally.kills_draining += 1;
        }
    }

    fn drain(&mut self, mut relay: RelayProcess) {
        let life = self.random.time_up_to_ms(LONGEST_LIFE_MS);
        self.expect_to_last(&mut relay, life);
        self.world.target.fall();
        relay.signal(Signal::TERM);
        self.expect_success(&mut relay);
        self.tally.drains += 1;
    }

    /// Waits for the moment that chance has chosen.
    fn expect_to_last(&self, relay: &mut RelayProcess, time: Duration) {
        if relay.ends_within(time) {
            let code = relay.wait().code();
            panic!("the server ended by itself with {code:?}:\n{}", relay.everything_said());
        }
    }

    fn expect_success(&self, relay: &mut RelayProcess) {
        let status = relay.wait();
        if !status.success() {
            let what = format!("a drain ended with {status}:\n{}", relay.everything_said());
            self.world.findings.add(Kind::Unexpected, what);
        }
    }
}
