//! `config.json` as types (OCI runtime-spec 1.3, config.md and config-linux.md).
//!
//! Read are the properties that are carried out. Of those that are not it is read whether they say
//! anything, so that they can be refused by name. All others are ignored, as the specification wants it.

pub use oci_spec::runtime::{
    Box as ConsoleSize, Capabilities, Capability, Hook, Hooks, LinuxBlockIo, LinuxCpu, LinuxDevice,
    LinuxDeviceCgroup, LinuxHugepageLimit, LinuxIdMapping, LinuxMemory, LinuxNamespace, LinuxNetDevice,
    LinuxNetwork, LinuxRdma, LinuxSeccomp, LinuxTimeOffset, Mount, PosixRlimit, Root, User,
};

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

/// The whole configuration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// The version of the specification that it was written for.
    #[serde(default)]
    pub oci_version: String,
    /// The root file system; required.
    pub root: Option<Root>,
    /// The program; required.
    pub process: Option<Process>,
    /// The name of the host, as the container sees it.
    pub hostname: Option<String>,
    /// Its NIS domain.
    pub domainname: Option<String>,
    /// In the order in which they are mounted.
    pub mounts: Option<Vec<Mount>>,
    /// Programs of the host, run as the container comes and goes.
    pub hooks: Option<Hooks>,
    /// What the writer notes for others.
    pub annotations: Option<HashMap<String, String>>,
    /// What only Linux has.
    pub linux: Option<Linux>,

    #[serde(default)]
    pub(crate) vm: IsSet,
    #[serde(default)]
    pub(crate) windows: IsSet,
    #[serde(default)]
    pub(crate) solaris: IsSet,
    #[serde(default)]
    pub(crate) zos: IsSet,
    #[serde(default)]
    pub(crate) freebsd: IsSet,
}

/// A program, and what it may do.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Whether it gets a terminal.
    pub terminal: Option<bool>,
    /// Of the terminal at the beginning, in characters.
    pub console_size: Option<ConsoleSize>,
    /// Who it runs as.
    pub user: User,
    /// Program and arguments.
    pub args: Option<Vec<String>>,
    /// `NAME=value`.
    pub env: Option<Vec<String>>,
    /// Absolute, inside.
    pub cwd: PathBuf,
    /// Absent means none.
    pub capabilities: Option<CapabilityNames>,
    /// Each kind at most once.
    pub rlimits: Option<Vec<PosixRlimit>>,
    /// Whether it can never gain privileges by executing a program.
    pub no_new_privileges: Option<bool>,
    /// How gladly the kernel kills it, -1000 to 1000; untouched when absent.
    pub oom_score_adj: Option<i32>,
    /// The profile of AppArmor that it gets.
    pub apparmor_profile: Option<String>,
    /// The context of SELinux that it gets.
    pub selinux_label: Option<String>,
    /// Its turn on the processors.
    pub scheduler: Option<Scheduler>,
    /// Its turn at block devices.
    pub io_priority: Option<IoPriority>,
    /// The processors of an exec.
    #[serde(rename = "execCPUAffinity")]
    pub exec_cpu_affinity: Option<ExecCpuAffinity>,

    #[serde(default)]
    pub(crate) command_line: IsSet,
}

/// A scheduling policy (sched(7)); one without a policy says nothing.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Scheduler {
    /// A `SCHED_*` name.
    pub policy: Option<String>,
    /// -20 to 19.
    pub nice: Option<i32>,
    /// 1 to 99, for real-time policies.
    pub priority: Option<i32>,
    /// `SCHED_FLAG_*` names.
    pub flags: Option<Vec<String>>,
    /// Nanoseconds, for the deadline policy.
    pub runtime: Option<u64>,
    /// Nanoseconds, for the deadline policy.
    pub deadline: Option<u64>,
    /// Nanoseconds, for the deadline policy.
    pub period: Option<u64>,
}

/// A class and a level at block devices (ioprio_set(2)); one without a class says nothing.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct IoPriority {
    /// An `IOPRIO_CLASS_*` name.
    pub class: Option<String>,
    /// 0 to 7, the lower the more.
    pub priority: Option<i64>,
}

/// The processors of a further process, as lists such as `0-3,7`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct ExecCpuAffinity {
    /// Before it comes into the container's groups.
    pub initial: Option<String>,
    /// After that.
    #[serde(rename = "final")]
    pub last: Option<String>,
}

/// The five sets of capabilities(7), by name. They may hold names that this program does not know.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct CapabilityNames {
    /// What can be gained at most.
    pub bounding: Option<Vec<String>>,
    /// What is in force.
    pub effective: Option<Vec<String>>,
    /// What comes back with programs that have file capabilities.
    pub inheritable: Option<Vec<String>>,
    /// What can be brought into force.
    pub permitted: Option<Vec<String>>,
    /// What is kept across the execution of a program.
    pub ambient: Option<Vec<String>>,
}

/// What only Linux has. The default is nothing at all.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Linux {
    /// User ids of a new user namespace.
    pub uid_mappings: Option<Vec<LinuxIdMapping>>,
    /// Group ids of a new user namespace.
    pub gid_mappings: Option<Vec<LinuxIdMapping>>,
    /// Kernel settings of the container's namespaces.
    pub sysctl: Option<HashMap<String, String>>,
    /// Limits of its control group.
    pub resources: Option<Resources>,
    /// Its control group, below the root of each hierarchy.
    pub cgroups_path: Option<PathBuf>,
    /// Those that are made or joined.
    pub namespaces: Option<Vec<LinuxNamespace>>,
    /// Device nodes beside the usual ones.
    pub devices: Option<Vec<LinuxDevice>>,
    /// The filter of system calls.
    pub seccomp: Option<LinuxSeccomp>,
    /// How mounts travel between the host and the container.
    pub rootfs_propagation: Option<String>,
    /// Paths that are hidden.
    pub masked_paths: Option<Vec<String>>,
    /// Paths that cannot be written.
    pub readonly_paths: Option<Vec<String>>,
    /// Of the clocks of a new time namespace, by their names.
    pub time_offsets: Option<HashMap<String, LinuxTimeOffset>>,
    /// Network devices that it gets, by their names on the host.
    pub net_devices: Option<HashMap<String, LinuxNetDevice>>,
    /// The context of SELinux for its file systems.
    pub mount_label: Option<String>,
    /// Where its memory comes from.
    pub memory_policy: Option<MemoryPolicy>,
    /// Its execution domain.
    pub personality: Option<Personality>,

    #[serde(default)]
    pub(crate) intel_rdt: IsSet,
}

/// Where memory comes from on machines with several nodes (set_mempolicy(2)); one without a mode says nothing.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct MemoryPolicy {
    /// An `MPOL_*` name.
    pub mode: Option<String>,
    /// Nodes as a list such as `0-3,7`.
    pub nodes: Option<String>,
    /// `MPOL_F_*` names.
    pub flags: Option<Vec<String>>,
}

/// The system that programs are told they run on (personality(2)); one without a domain says nothing.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Personality {
    /// `LINUX` or `LINUX32`.
    pub domain: Option<String>,
    /// The specification has none yet.
    pub flags: Option<Vec<String>>,
}

/// Limits of a control group, as written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// Rules for device nodes, a later one winning.
    pub devices: Option<Vec<LinuxDeviceCgroup>>,
    /// Memory.
    pub memory: Option<LinuxMemory>,
    /// Processor time.
    pub cpu: Option<LinuxCpu>,
    /// Processes and threads.
    pub pids: Option<Pids>,
    /// Traffic of block devices.
    #[serde(rename = "blockIO")]
    pub block_io: Option<LinuxBlockIo>,
    /// Huge pages.
    pub hugepage_limits: Option<Vec<LinuxHugepageLimit>>,
    /// Marks of network packets.
    pub network: Option<LinuxNetwork>,
    /// Files of the unified hierarchy with their content.
    pub unified: Option<HashMap<String, String>>,
    /// Resources of remote direct memory access, by device.
    pub rdma: Option<HashMap<String, LinuxRdma>>,
}

/// The number of processes and threads.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct Pids {
    /// Less than 0 means no limit; so does 0 before version 1.3 of the specification.
    pub limit: Option<i64>,
}

/// Whether a property says anything. Writers leave empty values where they mean nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct IsSet(pub(crate) bool);

impl<'de> Deserialize<'de> for IsSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IsSetVisitor)
    }
}

struct IsSetVisitor;

impl<'de> Visitor<'de> for IsSetVisitor {
    type Value = IsSet;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<IsSet, E> {
        Ok(IsSet(false))
    }

    fn visit_bool<E>(self, _: bool) -> Result<IsSet, E> {
        Ok(IsSet(true))
    }

    fn visit_u64<E>(self, number: u64) -> Result<IsSet, E> {
        Ok(IsSet(number != 0))
    }

    fn visit_i64<E>(self, number: i64) -> Result<IsSet, E> {
        Ok(IsSet(number != 0))
    }

    fn visit_f64<E>(self, _: f64) -> Result<IsSet, E> {
        Ok(IsSet(true))
    }

    fn visit_str<E>(self, text: &str) -> Result<IsSet, E> {
        Ok(IsSet(!text.is_empty()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<IsSet, A::Error> {
        let mut is_set = false;
        while items.next_element::<IgnoredAny>()?.is_some() {
            is_set = true;
        }
        Ok(IsSet(is_set))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<IsSet, A::Error> {
        let mut is_set = false;
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            is_set = true;
        }
        Ok(IsSet(is_set))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_values_say_nothing() {
        for empty in ["null", "\"\"", "[]", "{}", "0"] {
            assert_eq!(serde_json::from_str(empty).ok(), Some(IsSet(false)), "{empty}");
        }
        for set in ["true", "false", "\"x\"", "[null]", "{\"a\":null}", "1", "-1", "0.5"] {
            assert_eq!(serde_json::from_str(set).ok(), Some(IsSet(true)), "{set}");
        }
    }
}
