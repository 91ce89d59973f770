//! Taking up where the last daemon left off, whatever ended it.

use crate::engine::{Engine, Watch};
use crate::images::Images;
use crate::journal::Journal;
use crate::ports::{Entropy, Ledger, Now, Settings};
use crate::run::Run;
use crate::unit::Unit;
use edgelet_types::record::{Change, Contents, NodeRecord, StartCause, Supervision, Trace};
use edgelet_types::{Fault, WorkloadId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl Engine {
    /// Reads the ledger and takes up where the last daemon left off. Until the first
    /// [`observe`](Self::observe) it decides nothing, because it cannot know what runs.
    ///
    /// Errors: the ledger cannot be read. One that cannot be written is no error: a device with a full disk
    /// must start too. Blocks on the ledger.
    pub fn recover(
        mut ledger: Box<dyn Ledger>,
        entropy: Box<dyn Entropy>,
        settings: Settings,
        now: Now,
    ) -> Result<Self, Fault> {
        let contents = ledger.load()?;
        for row in &contents.unreadable {
            log::error!("store: row {} of {} cannot be read: {}", row.key, row.table, row.problem);
        }
        let protected: BTreeSet<String> = contents
            .unreadable
            .iter()
            .filter(|row| row.table == "workloads")
            .map(|row| row.key.clone())
            .collect();
        let node = next_start(contents.node.clone(), &settings.boot);
        let unreadable = contents.unreadable.clone();
        let mut engine = Self {
            units: units(&contents, now),
            settings,
            entropy,
            journal: Journal::new(ledger),
            strays: BTreeMap::new(),
            images: Images::default(),
            flights: BTreeMap::new(),
            protected,
            unreadable,
            node,
            watch: Watch::default(),
            handed_out: 0,
        };
        for trace in &contents.traces {
            engine.take_up(trace, now);
        }
        let node = Change::PutNode(engine.node.clone());
        if let Err(fault) = engine.journal.commit(vec![node], now.monotonic) {
            log::warn!("this start of the daemon is not counted: {fault}");
        }
        Ok(engine)
    }

    /// Takes a journal entry up: something of this run may be on the machine.
    fn take_up(&mut self, trace: &Trace, now: Now) {
        let run = Run::of_trace(trace, &self.settings.boot, now.monotonic);
        let Some(unit) = self.units.get_mut(&trace.workload) else {
            if !self.protected.contains(trace.workload.as_str()) {
                self.strays.insert(trace.container.clone(), run);
            }
            return;
        };
        let rebooted = !run.of_this_boot;
        let counted = unit.health.record.crashes.iter().any(|crash| crash.container == trace.container);
        unit.health.next_cause = match () {
            () if trace.generation != unit.workload.generation && !rebooted => StartCause::Requested,
            () if counted => StartCause::Exited,
            () if rebooted => StartCause::Rebooted,
            () => StartCause::CutShort,
        };
        if rebooted {
            unit.tell(now, format!("the device was rebooted; generation {} went with it", trace.generation));
        }
        unit.runs.insert(trace.container.clone(), run);
    }
}

fn units(contents: &Contents, now: Now) -> BTreeMap<WorkloadId, Unit> {
    let mut records: BTreeMap<&WorkloadId, &Supervision> =
        contents.supervision.iter().map(|record| (&record.workload, record)).collect();
    let mut unit = |workload: &edgelet_types::Workload| {
        let record = records.remove(&workload.id).cloned();
        let mut unit = Unit::new(Arc::new(workload.clone()), record, now);
        let fallback = contents.fallbacks.iter().find(|fallback| fallback.id == workload.id);
        unit.fallback = fallback.cloned().map(Arc::new);
        (workload.id.clone(), unit)
    };
    contents.workloads.iter().map(&mut unit).collect()
}

fn next_start(last: Option<NodeRecord>, boot: &str) -> NodeRecord {
    let last = last.unwrap_or_default();
    NodeRecord {
        boots: last.boots + u64::from(last.boot != boot),
        starts: last.starts + 1,
        boot: boot.to_owned(),
        clean_shutdown: false,
    }
}
