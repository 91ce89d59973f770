//! Work that outlives its request: the last so many operations and how they went.

use super::apply::Applying;
use super::request::random;
use crate::error::{Code, Refusal};
use crate::node::{LoadedImage, PullRequest, PulledImage, Watch};
use edgelet_types::UnixMillis;
use edgelet_types::id::hex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use tokio::sync::watch;

/// How many operations are remembered.
const REMEMBERED: usize = 64;

/// An operation of any kind.
#[derive(Clone)]
pub(super) enum Operation {
    Pull(Arc<Background<PullRequest, PulledImage>>),
    Load(Arc<Background<String, Vec<LoadedImage>>>),
    Apply(Arc<Applying>),
}

impl Operation {
    fn id(&self) -> &str {
        match self {
            Operation::Pull(pull) => &pull.id,
            Operation::Load(load) => &load.id,
            Operation::Apply(apply) => &apply.id,
        }
    }

    fn is_final(&self) -> bool {
        match self {
            Operation::Pull(pull) => pull.is_final(),
            Operation::Load(load) => load.is_final(),
            // Nobody is busy with it: asking for it is what moves it on.
            Operation::Apply(_) => true,
        }
    }
}

/// The operations, oldest first.
#[derive(Default)]
pub(super) struct Operations(Mutex<VecDeque<Operation>>);

impl Operations {
    /// Remembers a new operation; refuses when all that are remembered run.
    pub(super) fn add(&self, operation: Operation) -> Result<(), Refusal> {
        let mut all = self.lock();
        make_room(&mut all)?;
        all.push_back(operation);
        Ok(())
    }

    /// Refuses when an operation could not be added now; to be asked before anything is changed.
    pub(super) fn check_room(&self) -> Result<(), Refusal> {
        make_room(&mut self.lock())
    }

    /// Finds an operation.
    pub(super) fn get(&self, id: &str) -> Result<Operation, Refusal> {
        let found = self.lock().iter().find(|operation| operation.id() == id).cloned();
        found.ok_or_else(|| Refusal::new(Code::NotFound, format!("operation {id:?}: no such")))
    }

    /// Asks everything that runs to give up.
    pub(super) fn cancel_all(&self) {
        for operation in self.lock().iter() {
            match operation {
                Operation::Pull(pull) => pull.cancelled.store(true, Ordering::Relaxed),
                Operation::Load(load) => load.cancelled.store(true, Ordering::Relaxed),
                Operation::Apply(_) => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Operation>> {
        // Every change is one push or one removal, so a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets the oldest operation that has ended, when there are too many.
fn make_room(all: &mut VecDeque<Operation>) -> Result<(), Refusal> {
    if all.len() < REMEMBERED {
        return Ok(());
    }
    match all.iter().position(Operation::is_final) {
        Some(ended) => {
            all.remove(ended);
            Ok(())
        }
        None => {
            let message = format!("{REMEMBERED} operations are under way already");
            Err(Refusal::new(Code::Unavailable, message))
        }
    }
}

/// A long call to the node.
pub(super) struct Background<Request, Outcome> {
    pub(super) id: String,
    pub(super) request: Request,
    pub(super) started_at: UnixMillis,
    state: watch::Sender<State<Outcome>>,
    done_bytes: AtomicU64,
    total_bytes: AtomicU64,
    cancelled: AtomicBool,
}

/// How far a long call is.
#[derive(Debug, Clone)]
pub(super) enum State<Outcome> {
    Pending,
    Running,
    Ended { at: UnixMillis, result: Result<Outcome, Refusal> },
}

impl<Request, Outcome: Clone> Background<Request, Outcome> {
    /// A call that waits for its turn.
    pub(super) fn new(kind: &str, request: Request) -> Self {
        Self {
            id: new_id(kind),
            request,
            started_at: now(),
            state: watch::Sender::new(State::Pending),
            done_bytes: AtomicU64::new(0),
            total_bytes: AtomicU64::new(0),
            cancelled: AtomicBool::new(false),
        }
    }

    /// Its turn has come.
    pub(super) fn started(&self) {
        self.state.send_replace(State::Running);
    }

    /// It is over.
    pub(super) fn ended(&self, result: Result<Outcome, Refusal>) {
        self.state.send_replace(State::Ended { at: now(), result });
    }

    /// How far it is.
    pub(super) fn state(&self) -> State<Outcome> {
        self.state.borrow().clone()
    }

    /// Waits until it is over.
    pub(super) async fn finished(&self) {
        let mut state = self.state.subscribe();
        // Fails only when the sender is gone, and `self` holds it.
        let _ = state.wait_for(|state| matches!(state, State::Ended { .. })).await;
    }

    /// Bytes that are here, and bytes in all (0 while unknown).
    pub(super) fn bytes(&self) -> (u64, u64) {
        (self.done_bytes.load(Ordering::Relaxed), self.total_bytes.load(Ordering::Relaxed))
    }

    fn is_final(&self) -> bool {
        matches!(*self.state.borrow(), State::Ended { .. })
    }
}

impl<Request: Send + Sync, Outcome: Send + Sync> Watch for Background<Request, Outcome> {
    fn progress(&self, done_bytes: u64, total_bytes: u64) {
        self.done_bytes.store(done_bytes, Ordering::Relaxed);
        self.total_bytes.store(total_bytes, Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// 0 to 100; 0 while the total is unknown.
pub(super) fn percent(done_bytes: u64, total_bytes: u64) -> u8 {
    let percent = u128::from(done_bytes) * 100 / u128::from(total_bytes.max(1));
    if total_bytes == 0 { 0 } else { u8::try_from(percent.min(100)).unwrap_or(100) }
}

/// `kind_<8 hex>`.
pub(super) fn new_id(kind: &str) -> String {
    format!("{kind}_{}", hex(&random::<4>()))
}

/// The wall clock, to be shown.
pub(super) fn now() -> UnixMillis {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixMillis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_ended_operation_makes_room_and_running_ones_stay() {
        let operations = Operations::default();
        let load = || Arc::new(Background::<String, Vec<LoadedImage>>::new("img_load", String::new()));
        let all: Vec<_> = (0..REMEMBERED).map(|_| load()).collect();
        for one in &all {
            operations.add(Operation::Load(one.clone())).expect("room");
        }
        let refused = operations.add(Operation::Load(load())).expect_err("all of them run");
        assert_eq!(refused.code, Code::Unavailable);
        all[3].ended(Ok(Vec::new()));
        operations.add(Operation::Load(load())).expect("room again");
        assert_eq!(operations.get(&all[3].id).err().map(|refusal| refusal.code), Some(Code::NotFound));
        assert!(operations.get(&all[0].id).is_ok());
    }

    #[test]
    fn percentages_stay_in_their_range() {
        let cases = [(0, 0, 0), (5, 0, 0), (1, 3, 33), (3, 3, 100), (9, 3, 100), (u64::MAX, u64::MAX, 100)];
        for (done, total, want) in cases {
            assert_eq!(percent(done, total), want, "{done}/{total}");
        }
    }
}
