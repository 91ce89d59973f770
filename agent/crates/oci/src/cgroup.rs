//! The container's control groups: one directory per hierarchy of version 1, or one of version 2.
//!
//! `libcgroups` makes them and sets limits. Finding, freezing, killing and removing are done here,
//! because they must also work on what an earlier, interrupted run left.

use crate::Id;
use crate::device_filter;
use crate::error::SpawnError;
use edgelet_sys::process;
use libcgroups::common::{
    self, AnyCgroupManager, CgroupConfig, CgroupManager, CgroupSetup, ControllerOpt, FreezerState,
};
use nix::unistd::Pid;
use oci_spec::runtime::LinuxResources;
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// A container's control groups, by their path below the root of each hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Where the configuration wants it, or `/edgelet/ID`.
    pub(crate) fn new(wanted: Option<&Path>, id: &Id) -> Result<Self, String> {
        let path = match wanted.filter(|path| !path.as_os_str().is_empty()) {
            Some(path) => path.to_owned(),
            None => Path::new("/edgelet").join(id.as_str()),
        };
        let names = path.components().filter(|part| !matches!(part, Component::RootDir));
        match names.clone().count() > 0 && names.clone().all(|part| matches!(part, Component::Normal(_))) {
            true => Ok(Self { path: Path::new("/").join(names.collect::<PathBuf>()) }),
            false => Err(format!("linux.cgroupsPath {path:?} must name a group below the root")),
        }
    }

    /// The path below the root of a hierarchy, with a leading slash.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the groups, puts a process into them and sets limits.
    pub(crate) fn make(&self, pid: i32, limits: Option<&LinuxResources>) -> Result<(), SpawnError> {
        let manager = self.manager()?;
        manager.add_task(Pid::from_raw(pid)).map_err(failed)?;
        limits.map_or(Ok(()), |limits| self.limit(&manager, limits))
    }

    /// Puts a further process into the groups of a container whose first process is `init`. On version 2
    /// the container may have moved its processes into groups of its own, and made its outer group one
    /// that takes none (cgroups(7), "no internal processes"); then the new one joins `init`.
    pub(crate) fn join(&self, pid: i32, init: i32) -> Result<(), SpawnError> {
        match self.make(pid, None) {
            Err(_) if is_unified() && self.follow(pid, init).is_ok() => Ok(()),
            other => other,
        }
    }

    fn follow(&self, pid: i32, init: i32) -> io::Result<()> {
        let text = fs::read_to_string(format!("/proc/{init}/cgroup"))?;
        let group = text.lines().find_map(|line| line.strip_prefix("0::/")).ok_or(io::ErrorKind::NotFound)?;
        let outside = self.path.strip_prefix("/").is_ok_and(|own| !Path::new(group).starts_with(own));
        if outside {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let file = Path::new(common::DEFAULT_CGROUP_ROOT).join(group).join(common::CGROUP_PROCS);
        fs::OpenOptions::new().write(true).open(file)?.write_all(pid.to_string().as_bytes())
    }

    fn limit(&self, manager: &AnyCgroupManager, resources: &LinuxResources) -> Result<(), SpawnError> {
        let memory = resources.memory().as_ref();
        let options = ControllerOpt {
            resources,
            disable_oom_killer: memory.and_then(|memory| memory.disable_oom_killer()).unwrap_or(false),
            oom_score_adj: None,
            freezer_state: None,
        };
        manager.apply(&options).map_err(failed)?;
        match (manager, resources.devices()) {
            (AnyCgroupManager::V2(_), Some(rules)) if !rules.is_empty() => {
                let directory = self.directories().map_err(failed)?.into_iter().next();
                let directory = directory.ok_or_else(|| failed("no cgroup2 directory"))?;
                device_filter::install(&directory, rules)
                    .map_err(|error| failed(format!("device rules: {error}")))
            }
            _ => Ok(()),
        }
    }

    /// Suspends or resumes every process.
    pub(crate) fn freeze(&self, frozen: bool) -> Result<(), SpawnError> {
        let state = if frozen { FreezerState::Frozen } else { FreezerState::Thawed };
        self.manager()?.freeze(state).map_err(failed)
    }

    /// Whether every process is suspended.
    pub(crate) fn is_frozen(&self) -> bool {
        self.directories().is_ok_and(|directories| is_frozen(&directories))
    }

    /// The host process ids of everything inside, also in groups that the container made itself.
    pub(crate) fn processes(&self) -> io::Result<Vec<i32>> {
        Ok(processes(&self.directories()?)?.into_iter().collect())
    }

    /// Whether the kernel killed a process inside for want of memory: `oom_kill` of `memory.oom_control`
    /// (version 1, Linux 4.13) or `memory.events` (version 2).
    pub(crate) fn oom_killed(&self) -> io::Result<bool> {
        let counted = |directory: &PathBuf| {
            let files = ["memory.oom_control", "memory.events"];
            let texts = files.iter().filter_map(|file| fs::read_to_string(directory.join(file)).ok());
            texts
                .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
                .any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count.trim() != "0"))
        };
        Ok(self.directories()?.iter().any(counted))
    }

    /// Sends a signal to everything inside; the answer is how many processes got it.
    pub(crate) fn signal(&self, signal: i32) -> io::Result<usize> {
        signal_all(&self.directories()?, signal)
    }

    /// Kills what is left inside and removes the groups; what is not there is fine.
    pub(crate) fn remove(&self) -> Result<(), SpawnError> {
        for attempt in 0..REMOVE_ATTEMPTS {
            let left = self.kill_and_remove().map_err(failed)?;
            if left.is_empty() {
                return Ok(());
            }
            log::debug!("cgroup still busy attempt={attempt} path={}", self.path.display());
            // There is no event for the end of a process that is not ours in version 1.
            std::thread::sleep(REMOVE_PAUSE);
        }
        Err(failed(format!("{} is still busy", self.path.display())))
    }

    fn kill_and_remove(&self) -> io::Result<Vec<PathBuf>> {
        let directories = self.directories()?;
        if is_frozen(&directories) {
            // A frozen process does not die in version 1.
            let _ = self.freeze(false);
        }
        signal_all(&directories, libc::SIGKILL)?;
        let mut left = Vec::new();
        for directory in &directories {
            remove_tree(directory, &mut left)?;
        }
        Ok(left)
    }

    /// Its directories that exist, in every hierarchy.
    fn directories(&self) -> io::Result<Vec<PathBuf>> {
        let below = self.path.strip_prefix("/").unwrap_or(&self.path);
        let all = hierarchies()?.into_iter().map(|hierarchy| hierarchy.mount_point.join(below));
        Ok(all.filter(|directory| directory.is_dir()).collect())
    }

    fn manager(&self) -> Result<AnyCgroupManager, SpawnError> {
        common::create_cgroup_manager(CgroupConfig {
            cgroup_path: self.path.clone(),
            systemd_cgroup: false,
            container_name: String::new(),
        })
        .map_err(failed)
    }
}

/// 200 × 10 ms: longer than a killed process needs to leave, also on a slow board.
const REMOVE_ATTEMPTS: u32 = 200;
const REMOVE_PAUSE: Duration = Duration::from_millis(10);

/// A mounted cgroup tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    pub(crate) mount_point: PathBuf,
    /// The controllers or the name of a version 1 tree, as in `/proc/PID/cgroup`; empty for version 2.
    pub(crate) controllers: String,
}

/// Every mounted cgroup tree of the calling process's mount namespace.
pub(crate) fn hierarchies() -> io::Result<Vec<Hierarchy>> {
    Ok(parse_hierarchies(&fs::read_to_string("/proc/self/mountinfo")?))
}

/// Whether the machine has version 2 only.
pub(crate) fn is_unified() -> bool {
    matches!(common::get_cgroup_setup(), Ok(CgroupSetup::Unified))
}

/// Which cgroup version this machine has: `v1`, `v2` or `hybrid`; `None` when none is mounted.
pub fn mode() -> Option<&'static str> {
    match common::get_cgroup_setup().ok()? {
        CgroupSetup::Unified => Some("v2"),
        CgroupSetup::Legacy => Some("v1"),
        CgroupSetup::Hybrid => Some("hybrid"),
    }
}

/// proc(5), mountinfo: fields up to a lone dash, then type, source and options of the file system.
fn parse_hierarchies(mountinfo: &str) -> Vec<Hierarchy> {
    const NOT_CONTROLLERS: &[&str] =
        &["rw", "ro", "xattr", "noprefix", "clone_children", "nsdelegate", "memory_recursiveprot"];
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((mount, system)) = line.split_once(" - ") else { continue };
        let (Some(mount_point), mut system) = (mount.split(' ').nth(4), system.split(' ')) else { continue };
        let kind = system.next();
        let options = system.nth(1).unwrap_or_default();
        let controllers = match kind {
            Some("cgroup2") => String::new(),
            Some("cgroup") => {
                let is_controller =
                    |word: &&str| !NOT_CONTROLLERS.contains(word) && !word.starts_with("release_agent");
                options.split(',').filter(is_controller).collect::<Vec<_>>().join(",")
            }
            _ => continue,
        };
        // A later mount of the same tree elsewhere is the same tree.
        if !found.iter().any(|hierarchy| hierarchy.controllers == controllers) {
            found.push(Hierarchy { mount_point: PathBuf::from(mount_point), controllers });
        }
    }
    found
}

fn is_frozen(directories: &[PathBuf]) -> bool {
    let says = |directory: &Path, file: &str, value: &str| {
        fs::read_to_string(directory.join(file)).is_ok_and(|text| text.trim() == value)
    };
    directories.iter().any(|at| says(at, "freezer.state", "FROZEN") || says(at, "cgroup.freeze", "1"))
}

/// A process is opened by its id and then looked for again: whoever is still listed is the one that was
/// opened, and not a stranger to whom the id was given meanwhile.
fn signal_all(directories: &[PathBuf], signal: i32) -> io::Result<usize> {
    let open = |pid| Some((pid, process::pidfd_open(pid).ok()?));
    let opened: Vec<(i32, OwnedFd)> = processes(directories)?.into_iter().filter_map(open).collect();
    if opened.is_empty() {
        return Ok(0);
    }
    let still_inside = processes(directories)?;
    let mut signalled = 0;
    for (_, process) in opened.iter().filter(|(pid, _)| still_inside.contains(pid)) {
        match process::pidfd_signal(process.as_fd(), signal) {
            Ok(()) => signalled += 1,
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(signalled)
}

fn processes(directories: &[PathBuf]) -> io::Result<BTreeSet<i32>> {
    let mut found = BTreeSet::new();
    for directory in directories {
        collect_processes(directory, &mut found)?;
    }
    Ok(found)
}

fn collect_processes(directory: &Path, found: &mut BTreeSet<i32>) -> io::Result<()> {
    let lines = match fs::read_to_string(directory.join("cgroup.procs")) {
        Ok(lines) => lines,
        // Removed meanwhile, or a threaded group of version 2, whose processes are listed above it.
        Err(error)
            if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP)) =>
        {
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    found.extend(lines.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
    children(directory)?.iter().try_for_each(|child| collect_processes(child, found))
}

/// Removes a group and those below; what is busy goes to `left`.
fn remove_tree(directory: &Path, left: &mut Vec<PathBuf>) -> io::Result<()> {
    for child in children(directory)? {
        remove_tree(&child, left)?;
    }
    match fs::remove_dir(directory) {
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => left.push(directory.to_owned()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    Ok(())
}

fn children(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut directories = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            directories.push(entry.path());
        }
    }
    Ok(directories)
}

fn failed(error: impl std::fmt::Display) -> SpawnError {
    SpawnError::Cgroup(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_group_below_the_root() {
        let id = Id::parse("x").expect("id");
        let path = |text: &str| Cgroup::new(Some(Path::new(text)), &id).map(|cgroup| cgroup.path).ok();
        assert_eq!(path(""), Some(PathBuf::from("/edgelet/x")));
        assert_eq!(path("a/b"), Some(PathBuf::from("/a/b")));
        assert_eq!(path("/a/b/"), Some(PathBuf::from("/a/b")));
        for bad in ["/", "..", "/a/../../b"] {
            assert_eq!(path(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_tree_is_found_once() {
        let text = "\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime shared:7 - cgroup cgroup rw,cpu,cpuacct
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/x,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
50 31 0:29 / /mnt/again rw - cgroup cgroup rw,cpu,cpuacct
";
        let found = parse_hierarchies(text);
        let controllers: Vec<_> = found.iter().map(|hierarchy| hierarchy.controllers.as_str()).collect();
        assert_eq!(controllers, ["cpu,cpuacct", "name=systemd", ""]);
        assert_eq!(found[0].mount_point, Path::new("/sys/fs/cgroup/cpu"));
    }
}
