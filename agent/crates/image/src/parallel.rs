//! A few threads for a list of independent, mostly waiting jobs.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// Calls `act` for every item, on at most `threads` threads, and gives the results in order. After the
/// first error no new item is begun, and those under way are let finish: a finished layer is kept, so
/// nothing that was transferred is thrown away. The error of the earliest item is the answer.
pub(crate) fn map<T: Sync, R: Send, E: Send>(
    items: &[T],
    threads: usize,
    act: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let worker = || {
        let mut done = Vec::new();
        while !failed.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { break };
            let result = act(item);
            if result.is_err() {
                failed.store(true, Ordering::Relaxed);
            }
            done.push((index, result));
        }
        done
    };
    let mut results = thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads.min(items.len())).map(|_| scope.spawn(worker)).collect();
        let mut results = worker();
        for helper in helpers {
            match helper.join() {
                Ok(done) => results.extend(done),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    });
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_order() {
        let items: Vec<u32> = (0..100).collect();
        let doubled = map(&items, 4, |n| Ok::<_, ()>(n * 2));
        assert_eq!(doubled, Ok((0..100).map(|n| n * 2).collect()));
        assert_eq!(map(&[], 4, |n: &u32| Err::<(), _>(*n)), Ok(vec![]));
    }

    #[test]
    fn nothing_is_begun_after_an_error() {
        let items: Vec<u32> = (0..100).collect();
        let calls = AtomicUsize::new(0);
        let fails_at_3 = |n: &u32| {
            calls.fetch_add(1, Ordering::Relaxed);
            if *n == 3 { Err(*n) } else { Ok(()) }
        };
        // How many of the others run before the error is seen is up to the scheduler, unless there is one.
        assert_eq!(map(&items, 1, fails_at_3), Err(3));
        assert_eq!(calls.load(Ordering::Relaxed), 4);
        assert_eq!(map(&items, 4, fails_at_3), Err(3));
    }
}
