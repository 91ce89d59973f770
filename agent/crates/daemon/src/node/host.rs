//! What the kernel says about the machine and about our own processes.

use edgelet_api::node::{Host, Usage};
use edgelet_sys::fsinfo::FsInfo;
use std::fs::{self, File};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Looks at the machine; remembers the last look, because what was used is a difference.
#[derive(Default)]
pub struct Probe {
    last: Mutex<Option<Sample>>,
}

struct Sample {
    at: Instant,
    agent_ticks: u64,
    busy_ticks: u64,
    all_ticks: u64,
}

/// Clock ticks in a second: fixed by the kernel's interface to programs (`USER_HZ`) on all our
/// architectures.
const TICKS_PER_SECOND: f64 = 100.0;

impl Probe {
    /// The machine and this process as of now. What cannot be read is absent.
    pub fn look(&self, data: &Path) -> (Host, Usage) {
        let sample = sample();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (busy, cores) = match (&*last, &sample) {
            (Some(old), Some(new)) => (busy_percent(old, new), agent_cores(old, new)),
            _ => (None, None),
        };
        *last = sample;
        let disk = File::open(data).and_then(FsInfo::of).ok();
        let memory = Memory::read();
        let host = Host {
            interfaces: interfaces(),
            cpus: std::thread::available_parallelism().ok().map(|count| count.get() as u64),
            cpu_busy_percent: busy,
            memory_total_bytes: memory.total,
            memory_available_bytes: memory.available,
            disk_total_bytes: disk.as_ref().map(|disk| disk.total_bytes),
            disk_available_bytes: disk.as_ref().map(|disk| disk.available_bytes),
            os: os_release("ID"),
            os_version: os_release("VERSION_ID"),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").ok().map(|text| text.trim().to_owned()),
        };
        (host, Usage { cpu_cores: cores, memory_bytes: pss_bytes("self") })
    }
}

/// Proportional set size of a process.
pub fn pss_bytes(pid: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    kib(&text, "Pss:")
}

fn sample() -> Option<Sample> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name in field 2 may hold anything; the last parenthesis ends it. Fields 14 and 15 are user and
    // system time.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let agent_ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let all = fs::read_to_string("/proc/stat").ok()?;
    let ticks: Vec<u64> = all
        .lines()
        .next()?
        .split_whitespace()
        .skip(1)
        .take(8)
        .filter_map(|field| field.parse().ok())
        .collect();
    let all_ticks = ticks.iter().sum();
    // Idle, and waiting for storage.
    let idle: u64 = ticks.get(3)? + ticks.get(4)?;
    Some(Sample { at: Instant::now(), agent_ticks, busy_ticks: all_ticks - idle, all_ticks })
}

fn busy_percent(old: &Sample, new: &Sample) -> Option<f64> {
    let all = new.all_ticks.checked_sub(old.all_ticks).filter(|ticks| *ticks > 0)?;
    let busy = new.busy_ticks.checked_sub(old.busy_ticks)?;
    Some(as_f64(busy) / as_f64(all) * 100.0)
}

fn agent_cores(old: &Sample, new: &Sample) -> Option<f64> {
    let seconds = new.at.duration_since(old.at).as_secs_f64();
    let used = new.agent_ticks.checked_sub(old.agent_ticks)?;
    (seconds >= 0.1).then(|| as_f64(used) / TICKS_PER_SECOND / seconds)
}

#[expect(clippy::cast_precision_loss, reason = "shown with two decimals")]
fn as_f64(ticks: u64) -> f64 {
    ticks as f64
}

struct Memory {
    total: Option<u64>,
    available: Option<u64>,
}

impl Memory {
    fn read() -> Self {
        let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self { total: kib(&text, "MemTotal:"), available: kib(&text, "MemAvailable:") }
    }
}

fn kib(text: &str, key: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

fn interfaces() -> Vec<String> {
    let names = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let mut up: Vec<String> = names
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name != "lo")
        .filter(|name| {
            let state = fs::read_to_string(format!("/sys/class/net/{name}/operstate")).unwrap_or_default();
            state.trim() != "down"
        })
        .collect();
    up.sort();
    up
}

fn os_release(key: &str) -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    Some(value.trim_matches('"').to_owned())
}
