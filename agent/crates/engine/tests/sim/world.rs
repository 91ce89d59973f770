//! The machine of the simulation: containers with what they leave behind, programs, images, disk space.
//!
//! It knows nothing of the engine. What a look at it shows are instances only; scratch directories, mounts
//! and cgroups without an instance are invisible, so that only the journal can find them.

use edgelet_types::instance::{Exit, Instance, InstanceState};
use edgelet_types::{ContainerId, ImageRef, UnixMillis, WorkloadId};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub struct World {
    pub boot: u64,
    pub containers: BTreeMap<ContainerId, Container>,
    pub images: BTreeSet<ImageRef>,
    pub free_bytes: u64,
    pub forgotten: BTreeSet<WorkloadId>,
    pub pids: u32,
}

/// All that a container is and leaves.
#[derive(Debug, Clone)]
pub struct Container {
    pub workload: WorkloadId,
    pub generation: u64,
    pub image: ImageRef,
    /// On the data file system: survives a reboot.
    pub scratch: bool,
    pub mount: bool,
    pub cgroup: bool,
    pub program: Program,
    /// The engine was told that it runs.
    pub confirmed: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Program {
    None,
    Starting,
    Running { pid: u32 },
    Exited(Exit),
    Lost,
}

impl Container {
    pub fn is_live(&self) -> bool {
        matches!(self.program, Program::Starting | Program::Running { .. })
    }
}

impl World {
    pub fn boot_id(&self) -> String {
        format!("boot-{}", self.boot)
    }

    /// The power goes: processes, mounts and cgroups with it.
    pub fn reboot(&mut self) {
        self.boot += 1;
        for container in self.containers.values_mut() {
            container.program = Program::None;
            container.mount = false;
            container.cgroup = false;
        }
        self.containers.retain(|_, container| container.scratch);
    }

    /// The shim starts the program. False if there is no shim any more.
    pub fn run(&mut self, id: &ContainerId) -> bool {
        self.pids += 1;
        let pid = self.pids;
        match self.containers.get_mut(id) {
            Some(container) if container.program == Program::Starting => {
                container.program = Program::Running { pid };
                true
            }
            _ => false,
        }
    }

    /// The program ends, or its shim dies. False if nothing of it was live.
    pub fn end(&mut self, id: &ContainerId, code: i32, lost: bool) -> bool {
        match self.containers.get_mut(id) {
            Some(container) if container.is_live() => {
                let exit = Exit { code, signal: None, oom_killed: false, at: UnixMillis(0), fault: None };
                container.program = if lost { Program::Lost } else { Program::Exited(exit) };
                true
            }
            _ => false,
        }
    }

    /// What a look shows of one container.
    pub fn instance(&self, id: &ContainerId) -> Option<Instance> {
        let container = self.containers.get(id)?;
        let state = match &container.program {
            Program::None => return None,
            Program::Starting => InstanceState::Starting,
            Program::Running { pid } => InstanceState::Running { pid: *pid },
            Program::Exited(exit) => InstanceState::Exited(exit.clone()),
            Program::Lost => InstanceState::Lost,
        };
        Some(Instance {
            container: id.clone(),
            workload: container.workload.clone(),
            generation: container.generation,
            started_at: UnixMillis(0),
            state,
        })
    }

    /// What a look shows.
    pub fn instances(&self) -> Vec<Instance> {
        self.containers.keys().filter_map(|id| self.instance(id)).collect()
    }
}
