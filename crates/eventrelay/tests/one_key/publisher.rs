//! One of the publishers: goes from key to key in step with the others, and from one life of the server to the next.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crate::doors::{Addresses, Answer, Door, DoorKind, KeyedEvent};
use crate::random::{Random, mix};
use crate::receipts::Receipts;
use crate::target::{Life, Target};

/// What the publishers share.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) target: Target<Addresses>,
    pub(crate) receipts: Mutex<Receipts>,
    pub(crate) steps: Steps,
    /// Publishes whose outcome nobody heard.
    pub(crate) unanswered: AtomicU64,
}

/// Where publishers wait for each other, so that all use a key at once.
#[derive(Default)]
pub(crate) struct Steps {
    state: Mutex<StepsState>,
    changed: Condvar,
}

#[derive(Default)]
struct StepsState {
    /// How often somebody has come to a key.
    arrived: u64,
    /// The last key, once that is known.
    last: Option<u64>,
    /// Something has gone wrong: nobody is waited for.
    abandoned: bool,
}

impl Steps {
    /// Waits until everybody has come to this key. False when there is nothing more to do.
    fn come_to(&self, key: u64) -> bool {
        let mut state = self.lock();
        state.arrived += 1;
        self.changed.notify_all();
        let everybody = (key + 1) * crate::PUBLISHERS;
        let waiting = |state: &mut StepsState| state.arrived < everybody && !state.abandoned;
        let state = self.changed.wait_while(state, waiting).unwrap();
        !state.abandoned && state.last.is_none_or(|last| key <= last)
    }

    /// How many keys everybody is done with; none when something has gone wrong.
    pub(crate) fn done(&self) -> Option<u64> {
        let state = self.lock();
        (!state.abandoned).then(|| (state.arrived / crate::PUBLISHERS).saturating_sub(1))
    }

    /// After this many more keys there are none.
    pub(crate) fn end_after(&self, more: u64) -> u64 {
        let mut state = self.lock();
        // Nobody is further than at the beginning of the next.
        let last = state.arrived / crate::PUBLISHERS + 1 + more;
        state.last = Some(last);
        last
    }

    fn abandon(&self) {
        self.lock().abandoned = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, StepsState> {
        self.state.lock().unwrap()
    }
}

/// One publisher.
pub(crate) struct Publisher<'a> {
    world: &'a World,
    kind: DoorKind,
    random: Random,
    door: Option<(Life<Addresses>, Door)>,
}

impl<'a> Publisher<'a> {
    pub(crate) fn new(world: &'a World, name: u64, seed: u64) -> Self {
        let kind = DoorKind::ALL[name as usize % DoorKind::ALL.len()];
        Self { world, kind, random: Random::new(mix(seed, name)), door: None }
    }

    /// Publishes key after key.
    pub(crate) fn run(mut self) {
        for number in 0.. {
            if !self.world.steps.come_to(number) {
                return;
            }
            let event = KeyedEvent { key: format!("key-{number}"), data: format!(r#"{{"order":{number}}}"#) };
            // A second time finds the first one's event, perhaps in another life.
            for _ in 0..=self.random.below(2) {
                if !self.publish_until_stored(&event) {
                    return;
                }
            }
        }
    }

    /// Whether there is a receipt; there is none when the test has failed elsewhere.
    fn publish_until_stored(&mut self, event: &KeyedEvent) -> bool {
        while let Some(life) = self.world.target.life() {
            match self.publish(life, event) {
                Ok(Answer::Stored(receipt)) => {
                    self.world.receipts.lock().unwrap().add(self.kind, &event.key, receipt);
                    return true;
                }
                Ok(Answer::Refused(code)) if is_temporary(&code) => {}
                Ok(Answer::Refused(code)) => {
                    let what = format!("{} was refused over {:?}: {code}", event.key, self.kind);
                    self.world.receipts.lock().unwrap().unexpected(what);
                    return true;
                }
                Err(error) => {
                    self.door = None;
                    self.world.unanswered.fetch_add(1, Ordering::SeqCst);
                    if self.world.target.is_alive(life) {
                        let what = format!("{:?} broke with the server alive: {error}", self.kind);
                        self.world.receipts.lock().unwrap().unexpected(what);
                    }
                    // Whatever broke, broke with this life.
                    self.world.target.pause(life, Duration::from_millis(500));
                }
            }
        }
        false
    }

    fn publish(&mut self, life: Life<Addresses>, event: &KeyedEvent) -> io::Result<Answer> {
        let mut door = match self.door.take() {
            Some((of, door)) if of == life => door,
            _ => self.kind.open(life.address)?,
        };
        let answer = door.publish(event);
        self.door = Some((life, door));
        answer
    }
}

impl Drop for Publisher<'_> {
    /// The others must not wait for one that has failed.
    fn drop(&mut self) {
        if std::thread::panicking() || self.world.target.life().is_none() {
            self.world.steps.abandon();
        }
    }
}

/// Whether the same request may be sent again.
fn is_temporary(code: &str) -> bool {
    matches!(code, "overloaded" | "shutting_down" | "outcome_unknown" | "unconfirmed")
}
