//! The engine's steps, carried out on this machine.

use crate::containers::{self, IdRanges, Launch, Means, Watcher, Zygote};
use crate::drive::{Machine, wall_clock};
use crate::pulls::Pulls;
use edgelet_engine::{Action, Actual, Answer, AsOf, HeldImage, Outcome, Step, StepId};
use edgelet_image::ImageStore;
use edgelet_sys::fsinfo::FsInfo;
use edgelet_types::config::Config;
use edgelet_types::instance::{Instance, InstanceState};
use edgelet_types::{ContainerId, Digest, Fault, Layout, Reason, Workload, WorkloadId};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a look at the machine waits for runs that an earlier daemon was just starting.
const SETTLE_LIMIT: Duration = Duration::from_secs(5);

/// This machine.
pub struct LocalMachine {
    layout: Layout,
    config: Arc<Config>,
    images: Arc<ImageStore>,
    pulls: Arc<Pulls>,
    watcher: Watcher,
    zygote: Zygote,
    ids: IdRanges,
    /// Runs that a step of ours is starting at this moment.
    starting: Mutex<BTreeSet<ContainerId>>,
}

impl LocalMachine {
    /// The machine below `layout`.
    pub fn new(
        layout: Layout,
        config: Arc<Config>,
        images: Arc<ImageStore>,
        pulls: Arc<Pulls>,
        watcher: Watcher,
        zygote: Zygote,
    ) -> Self {
        let ids = IdRanges::new(config.own_users);
        Self { layout, config, images, pulls, watcher, zygote, ids, starting: Mutex::default() }
    }

    fn start(&self, workload: &Workload, container: &ContainerId, image: &Digest) -> Answer {
        let records = self.images.list()?;
        let image = records.iter().find(|record| record.id == *image).ok_or_else(|| {
            Fault::new(Reason::NotFound, format!("image {image} is not on this device any more"))
        })?;
        let at = wall_clock();
        let launch = Launch { workload, container, image, at, time_zone: &self.config.time_zone };
        let begun = Instant::now();
        let means =
            Means { layout: &self.layout, images: &self.images, zygote: &self.zygote, ids: &self.ids };
        let (pid, shim) = containers::start(&means, &launch)?;
        self.watch(container, shim)?;
        log::info!(
            "container started id={container} workload={} name={} pid={pid} ms={}",
            workload.id,
            workload.name,
            begun.elapsed().as_millis()
        );
        Ok(Outcome::Started { pid, at })
    }

    fn forget(&self, workload: &WorkloadId) -> Answer {
        let logs = fs::remove_dir_all(self.layout.workload_logs(workload));
        let lock = fs::remove_file(self.layout.instance_lock(workload));
        for removed in [logs, lock] {
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(
                        Fault::chain(Reason::Storage, &error).context(format_args!("forget {workload}"))
                    );
                }
                _ => {}
            }
        }
        Ok(Outcome::Done)
    }

    fn watch(&self, container: &ContainerId, shim: std::os::fd::OwnedFd) -> Result<(), Fault> {
        self.watcher
            .watch(container, shim)
            .map_err(|error| Fault::chain(Reason::Internal, &error).context("watch the shim"))
    }

    /// Every instance. What an earlier daemon was starting when it died is given time to settle, so that the
    /// engine does not see something that nobody would tell the end of.
    fn instances(&self) -> Result<(Vec<Instance>, Vec<ContainerId>), Fault> {
        let deadline = Instant::now() + SETTLE_LIMIT;
        loop {
            let found = containers::find_all(&self.layout)
                .map_err(|error| Fault::chain(Reason::Storage, &error).context("look at the containers"))?;
            let ours = self.starting.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let unsettled = found.iter().any(|(container, held)| {
                let starting = held.instance.as_ref().is_some_and(|i| i.state == InstanceState::Starting);
                starting && !ours.contains(container)
            });
            if unsettled && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(20));
                continue;
            }
            return self.take(found);
        }
    }

    fn take(
        &self,
        found: Vec<(ContainerId, containers::Held)>,
    ) -> Result<(Vec<Instance>, Vec<ContainerId>), Fault> {
        let (mut instances, mut leftovers) = (Vec::new(), Vec::new());
        for (container, held) in found {
            if let Some(shim) = held.shim {
                self.watch(&container, shim.process)?;
            }
            match held.instance {
                Some(instance) => instances.push(instance),
                None => leftovers.push(container),
            }
        }
        Ok((instances, leftovers))
    }

    /// Writable layers whose bundle a reboot took away.
    fn stray_scratch(&self, known: &BTreeSet<&ContainerId>) -> Result<Vec<ContainerId>, Fault> {
        let entries = match fs::read_dir(self.layout.scratch()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|error| {
                Fault::chain(Reason::Storage, &error).context("look at the writable layers")
            })?,
        };
        let containers =
            entries.flatten().filter_map(|entry| ContainerId::parse(entry.file_name().to_str()?).ok());
        Ok(containers.filter(|container| !known.contains(container)).collect())
    }

    fn free_bytes(&self) -> Result<u64, Fault> {
        let free = File::open(self.layout.data()).and_then(FsInfo::of);
        free.map(|info| info.available_bytes)
            .map_err(|error| Fault::chain(Reason::Storage, &error).context("look at the data file system"))
    }
}

impl Machine for LocalMachine {
    fn observe(&self, as_of: AsOf) -> Result<Actual, Fault> {
        let (instances, mut leftovers) = self.instances()?;
        let known: BTreeSet<&ContainerId> =
            instances.iter().map(|instance| &instance.container).chain(&leftovers).collect();
        let stray = self.stray_scratch(&known)?;
        leftovers.extend(stray);
        let images = self.images.list()?.iter().map(HeldImage::from).collect();
        Ok(Actual { as_of, instances, leftovers, images, free_bytes: self.free_bytes()? })
    }

    fn perform(&self, step: &Step) -> Answer {
        match &step.action {
            Action::Pull { image, platform } => {
                let record = self.pulls.pull(step.id, image, platform)?;
                Ok(Outcome::Pulled { id: record.id, manifest: record.manifest })
            }
            Action::Start { workload, container, image } => {
                self.starting.lock().unwrap_or_else(PoisonError::into_inner).insert(container.clone());
                let answer = self.start(workload, container, image);
                self.starting.lock().unwrap_or_else(PoisonError::into_inner).remove(container);
                answer
            }
            Action::Stop { container, .. } => {
                containers::stop(&self.layout, container)?;
                Ok(Outcome::Done)
            }
            Action::Kill { container, .. } => {
                containers::kill(&self.layout, container)?;
                Ok(Outcome::Done)
            }
            Action::Remove { container, .. } => {
                containers::remove(&self.layout, container)?;
                Ok(Outcome::Done)
            }
            Action::Forget { workload } => self.forget(workload),
        }
    }

    fn cancel(&self, step: StepId) {
        self.pulls.cancel(step);
    }
}
