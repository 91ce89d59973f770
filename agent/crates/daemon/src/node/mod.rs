//! The node as the API sees it: the engine for what is wanted and true, the machine for the rest.

mod exec;
mod facts;
mod host;
mod images;
pub(crate) mod logs;

use crate::build;
use crate::containers;
use crate::drive::{EngineHandle, wall_clock};
use crate::pulls::Pulls;
use edgelet_api::node::{
    Applied, Apply, DaemonState, Exec, ExecRequest, Image, ImageTarget, Info, LoadedImage, LogBatch, LogEnd,
    LogFrom, Microservice, Node, Pruned, PullRequest, PulledImage, Signal, Status, Usage, Version, Watch,
};
use edgelet_engine::Engine;
use edgelet_image::ImageStore;
use edgelet_types::config::Config;
use edgelet_types::workload::{Source, Target};
use edgelet_types::{ContainerId, Fault, Layout, Reason, WorkloadId};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// The node of this daemon.
pub struct LocalNode {
    layout: Layout,
    config: Arc<Config>,
    engine: EngineHandle,
    images: Arc<ImageStore>,
    pulls: Arc<Pulls>,
    probe: host::Probe,
    started: Instant,
    stopping: AtomicBool,
    /// What a person should look at, found at start.
    warning: Option<String>,
}

impl LocalNode {
    /// The node below `layout`, which has started.
    pub fn new(
        layout: Layout,
        config: Arc<Config>,
        engine: EngineHandle,
        images: Arc<ImageStore>,
        pulls: Arc<Pulls>,
        warning: Option<String>,
    ) -> Self {
        Self {
            layout,
            config,
            engine,
            images,
            pulls,
            probe: host::Probe::default(),
            started: Instant::now(),
            stopping: AtomicBool::new(false),
            warning,
        }
    }

    /// From now on the node says that it is on its way out.
    pub fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    fn set_target(&self, id: &WorkloadId, target: Target) -> Result<(), Fault> {
        let id = id.clone();
        self.engine.call(move |engine, now| engine.set_target(&id, target, now))?
    }

    /// The run that lives; `CONFLICT` when none does.
    fn running(&self, id: &WorkloadId) -> Result<ContainerId, Fault> {
        let service = self.microservice(id)?;
        match (service.container, service.pid) {
            (Some(container), Some(_)) => Ok(container),
            _ => Err(Fault::new(Reason::Conflict, format!("{} does not run", service.workload.name))),
        }
    }

    /// Tells the engine which images there are, after one came or went by hand.
    fn announce_images(&self) -> Result<(), Fault> {
        let as_of = self.engine.call(|engine, _| engine.begin_observation())?;
        let held = self.images.list()?.iter().map(Into::into).collect();
        self.engine.call(move |engine, _| engine.images(as_of, held))
    }
}

fn unknown(id: &WorkloadId) -> Fault {
    Fault::new(Reason::NotFound, format!("no microservice {id}"))
}

impl Node for LocalNode {
    fn version(&self) -> Version {
        build::version()
    }

    fn ready(&self) -> Result<(), Fault> {
        match self.stopping.load(Ordering::Relaxed) {
            true => Err(Fault::new(Reason::ShuttingDown, "the daemon is stopping")),
            false => Ok(()),
        }
    }

    fn status(&self) -> Result<Status, Fault> {
        let (host, agent) = self.probe.look(&self.layout.data());
        let unreadable = self.engine.call(|engine: &mut Engine, _| engine.unreadable().len())?;
        let warning = match unreadable {
            0 => self.warning.clone(),
            count => Some(format!("{count} rows of the store cannot be read; see the log of the last start")),
        };
        let daemon = match (self.stopping.load(Ordering::Relaxed), &warning) {
            (true, _) => DaemonState::Stopping,
            (false, Some(_)) => DaemonState::Warning,
            (false, None) => DaemonState::Running,
        };
        Ok(Status {
            daemon,
            warning,
            time: wall_clock(),
            uptime_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            engine_ready: true,
            cgroup_mode: edgelet_oci::cgroup_mode().map(str::to_owned),
            agent,
            runtime: self.shims()?,
            data_bytes: None,
            host,
        })
    }

    fn info(&self) -> Result<Info, Fault> {
        Ok(Info { config: (*self.config).clone(), layout: self.layout.clone() })
    }

    fn microservices(&self) -> Result<Vec<Microservice>, Fault> {
        let facts = self.engine.call(|engine, now| engine.facts(now))?;
        Ok(facts.into_iter().map(|fact| facts::microservice(fact, &self.pulls)).collect())
    }

    fn microservice(&self, id: &WorkloadId) -> Result<Microservice, Fault> {
        let wanted = id.clone();
        let fact = self.engine.call(move |engine, now| engine.fact(&wanted, now))?;
        fact.map(|fact| facts::microservice(fact, &self.pulls)).ok_or_else(|| unknown(id))
    }

    fn apply(&self, apply: &Apply) -> Result<Applied, Fault> {
        let wish = edgelet_engine::Apply {
            id: None,
            application: apply.application.clone(),
            name: apply.name.clone(),
            source: Source::Local,
            target: Target::Running,
            spec: apply.spec.clone(),
            manifest: Some(apply.manifest.clone()),
        };
        let applied = self.engine.call(move |engine, now| engine.apply(wish, now))??;
        Ok(Applied { id: applied.id, generation: applied.generation })
    }

    fn start(&self, id: &WorkloadId) -> Result<(), Fault> {
        self.set_target(id, Target::Running)
    }

    fn stop(&self, id: &WorkloadId) -> Result<(), Fault> {
        self.set_target(id, Target::Stopped)
    }

    fn restart(&self, id: &WorkloadId) -> Result<(), Fault> {
        let id = id.clone();
        self.engine.call(move |engine, now| engine.restart(&id, now))?
    }

    fn kill(&self, id: &WorkloadId, signal: Signal) -> Result<(), Fault> {
        let container = self.running(id)?;
        log::info!("signal requested id={container} workload={id} signal={}", signal.number());
        containers::signal(&self.layout, &container, signal.number())
    }

    fn delete(&self, id: &WorkloadId) -> Result<(), Fault> {
        self.set_target(id, Target::Deleted)
    }

    fn logs(&self, id: &WorkloadId, from: &LogFrom) -> Result<LogBatch, Fault> {
        // Looked at before the log is read: what was written before the end is in this batch or an earlier.
        let service = self.microservice(id)?;
        let over = service.container.is_none() && service.workload.target != Target::Running;
        let mut batch = logs::read(&self.layout.workload_logs(id), from)
            .map_err(|error| Fault::chain(Reason::Storage, &error).context("read the log"))?;
        if over && batch.end == LogEnd::Quiet {
            batch.end = LogEnd::Ended;
        }
        Ok(batch)
    }

    fn exec(&self, id: &WorkloadId, request: &ExecRequest) -> Result<Exec, Fault> {
        exec::start(&self.layout, &self.running(id)?, request)
    }

    fn images(&self) -> Result<Vec<Image>, Fault> {
        self.list_images()
    }

    fn image_pull(&self, request: &PullRequest, watch: &dyn Watch) -> Result<PulledImage, Fault> {
        self.pull_image(request, watch)
    }

    fn image_load(&self, archive: &Path, watch: &dyn Watch) -> Result<Vec<LoadedImage>, Fault> {
        self.load_images(archive, watch)
    }

    fn image_remove(&self, target: &ImageTarget) -> Result<ImageTarget, Fault> {
        self.remove_image(target)
    }

    fn image_prune(&self) -> Result<Pruned, Fault> {
        self.prune_images()
    }
}

impl LocalNode {
    /// What all shims together use.
    fn shims(&self) -> Result<Usage, Fault> {
        let held = containers::find_all(&self.layout)
            .map_err(|error| Fault::chain(Reason::Storage, &error).context("look at the containers"))?;
        let shims = held.iter().filter_map(|(_, held)| held.shim.as_ref());
        let memory = shims.filter_map(|shim| host::pss_bytes(&shim.pid.to_string())).sum();
        Ok(Usage { cpu_cores: None, memory_bytes: Some(memory) })
    }
}
