//! The state machine.

use crate::fact::{Cause, Fact};
use crate::ports::{Actual, AsOf, Entropy, HeldImage, Ledger, Now, Settings};
use crate::step::{Answer, StepId, Tick};
use edgelet_types::instance::Instance;
use edgelet_types::record::{NodeRecord, Unreadable};
use edgelet_types::workload::{Source, Target};
use edgelet_types::{Fault, Name, WorkloadId, WorkloadSpec};

/// A wish for a workload, from an edge.
#[derive(Debug, Clone, PartialEq)]
pub struct Apply {
    /// The identity that the owner gave it; without one it is found by name, or made.
    pub id: Option<WorkloadId>,
    /// The application it belongs to.
    pub application: Name,
    /// Its name within the application.
    pub name: Name,
    /// Who wishes.
    pub source: Source,
    /// What should be true.
    pub target: Target,
    /// How to run it.
    pub spec: WorkloadSpec,
    /// The text it was made from.
    pub manifest: Option<String>,
}

/// What became of a wish. It is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The workload's identity.
    pub id: WorkloadId,
    /// The generation that is wanted now.
    pub generation: u64,
    /// The workload was not known before.
    pub created: bool,
    /// Its specification differs from before; a running instance will be replaced.
    pub changed: bool,
}

/// The engine. See the crate's documentation.
pub struct Engine {
    ledger: Box<dyn Ledger>,
    entropy: Box<dyn Entropy>,
    settings: Settings,
}

impl Engine {
    /// Reads the ledger and takes up where the last daemon left off. Until the first
    /// [`observe`](Self::observe) it decides nothing, because it cannot know what runs.
    ///
    /// Errors: the ledger cannot be read or written; nothing was changed. Blocks on the ledger.
    pub fn recover(
        ledger: Box<dyn Ledger>,
        entropy: Box<dyn Entropy>,
        settings: Settings,
        now: Now,
    ) -> Result<Self, Fault> {
        unimplemented!("next commit")
    }

    /// Accepts a workload or a new specification of one. An unchanged one changes nothing, except that a
    /// back-off is cut short. Blocks on the ledger; once it returns `Ok` the wish survives any cut.
    ///
    /// Errors: `CONFLICT` for a name that another identity has, `FORBIDDEN` for another owner's workload,
    /// `INVALID_INPUT` past the limit of workloads, `STORAGE` and `NO_SPACE` from the ledger.
    pub fn apply(&mut self, wish: Apply, now: Now) -> Result<Applied, Fault> {
        unimplemented!("next commit")
    }

    /// Sets what should be true. `Running` for a workload that was not wanted running asks for a fresh
    /// instance (a new generation); for one that was, it only cuts a back-off short.
    ///
    /// Errors: `NOT_FOUND`, `CONFLICT` when it is being deleted, and those of the ledger.
    pub fn set_target(&mut self, id: &WorkloadId, target: Target, now: Now) -> Result<(), Fault> {
        unimplemented!("next commit")
    }

    /// Asks for a fresh instance: stops the one that runs and starts another. Also starts a stopped one.
    pub fn restart(&mut self, id: &WorkloadId, now: Now) -> Result<(), Fault> {
        unimplemented!("next commit")
    }

    /// Like [`restart`](Self::restart), and clears the restart count and the crash history.
    pub fn rebuild(&mut self, id: &WorkloadId, now: Now) -> Result<(), Fault> {
        unimplemented!("next commit")
    }

    /// To be called before the first look at the machine that ends in [`observe`](Self::observe).
    pub fn begin_observation(&self) -> AsOf {
        unimplemented!("next commit")
    }

    /// Tells everything that was found on the machine. Needed once after [`recover`](Self::recover), when a
    /// tick asks for it, and as seldom or often as the driver likes.
    pub fn observe(&mut self, actual: Actual, now: Now) {
        unimplemented!("next commit")
    }

    /// Tells what became of one instance, as soon as it is known: an exit, or the loss of its shim.
    pub fn instance(&mut self, instance: Instance, now: Now) {
        unimplemented!("next commit")
    }

    /// Tells the complete list of images after one was loaded, pulled by hand or removed.
    pub fn images(&mut self, images: Vec<HeldImage>) {
        unimplemented!("next commit")
    }

    /// Tells how a step ended. An unknown id is ignored.
    pub fn completed(&mut self, step: StepId, answer: Answer, now: Now) {
        unimplemented!("next commit")
    }

    /// Decides. To be called after every event and when `wake_in` has passed; blocks on the ledger when a
    /// run is to be started or an exit to be recorded.
    pub fn next(&mut self, now: Now) -> Tick {
        unimplemented!("next commit")
    }

    /// What is true of every workload, in the order of their identities.
    pub fn facts(&self, now: Now) -> Vec<Fact> {
        unimplemented!("next commit")
    }

    /// What is true of one workload.
    pub fn fact(&self, id: &WorkloadId, now: Now) -> Option<Fact> {
        unimplemented!("next commit")
    }

    /// The latest lines of a workload's story, oldest first; empty for an unknown one.
    pub fn why(&self, id: &WorkloadId) -> Vec<Cause> {
        unimplemented!("next commit")
    }

    /// The identity of the workload of this name.
    pub fn find(&self, application: &Name, name: &Name) -> Option<WorkloadId> {
        unimplemented!("next commit")
    }

    /// Rows of the store that could not be read. Their instances are left alone.
    pub fn unreadable(&self) -> &[Unreadable] {
        unimplemented!("next commit")
    }

    /// The node's record as of this start.
    pub fn node(&self) -> &NodeRecord {
        unimplemented!("next commit")
    }

    /// Commits what is still only in memory and notes that the daemon ended on purpose. Workloads go on.
    pub fn shut_down(&mut self, now: Now) -> Result<(), Fault> {
        unimplemented!("next commit")
    }
}
