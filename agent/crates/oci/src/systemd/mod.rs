//! Groups by way of the service manager, where a machine has one that makes all groups: it must know of ours, or it
//! takes them away (systemd, "Control Group APIs and Delegation").
//!
//! A container is a scope of its own, below which everything is delegated to us. What the service manager writes into
//! the scope's own files it is told as properties, because it writes them again whenever it looks at its units.

mod connection;
pub(crate) mod message;

use crate::Id;
use crate::error::SpawnError;
use crate::spec::Resources;
use connection::Connection;
use message::{Call, Message, Value, Writer};
use std::io;
use std::path::{Path, PathBuf};

/// The scope of a container, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scope {
    slice: String,
    unit: String,
}

impl Scope {
    /// From `linux.cgroupsPath` in the form `SLICE:PREFIX:NAME` that engines use with a service manager; each part
    /// may be empty.
    pub(crate) fn parse(wanted: Option<&Path>, id: &Id) -> Result<Self, String> {
        let text = wanted.and_then(Path::to_str).unwrap_or_default();
        let bad = || format!("linux.cgroupsPath {text:?} must be SLICE:PREFIX:NAME");
        let mut parts = if text.is_empty() { ":edgelet:" } else { text }.split(':');
        let (Some(slice), Some(prefix), Some(name), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(bad());
        };
        let slice = if slice.is_empty() { "system.slice" } else { slice };
        let name = if name.is_empty() { id.as_str() } else { name };
        let unit = if prefix.is_empty() { format!("{name}.scope") } else { format!("{prefix}-{name}.scope") };
        match is_unit(&unit) && is_unit(slice) && slice.ends_with(".slice") {
            true => Ok(Self { slice: slice.to_owned(), unit }),
            false => Err(bad()),
        }
    }

    /// The group's path below the root of each tree: `a-b.slice` is inside `a.slice`.
    pub(crate) fn path(&self) -> PathBuf {
        let mut path = PathBuf::from("/");
        let slice = self.slice.trim_end_matches(".slice");
        if slice != "-" {
            for (at, _) in slice.match_indices('-').chain([(slice.len(), "")]) {
                path.push(format!("{}.slice", &slice[..at]));
            }
        }
        path.join(&self.unit)
    }

    /// The scope of a group that was made earlier.
    pub(crate) fn of_path(path: &Path) -> Option<Self> {
        let unit = path.file_name()?.to_str()?.to_owned();
        let slice = path.parent()?.file_name().map_or(Some("-.slice"), |name| name.to_str())?.to_owned();
        unit.ends_with(".scope").then_some(Self { slice, unit })
    }

    /// Makes the scope with a process in it, and waits until it is there.
    pub(crate) fn start(
        &self,
        pid: i32,
        limits: Option<&Resources>,
        is_unified: bool,
    ) -> Result<(), SpawnError> {
        let mut properties = vec![
            ("Description", Value::Text(format!("container {}", self.unit))),
            ("Slice", Value::Text(self.slice.clone())),
            ("Delegate", Value::Flag(true)),
            ("PIDs", Value::Numbers(vec![pid.unsigned_abs()])),
            // It does not wait for the machine to be up, and is not stopped early when it goes down.
            ("DefaultDependencies", Value::Flag(false)),
            // Nothing is remembered of one that ended badly.
            ("CollectMode", Value::Text("inactive-or-failed".to_owned())),
            ("CPUAccounting", Value::Flag(true)),
            ("IOAccounting", Value::Flag(true)),
            ("MemoryAccounting", Value::Flag(true)),
            ("TasksAccounting", Value::Flag(true)),
        ];
        properties.extend(limits.map(|limits| properties_of(limits, is_unified)).unwrap_or_default());
        let mut body = Writer::default();
        body.text(&self.unit);
        body.text("replace");
        body.properties(&properties);
        body.nothing();
        self.job("StartTransientUnit", "ssa(sv)a(sa(sv))", &body)
            .map_err(|error| self.failed("start", &error))
    }

    /// Tells the service manager about limits that were changed.
    pub(crate) fn change(&self, limits: &Resources, is_unified: bool) -> Result<(), SpawnError> {
        let properties = properties_of(limits, is_unified);
        if properties.is_empty() {
            return Ok(());
        }
        let mut body = Writer::default();
        body.text(&self.unit);
        // Until the machine is started again.
        body.flag(true);
        body.properties(&properties);
        let told = connect()
            .and_then(|mut manager| manager.call(&call("SetUnitProperties", "sba(sv)"), &body.bytes));
        told.map(drop).map_err(|error| self.failed("change", &error))
    }

    /// Has the scope ended. One that ended by itself is gone already.
    pub(crate) fn stop(&self) -> Result<(), SpawnError> {
        let mut body = Writer::default();
        body.text(&self.unit);
        body.text("replace");
        match self.job("StopUnit", "ss", &body) {
            Err(error) if error.to_string().contains("NoSuchUnit") => Ok(()),
            // Without a service manager there is no scope.
            Err(error) if is_absent(&error) => Ok(()),
            other => other.map_err(|error| self.failed("stop", &error)),
        }
    }

    /// Asks for a job, and waits for its end.
    fn job(&self, member: &str, signature: &str, body: &Writer) -> io::Result<()> {
        let mut manager = connect()?;
        let answer = manager.call(&call(member, signature), &body.bytes)?;
        let job = answer.text(0).ok_or_else(|| io::Error::other("an answer without a job"))?.to_owned();
        // Number, job, unit, result.
        let is_it = |signal: &Message| signal.member == "JobRemoved" && signal.text(1) == Some(job.as_str());
        match manager.signal(is_it)?.text(3) {
            Some("done") => Ok(()),
            other => Err(io::Error::other(format!("the job ended with {:?}", other.unwrap_or_default()))),
        }
    }

    fn failed(&self, verb: &str, error: &io::Error) -> SpawnError {
        SpawnError::Cgroup(format!("{verb} {} by the service manager: {error}", self.unit))
    }
}

/// What a unit may be called (systemd.unit(5)).
fn is_unit(name: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    name.len() < 256 && !name.starts_with('.') && name.bytes().all(is_good)
}

fn call<'a>(member: &'a str, signature: &'a str) -> Call<'a> {
    Call {
        destination: "org.freedesktop.systemd1",
        path: "/org/freedesktop/systemd1",
        interface: "org.freedesktop.systemd1.Manager",
        member,
        signature,
    }
}

/// Root asks the one of the machine, everybody else the own.
fn connect() -> io::Result<Connection> {
    let uid = nix::unistd::geteuid();
    let run = match uid.is_root() {
        true => PathBuf::from("/run"),
        false => std::env::var_os("XDG_RUNTIME_DIR")
            .map(PathBuf::from)
            .ok_or_else(|| io::Error::other("XDG_RUNTIME_DIR is not set"))?,
    };
    let path = run.join("systemd/private");
    Connection::open(&path, uid.as_raw()).map_err(|error| match is_absent(&error) {
        // The kernel's own words would be taken for those about a program that is not there.
        true => {
            io::Error::new(error.kind(), format!("no systemd runs here, it would be at {}", path.display()))
        }
        false => error,
    })
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// Limits as properties of a scope (systemd.resource-control(5)). What has none is in files that the service manager
/// leaves alone.
fn properties_of(limits: &Resources, is_unified: bool) -> Vec<(&'static str, Value)> {
    let mut properties = Vec::new();
    let bytes = |limit: i64| u64::try_from(limit).unwrap_or(u64::MAX);
    let mut add =
        |name, number: Option<u64>| properties.extend(number.map(|number| (name, Value::Number(number))));
    let memory = limits.memory.as_ref();
    let limit = memory.and_then(|memory| memory.limit()).filter(|limit| *limit != 0);
    let both = memory.and_then(|memory| memory.swap()).filter(|limit| *limit != 0);
    let low = memory.and_then(|memory| memory.reservation()).filter(|limit| *limit != 0);
    if is_unified {
        add("MemoryMax", limit.map(bytes));
        add("MemoryLow", low.map(bytes));
        add(
            "MemorySwapMax",
            match (limit, both) {
                (_, Some(both)) if both < 0 => Some(u64::MAX),
                (Some(limit), Some(both)) => {
                    both.checked_sub(limit).and_then(|swap| u64::try_from(swap).ok())
                }
                _ => None,
            },
        );
    } else {
        add("MemoryLimit", limit.map(bytes));
    }
    // It takes no limit of none; the group does.
    let pids = limits.pids.and_then(|pids| pids.limit).filter(|limit| *limit != 0);
    add("TasksMax", pids.map(bytes));
    let cpu = limits.cpu.as_ref();
    let shares = cpu.and_then(|cpu| cpu.shares()).filter(|shares| *shares != 0);
    match is_unified {
        true => add("CPUWeight", shares.map(crate::cgroup::weight_of)),
        false => add("CPUShares", shares),
    }
    let quota = cpu.and_then(|cpu| cpu.quota()).filter(|quota| *quota != 0);
    let period = cpu.and_then(|cpu| cpu.period()).filter(|period| *period != 0);
    add("CPUQuotaPerSecUSec", quota.map(|quota| per_second(quota, period.unwrap_or(DEFAULT_PERIOD_US))));
    add("CPUQuotaPeriodUSec", period);
    if is_unified {
        let sets = [
            ("AllowedCPUs", cpu.and_then(|cpu| cpu.cpus().as_deref())),
            ("AllowedMemoryNodes", cpu.and_then(|cpu| cpu.mems().as_deref())),
        ];
        for (name, list) in sets {
            let numbers =
                list.filter(|list| !list.is_empty()).and_then(|list| crate::schedule::numbers(list).ok());
            properties.extend(numbers.map(|numbers| (name, Value::Bytes(mask(&numbers)))));
        }
    }
    properties
}

/// The kernel's own, in microseconds.
const DEFAULT_PERIOD_US: u64 = 100_000;

/// Microseconds of processor time in each second; rounded up to ten milliseconds, as the service manager counts
/// them.
fn per_second(quota: i64, period: u64) -> u64 {
    const STEP_US: u64 = 10_000;
    match u64::try_from(quota) {
        Ok(quota) => {
            let used = quota.saturating_mul(1_000_000) / period.max(1);
            used.checked_next_multiple_of(STEP_US).unwrap_or(u64::MAX)
        }
        Err(_) => u64::MAX,
    }
}

/// A bit for each number, the lowest first.
fn mask(numbers: &[usize]) -> Vec<u8> {
    let mut mask = vec![0; numbers.iter().max().map_or(0, |last| last / 8 + 1)];
    for number in numbers {
        mask[number / 8] |= 1 << (number % 8);
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn scope(path: &str) -> Result<Scope, String> {
        Scope::parse(Some(Path::new(path)), &Id::parse("box").expect("id"))
    }

    #[test]
    fn a_path_names_a_slice_and_a_scope() {
        let path = |text: &str| scope(text).map(|scope| scope.path().to_string_lossy().into_owned());
        assert_eq!(path("").as_deref(), Ok("/system.slice/edgelet-box.scope"));
        assert_eq!(path("machine.slice:libpod:1a").as_deref(), Ok("/machine.slice/libpod-1a.scope"));
        assert_eq!(path("a-b-c.slice::x").as_deref(), Ok("/a.slice/a-b.slice/a-b-c.slice/x.scope"));
        assert_eq!(path("-.slice:p:").as_deref(), Ok("/p-box.scope"));
        for bad in ["/a/b", "a", "a:b", "a.slice:b:c:d", "a:b:c", "a.slice:b:../c", "../a.slice:b:c"] {
            assert!(scope(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_leads_back_to_its_scope() {
        for text in ["", "machine.slice:libpod:1a", "a-b-c.slice::x", "-.slice:p:"] {
            let scope = scope(text).expect("a scope");
            assert_eq!(Scope::of_path(&scope.path()), Some(scope), "{text}");
        }
        assert_eq!(Scope::of_path(Path::new("/edgelet/x")), None);
    }

    #[test]
    fn limits_are_told_in_the_units_of_properties() {
        let limits: Resources = serde_json::from_value(json!({
            "memory": {"limit": 100, "swap": 150, "reservation": -1}, "pids": {"limit": 5},
            "cpu": {"shares": 1024, "quota": 5_000, "period": 20_000, "cpus": "0,9"},
        }))
        .expect("limits");
        let number = |value| Value::Number(value);
        assert_eq!(
            properties_of(&limits, true),
            [
                ("MemoryMax", number(100)),
                ("MemoryLow", number(u64::MAX)),
                ("MemorySwapMax", number(50)),
                ("TasksMax", number(5)),
                ("CPUWeight", number(100)),
                ("CPUQuotaPerSecUSec", number(250_000)),
                ("CPUQuotaPeriodUSec", number(20_000)),
                ("AllowedCPUs", Value::Bytes(vec![1, 2])),
            ]
        );
        assert_eq!(properties_of(&limits, false)[0], ("MemoryLimit", number(100)));
        assert_eq!((per_second(-1, 1), per_second(1, 100_000)), (u64::MAX, 10_000));
        assert_eq!(properties_of(&Resources::default(), true), []);
    }
}
