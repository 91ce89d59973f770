//! How the kernel treats a program, beside who it is and what it is limited to: its turn on processors and
//! disks, its processors and memory nodes, its execution domain (OCI runtime-spec 1.3, config.md, "Linux
//! Process"; config-linux.md, "Memory policy" and "Personality").

use crate::error::{During, SpawnError};
use crate::spec::{ExecCpuAffinity, IoPriority, Linux, MemoryPolicy, Personality, Process, Scheduler};
use edgelet_sys::schedule;
use std::ops::BitOr;

/// What one process gets, from whoever starts it. The default changes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Schedule {
    scheduler: Option<schedule::Scheduler>,
    /// Class and level at block devices.
    io: Option<(u16, u8)>,
    /// Processors before and after it comes into the container's groups; of an exec only.
    initial: Option<Vec<usize>>,
    last: Option<Vec<usize>>,
}

impl Schedule {
    pub(crate) fn parse(process: &Process) -> Result<Self, String> {
        let affinity = process.exec_cpu_affinity.clone().unwrap_or_default();
        let ExecCpuAffinity { initial, last } = affinity;
        let processors = |list: Option<String>| {
            let list = list.filter(|list| !list.is_empty());
            list.map(|list| numbers(&list).map_err(|reason| format!("process.execCPUAffinity: {reason}")))
        };
        Ok(Self {
            scheduler: process.scheduler.as_ref().map(scheduler).transpose()?.flatten(),
            io: process.io_priority.as_ref().map(io_priority).transpose()?.flatten(),
            initial: processors(initial).transpose()?,
            last: processors(last).transpose()?,
        })
    }

    /// Whether a process of an exec begins elsewhere than in the container's groups.
    pub(crate) fn begins_outside(&self) -> bool {
        self.initial.is_some()
    }

    /// To be called before a process of an exec comes into the container's groups.
    pub(crate) fn begin(&self, pid: i32) -> Result<(), SpawnError> {
        let Some(processors) = &self.initial else { return Ok(()) };
        let mask =
            processors.iter().filter(|number| **number < 64).fold(0_u64, |mask, number| mask | 1 << number);
        log::debug!("affinity: {mask:#x} pid={pid}");
        schedule::set_affinity(pid, processors).during("set process.execCPUAffinity.initial")
    }

    /// Sets everything, from outside: the process may not have the rights.
    pub(crate) fn set(&self, pid: i32) -> Result<(), SpawnError> {
        if let Some(scheduler) = &self.scheduler {
            schedule::set_scheduler(pid, scheduler).during("set process.scheduler")?;
        }
        if let Some((class, level)) = self.io {
            schedule::set_io_priority(pid, class, level).during("set process.ioPriority")?;
        }
        Ok(())
    }

    /// To be called when a process of an exec is in the container's groups.
    pub(crate) fn settle(&self, pid: i32) -> Result<(), SpawnError> {
        let Some(processors) = &self.last else { return Ok(()) };
        schedule::set_affinity(pid, processors).during("set process.execCPUAffinity.final")
    }
}

/// What every process of a container is born with; a process sets it for itself. The default changes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Nature {
    /// Mode with flags, and nodes.
    memory: Option<(u32, Vec<usize>)>,
    domain: Option<u32>,
}

impl Nature {
    pub(crate) fn parse(linux: &Linux) -> Result<Self, String> {
        Ok(Self {
            memory: linux.memory_policy.as_ref().map(memory_policy).transpose()?.flatten(),
            domain: linux.personality.as_ref().map(personality).transpose()?.flatten(),
        })
    }

    /// Takes it on. It stays when a program is executed.
    pub(crate) fn assume(&self) -> Result<(), SpawnError> {
        if let Some((mode, nodes)) = &self.memory {
            schedule::set_memory_policy(*mode, nodes).during("set linux.memoryPolicy")?;
        }
        if let Some(domain) = self.domain {
            schedule::set_personality(domain).during("set linux.personality")?;
        }
        Ok(())
    }
}

/// sched(7). `SCHED_ISO` has a number and no code behind it in any kernel.
const POLICIES: &[(&str, u32)] = &[
    ("SCHED_OTHER", 0),
    ("SCHED_FIFO", FIFO),
    ("SCHED_RR", ROUND_ROBIN),
    ("SCHED_BATCH", 3),
    ("SCHED_ISO", 4),
    ("SCHED_IDLE", 5),
    ("SCHED_DEADLINE", DEADLINE),
];
const FIFO: u32 = 1;
const ROUND_ROBIN: u32 = 2;
const DEADLINE: u32 = 6;

const SCHEDULER_FLAGS: &[(&str, u64)] = &[
    ("SCHED_FLAG_RESET_ON_FORK", 0x01),
    ("SCHED_FLAG_RECLAIM", 0x02),
    ("SCHED_FLAG_DL_OVERRUN", 0x04),
    ("SCHED_FLAG_KEEP_POLICY", 0x08),
    ("SCHED_FLAG_KEEP_PARAMS", 0x10),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
];

fn scheduler(wanted: &Scheduler) -> Result<Option<schedule::Scheduler>, String> {
    let bad = |reason: String| format!("process.scheduler: {reason}");
    let Some(name) = wanted.policy.as_deref().filter(|name| !name.is_empty()) else { return Ok(None) };
    let Some(policy) = number(POLICIES, name) else { return Err(bad(format!("no policy {name:?}"))) };
    let (nice, priority) = (wanted.nice.unwrap_or(0), wanted.priority.unwrap_or(0));
    if !(-20..=19).contains(&nice) {
        return Err(bad(format!("nice {nice} is not between -20 and 19")));
    }
    let taken = if matches!(policy, FIFO | ROUND_ROBIN) { 1..=99 } else { 0..=0 };
    if !taken.contains(&priority) {
        return Err(bad(format!("priority {priority}: {name} takes {} to {}", taken.start(), taken.end())));
    }
    let (runtime, deadline) = (wanted.runtime.unwrap_or(0), wanted.deadline.unwrap_or(0));
    let period = wanted.period.unwrap_or(0);
    if policy != DEADLINE && (runtime, deadline, period) != (0, 0, 0) {
        return Err(bad(format!("{name} takes no runtime, deadline or period")));
    }
    let flags = flags(SCHEDULER_FLAGS, &wanted.flags).map_err(bad)?;
    let priority = priority.unsigned_abs();
    Ok(Some(schedule::Scheduler { policy, flags, nice, priority, runtime, deadline, period }))
}

fn io_priority(wanted: &IoPriority) -> Result<Option<(u16, u8)>, String> {
    const CLASSES: &[(&str, u16)] =
        &[("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)];
    let Some(name) = wanted.class.as_deref().filter(|name| !name.is_empty()) else { return Ok(None) };
    let class = number(CLASSES, name).ok_or_else(|| format!("process.ioPriority: no class {name:?}"))?;
    let level = wanted.priority.unwrap_or(0);
    match u8::try_from(level) {
        Ok(level @ 0..=7) => Ok(Some((class, level))),
        _ => Err(format!("process.ioPriority: priority {level} is not between 0 and 7")),
    }
}

fn memory_policy(wanted: &MemoryPolicy) -> Result<Option<(u32, Vec<usize>)>, String> {
    const MODES: &[(&str, u32)] = &[
        ("MPOL_DEFAULT", 0),
        ("MPOL_PREFERRED", 1),
        ("MPOL_BIND", 2),
        ("MPOL_INTERLEAVE", 3),
        ("MPOL_LOCAL", 4),
        ("MPOL_PREFERRED_MANY", 5),
        ("MPOL_WEIGHTED_INTERLEAVE", 6),
    ];
    const FLAGS: &[(&str, u32)] = &[
        ("MPOL_F_STATIC_NODES", 1 << 15),
        ("MPOL_F_RELATIVE_NODES", 1 << 14),
        ("MPOL_F_NUMA_BALANCING", 1 << 13),
    ];
    let bad = |reason: String| format!("linux.memoryPolicy: {reason}");
    let Some(name) = wanted.mode.as_deref().filter(|name| !name.is_empty()) else { return Ok(None) };
    let Some(mode) = number(MODES, name) else { return Err(bad(format!("no mode {name:?}"))) };
    let flags = flags(FLAGS, &wanted.flags).map_err(bad)?;
    let nodes = wanted.nodes.as_deref().filter(|list| !list.is_empty()).map(numbers);
    let nodes = nodes.transpose().map_err(bad)?.unwrap_or_default();
    Ok(Some((mode | flags, nodes)))
}

fn personality(wanted: &Personality) -> Result<Option<u32>, String> {
    const DOMAINS: &[(&str, u32)] = &[("LINUX", 0), ("LINUX32", 8)];
    let Some(name) = wanted.domain.as_deref().filter(|name| !name.is_empty()) else { return Ok(None) };
    if let Some(flag) = wanted.flags.iter().flatten().next() {
        return Err(format!("linux.personality: flag {flag:?}: the specification has none"));
    }
    let domain = number(DOMAINS, name).ok_or_else(|| format!("linux.personality: no domain {name:?}"))?;
    Ok(Some(domain))
}

fn number<T: Copy>(names: &[(&str, T)], wanted: &str) -> Option<T> {
    names.iter().find(|(name, _)| *name == wanted).map(|(_, number)| *number)
}

fn flags<T>(names: &[(&str, T)], wanted: &Option<Vec<String>>) -> Result<T, String>
where
    T: Copy + Default + BitOr<Output = T>,
{
    wanted.iter().flatten().try_fold(T::default(), |flags, name| match number(names, name) {
        Some(flag) => Ok(flags | flag),
        None => Err(format!("no flag {name:?}")),
    })
}

/// Far more processors or memory nodes than any kernel is built for.
const HIGHEST: usize = 8191;

/// A list such as `0-3,7`.
pub(crate) fn numbers(list: &str) -> Result<Vec<usize>, String> {
    let wrong = || format!("{list:?} is not a list of numbers up to {HIGHEST}");
    let one = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse::<usize>().ok().filter(|number| digits && *number <= HIGHEST);
        number.ok_or_else(wrong)
    };
    let mut found = Vec::new();
    for part in list.split(',') {
        let part = part.trim();
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (one(first)?, one(last)?);
        if first > last {
            return Err(wrong());
        }
        found.extend(first..=last);
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn of_process(field: &str, value: Value) -> Result<Schedule, String> {
        let process = json!({"user": {}, "cwd": "/", field: value});
        let process: Process = serde_json::from_value(process).map_err(|error| error.to_string())?;
        Schedule::parse(&process)
    }

    #[test]
    fn a_scheduler_gets_what_its_policy_takes() {
        let parse = |value| of_process("scheduler", value).map(|schedule| schedule.scheduler);
        let nothing = schedule::Scheduler::default();
        assert_eq!(parse(json!({})), Ok(None));
        assert_eq!(
            parse(json!({"policy": "SCHED_BATCH", "nice": 5})),
            Ok(Some(schedule::Scheduler { policy: 3, nice: 5, ..nothing }))
        );
        assert_eq!(
            parse(json!({"policy": "SCHED_RR", "priority": 7, "flags": ["SCHED_FLAG_RESET_ON_FORK"]})),
            Ok(Some(schedule::Scheduler { policy: 2, priority: 7, flags: 1, ..nothing }))
        );
        let deadline = parse(json!({"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2, "period": 3}));
        assert_eq!(
            deadline,
            Ok(Some(schedule::Scheduler { policy: 6, runtime: 1, deadline: 2, period: 3, ..nothing }))
        );
        for bad in [
            json!({"policy": "SCHED_MAGIC"}),
            json!({"policy": "SCHED_FIFO"}),
            json!({"policy": "SCHED_FIFO", "priority": 100}),
            json!({"policy": "SCHED_OTHER", "priority": 1}),
            json!({"policy": "SCHED_OTHER", "priority": -1}),
            json!({"policy": "SCHED_OTHER", "nice": 20}),
            json!({"policy": "SCHED_OTHER", "runtime": 1}),
            json!({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_MAGIC"]}),
        ] {
            assert!(parse(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_io_priority_is_a_class_and_a_level() {
        let parse = |value| of_process("ioPriority", value).map(|schedule| schedule.io);
        assert_eq!(parse(json!({"class": "IOPRIO_CLASS_IDLE"})), Ok(Some((3, 0))));
        assert_eq!(parse(json!({"class": "IOPRIO_CLASS_BE", "priority": 7})), Ok(Some((2, 7))));
        assert_eq!(parse(json!({})), Ok(None));
        assert!(parse(json!({"class": "IOPRIO_CLASS_BE", "priority": 8})).is_err());
        assert!(parse(json!({"class": "IOPRIO_CLASS_X"})).is_err());
    }

    #[test]
    fn lists_are_read_strictly() {
        assert_eq!(numbers("0-2,7, 1"), Ok(vec![0, 1, 2, 7]));
        for bad in ["", "-", "1-", "2-1", "a", "+1", "1,,2", "8192", "0-99999999999999999999"] {
            assert!(numbers(bad).is_err(), "{bad:?}");
        }
        let affinity = of_process("execCPUAffinity", json!({"initial": "0", "final": "0-1"}));
        assert_eq!(
            affinity.map(|schedule| (schedule.initial, schedule.last)),
            Ok((Some(vec![0]), Some(vec![0, 1])))
        );
    }

    #[test]
    fn a_nature_is_a_memory_policy_and_a_domain() {
        let parse = |linux: Value| {
            let linux: Linux = serde_json::from_value(linux).map_err(|error| error.to_string())?;
            Nature::parse(&linux)
        };
        let policy = json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]});
        assert_eq!(
            parse(json!({"memoryPolicy": policy, "personality": {"domain": "LINUX32"}})),
            Ok(Nature { memory: Some((0x8002, vec![0])), domain: Some(8) })
        );
        assert_eq!(parse(json!({"memoryPolicy": {}, "personality": null})), Ok(Nature::default()));
        assert!(parse(json!({"memoryPolicy": {"mode": "MPOL_X"}})).is_err());
        assert!(parse(json!({"personality": {"domain": "LINUX", "flags": ["X"]}})).is_err());
        assert!(parse(json!({"personality": {"domain": "BSD"}})).is_err());
    }
}
