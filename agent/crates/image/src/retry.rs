//! Trying again what may pass: a bounded number of times, with growing waits that a cancellation ends.

use crate::progress::{CancelToken, Progress};
use std::error::Error;
use std::time::Duration;

/// How often and after what waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    /// Attempts in all.
    pub(crate) attempts: u32,
    /// The wait before the second; doubled before each further one.
    pub(crate) first_wait: Duration,
}

/// No wait is longer, whatever a registry asks for: whoever asked for the pull has a say, too.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

impl Policy {
    /// Calls `act` until it succeeds, fails for good, has been tried often enough, or is cancelled.
    /// `passing` says whether an error may pass, and how long to wait at least where the other side said.
    pub(crate) fn run<T, E: Error>(
        self,
        cancel: &CancelToken,
        progress: &dyn Progress,
        passing: impl Fn(&E) -> Option<Option<Duration>>,
        mut act: impl FnMut() -> Result<T, E>,
    ) -> Result<T, E> {
        let mut retries = self.begin(cancel, progress);
        loop {
            let error = match act() {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let Some(asked) = passing(&error) else { return Err(error) };
            if !retries.again(&error, asked) {
                return Err(error);
            }
        }
    }

    /// Begins with the first attempt.
    pub(crate) fn begin<'a>(self, cancel: &'a CancelToken, progress: &'a dyn Progress) -> Retries<'a> {
        Retries { policy: self, cancel, progress, attempt: 1, bytes: 0 }
    }

    fn wait(self, attempt: u32, asked: Option<Duration>) -> Duration {
        let grown = self.first_wait.saturating_mul(1 << (attempt - 1).min(16));
        grown.max(asked.unwrap_or_default()).min(LONGEST_WAIT)
    }
}

/// The attempts at something.
pub(crate) struct Retries<'a> {
    policy: Policy,
    cancel: &'a CancelToken,
    progress: &'a dyn Progress,
    attempt: u32,
    /// That came since the last failure.
    bytes: u64,
}

impl Retries<'_> {
    /// Waits until it is time for another attempt; false when there is to be none. `asked` is how long the other side
    /// wants us to wait.
    pub(crate) fn again(&mut self, error: &dyn Error, asked: Option<Duration>) -> bool {
        if self.attempt >= self.policy.attempts || self.cancel.is_cancelled() {
            return false;
        }
        let wait = self.policy.wait(self.attempt, asked);
        let cause = chain(error);
        log::warn!("image transfer failed and is tried again cause={cause} wait_ms={}", wait.as_millis());
        self.progress.retrying(&cause, wait);
        self.attempt += 1;
        self.bytes = 0;
        !self.cancel.sleep(wait)
    }

    /// So many bytes came. A link that breaks every now and then, and carries something between, may do so for ever.
    pub(crate) fn got_on(&mut self, bytes: u64) {
        self.bytes += bytes;
        if self.bytes >= GETTING_ON_BYTES {
            self.attempt = 1;
        }
    }
}

/// More than comes of a connection that only seems to work.
const GETTING_ON_BYTES: u64 = 64 << 10;

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;

    fn attempts(passing: Option<Option<Duration>>, succeed_at: u32) -> (u32, bool) {
        let policy = Policy { attempts: 3, first_wait: Duration::ZERO };
        let mut count = 0;
        let result = policy.run(
            &CancelToken::new(),
            &Silent,
            |_: &std::io::Error| passing,
            || {
                count += 1;
                if count == succeed_at { Ok(()) } else { Err(std::io::Error::other("no")) }
            },
        );
        (count, result.is_ok())
    }

    #[test]
    fn only_what_may_pass_is_tried_again_and_not_for_ever() {
        assert_eq!(attempts(Some(None), 2), (2, true));
        assert_eq!(attempts(Some(None), 9), (3, false));
        assert_eq!(attempts(None, 2), (1, false));
    }

    #[test]
    fn waits_grow_heed_the_registry_and_stay_bounded() {
        let policy = Policy { attempts: 9, first_wait: Duration::from_secs(2) };
        let seconds =
            |attempt, asked: Option<u64>| policy.wait(attempt, asked.map(Duration::from_secs)).as_secs();
        assert_eq!([seconds(1, None), seconds(2, None), seconds(4, None)], [2, 4, 16]);
        assert_eq!([seconds(1, Some(7)), seconds(3, Some(1)), seconds(1, Some(86_400))], [7, 8, 60]);
        assert_eq!(seconds(u32::MAX, None), 60);
    }
}
