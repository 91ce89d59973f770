//! The state machine: its state, and the intents that it accepts.

use crate::admit;
use crate::fact::{Cause, Fact};
use crate::images::{ImageKey, Images};
use crate::journal::Journal;
use crate::ports::{AsOf, Entropy, Now, Settings};
use crate::run::Run;
use crate::step::StepId;
use crate::supervise::Health;
use crate::unit::Unit;
use edgelet_types::record::{Change, NodeRecord, Unreadable};
use edgelet_types::workload::{Source, Target};
use edgelet_types::{ContainerId, Digest, Fault, Name, Reason, Workload, WorkloadId, WorkloadSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

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
    /// It differs from before in a way that needs a fresh instance; a running one will be replaced.
    pub changed: bool,
}

/// The engine. See the crate's documentation.
pub struct Engine {
    pub(crate) settings: Settings,
    pub(crate) entropy: Box<dyn Entropy>,
    pub(crate) journal: Journal,
    /// Every workload.
    pub(crate) units: BTreeMap<WorkloadId, Unit>,
    /// Runs that belong to no workload; to be taken away.
    pub(crate) strays: BTreeMap<ContainerId, Run>,
    /// Images and pulls.
    pub(crate) images: Images,
    /// Steps in flight.
    pub(crate) flights: BTreeMap<StepId, Flight>,
    /// Identities of workloads whose rows cannot be read. Their runs are left alone.
    pub(crate) protected: BTreeSet<String>,
    pub(crate) unreadable: Vec<Unreadable>,
    pub(crate) node: NodeRecord,
    /// The state of the machine as a whole.
    pub(crate) watch: Watch,
    /// Steps handed out so far.
    pub(crate) handed_out: u64,
}

/// A step in flight.
#[derive(Debug, Clone)]
pub(crate) enum Flight {
    /// A pull.
    Pull(ImageKey),
    /// A start of this run.
    Start(WorkloadId, ContainerId),
    /// A polite signal.
    Stop(Option<WorkloadId>, ContainerId),
    /// A SIGKILL.
    Kill(Option<WorkloadId>, ContainerId),
    /// A clean-up.
    Remove(Option<WorkloadId>, ContainerId),
    /// The last of a workload.
    Forget(WorkloadId),
}

/// What is known of the machine as a whole, and how fresh it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watch {
    /// Counts events; the engine's own sense of before and after.
    pub(crate) events: u64,
    /// The event of the latest successful clean-up.
    pub(crate) last_removed: u64,
    /// The event of the latest successful pull.
    pub(crate) last_pulled: u64,
    /// Free bytes of the data file system; unknown until the first look.
    pub(crate) free_bytes: Option<u64>,
    /// When the machine was last looked at.
    pub(crate) looked_at: Duration,
    /// A fresh look is wanted.
    pub(crate) look: bool,
    /// When the driver was last asked for one.
    pub(crate) asked_at: Option<Duration>,
}

impl Engine {
    /// Accepts a workload or a new specification of one. An unchanged one changes nothing, except that a
    /// back-off is cut short. Blocks on the ledger; once it returns `Ok` the wish survives any cut.
    ///
    /// Errors: `CONFLICT` for a name that another identity has, `FORBIDDEN` for another owner's workload,
    /// `INVALID_INPUT` past the limit of workloads, `STORAGE` and `NO_SPACE` from the ledger.
    pub fn apply(&mut self, wish: Apply, now: Now) -> Result<Applied, Fault> {
        let fresh = WorkloadId::from_random(self.entropy.bytes());
        let known = self.units.values().map(|unit| &*unit.workload);
        let admitted = admit::admit(wish, known, fresh, now)?;
        let (created, changed) = (admitted.created, admitted.changed);
        let (id, generation) = (admitted.workload.id.clone(), admitted.workload.generation);
        if admitted.differs {
            self.accept(admitted.workload, now)?;
        }
        self.forgive(&id);
        if changed {
            let what = if created { "deployed" } else { "changed" };
            self.tell(&id, now, format!("{what}: generation {generation} is wanted"));
        }
        Ok(Applied { id, generation, created, changed })
    }

    /// Sets what should be true. `Running` for a workload that was not wanted running asks for a fresh
    /// instance (a new generation); for one that was, it only cuts a back-off short.
    ///
    /// Errors: `NOT_FOUND`, `CONFLICT` when it is being deleted, and those of the ledger.
    pub fn set_target(&mut self, id: &WorkloadId, target: Target, now: Now) -> Result<(), Fault> {
        let present = self.wanted(id, target)?;
        let fresh = target == Target::Running && present.target != Target::Running;
        if present.target != target {
            let generation = present.generation + u64::from(fresh);
            self.accept(Workload { target, generation, updated_at: now.wall, ..(*present).clone() }, now)?;
            let what = match target {
                Target::Running => "started by request",
                Target::Stopped => "stopped by request",
                Target::Deleted => "deleted by request",
            };
            self.tell(id, now, what);
        }
        self.forgive(id);
        Ok(())
    }

    /// Asks for a fresh instance: stops the one that runs and starts another. Also starts a stopped one.
    ///
    /// Errors: as for [`set_target`](Self::set_target).
    pub fn restart(&mut self, id: &WorkloadId, now: Now) -> Result<(), Fault> {
        self.renew(id, "restarted by request", now)
    }

    /// Like [`restart`](Self::restart), and clears the restart count and the crash history.
    pub fn rebuild(&mut self, id: &WorkloadId, now: Now) -> Result<(), Fault> {
        self.renew(id, "rebuilt by request: counters are cleared", now)?;
        if let Some(unit) = self.units.get_mut(id) {
            unit.health = Health::new(id, None);
            // Written with the next commit. If that is cut off, old counters come back; nothing else does.
            self.journal.record(unit.health.record.clone());
        }
        Ok(())
    }

    /// To be called before the first look at the machine that ends in [`observe`](Self::observe) or
    /// [`images`](Self::images).
    pub fn begin_observation(&self) -> AsOf {
        AsOf(self.watch.events)
    }

    /// What is true of every workload, in the order of their identities.
    pub fn facts(&self, now: Now) -> Vec<Fact> {
        self.units.values().map(|unit| self.describe(unit, now)).collect()
    }

    /// What is true of one workload.
    pub fn fact(&self, id: &WorkloadId, now: Now) -> Option<Fact> {
        self.units.get(id).map(|unit| self.describe(unit, now))
    }

    /// The images that may not be removed: those that workloads ask for, also stopped ones, those that they
    /// fall back to, and those that runs were started from.
    pub fn needed_images(&self) -> BTreeSet<Digest> {
        let host = &self.settings.platform;
        let workloads = self.units.values().flat_map(|unit| [Some(&unit.workload), unit.fallback.as_ref()]);
        let asked_for =
            workloads.flatten().filter_map(|workload| self.images.find(&ImageKey::of(&workload.spec, host)));
        let runs = self.units.values().flat_map(|unit| unit.runs.values()).chain(self.strays.values());
        asked_for.chain(runs.filter_map(|run| run.image)).collect()
    }

    /// The latest lines of a workload's story, oldest first; empty for an unknown one.
    pub fn why(&self, id: &WorkloadId) -> Vec<Cause> {
        self.units.get(id).map(|unit| unit.story.lines()).unwrap_or_default()
    }

    /// The identity of the workload of this name.
    pub fn find(&self, application: &Name, name: &Name) -> Option<WorkloadId> {
        let named = |one: &Workload| one.application == *application && one.name == *name;
        self.units.values().find(|unit| named(&unit.workload)).map(|unit| unit.workload.id.clone())
    }

    /// Rows of the store that could not be read. Their instances are left alone.
    pub fn unreadable(&self) -> &[Unreadable] {
        &self.unreadable
    }

    /// The node's record as of this start.
    pub fn node(&self) -> &NodeRecord {
        &self.node
    }

    /// Commits what is still only in memory and notes that the daemon ended on purpose. Workloads go on.
    pub fn shut_down(&mut self, now: Now) -> Result<(), Fault> {
        let node = NodeRecord { clean_shutdown: true, ..self.node.clone() };
        self.journal.commit(vec![Change::PutNode(node)], now.monotonic)
    }

    /// A fresh instance, by a new generation. With the old one it goes as with any update.
    fn renew(&mut self, id: &WorkloadId, what: &str, now: Now) -> Result<(), Fault> {
        let present = self.wanted(id, Target::Running)?;
        let generation = present.generation + 1;
        let workload =
            Workload { target: Target::Running, generation, updated_at: now.wall, ..(*present).clone() };
        self.accept(workload, now)?;
        self.forgive(id);
        self.tell(id, now, what);
        Ok(())
    }

    /// The workload, if `target` may be wanted of it.
    fn wanted(&self, id: &WorkloadId, target: Target) -> Result<Arc<Workload>, Fault> {
        let Some(unit) = self.units.get(id) else {
            return Err(Fault::new(Reason::NotFound, format!("there is no workload {id}")));
        };
        let workload = &unit.workload;
        if workload.target == Target::Deleted && target != Target::Deleted {
            let text = format!("{}/{} is being deleted", workload.application, workload.name);
            return Err(Fault::new(Reason::Conflict, text));
        }
        Ok(workload.clone())
    }

    /// Makes an intent durable, and only then believes in it.
    fn accept(&mut self, workload: Workload, now: Now) -> Result<(), Fault> {
        let fallback = self.fallback_of(&workload);
        let mut changes = vec![Change::PutWorkload(Box::new(workload.clone()))];
        changes.push(match &fallback {
            Some(fallback) => Change::PutFallback(Box::new((**fallback).clone())),
            None => Change::RemoveFallback(workload.id.clone()),
        });
        self.journal.commit(changes, now.monotonic)?;
        if self.protected.remove(workload.id.as_str()) {
            // Its instances were not looked at so far. Nothing is decided until they are.
            self.watch.free_bytes = None;
        }
        let workload = Arc::new(workload);
        match self.units.get_mut(&workload.id) {
            Some(unit) => {
                unit.workload = workload;
                unit.fallback = fallback;
            }
            None => self.take_in(workload, now),
        }
        Ok(())
    }

    /// What is to run until the image of `new` is here: what runs now, or what was to run until the image of
    /// that was here. Without it a reboot in the middle of an update would leave nothing to run offline.
    fn fallback_of(&self, new: &Workload) -> Option<Arc<Workload>> {
        let unit = self.units.get(&new.id)?;
        let host = &self.settings.platform;
        let is_here = |workload: &Workload| self.images.find(&ImageKey::of(&workload.spec, host)).is_some();
        if new.target != Target::Running || unit.workload.target != Target::Running || is_here(new) {
            return None;
        }
        if is_here(&unit.workload) { Some(unit.workload.clone()) } else { unit.fallback.clone() }
    }

    /// Takes a new workload in, with what there is of it already: its identity may have been known before.
    fn take_in(&mut self, workload: Arc<Workload>, now: Now) {
        let id = workload.id.clone();
        let mut unit = Unit::new(workload, None, now);
        let strays = std::mem::take(&mut self.strays);
        (unit.runs, self.strays) =
            strays.into_iter().partition(|(_, run)| run.workload.as_ref() == Some(&id));
        unit.step =
            self.flights.iter().find(|(_, flight)| flight.workload() == Some(&id)).map(|(step, _)| *step);
        self.units.insert(id, unit);
    }

    fn forgive(&mut self, id: &WorkloadId) {
        if let Some(unit) = self.units.get_mut(id) {
            unit.health.forgive();
            self.images.forgive(&unit.image(&self.settings.platform));
        }
    }

    fn tell(&mut self, id: &WorkloadId, now: Now, text: impl Into<String>) {
        if let Some(unit) = self.units.get_mut(id) {
            unit.tell(now, text);
        }
    }
}
