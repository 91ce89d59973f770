//! What has to become durable, and when.
//!
//! A commit costs a flush of the medium and wears it, so changes that may be late are kept until something
//! must be written anyway. What may be late: the end of a journal entry, because clearing away twice is
//! harmless, and the end of a fallback. What may not: an intent, the beginning of a journal entry, a counted crash.

use crate::ports::Ledger;
use edgelet_types::record::{Change, Supervision};
use edgelet_types::{ContainerId, Fault, WorkloadId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long to wait after the ledger refused a commit.
const AGAIN: Duration = Duration::from_secs(10);

/// The ledger, and the changes that it has not seen yet.
pub(crate) struct Journal {
    ledger: Box<dyn Ledger>,
    ended: BTreeSet<ContainerId>,
    replaced: BTreeSet<WorkloadId>,
    records: BTreeMap<WorkloadId, Supervision>,
    /// Why the ledger refused the last commit.
    pub(crate) fault: Option<Fault>,
    /// No commit of our own accord before then.
    pub(crate) retry_from: Duration,
}

impl Journal {
    /// With nothing pending.
    pub(crate) fn new(ledger: Box<dyn Ledger>) -> Self {
        Self {
            ledger,
            ended: BTreeSet::new(),
            replaced: BTreeSet::new(),
            records: BTreeMap::new(),
            fault: None,
            retry_from: Duration::ZERO,
        }
    }

    /// Nothing of this run is left: its entry may go with the next commit.
    pub(crate) fn end(&mut self, container: ContainerId) {
        self.ended.insert(container);
    }

    /// The new generation runs: the fallback may go with the next commit.
    pub(crate) fn drop_fallback(&mut self, workload: WorkloadId) {
        self.replaced.insert(workload);
    }

    /// A crash was counted: the record is to be written soon.
    pub(crate) fn record(&mut self, record: Supervision) {
        self.records.insert(record.workload.clone(), record);
    }

    /// The workload will be removed: its record is not to be written any more.
    pub(crate) fn forget(&mut self, workload: &WorkloadId) {
        self.records.remove(workload);
        self.replaced.remove(workload);
    }

    /// Whether a counted crash is not durable yet.
    pub(crate) fn is_urgent(&self) -> bool {
        !self.records.is_empty()
    }

    /// Whether anything is not durable yet.
    pub(crate) fn is_pending(&self) -> bool {
        self.is_urgent() || !self.ended.is_empty() || !self.replaced.is_empty()
    }

    /// Makes all that is pending and `changes` durable, in one transaction. On an error everything that was
    /// pending stays pending, and `changes` are not remembered.
    pub(crate) fn commit(&mut self, changes: Vec<Change>, now: Duration) -> Result<(), Fault> {
        let ended = self.ended.iter().cloned().map(Change::RemoveTrace);
        let replaced = self.replaced.iter().cloned().map(Change::RemoveFallback);
        let records = self.records.values().cloned().map(Change::PutSupervision);
        let all: Vec<Change> = ended.chain(replaced).chain(records).chain(changes).collect();
        if all.is_empty() {
            return Ok(());
        }
        match self.ledger.commit(&all) {
            Ok(()) => {
                self.ended.clear();
                self.replaced.clear();
                self.records.clear();
                self.fault = None;
                self.retry_from = Duration::ZERO;
                Ok(())
            }
            Err(fault) => {
                if self.fault.is_none() {
                    log::error!(
                        "the store refuses a commit, and no run is started until it accepts one: {fault}"
                    );
                }
                self.fault = Some(fault.clone());
                self.retry_from = now + AGAIN;
                Err(fault)
            }
        }
    }
}
