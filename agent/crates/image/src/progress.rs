//! How a pull tells what it does, and how it is told to stop.

use edgelet_types::Digest;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Hears about a pull or load. Called from several threads; must not block.
pub trait Progress: Send + Sync {
    /// The work has come to a new phase.
    fn phase(&self, _phase: Phase) {}

    /// Bytes of one layer as transferred, named by the digest of the unpacked layer.
    fn layer(&self, _layer: &Digest, _done_bytes: u64, _total_bytes: Option<u64>) {}

    /// A layer stands. Called once for each distinct layer.
    fn layer_done(&self, _layer: &Digest, _how: LayerDone) {}

    /// An attempt failed and there will be another after `wait`.
    fn retrying(&self, _cause: &str, _wait: Duration) {}
}

/// What a pull or load is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Finding the manifest for this platform and the image's configuration.
    Resolving,
    /// Fetching and unpacking layers.
    Layers,
    /// Making the image visible.
    Publishing,
}

/// How a layer came to stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerDone {
    /// It was here already and nothing was transferred.
    Present,
    /// It was transferred, verified and unpacked.
    Unpacked,
}

/// A listener that does not listen.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {}

/// Tells running work to stop. Clones belong together. Work stops at its next step, at the latest when a
/// running system call returns; connections are closed so that no read keeps waiting.
#[derive(Clone, Default)]
pub struct CancelToken {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    cancelled: Condvar,
}

#[derive(Default)]
struct State {
    cancelled: bool,
    next: u64,
    hooks: Vec<(u64, Box<dyn FnOnce() + Send>)>,
}

impl CancelToken {
    /// A token that is not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels, once and for ever.
    pub fn cancel(&self) {
        let hooks = {
            let mut state = self.state();
            state.cancelled = true;
            std::mem::take(&mut state.hooks)
        };
        self.shared.cancelled.notify_all();
        hooks.into_iter().for_each(|(_, hook)| hook());
    }

    /// Whether [`CancelToken::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.state().cancelled
    }

    /// Waits for `time` or until cancelled, and says whether it was.
    pub(crate) fn sleep(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        let mut state = self.state();
        while !state.cancelled {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let woken = self.shared.cancelled.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.cancelled
    }

    /// Has `hook` called when the token is cancelled, for as long as the answer lives. Calls it at once
    /// when that has happened already.
    pub(crate) fn on_cancel(&self, hook: impl FnOnce() + Send + 'static) -> CancelHook {
        let mut state = self.state();
        state.next += 1;
        let number = state.next;
        if state.cancelled {
            drop(state);
            hook();
        } else {
            state.hooks.push((number, Box::new(hook)));
        }
        CancelHook { token: self.clone(), number }
    }

    /// Every critical section leaves the state consistent, so a panic elsewhere does not matter.
    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelToken").field("cancelled", &self.is_cancelled()).finish()
    }
}

/// Takes its hook back when dropped.
pub(crate) struct CancelHook {
    token: CancelToken,
    number: u64,
}

impl Drop for CancelHook {
    fn drop(&mut self) {
        self.token.state().hooks.retain(|(number, _)| *number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn hooks_run_once_and_only_while_held() {
        let calls = Arc::new(AtomicU32::new(0));
        let count = |calls: &Arc<AtomicU32>| {
            let calls = calls.clone();
            move || {
                calls.fetch_add(1, Ordering::SeqCst);
            }
        };
        let token = CancelToken::new();
        drop(token.on_cancel(count(&calls)));
        let _held = token.on_cancel(count(&calls));
        token.cancel();
        token.cancel();
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        let _late = token.on_cancel(count(&calls));
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_sleeper_is_woken() {
        let token = CancelToken::new();
        assert!(!token.sleep(Duration::from_millis(1)));
        let other = token.clone();
        let sleeper = std::thread::spawn(move || other.sleep(Duration::from_secs(3600)));
        token.cancel();
        assert!(sleeper.join().expect("no panic"));
    }
}
