//! From `linux.resources` to what is written into which file of a control group (OCI runtime-spec 1.3,
//! config-linux.md, "Control groups"). Nothing is written here.
//!
//! Writers of configurations leave values in that mean nothing: zeros, empty texts and lists. They need no
//! controller, which the machine may not have.

use super::trees::Version;
use crate::spec::{LinuxBlockIo, LinuxCpu, LinuxMemory, Resources};
use std::fmt::Display;

/// One thing to do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// The file must be there.
    Set(Setting),
    /// The kernel may have been built without this file.
    SetWherePresent(Setting),
    /// The first of the two that the kernel has.
    SetOneOf(Setting, Setting),
    /// The kernel holds each against what is in force of the other: where it refuses one order, the other
    /// is right.
    SetTogether(Setting, Setting),
}

/// A value for a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) controller: String,
    pub(crate) file: String,
    pub(crate) value: String,
}

/// What is true of the group that the values are for.
pub(crate) trait Group {
    /// The interface through which the machine offers a controller, if it does.
    fn version(&self, controller: &str) -> Option<Version>;

    /// What a file of the group says now; `None` when it is not there yet.
    fn read(&self, controller: &str, file: &str) -> Option<String>;
}

/// What has to be done for these limits. The answer to limits that this machine cannot set is why not.
pub(crate) fn plan(wanted: &Resources, group: &impl Group) -> Result<Vec<Step>, String> {
    let mut plan = Plan { group, steps: Vec::new() };
    if let Some(cpu) = &wanted.cpu {
        plan.cpuset(cpu)?;
        plan.cpu(cpu)?;
    }
    wanted.memory.as_ref().map_or(Ok(()), |memory| plan.memory(memory))?;
    plan.pids(wanted)?;
    wanted.block_io.as_ref().map_or(Ok(()), |io| plan.block_io(io))?;
    plan.hugetlb(wanted)?;
    plan.network(wanted)?;
    plan.rdma(wanted)?;
    plan.unified(wanted)?;
    Ok(plan.steps)
}

/// A plan in the making.
struct Plan<'a, G> {
    group: &'a G,
    steps: Vec<Step>,
}

impl<G: Group> Plan<'_, G> {
    /// The interface of a controller that a property needs.
    fn version(&self, controller: &str, property: &str) -> Result<Version, String> {
        self.group
            .version(controller)
            .ok_or_else(|| format!("linux.resources.{property}: there is no {controller} controller here"))
    }

    fn set(&mut self, controller: &str, file: &str, value: impl Display) {
        self.steps.push(Step::Set(setting(controller, file, value)));
    }

    /// First of all: a process cannot come into a group of version 1 that has none of these.
    fn cpuset(&mut self, cpu: &LinuxCpu) -> Result<(), String> {
        for (property, list) in [("cpus", cpu.cpus()), ("mems", cpu.mems())] {
            if let Some(list) = list.as_ref().filter(|list| !list.is_empty()) {
                self.version("cpuset", &format!("cpu.{property}"))?;
                self.set("cpuset", &format!("cpuset.{property}"), list);
            }
        }
        Ok(())
    }

    fn cpu(&mut self, cpu: &LinuxCpu) -> Result<(), String> {
        let (shares, idle) = (meant(cpu.shares()), cpu.idle());
        let (quota, period, burst) = (meant(cpu.quota()), meant(cpu.period()), meant(cpu.burst()));
        let (rt_runtime, rt_period) = (meant(cpu.realtime_runtime()), meant(cpu.realtime_period()));
        if shares.or(period).or(burst).or(rt_period).is_none()
            && quota.or(rt_runtime).or(meant(idle)).is_none()
        {
            return Ok(());
        }
        match self.version("cpu", "cpu")? {
            Version::One => {
                if let (Some(runtime), Some(period)) = (rt_runtime, rt_period) {
                    let period = setting("cpu", "cpu.rt_period_us", period);
                    self.steps.push(Step::SetTogether(period, setting("cpu", "cpu.rt_runtime_us", runtime)));
                } else {
                    rt_period.into_iter().for_each(|value| self.set("cpu", "cpu.rt_period_us", value));
                    rt_runtime.into_iter().for_each(|value| self.set("cpu", "cpu.rt_runtime_us", value));
                }
                shares.into_iter().for_each(|shares| self.set("cpu", "cpu.shares", shares));
                match (period, quota) {
                    (Some(period), Some(quota)) => {
                        let period = setting("cpu", "cpu.cfs_period_us", period);
                        let quota = setting("cpu", "cpu.cfs_quota_us", quota);
                        self.steps.push(Step::SetTogether(period, quota));
                    }
                    _ => {
                        period.into_iter().for_each(|value| self.set("cpu", "cpu.cfs_period_us", value));
                        quota.into_iter().for_each(|value| self.set("cpu", "cpu.cfs_quota_us", value));
                    }
                }
                burst.into_iter().for_each(|burst| self.set("cpu", "cpu.cfs_burst_us", burst));
            }
            Version::Two => {
                if rt_runtime.is_some() || rt_period.is_some() {
                    return Err(absent("cpu.realtimeRuntime"));
                }
                shares.into_iter().for_each(|shares| self.set("cpu", "cpu.weight", weight_of(shares)));
                let max = self.cpu_max(quota, period).map(|max| setting("cpu", "cpu.max", max));
                let burst = burst.map(|burst| setting("cpu", "cpu.max.burst", burst));
                self.steps.extend(match (max, burst) {
                    (Some(max), Some(burst)) => Some(Step::SetTogether(max, burst)),
                    (max, burst) => max.or(burst).map(Step::Set),
                });
            }
        }
        // The zero is a word of its own: not idle any more.
        if let Some(idle) = idle {
            let idle = setting("cpu", "cpu.idle", idle);
            self.steps.push(if idle.value == "0" { Step::SetWherePresent(idle) } else { Step::Set(idle) });
        }
        Ok(())
    }

    /// The two numbers of `cpu.max`. A quota alone leaves the period as it is; a period alone needs the
    /// quota that is in force to stand before it.
    fn cpu_max(&self, quota: Option<i64>, period: Option<u64>) -> Option<String> {
        let quota = quota.map(|quota| if quota > 0 { quota.to_string() } else { "max".to_owned() });
        let in_force = || {
            let now = self.group.read("cpu", "cpu.max").unwrap_or_default();
            now.split_whitespace().next().unwrap_or("max").to_owned()
        };
        match (quota, period) {
            (quota, Some(period)) => Some(format!("{} {period}", quota.unwrap_or_else(in_force))),
            (quota, None) => quota,
        }
    }

    fn memory(&mut self, memory: &LinuxMemory) -> Result<(), String> {
        let (limit, swap) = (meant(memory.limit()), meant(memory.swap()));
        let reservation = meant(memory.reservation());
        let swappiness = memory.swappiness();
        let no_oom_killer = memory.disable_oom_killer().unwrap_or(false);
        if limit.or(swap).or(reservation).is_none() && swappiness.is_none() && !no_oom_killer {
            return Ok(());
        }
        let version = self.version("memory", "memory")?;
        if memory.check_before_update().unwrap_or(false) {
            self.check_usage(version, limit)?;
        }
        match version {
            Version::One => {
                const BOTH: &str = "memory.memsw.limit_in_bytes";
                // A limit must not be above that of both; without one, there is none of both either.
                let none_of_both = || self.group.read("memory", BOTH).map(|_| -1);
                let swap = swap.or_else(|| limit.filter(|limit| *limit == -1).and_then(|_| none_of_both()));
                let limit = limit.map(|limit| setting("memory", "memory.limit_in_bytes", limit));
                let swap = swap.map(|swap| setting("memory", BOTH, swap));
                self.steps.extend(match (limit, swap) {
                    (Some(limit), Some(swap)) => Some(Step::SetTogether(limit, swap)),
                    (limit, swap) => limit.or(swap).map(Step::Set),
                });
                let soft = "memory.soft_limit_in_bytes";
                reservation.into_iter().for_each(|bytes| self.set("memory", soft, bytes));
                swappiness.into_iter().for_each(|value| self.set("memory", "memory.swappiness", value));
                if no_oom_killer {
                    self.set("memory", "memory.oom_control", 1);
                }
            }
            Version::Two => {
                if swappiness.is_some() {
                    return Err(absent("memory.swappiness"));
                }
                if no_oom_killer {
                    return Err(absent("memory.disableOOMKiller"));
                }
                self.steps.extend(swap_step(limit, swap)?);
                limit.into_iter().for_each(|bytes| self.set("memory", "memory.max", or_max(bytes)));
                reservation.into_iter().for_each(|bytes| self.set("memory", "memory.low", or_max(bytes)));
            }
        }
        Ok(())
    }

    /// Version 2 kills to get below a limit; version 1 refuses such a limit by itself.
    fn check_usage(&self, version: Version, limit: Option<i64>) -> Result<(), String> {
        let file = match version {
            Version::One => "memory.usage_in_bytes",
            Version::Two => "memory.current",
        };
        let used = self.group.read("memory", file).and_then(|text| text.trim().parse::<i64>().ok());
        match (limit, used) {
            (Some(limit), Some(used)) if limit > 0 && limit < used => {
                Err(format!("linux.resources.memory.limit: {limit} is below the {used} bytes in use"))
            }
            _ => Ok(()),
        }
    }

    fn pids(&mut self, wanted: &Resources) -> Result<(), String> {
        let Some(limit) = wanted.pids.and_then(|pids| pids.limit) else { return Ok(()) };
        self.version("pids", "pids")?;
        self.set("pids", "pids.max", or_max(limit));
        Ok(())
    }

    fn block_io(&mut self, io: &LinuxBlockIo) -> Result<(), String> {
        let (weight, leaf) = (meant(io.weight()), meant(io.leaf_weight()));
        let weights = io.weight_device().iter().flatten().collect::<Vec<_>>();
        let throttles = [
            ("read_bps", "rbps", io.throttle_read_bps_device()),
            ("write_bps", "wbps", io.throttle_write_bps_device()),
            ("read_iops", "riops", io.throttle_read_iops_device()),
            ("write_iops", "wiops", io.throttle_write_iops_device()),
        ];
        let throttled = throttles.iter().any(|(_, _, devices)| devices.iter().flatten().next().is_some());
        if weight.or(leaf).is_none() && weights.is_empty() && !throttled {
            return Ok(());
        }
        // The controller has another name in version 2.
        match self.group.version("blkio") {
            Some(_) => {
                let one_of = |plain: &str, bfq: &str, value: String| {
                    Step::SetOneOf(setting("blkio", bfq, &value), setting("blkio", plain, &value))
                };
                self.steps.extend(
                    weight.map(|value| one_of("blkio.weight", "blkio.bfq.weight", value.to_string())),
                );
                leaf.into_iter().for_each(|value| self.set("blkio", "blkio.leaf_weight", value));
                for device in weights {
                    let at = format!("{}:{}", device.major(), device.minor());
                    let value = device.weight().map(|weight| format!("{at} {weight}"));
                    let names = ("blkio.weight_device", "blkio.bfq.weight_device");
                    self.steps.extend(value.map(|value| one_of(names.0, names.1, value)));
                    if let Some(leaf) = device.leaf_weight() {
                        self.set("blkio", "blkio.leaf_weight_device", format!("{at} {leaf}"));
                    }
                }
                for (file, _, devices) in throttles {
                    for device in devices.iter().flatten() {
                        let value = format!("{}:{} {}", device.major(), device.minor(), device.rate());
                        self.set("blkio", &format!("blkio.throttle.{file}_device"), value);
                    }
                }
            }
            None => {
                self.version("io", "blockIO")?;
                if leaf.is_some() || weights.iter().any(|device| device.leaf_weight().is_some()) {
                    return Err(absent("blockIO.leafWeight"));
                }
                self.steps.extend(weight.map(|weight| {
                    let plain = setting("io", "io.weight", format!("default {}", io_weight_of(weight)));
                    Step::SetOneOf(setting("io", "io.bfq.weight", weight), plain)
                }));
                for device in weights {
                    let at = format!("{}:{}", device.major(), device.minor());
                    self.steps.extend(device.weight().map(|weight| {
                        let plain = setting("io", "io.weight", format!("{at} {}", io_weight_of(weight)));
                        Step::SetOneOf(setting("io", "io.bfq.weight", format!("{at} {weight}")), plain)
                    }));
                }
                for (_, key, devices) in throttles {
                    for device in devices.iter().flatten() {
                        // Zero takes a limit away in version 1, and is refused here.
                        let rate =
                            if device.rate() == 0 { "max".to_owned() } else { device.rate().to_string() };
                        self.set(
                            "io",
                            "io.max",
                            format!("{}:{} {key}={rate}", device.major(), device.minor()),
                        );
                    }
                }
            }
        }
        Ok(())
    }

    fn hugetlb(&mut self, wanted: &Resources) -> Result<(), String> {
        for page in wanted.hugepage_limits.iter().flatten() {
            let (used, reserved) = match self.version("hugetlb", "hugepageLimits")? {
                Version::One => ("limit_in_bytes", "rsvd.limit_in_bytes"),
                Version::Two => ("max", "rsvd.max"),
            };
            let size = page.page_size();
            if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                return Err(format!("linux.resources.hugepageLimits: {size:?} is not a page size"));
            }
            self.set("hugetlb", &format!("hugetlb.{size}.{used}"), page.limit());
            let reserved = setting("hugetlb", &format!("hugetlb.{size}.{reserved}"), page.limit());
            self.steps.push(Step::SetWherePresent(reserved));
        }
        Ok(())
    }

    fn network(&mut self, wanted: &Resources) -> Result<(), String> {
        let Some(network) = &wanted.network else { return Ok(()) };
        if let Some(class) = meant(network.class_id()) {
            self.version("net_cls", "network.classID")?;
            self.set("net_cls", "net_cls.classid", class);
        }
        for priority in network.priorities().iter().flatten() {
            self.version("net_prio", "network.priorities")?;
            self.set(
                "net_prio",
                "net_prio.ifpriomap",
                format!("{} {}", priority.name(), priority.priority()),
            );
        }
        Ok(())
    }

    fn rdma(&mut self, wanted: &Resources) -> Result<(), String> {
        for (device, limit) in wanted.rdma.iter().flatten() {
            self.version("rdma", "rdma")?;
            let handles = limit.hca_handles().map(|count| format!(" hca_handle={count}")).unwrap_or_default();
            let objects = limit.hca_objects().map(|count| format!(" hca_object={count}")).unwrap_or_default();
            self.set("rdma", "rdma.max", format!("{device}{handles}{objects}"));
        }
        Ok(())
    }

    /// Files of version 2 by their names; they win over what the other properties say.
    fn unified(&mut self, wanted: &Resources) -> Result<(), String> {
        let mut files: Vec<_> = wanted.unified.iter().flatten().collect();
        files.sort();
        for (file, value) in files {
            let controller = file.split_once('.').map(|(controller, _)| controller);
            let Some(controller) = controller.filter(|_| !file.contains('/')) else {
                return Err(format!("linux.resources.unified: {file:?} is not the name of a file"));
            };
            if self.version(controller, "unified")? == Version::One {
                return Err(format!(
                    "linux.resources.unified: {file}: {controller} is in a version 1 tree here"
                ));
            }
            // A file of many keys takes one at a time.
            for line in value.lines().filter(|line| !line.trim().is_empty()) {
                self.set(controller, file, line);
            }
        }
        Ok(())
    }
}

fn setting(controller: &str, file: &str, value: impl Display) -> Setting {
    Setting { controller: controller.to_owned(), file: file.to_owned(), value: value.to_string() }
}

/// Zero is what writers leave in place of nothing.
fn meant<T: Default + PartialEq>(value: Option<T>) -> Option<T> {
    value.filter(|value| *value != T::default())
}

/// Less than nothing is as much as there is.
fn or_max(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

fn absent(property: &str) -> String {
    format!("linux.resources.{property}: cgroup version 2 has no such setting")
}

/// The configuration counts memory and swap together, as version 1 does; version 2 counts swap alone.
fn swap_step(limit: Option<i64>, both: Option<i64>) -> Result<Option<Step>, String> {
    let swap = match (limit, both) {
        // Without a limit of memory there is none of both.
        (Some(limit), None) if limit < 0 => "max".to_owned(),
        (_, None) => return Ok(None),
        (_, Some(both)) if both < 0 => "max".to_owned(),
        (Some(limit), Some(both)) if limit > 0 => match both.checked_sub(limit) {
            Some(swap) if swap >= 0 => swap.to_string(),
            _ => {
                return Err(format!(
                    "linux.resources.memory.swap: {both} is below the limit of memory {limit}"
                ));
            }
        },
        (_, Some(_)) => {
            return Err("linux.resources.memory.swap needs linux.resources.memory.limit".to_owned());
        }
    };
    let setting = setting("memory", "memory.swap.max", &swap);
    // A kernel without swap obeys both of these by itself.
    Ok(Some(if swap == "max" || swap == "0" { Step::SetWherePresent(setting) } else { Step::Set(setting) }))
}

/// Shares of version 1 (2 to 262144, 1024 without a wish) as a weight of version 2 (1 to 10000, 100
/// without a wish). The curve goes through all three, which a straight line would not:
/// `10 ^ ((log₂² s + 125 log₂ s) / 612 - 7/34)`, the one that other runtimes use since 2025.
pub(crate) fn weight_of(shares: u64) -> u64 {
    const MOST_SHARES: u32 = 262_144;
    const MOST_WEIGHT: u32 = 10_000;
    let log = f64::from(u32::try_from(shares).unwrap_or(MOST_SHARES).clamp(2, MOST_SHARES)).log2();
    let weight = 10f64.powf((log * log + 125.0 * log) / 612.0 - 7.0 / 34.0);
    // Rounded up, but not what is a whole number save for its last bits.
    let is_enough = |whole: &u32| f64::from(*whole) >= weight - 1e-6;
    (1..MOST_WEIGHT).find(is_enough).unwrap_or(MOST_WEIGHT).into()
}

/// A weight of version 1 (10 to 1000) on the scale of version 2 (1 to 10000).
fn io_weight_of(weight: u16) -> u64 {
    1 + u64::from(weight.clamp(10, 1000) - 10) * 9999 / 990
}

#[cfg(test)]
mod tests;
