//! Asking again until something is so.

use crate::exit::Failure;
use edgelet_api::error::Code;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The first pause between two questions; it grows to [`LONGEST`].
const SHORTEST: Duration = Duration::from_millis(50);
/// The longest pause between two questions.
const LONGEST: Duration = Duration::from_secs(1);

/// Asks until there is an answer, for at most `budget`.
pub(crate) fn until<T>(
    budget: Duration,
    what: &str,
    mut ask: impl FnMut() -> Result<Option<T>, Failure>,
) -> Result<T, Failure> {
    let start = Instant::now();
    let mut pause = SHORTEST;
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        let left = budget.saturating_sub(start.elapsed());
        if left.is_zero() {
            let waited = budget.as_secs_f64();
            return Err(Failure::local(
                Code::TimedOut,
                format!("{what}: not done after {waited:.0} s; it goes on in the background"),
            ));
        }
        sleep(pause.min(left));
        pause = (pause * 2).min(LONGEST);
    }
}
