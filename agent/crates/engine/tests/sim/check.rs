//! What must hold: an independent reckoning of the back-off, and of what was promised to users.

use edgelet_engine::{Fact, State};
use edgelet_types::workload::Target;
use edgelet_types::{ContainerId, ImageRef, Workload, WorkloadId};
use std::collections::BTreeMap;
use std::time::Duration;

/// What a user was told would be so.
#[derive(Debug, Clone, PartialEq)]
pub struct Promise {
    pub target: Target,
    pub image: ImageRef,
}

/// Whether the durable row keeps the promise.
pub fn kept(promise: Option<&Promise>, row: Option<&Workload>) -> bool {
    match (promise, row) {
        (None, row) => row.is_none(),
        (Some(Promise { target: Target::Deleted, .. }), None) => true,
        (Some(promise), Some(row)) => {
            row.target == promise.target
                && (promise.target == Target::Deleted || row.spec.image == promise.image)
        }
        (Some(_), None) => false,
    }
}

/// The back-off, reckoned from what the engine says of failures and runs, by the words of the reference:
/// 10, 20, 40, 80, 160, 300 s; anew after 30 s of running; 300 s when stuck. After a start that was put off
/// 2, 4, 8, … 64 s; anew once it runs.
#[derive(Debug, Default)]
pub struct BackOff {
    of: BTreeMap<WorkloadId, Reckoning>,
}

#[derive(Debug, Default)]
struct Reckoning {
    count: u64,
    in_a_row: usize,
    put_off: u32,
    times: Vec<Duration>,
    running: Option<(ContainerId, Duration)>,
    not_before: Duration,
    /// When something last happened that a start may have had to wait for.
    last_change: Duration,
}

impl BackOff {
    /// The daemon starts: nothing is remembered but the counts.
    pub fn restart(&mut self) {
        self.of.clear();
    }

    /// A user asked for something.
    pub fn forgive(&mut self, id: &WorkloadId, now: Duration) {
        let mine = self.of.entry(id.clone()).or_default();
        (mine.in_a_row, mine.put_off, mine.not_before, mine.last_change) = (0, 0, Duration::ZERO, now);
        mine.times.clear();
    }

    /// A start was put off without being counted.
    pub fn postponed(&mut self, id: &WorkloadId, now: Duration) {
        let mine = self.of.entry(id.clone()).or_default();
        mine.not_before = now + Duration::from_secs(2 << mine.put_off.min(5));
        mine.put_off += 1;
    }

    /// Something happened that concerns this workload.
    pub fn changed(&mut self, id: &WorkloadId, now: Duration) {
        self.of.entry(id.clone()).or_default().last_change = now;
    }

    /// Something happened that may concern any workload.
    pub fn all_changed(&mut self, now: Duration) {
        for mine in self.of.values_mut() {
            mine.last_change = now;
        }
    }

    /// Takes in what the engine says after an event.
    pub fn learn(&mut self, facts: &[Fact], now: Duration) {
        for fact in facts {
            let id = &fact.workload.id;
            let first = !self.of.contains_key(id);
            let mine = self.of.entry(id.clone()).or_default();
            if first || fact.restart_count < mine.count {
                mine.count = fact.restart_count;
            }
            if fact.restart_count > mine.count {
                mine.count = fact.restart_count;
                mine.failed(now);
            }
            match (&fact.container, fact.state) {
                (Some(container), State::Running | State::Updating)
                    if fact.state == State::Running || bridges(fact) =>
                {
                    if mine.running.as_ref().is_none_or(|(known, _)| known != container) {
                        mine.running = Some((container.clone(), now));
                        mine.put_off = 0;
                    }
                }
                _ => mine.ended(now),
            }
        }
    }

    /// A start was handed out: neither early, nor late without a reason.
    pub fn start(&mut self, id: &WorkloadId, now: Duration, may_be_late: bool) -> Result<(), String> {
        let mine = self.of.entry(id.clone()).or_default();
        if now < mine.not_before {
            return Err(format!("{id} started at {now:?}, its back-off ends at {:?}", mine.not_before));
        }
        let due = mine.not_before.max(mine.last_change);
        if now > due && !may_be_late {
            return Err(format!("{id} started at {now:?}, it was due at {due:?}"));
        }
        Ok(())
    }
}

impl Reckoning {
    fn ended(&mut self, now: Duration) {
        if self.running.take().is_some_and(|(_, since)| now - since >= Duration::from_secs(30)) {
            self.in_a_row = 0;
        }
    }

    fn failed(&mut self, now: Duration) {
        self.ended(now);
        self.in_a_row += 1;
        self.times.push(now);
        let lately = self.times.iter().filter(|at| now - **at <= Duration::from_secs(600)).count();
        let stuck = lately >= 10 || self.in_a_row >= 10;
        let table = [10, 20, 40, 80, 160, 300];
        let wait = if stuck { 300 } else { table[self.in_a_row.min(6) - 1] };
        self.not_before = now + Duration::from_secs(wait);
    }
}

/// Whether it is an earlier generation that runs until the new one can.
fn bridges(fact: &Fact) -> bool {
    fact.pid.is_some() && fact.observed_generation != Some(fact.workload.generation)
}
