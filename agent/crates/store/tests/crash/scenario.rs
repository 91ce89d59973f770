//! A scenario of mixed commits, and a model of what each of them leaves.

use edgelet_store::{Store, StoreError};
use edgelet_types::image::{ImageRecord, RunConfig};
use edgelet_types::record::{
    Change, Contents, Crash, CrashCause, NodeRecord, StartCause, Supervision, Trace,
};
use edgelet_types::workload::{Source, Target};
use edgelet_types::{
    ContainerId, Digest, ImageRef, Name, Platform, UnixMillis, Workload, WorkloadId, WorkloadSpec,
};
use std::collections::BTreeMap;

/// SplitMix64.
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn id(&mut self) -> [u8; 16] {
        [u8::try_from(self.below(12)).expect("small"); 16]
    }
}

/// What the store should hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Model {
    workloads: BTreeMap<WorkloadId, Workload>,
    fallbacks: BTreeMap<WorkloadId, Workload>,
    supervision: BTreeMap<WorkloadId, Supervision>,
    traces: BTreeMap<ContainerId, Trace>,
    images: BTreeMap<String, ImageRecord>,
    node: Option<NodeRecord>,
}

impl Model {
    /// What a store holds.
    pub fn of(store: &Store) -> Result<Self, StoreError> {
        let Contents { workloads, fallbacks, supervision, traces, node, unreadable } = store.load()?;
        let images = store.images()?;
        assert_eq!((unreadable, images.unreadable), (Vec::new(), Vec::new()), "a cut damages no row");
        Ok(Self {
            workloads: workloads.into_iter().map(|row| (row.id.clone(), row)).collect(),
            fallbacks: fallbacks.into_iter().map(|row| (row.id.clone(), row)).collect(),
            supervision: supervision.into_iter().map(|row| (row.workload.clone(), row)).collect(),
            traces: traces.into_iter().map(|row| (row.container.clone(), row)).collect(),
            images: images.read.into_iter().map(|row| (row.id.to_string(), row)).collect(),
            node,
        })
    }

    pub fn apply(&mut self, changes: &[Change]) {
        for change in changes {
            match change.clone() {
                Change::PutWorkload(row) => drop(self.workloads.insert(row.id.clone(), *row)),
                Change::RemoveWorkload(id) => {
                    self.workloads.remove(&id);
                    self.fallbacks.remove(&id);
                    self.supervision.remove(&id);
                }
                Change::PutFallback(row) => drop(self.fallbacks.insert(row.id.clone(), *row)),
                Change::RemoveFallback(id) => drop(self.fallbacks.remove(&id)),
                Change::PutSupervision(row) => drop(self.supervision.insert(row.workload.clone(), row)),
                Change::PutTrace(row) => drop(self.traces.insert(row.container.clone(), row)),
                Change::RemoveTrace(id) => drop(self.traces.remove(&id)),
                Change::PutImage(row) => drop(self.images.insert(row.id.to_string(), *row)),
                Change::RemoveImage(id) => drop(self.images.remove(&id.to_string())),
                Change::PutNode(row) => self.node = Some(row),
            }
        }
    }
}

/// The commits of a scenario.
pub fn commits(seed: u64, count: usize) -> Vec<Vec<Change>> {
    let mut random = Random(seed);
    let batch = |_| (0..1 + random.below(5)).map(|_| change(&mut random)).collect();
    (0..count).map(batch).collect()
}

fn change(random: &mut Random) -> Change {
    let id = random.id();
    let workload = WorkloadId::from_random(id);
    let container = ContainerId::from_random(id);
    match random.below(13) {
        0..=2 => Change::PutWorkload(Box::new(self::workload(random, workload))),
        3 => Change::RemoveWorkload(workload),
        4 | 5 => {
            let mut record = Supervision::new(workload);
            for _ in 0..random.below(9) {
                let container = ContainerId::from_random(random.id());
                let cause = CrashCause::Lost;
                record.count(Crash { container, generation: random.next(), at: UnixMillis(1), cause });
            }
            Change::PutSupervision(record)
        }
        6 => Change::PutTrace(Trace {
            container,
            workload,
            generation: random.next(),
            order: 1,
            image: Digest::of(b"image"),
            boot: "boot".to_owned(),
            cause: StartCause::Requested,
            at: UnixMillis(2),
        }),
        7 => Change::RemoveTrace(container),
        8 => Change::PutImage(Box::new(image(random))),
        9 => Change::RemoveImage(Digest::of(&id)),
        10 => Change::PutFallback(Box::new(self::workload(random, workload))),
        11 => Change::RemoveFallback(workload),
        _ => Change::PutNode(NodeRecord { boots: random.next(), ..NodeRecord::default() }),
    }
}

fn workload(random: &mut Random, id: WorkloadId) -> Workload {
    // Mostly small, sometimes as large as a manifest may be imagined: over many pages.
    let most = if random.below(4) == 0 { 60_000 } else { 500 };
    let length = usize::try_from(random.below(most)).expect("fits");
    Workload {
        id,
        application: Name::parse("edgelet").expect("name"),
        name: Name::parse("web").expect("name"),
        source: Source::Local,
        target: Target::Running,
        generation: random.next(),
        spec: WorkloadSpec::of(ImageRef::parse("busybox").expect("reference")),
        manifest: Some("x".repeat(length)),
        created_at: UnixMillis(3),
        updated_at: UnixMillis(4),
    }
}

fn image(random: &mut Random) -> ImageRecord {
    ImageRecord {
        id: Digest::of(&random.id()),
        manifest: None,
        platform: Platform::host(),
        names: vec![ImageRef::parse("busybox").expect("reference")],
        layers: Vec::new(),
        config: RunConfig { env: vec![format!("N={}", random.next())], ..RunConfig::default() },
        created: None,
        published_at: UnixMillis(5),
    }
}
