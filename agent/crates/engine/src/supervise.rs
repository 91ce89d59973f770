//! How a workload fares: what counts as a failure, how long to wait after one, and when it is stuck.
//!
//! Waiting is measured with the monotonic clock and not stored: after a reboot or a restart of the daemon
//! one immediate attempt is right. Counters and the crash history are stored.

use edgelet_types::record::{Crash, CrashCause, StartCause, Supervision};
use edgelet_types::{ContainerId, WorkloadId};
use std::collections::VecDeque;
use std::time::Duration;

/// A run that lasts this long is a success: it ends the back-off and clears the error.
pub(crate) const STEADY: Duration = Duration::from_secs(30);
/// So many failures within [`STUCK_WINDOW`], or so many in a row, are reported as stuck. (With the back-off
/// below a program that ends at once cannot fail ten times in ten minutes; one that lives for half a minute
/// can. Both are stuck to whoever waits for them.)
pub(crate) const STUCK_AFTER: usize = 10;
/// How far back [`STUCK_AFTER`] looks.
pub(crate) const STUCK_WINDOW: Duration = Duration::from_secs(600);
/// The longest wait between two attempts.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// The wait after an attempt that failed for reasons that are not the workload's: another instance holds
/// the lock, or the work was cancelled. Doubled for each one that follows, up to [`LONGEST_SHORT_WAIT`]:
/// every attempt is written to the journal.
pub(crate) const SHORT_WAIT: Duration = Duration::from_secs(2);
/// See [`SHORT_WAIT`].
pub(crate) const LONGEST_SHORT_WAIT: Duration = Duration::from_secs(64);

/// How long to wait after the `failures`-th failure in a row: 10, 20, 40, 80, 160, and then 300 seconds.
pub(crate) fn back_off(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        1..=5 => Duration::from_secs(10 << (failures - 1)),
        _ => LONGEST_WAIT,
    }
}

/// The health of one workload.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    /// What is stored.
    pub(crate) record: Supervision,
    /// Not before then is it started again.
    pub(crate) start_from: Duration,
    /// What is wrong now, in words.
    pub(crate) error: Option<String>,
    /// Why the next run will be started.
    pub(crate) next_cause: StartCause,
    /// Failures without a steady run between them.
    failures: u32,
    /// Attempts in a row that failed for no fault of the workload's.
    postponements: u32,
    /// When the latest failures were, at most [`STUCK_AFTER`] of them.
    recent: VecDeque<Duration>,
    /// Which run is running, and since when.
    running: Option<(ContainerId, Duration)>,
}

impl Health {
    /// The health of a workload with this record, or of one that never failed.
    pub(crate) fn new(workload: &WorkloadId, record: Option<Supervision>) -> Self {
        Self {
            record: record.unwrap_or_else(|| Supervision::new(workload.clone())),
            start_from: Duration::ZERO,
            error: None,
            next_cause: StartCause::Requested,
            failures: 0,
            postponements: 0,
            recent: VecDeque::new(),
            running: None,
        }
    }

    /// A run is seen running.
    pub(crate) fn running(&mut self, container: &ContainerId, now: Duration) {
        self.postponements = 0;
        if self.running.as_ref().is_none_or(|(known, _)| known != container) {
            self.running = Some((container.clone(), now));
        }
    }

    /// A run ended, and that is no failure.
    pub(crate) fn ended(&mut self, container: &ContainerId, now: Duration) {
        self.settle(now);
        // It may be an earlier one that only now is known to have ended.
        self.running = self.running.take().filter(|(known, _)| known != container);
    }

    /// A run ended, and that is a failure. Returns how long is waited, or `None` if this run was
    /// counted before.
    pub(crate) fn failed(&mut self, crash: Crash, now: Duration) -> Option<Duration> {
        self.ended(&crash.container, now);
        let cause = match &crash.cause {
            CrashCause::Exited(exit) if exit.fault.is_none() => StartCause::Exited,
            CrashCause::Lost => StartCause::Lost,
            _ => StartCause::StartFailed,
        };
        let words = crash.cause.to_string();
        if !self.record.count(crash) {
            return None;
        }
        self.next_cause = cause;
        self.error = Some(words);
        self.failures = self.failures.saturating_add(1);
        self.recent.push_back(now);
        if self.recent.len() > STUCK_AFTER {
            self.recent.pop_front();
        }
        let wait = if self.is_stuck(now) { LONGEST_WAIT } else { back_off(self.failures) };
        self.start_from = now + wait;
        Some(wait)
    }

    /// An attempt failed for a reason that is not the workload's. It is not counted.
    pub(crate) fn postponed(&mut self, container: &ContainerId, why: String, now: Duration) {
        self.ended(container, now);
        self.error = Some(why);
        let wait = SHORT_WAIT.saturating_mul(1 << self.postponements.min(16));
        self.postponements = self.postponements.saturating_add(1);
        self.start_from = now + wait.min(LONGEST_SHORT_WAIT);
    }

    /// Ends the back-off of a run that has been steady for long enough.
    pub(crate) fn settle(&mut self, now: Duration) {
        if self.running.as_ref().is_some_and(|(_, since)| now.saturating_sub(*since) >= STEADY) {
            self.failures = 0;
            self.start_from = Duration::ZERO;
            self.error = None;
        }
    }

    /// When [`settle`](Self::settle) will change something.
    pub(crate) fn settles_at(&self) -> Option<Duration> {
        let pending = self.failures > 0 || self.error.is_some();
        self.running.as_ref().filter(|_| pending).map(|(_, since)| *since + STEADY)
    }

    /// Somebody asked for an attempt: the past does not delay it.
    pub(crate) fn forgive(&mut self) {
        self.failures = 0;
        self.postponements = 0;
        self.recent.clear();
        self.start_from = Duration::ZERO;
        self.next_cause = StartCause::Requested;
    }

    /// Whether it failed so often that this is worth a name.
    pub(crate) fn is_stuck(&self, now: Duration) -> bool {
        let in_a_row = usize::try_from(self.failures).is_ok_and(|failures| failures >= STUCK_AFTER);
        let in_the_window = self.recent.len() == STUCK_AFTER
            && self.recent.front().is_some_and(|first| now.saturating_sub(*first) <= STUCK_WINDOW);
        in_a_row || in_the_window
    }

    /// When it stops being stuck without anything happening.
    pub(crate) fn unstuck_at(&self, now: Duration) -> Option<Duration> {
        let first = self.recent.front().filter(|_| self.is_stuck(now))?;
        // One tick past the window, whose end still belongs to it.
        Some(*first + STUCK_WINDOW + Duration::from_nanos(1)).filter(|at| *at > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgelet_types::UnixMillis;

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn crash(n: u64) -> Crash {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        let container = ContainerId::from_random(bytes);
        Crash { container, generation: 1, at: UnixMillis(0), cause: CrashCause::Lost }
    }

    fn health() -> Health {
        Health::new(&WorkloadId::from_random([7; 16]), None)
    }

    #[test]
    fn the_wait_doubles_to_five_minutes_and_stays_there() {
        let mut health = health();
        let mut now = secs(100);
        for (n, wait) in (1..).zip([10, 20, 40, 80, 160, 300, 300, 300]) {
            health.running(&crash(n).container, now);
            assert_eq!(health.failed(crash(n), now), Some(secs(wait)), "failure {n}");
            assert_eq!(health.start_from, now + secs(wait));
            now = health.start_from;
        }
        assert_eq!(health.record.restart_count, 8);
    }

    #[test]
    fn attempts_that_are_nobodys_fault_come_more_and_more_rarely() {
        let mut health = health();
        let waits = |health: &mut Health| {
            health.postponed(&crash(1).container, "held".to_owned(), secs(100));
            health.start_from - secs(100)
        };
        for wait in [2, 4, 8, 16, 32, 64, 64] {
            assert_eq!(waits(&mut health), secs(wait));
        }
        health.running(&crash(2).container, secs(100));
        assert_eq!(waits(&mut health), secs(2));
        assert_eq!(health.record.restart_count, 0);
    }

    #[test]
    fn thirty_seconds_of_running_and_not_a_moment_less_end_the_back_off() {
        for (lasts, wait) in [(Duration::from_millis(29_999), 20), (secs(30), 10)] {
            let mut health = health();
            health.failed(crash(1), secs(0));
            health.running(&crash(2).container, secs(10));
            assert_eq!(health.settles_at(), Some(secs(40)));
            health.settle(secs(10) + lasts);
            assert_eq!(health.error.is_some(), wait == 20);
            assert_eq!(health.failed(crash(2), secs(10) + lasts), Some(secs(wait)));
        }
    }

    #[test]
    fn a_run_that_was_counted_is_not_counted_again() {
        let mut health = health();
        assert!(health.failed(crash(1), secs(0)).is_some());
        assert_eq!(health.failed(crash(1), secs(3)), None);
        assert_eq!((health.record.restart_count, health.start_from), (1, secs(10)));
    }

    #[test]
    fn ten_failures_in_ten_minutes_are_stuck_and_still_tried() {
        let mut health = health();
        // It lives for 31 s, so the back-off never grows: a failure every 41 s.
        for n in 0..10 {
            let start = secs(n * 41);
            health.running(&crash(n).container, start);
            let wait = health.failed(crash(n), start + secs(31));
            assert_eq!(wait, Some(secs(if n < 9 { 10 } else { 300 })), "failure {n}");
        }
        let last = secs(9 * 41 + 31);
        assert!(health.is_stuck(last));
        let unstuck = health.unstuck_at(last).expect("it passes");
        assert!(health.is_stuck(secs(31) + STUCK_WINDOW) && !health.is_stuck(unstuck));
    }

    #[test]
    fn ten_failures_in_a_row_are_stuck_however_long_they_take() {
        let mut health = health();
        for n in 0..10 {
            assert!(!health.is_stuck(secs(n * 1000)));
            health.failed(crash(n), secs(n * 1000));
        }
        assert!(health.is_stuck(secs(1_000_000)));
        health.forgive();
        assert!(!health.is_stuck(secs(1_000_000)));
    }

    #[test]
    fn asking_for_an_attempt_skips_the_wait_and_keeps_the_count() {
        let mut health = health();
        health.failed(crash(1), secs(5));
        health.forgive();
        assert_eq!((health.start_from, health.record.restart_count), (Duration::ZERO, 1));
        assert_eq!(health.failed(crash(2), secs(6)), Some(secs(10)), "the back-off begins anew");
    }
}
