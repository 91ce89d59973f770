//! What a container has used, from the files of its groups. The shape is the one that other runtimes print for
//! `events --stats`, and that tools read.

use super::Cgroup;
use super::trees::{Tree, Version};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// Everything that the machine counts; what it does not count is zero or absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Statistics {
    /// Time on processors.
    pub cpu: Cpu,
    /// Memory.
    pub memory: Memory,
    /// Processes and threads.
    pub pids: Pids,
    /// Block devices.
    pub blkio: BlockIo,
    /// Huge pages by their size, as `2MB`.
    pub hugetlb: BTreeMap<String, Usage>,
}

/// Time on processors, in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Cpu {
    /// What was used.
    pub usage: CpuUsage,
    /// How a limit held it back.
    pub throttling: Throttling,
    /// How long tasks had to wait for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// Nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CpuUsage {
    /// In all.
    pub total: u64,
    /// By processor; version 1 only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    /// In the kernel.
    pub kernel: u64,
    /// In programs.
    pub user: u64,
}

/// How a limit on processor time held a container back.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throttling {
    /// Periods in which there was something to run.
    pub periods: u64,
    /// Those in which the quota was used up.
    pub throttled_periods: u64,
    /// Nanoseconds of waiting for the next one.
    pub throttled_time: u64,
}

/// Memory, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Memory {
    /// Of files.
    pub cache: u64,
    /// All of it.
    pub usage: Usage,
    /// Swap; on version 1 with memory.
    pub swap: Usage,
    /// `memory.stat` as it is.
    pub raw: BTreeMap<String, u64>,
    /// How long tasks had to wait for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// What is used of something that has a limit.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Usage {
    /// The limit; the largest number when there is none.
    pub limit: u64,
    /// Now.
    pub usage: u64,
    /// At most, so far.
    pub max: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
}

/// Processes and threads.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Pids {
    /// Now.
    pub current: u64,
    /// 0 when there is none.
    pub limit: u64,
}

/// Traffic of block devices.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockIo {
    /// Bytes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<Traffic>,
    /// Operations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<Traffic>,
    /// How long tasks had to wait for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// One kind of traffic of one device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Of the device.
    pub major: u64,
    /// Of the device.
    pub minor: u64,
    /// `Read`, `Write`, or what else the kernel counts.
    pub op: String,
    /// Bytes or operations.
    pub value: u64,
}

/// Pressure stall information (kernel, accounting/psi.rst); version 2 only.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Pressure {
    /// At least one task waited.
    pub some: Stall,
    /// All tasks waited.
    pub full: Stall,
}

/// A share of time, in percent, and a time in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Stall {
    /// Over ten seconds.
    pub avg10: f64,
    /// Over a minute.
    pub avg60: f64,
    /// Over five minutes.
    pub avg300: f64,
    /// In all.
    pub total: u64,
}

impl Cgroup {
    /// Reads what was used so far. A file that is not there counts nothing.
    pub(crate) fn statistics(&self) -> Statistics {
        Statistics {
            cpu: self.cpu(),
            memory: self.memory(),
            pids: self.pids(),
            blkio: self.block_io(),
            hugetlb: self.hugetlb(),
        }
    }

    fn cpu(&self) -> Cpu {
        let Some(group) = self.group("cpu") else { return Cpu::default() };
        let stat = table(&group.text("cpu.stat"));
        let of = |key: &str| stat.get(key).copied().unwrap_or(0);
        let periods = Throttling {
            periods: of("nr_periods"),
            throttled_periods: of("nr_throttled"),
            throttled_time: of("throttled_time") + of("throttled_usec") * 1000,
        };
        let usage = match group.version {
            Version::One => self.group("cpuacct").map_or_else(CpuUsage::default, |group| CpuUsage {
                total: group.number("cpuacct.usage"),
                percpu: numbers(&group.text("cpuacct.usage_percpu")),
                kernel: group.number("cpuacct.usage_sys"),
                user: group.number("cpuacct.usage_user"),
            }),
            Version::Two => CpuUsage {
                total: of("usage_usec") * 1000,
                percpu: Vec::new(),
                kernel: of("system_usec") * 1000,
                user: of("user_usec") * 1000,
            },
        };
        Cpu { usage, throttling: periods, psi: pressure(&group.text("cpu.pressure")) }
    }

    fn memory(&self) -> Memory {
        let Some(group) = self.group("memory") else { return Memory::default() };
        let raw = table(&group.text("memory.stat"));
        let of = |key: &str| raw.get(key).copied().unwrap_or(0);
        match group.version {
            Version::One => {
                let usage = |prefix: &str| Usage {
                    limit: group.number(&format!("{prefix}limit_in_bytes")),
                    usage: group.number(&format!("{prefix}usage_in_bytes")),
                    max: group.number(&format!("{prefix}max_usage_in_bytes")),
                    failcnt: group.number(&format!("{prefix}failcnt")),
                };
                Memory {
                    cache: of("cache"),
                    usage: usage("memory."),
                    swap: usage("memory.memsw."),
                    psi: None,
                    raw,
                }
            }
            Version::Two => {
                let usage = |prefix: &str| Usage {
                    limit: group.number(&format!("{prefix}max")),
                    usage: group.number(&format!("{prefix}current")),
                    max: group.number(&format!("{prefix}peak")),
                    failcnt: *table(&group.text(&format!("{prefix}events"))).get("max").unwrap_or(&0),
                };
                Memory {
                    cache: of("file"),
                    usage: usage("memory."),
                    swap: usage("memory.swap."),
                    psi: pressure(&group.text("memory.pressure")),
                    raw,
                }
            }
        }
    }

    fn pids(&self) -> Pids {
        let Some(group) = self.group("pids") else { return Pids::default() };
        let limit = Some(group.number("pids.max")).filter(|limit| *limit != u64::MAX);
        Pids { current: group.number("pids.current"), limit: limit.unwrap_or(0) }
    }

    fn block_io(&self) -> BlockIo {
        if let Some(group) = self.group("blkio") {
            let traffic = |file: &str| traffic_version_1(&group.text(&format!("blkio.throttle.{file}")));
            return BlockIo {
                io_service_bytes_recursive: traffic("io_service_bytes_recursive"),
                io_serviced_recursive: traffic("io_serviced_recursive"),
                psi: None,
            };
        }
        let Some(group) = self.group("io") else { return BlockIo::default() };
        let stat = group.text("io.stat");
        BlockIo {
            io_service_bytes_recursive: traffic_version_2(&stat, "rbytes", "wbytes"),
            io_serviced_recursive: traffic_version_2(&stat, "rios", "wios"),
            psi: pressure(&group.text("io.pressure")),
        }
    }

    fn hugetlb(&self) -> BTreeMap<String, Usage> {
        let Some(group) = self.group("hugetlb") else { return BTreeMap::new() };
        let (usage, limit) = match group.version {
            Version::One => ("usage_in_bytes", "limit_in_bytes"),
            Version::Two => ("current", "max"),
        };
        let names = fs::read_dir(&group.directory).into_iter().flatten().flatten();
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        let sizes = names.filter_map(|name| {
            let (size, rest) = name.strip_prefix("hugetlb.")?.split_once('.')?;
            (rest == usage).then(|| size.to_owned())
        });
        let read = |size: &str| Usage {
            limit: group.number(&format!("hugetlb.{size}.{limit}")),
            usage: group.number(&format!("hugetlb.{size}.{usage}")),
            max: group.number(&format!("hugetlb.{size}.max_usage_in_bytes")),
            failcnt: group.number(&format!("hugetlb.{size}.failcnt")),
        };
        sizes.map(|size| (size.clone(), read(&size))).collect()
    }

    fn group(&self, controller: &str) -> Option<Group> {
        let tree: &Tree = self.trees.with(controller)?;
        Some(Group { directory: tree.directory(&self.path), version: tree.version() })
    }
}

/// The container's directory in one tree.
struct Group {
    directory: PathBuf,
    version: Version,
}

impl Group {
    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.directory.join(file)).unwrap_or_default()
    }

    /// A lone number; a limit that is none is the largest.
    fn number(&self, file: &str) -> u64 {
        match self.text(file).trim() {
            "max" => u64::MAX,
            text => text.parse().unwrap_or(0),
        }
    }
}

fn numbers(text: &str) -> Vec<u64> {
    text.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

/// Lines of a name and a number.
fn table(text: &str) -> BTreeMap<String, u64> {
    let row = |line: &str| {
        let (name, number) = line.split_once(' ')?;
        Some((name.to_owned(), number.trim().parse().ok()?))
    };
    text.lines().filter_map(row).collect()
}

/// `8:0 Read 4096` in each line, and a total at the end that names no device.
fn traffic_version_1(text: &str) -> Vec<Traffic> {
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = words.next()?.split_once(':')?;
        let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
        Some(Traffic { major, minor, op: words.next()?.to_owned(), value: words.next()?.parse().ok()? })
    };
    text.lines().filter_map(row).collect()
}

/// `8:0 rbytes=4096 wbytes=0 …` in each line.
fn traffic_version_2(text: &str, read: &str, write: &str) -> Vec<Traffic> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(|device| device.split_once(':')) else { continue };
        let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else { continue };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let op = if key == read { "Read" } else { "Write" };
            let value = value.parse().ok().filter(|_| key == read || key == write);
            found.extend(value.map(|value| Traffic { major, minor, op: op.to_owned(), value }));
        }
    }
    found
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same for `full`.
fn pressure(text: &str) -> Option<Pressure> {
    let stall = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let of = |key: &str| {
            let value = line.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
            value.unwrap_or("0")
        };
        let share = |key: &str| of(key).parse().unwrap_or(0.0);
        Some(Stall {
            avg10: share("avg10"),
            avg60: share("avg60"),
            avg300: share("avg300"),
            total: of("total").parse().unwrap_or(0),
        })
    };
    Some(Pressure { some: stall("some ")?, full: stall("full ").unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_is_read_from_both_versions() {
        let one = |op: &str, value| Traffic { major: 8, minor: 16, op: op.to_owned(), value };
        let version_1 = "8:16 Read 4096\n8:16 Write 10\n8:16 Total 4106\nTotal 4106\n";
        assert_eq!(traffic_version_1(version_1), [one("Read", 4096), one("Write", 10), one("Total", 4106)]);
        let version_2 = "8:16 rbytes=4096 wbytes=10 rios=1 wios=2 dbytes=0 dios=0\nnonsense\n";
        assert_eq!(traffic_version_2(version_2, "rbytes", "wbytes"), [one("Read", 4096), one("Write", 10)]);
        assert_eq!(traffic_version_2(version_2, "rios", "wios"), [one("Read", 1), one("Write", 2)]);
    }

    #[test]
    fn pressure_is_read_with_and_without_a_second_line() {
        let text = "some avg10=1.50 avg60=0.10 avg300=0.00 total=77\nfull avg10=0.25 avg60=0.00 avg300=0.00 total=5\n";
        let pressure = super::pressure(text).expect("pressure");
        assert_eq!((pressure.some.avg10, pressure.some.total), (1.5, 77));
        assert_eq!((pressure.full.avg10, pressure.full.total), (0.25, 5));
        let first = super::pressure(text.lines().next().unwrap_or_default()).expect("pressure");
        assert_eq!(first.full, Stall::default());
        assert_eq!(super::pressure(""), None);
    }

    #[test]
    fn a_table_leaves_out_what_is_no_number() {
        let table = table("nr_periods 3\nnonsense\nname text\n");
        assert_eq!(table, BTreeMap::from([("nr_periods".to_owned(), 3)]));
    }
}
