//! The ledger of the simulation, and the points at which a run can be cut.

use crate::Mutant;
use edgelet_engine::Ledger;
use edgelet_types::record::{Change, Contents, NodeRecord, Supervision, Trace};
use edgelet_types::{ContainerId, Fault, Reason, Workload, WorkloadId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Counts the places where the daemon can die, and says at which it does.
#[derive(Debug, Default)]
pub struct Cuts {
    pub passed: u64,
    /// Die at this one.
    pub at: Option<u64>,
    /// Nobody dies any more.
    pub over: bool,
    /// Dead; whatever the engine says now is not heard any more.
    pub dead: bool,
}

impl Cuts {
    /// Passes one place; true if the daemon dies there.
    pub fn pass(&mut self) -> bool {
        if self.over {
            return false;
        }
        let here = self.at == Some(self.passed);
        self.passed += 1;
        self.dead |= here;
        here
    }
}

/// What is durable.
#[derive(Debug, Default)]
pub struct Disk {
    pub workloads: BTreeMap<WorkloadId, Workload>,
    pub fallbacks: BTreeMap<WorkloadId, Workload>,
    pub supervision: BTreeMap<WorkloadId, Supervision>,
    pub traces: BTreeMap<ContainerId, Trace>,
    pub node: Option<NodeRecord>,
    /// Every commit is refused.
    pub full: bool,
    pub commits: u64,
    pub mutant: Mutant,
}

/// The engine's way to the disk.
pub struct SimLedger {
    pub disk: Arc<Mutex<Disk>>,
    pub cuts: Arc<Mutex<Cuts>>,
}

impl Ledger for SimLedger {
    fn load(&mut self) -> Result<Contents, Fault> {
        let disk = self.disk.lock().expect("lock");
        Ok(Contents {
            workloads: disk.workloads.values().cloned().collect(),
            fallbacks: disk.fallbacks.values().cloned().collect(),
            supervision: disk.supervision.values().cloned().collect(),
            traces: disk.traces.values().cloned().collect(),
            node: disk.node.clone(),
            unreadable: Vec::new(),
        })
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), Fault> {
        let (mut disk, mut cuts) = (self.disk.lock().expect("lock"), self.cuts.lock().expect("lock"));
        let lost = Err(Fault::new(Reason::Storage, "the daemon is dead"));
        if cuts.dead || cuts.pass() {
            return lost;
        }
        if disk.full {
            return Err(Fault::new(Reason::NoSpace, "no space left on device"));
        }
        for change in changes {
            disk.apply(change);
        }
        disk.commits += 1;
        if cuts.pass() { lost } else { Ok(()) }
    }
}

impl Disk {
    fn apply(&mut self, change: &Change) {
        match change.clone() {
            Change::PutWorkload(new) => {
                // The mutant acknowledges updates that it does not keep.
                if self.mutant != Mutant::ForgetsIntents || !self.workloads.contains_key(&new.id) {
                    self.workloads.insert(new.id.clone(), *new);
                }
            }
            Change::RemoveWorkload(id) => {
                self.workloads.remove(&id);
                self.fallbacks.remove(&id);
                self.supervision.remove(&id);
            }
            Change::PutFallback(row) => drop(self.fallbacks.insert(row.id.clone(), *row)),
            Change::RemoveFallback(id) => drop(self.fallbacks.remove(&id)),
            Change::PutSupervision(record) => {
                self.supervision.insert(record.workload.clone(), record);
            }
            Change::PutTrace(trace) => {
                if self.mutant != Mutant::ForgetsTraces {
                    self.traces.insert(trace.container.clone(), trace);
                }
            }
            Change::RemoveTrace(container) => {
                self.traces.remove(&container);
            }
            Change::PutNode(node) => self.node = Some(node),
            Change::PutImage(_) | Change::RemoveImage(_) => panic!("images are not the engine's to commit"),
        }
    }
}
