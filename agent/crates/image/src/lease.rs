//! Who is working on which layers: two pulls never make the same one twice, and nobody removes a layer
//! that a running pull counts on.

use crate::progress::CancelToken;
use edgelet_types::Digest;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The layers that running work needs.
#[derive(Default)]
pub(crate) struct Leases {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// How many workers count on a layer.
    leased: BTreeMap<Digest, usize>,
    /// Layers that somebody is making.
    making: BTreeSet<Digest>,
}

impl Leases {
    /// Keeps `layers` from being removed for as long as the answer lives, whether they stand or not.
    pub(crate) fn lease(&self, layers: impl IntoIterator<Item = Digest>) -> Lease<'_> {
        let layers: Vec<Digest> = layers.into_iter().collect();
        let mut state = self.state();
        for layer in &layers {
            *state.leased.entry(*layer).or_default() += 1;
        }
        Lease { leases: self, layers }
    }

    /// Waits until nobody makes `layer` and says that we do now, for as long as the answer lives. `None`
    /// when cancelled meanwhile. Whether the layer stands is to be looked at afterwards.
    pub(crate) fn make(&self, layer: Digest, cancel: &CancelToken) -> Option<Making<'_>> {
        let mut state = self.state();
        while !state.making.insert(layer) {
            if cancel.is_cancelled() {
                return None;
            }
            let woken = self.changed.wait_timeout(state, CANCEL_NOTICED);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        Some(Making { leases: self, layer })
    }

    /// Calls `act` unless somebody counts on `layer`; nobody can begin to while it runs. A `layer` of
    /// `None` is no layer at all.
    pub(crate) fn unless_leased<T>(&self, layer: Option<&Digest>, act: impl FnOnce() -> T) -> Option<T> {
        let state = self.state();
        match layer.is_some_and(|layer| state.leased.contains_key(layer)) {
            true => None,
            false => Some(act()),
        }
    }

    /// Every critical section leaves the state consistent.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How soon somebody who waits for another's layer notices that he is cancelled.
const CANCEL_NOTICED: Duration = Duration::from_millis(200);

/// Keeps layers from being removed.
pub(crate) struct Lease<'a> {
    leases: &'a Leases,
    layers: Vec<Digest>,
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut state = self.leases.state();
        for layer in &self.layers {
            if let Some(count) = state.leased.get_mut(layer) {
                *count -= 1;
                if *count == 0 {
                    state.leased.remove(layer);
                }
            }
        }
    }
}

/// Keeps others from making the same layer.
pub(crate) struct Making<'a> {
    leases: &'a Leases,
    layer: Digest,
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        self.leases.state().making.remove(&self.layer);
        self.leases.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leased_layer_is_not_removed_until_the_last_lease_ends() {
        let (leases, layer) = (Leases::default(), Digest::of(b"layer"));
        let (first, second) = (leases.lease([layer, layer]), leases.lease([layer]));
        drop(first);
        assert_eq!(leases.unless_leased(Some(&layer), || ()), None);
        drop(second);
        assert_eq!(leases.unless_leased(Some(&layer), || ()), Some(()));
    }

    #[test]
    fn the_second_maker_waits_for_the_first_or_is_cancelled() {
        let (leases, layer, cancel) = (Leases::default(), Digest::of(b"layer"), CancelToken::new());
        let first = leases.make(layer, &cancel).expect("nobody else");
        std::thread::scope(|scope| {
            let second = scope.spawn(|| leases.make(layer, &CancelToken::new()).is_some());
            drop(first);
            assert!(second.join().expect("no panic"));
        });
        let _first = leases.make(layer, &cancel).expect("nobody else");
        cancel.cancel();
        assert!(leases.make(layer, &cancel).is_none());
    }
}
